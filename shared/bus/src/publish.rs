//! Publishing so that it is stored: nothing is said to be recorded before the broker's acknowledgement.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use marque_identity::{Did, Digest};
use serde::Deserialize;
use tokio::time::Instant;

use crate::subjects::SUBJECTS;
use crate::{Bus, BusError, streams, subjects};

/// A stored record with its headers is at most 60,000 bytes (C2SP tlog-tiles: an entry is at most 65,535, our framing
/// included); this leaves room for the headers.
pub const RECORD_BYTES_MAX: usize = 59_000;
/// How long a record's ack is waited for. Rides out a leader crash without quorum (4 to 8 s) where callers can wait.
pub const RECORD_DEADLINE: Duration = Duration::from_secs(5);
/// A claim decides an action: better undecided soon than late.
const CLAIM_DEADLINE: Duration = Duration::from_secs(3);
/// One try; the same id is sent again after it.
const TRY_FIRST: Duration = Duration::from_millis(500);
const TRY_LAST: Duration = Duration::from_secs(2);
/// Between tries that were answered at once (nobody serves, the leader is being elected).
const PAUSE: Duration = Duration::from_millis(50);

/// Where a record stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The stream's sequence.
    pub sequence: u64,
    /// It had been stored before, by an earlier try with the same bytes.
    pub duplicate: bool,
}

/// The outcome of claiming a proof for the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Ours: nobody has claimed it before.
    Won,
    /// Somebody has claimed it.
    Lost,
}

/// JetStream's answer to a publish.
#[derive(Debug, Deserialize)]
struct Ack {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    error: Option<ApiError>,
}

/// An error of the JetStream API.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) err_code: u32,
    #[serde(default)]
    pub(crate) description: String,
}

impl ApiError {
    /// Wrong last sequence of the subject.
    const WRONG_LAST_SEQUENCE: u32 = 10_071;
    const WRONG_LAST_SEQUENCE_CONSTANT: u32 = 10_164;
    /// The subject holds as many messages as it may.
    const SUBJECT_FULL: u32 = 10_077;

    fn is_transient(&self) -> bool {
        self.code == 503 || self.code == 408
    }

    fn says_moved(&self) -> bool {
        [Self::WRONG_LAST_SEQUENCE, Self::WRONG_LAST_SEQUENCE_CONSTANT].contains(&self.err_code)
    }

    fn says_taken(&self) -> bool {
        // The store's own words stand behind a general code.
        self.says_moved() || self.err_code == Self::SUBJECT_FULL && self.description.contains("per subject")
    }
}

impl Bus {
    /// Publishes a signed record to the audit stream and waits until it is stored.
    ///
    /// `Nats-Msg-Id` is the hex SHA-256 of `compact`; the same id is sent again until the ack or the deadline. A
    /// duplicate ack is believed only after the stored bytes have been read back and are the same.
    pub async fn publish_record(&self, kind: &str, key: Option<&Did>, compact: &str) -> Result<Recorded, BusError> {
        if compact.len() > RECORD_BYTES_MAX {
            return Err(BusError::Oversize { what: "a record", bytes: compact.len(), bytes_max: RECORD_BYTES_MAX });
        }
        self.publish_stored(&subjects::record(kind, key), compact.as_bytes(), None, RECORD_DEADLINE).await
    }

    /// The same by who may not read the stream: an id that only its signer can know needs no reading back.
    pub async fn publish_own_record(&self, kind: &str, by: &Did, compact: &str) -> Result<(), BusError> {
        self.publish_unread(&subjects::record(kind, Some(by)), compact.as_bytes(), RECORD_DEADLINE).await
    }

    /// The same for any captured subject, with a deadline and an optional time to live (the stream must allow it).
    pub async fn publish_stored(
        &self,
        subject: &str,
        payload: &[u8],
        ttl: Option<Duration>,
        deadline: Duration,
    ) -> Result<Recorded, BusError> {
        self.publish_with(subject, payload, HeaderMap::new(), ttl, deadline).await
    }

    /// The same, if `last_sequence` is the last of the stream: else [`BusError::SequenceMoved`], and nothing is
    /// stored. Who publishes thus knows the place before it signs. `subject` is one of the table's.
    pub async fn publish_after(
        &self,
        subject: &str,
        payload: &[u8],
        last_sequence: u64,
        ttl: Option<Duration>,
        deadline: Duration,
    ) -> Result<Recorded, BusError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", last_sequence.to_string());
        let moved = match self.publish_with(subject, payload, headers, ttl, deadline).await {
            Err(error @ BusError::SequenceMoved(_)) => error,
            outcome => return outcome,
        };
        // The server looks at the place before the id: our own earlier try, of which the ack was lost, moved it.
        let row = SUBJECTS.iter().find(|row| row.stream.is_some() && subjects::matches(&row.wildcard(), subject));
        let Some(stream) = row.and_then(|row| row.stream) else { return Err(moved) };
        let sequence = last_sequence + 1;
        let batch =
            self.read(stream, sequence, 1).await.map_err(|error| BusError::OutcomeUnknown(error.to_string()))?;
        let ours = batch.messages.first().is_some_and(|held| held.sequence == sequence && held.payload == payload);
        if ours { Ok(Recorded { sequence, duplicate: true }) } else { Err(moved) }
    }

    /// The same for bytes that nobody else can have published before: a duplicate is our own earlier try, and is not
    /// read back.
    pub async fn publish_unread(&self, subject: &str, payload: &[u8], deadline: Duration) -> Result<(), BusError> {
        let until = Instant::now() + deadline;
        self.publish_acked(subject, payload, HeaderMap::new(), None, until).await.map(drop)
    }

    async fn publish_with(
        &self,
        subject: &str,
        payload: &[u8],
        headers: HeaderMap,
        ttl: Option<Duration>,
        deadline: Duration,
    ) -> Result<Recorded, BusError> {
        let until = Instant::now() + deadline;
        let ack = self.publish_acked(subject, payload, headers, ttl, until).await?;
        if ack.duplicate {
            self.compare_stored(&ack.stream, ack.seq, payload, until).await?;
        }
        Ok(Recorded { sequence: ack.seq, duplicate: ack.duplicate })
    }

    /// Stored, or a duplicate of what is; an error otherwise.
    async fn publish_acked(
        &self,
        subject: &str,
        payload: &[u8],
        mut headers: HeaderMap,
        ttl: Option<Duration>,
        until: Instant,
    ) -> Result<Ack, BusError> {
        if !subjects::is_publishable(subject) {
            return Err(BusError::SubjectInvalid(subject.to_owned()));
        }
        headers.insert("Nats-Msg-Id", marque_signing::sha256(payload).to_string());
        if let Some(ttl) = ttl {
            headers.insert("Nats-TTL", format!("{}s", ttl.as_secs().max(1)));
        }
        let mut ack = self.publish_until(subject, headers, Bytes::copy_from_slice(payload), until).await?;
        match ack.error.take() {
            Some(error) if error.says_moved() => Err(BusError::SequenceMoved(error.description)),
            Some(error) => Err(BusError::Refused(format!("{subject}: {}", error.description))),
            None => Ok(ack),
        }
    }

    /// Publishes on a subject that has no message yet; lost, if it has another's.
    pub(crate) async fn claim_subject(&self, subject: &str, claim: &[u8]) -> Result<Claim, BusError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let until = Instant::now() + CLAIM_DEADLINE;
        match self.publish_until(subject, headers, Bytes::copy_from_slice(claim), until).await?.error {
            None => Ok(Claim::Won),
            Some(error) if error.says_taken() => Ok(Claim::Lost),
            Some(error) => Err(BusError::Refused(format!("{subject}: {}", error.description))),
        }
    }

    /// Claims a proof's digest in the proof stream, which the first one gets. An error is undecided: deny.
    pub async fn claim_proof(&self, proof: &Digest) -> Result<Claim, BusError> {
        // Tells our own earlier try, of which the ack was lost, from another's claim.
        let claim = Bytes::from(uuid::Uuid::now_v7().simple().to_string());
        let subject = subjects::proof_claim(proof);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let until = Instant::now() + CLAIM_DEADLINE;
        match self.publish_until(&subject, headers, claim.clone(), until).await?.error {
            None => Ok(Claim::Won),
            Some(error) if error.says_taken() => {
                let held = self.read_last(streams::PROOFS, &subject).await?;
                Ok(if held.is_some_and(|held| held.payload == claim) { Claim::Won } else { Claim::Lost })
            }
            Some(error) => Err(BusError::Refused(format!("{subject}: {}", error.description))),
        }
    }

    /// Publishes the same message until it is answered: an ack, or an error that trying again does not change.
    async fn publish_until(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        until: Instant,
    ) -> Result<Ack, BusError> {
        let mut one_try = TRY_FIRST;
        // Once a try may have been stored, giving up can only say that the outcome is unknown.
        let mut may_be_stored = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let failure = match self.ask(subject, headers.clone(), payload.clone(), one_try.min(left)).await {
                Ok(message) => {
                    let ack: Ack = serde_json::from_slice(&message.payload)
                        .map_err(|error| BusError::Malformed(format!("{subject}: {error}")))?;
                    match ack.error {
                        Some(ref error) if error.is_transient() => BusError::Unavailable(error.description.clone()),
                        // Whoever answers an empty object has stored nothing.
                        None if ack.stream.is_empty() || ack.seq == 0 => {
                            return Err(BusError::Malformed(format!("{subject}: an ack without stream and sequence")));
                        }
                        Some(_) | None => return Ok(ack),
                    }
                }
                Err(error @ (BusError::Unavailable(_) | BusError::OutcomeUnknown(_))) => error,
                Err(error) => return Err(error),
            };
            may_be_stored |= matches!(failure, BusError::OutcomeUnknown(_));
            one_try = (one_try * 2).min(TRY_LAST);
            if Instant::now() + PAUSE >= until {
                return Err(match failure {
                    BusError::Unavailable(why) if may_be_stored => BusError::OutcomeUnknown(why),
                    failure => failure,
                });
            }
            tracing::debug!(%subject, %failure, "publishing again under the same id");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// `Nats-Msg-Id` is stream-wide: another's message under our id would be acked as our duplicate.
    async fn compare_stored(
        &self,
        stream: &str,
        sequence: u64,
        payload: &[u8],
        until: Instant,
    ) -> Result<(), BusError> {
        loop {
            let failure = match self.read(stream, sequence, 1).await {
                Ok(batch) => match batch.messages.first() {
                    Some(stored) if stored.sequence == sequence && stored.payload == payload => return Ok(()),
                    Some(stored) if stored.sequence == sequence => return Err(BusError::Suppressed { sequence }),
                    // A replica that lags, or a message that has expired since.
                    Some(_) | None => BusError::OutcomeUnknown(format!("{stream} does not show sequence {sequence}")),
                },
                Err(BusError::Forbidden(why)) => return Err(BusError::Forbidden(why)),
                Err(error) => BusError::OutcomeUnknown(error.to_string()),
            };
            if Instant::now() + PAUSE >= until {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
