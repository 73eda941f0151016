//! Where the payloads of erasable actions lie, and the keys that they are sealed for.
//!
//! Two streams. `MARQUE_SEALED` holds each payload under its data subject and its record. `MARQUE_SEALING_KEYS` holds
//! for each data subject one public key, which enforcement points read, and the private keys, which operators alone
//! read. An enforcement point therefore reads no payload, not even its own. What is published here is random or was
//! signed a moment ago, so that an ack that says `duplicate` can only mean our own earlier try: nothing is read back.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use marque_identity::Digest;
use serde::Deserialize;
use serde_json::json;

use crate::publish::{ApiError, RECORD_DEADLINE};
use crate::streams::{SEALED, SEALING_KEYS};
use crate::{Bus, BusError, Claim, Stored, subjects};

const API_TIMEOUT: Duration = Duration::from_secs(5);
/// Private keys of one data subject that an erasure deletes in one go: one for each host that came first at once.
const KEYS_MAX: usize = 64;

/// What an erasure found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Private keys that were deleted, their bytes overwritten.
    pub keys: u64,
    /// Payloads that were purged.
    pub payloads: u64,
}

/// What the JetStream API answers to a deletion.
#[derive(Debug, Deserialize)]
struct Deleted {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    purged: u64,
}

/// Rounds of an erasure: each key that is offered meanwhile takes one more.
const ERASE_ROUNDS_MAX: usize = 64;
/// JetStream: no message with this sequence.
const NO_MESSAGE: u32 = 10_037;
/// JetStream: the sequence was deleted before.
const SEQUENCE_NOT_FOUND: u32 = 10_043;

impl Bus {
    /// The public key for which a data subject's payloads are sealed; none where it has none yet.
    pub async fn sealing_key(&self, subject: &Digest) -> Result<Option<Stored>, BusError> {
        // The subject stands in the request's own: an enforcement point may ask for public keys alone.
        self.read_last_by_subject(SEALING_KEYS, &subjects::sealing_public(subject)).await
    }

    /// Makes `public` a data subject's key, if it has none: its private half is stored first, so that no payload is
    /// ever sealed for a key that nobody has. Lost: another's came first, and the private half stays unused.
    pub async fn offer_sealing_key(&self, subject: &Digest, public: &str, private: &[u8]) -> Result<Claim, BusError> {
        let place = subjects::sealing_private(subject, public);
        // Won or lost it is there: the place bears the name of this very key.
        self.claim_subject(&place, private).await?;
        let claim = self.claim_subject(&subjects::sealing_public(subject), public.as_bytes()).await?;
        if claim == Claim::Won {
            // An erasure may have come between the two, and taken it.
            self.claim_subject(&place, private).await?;
            // Or taken the public one since: then nothing may be sealed for this key, whose private half may outlive it.
            let standing = self.sealing_key(subject).await?;
            if standing.is_none_or(|standing| standing.payload != public.as_bytes()) {
                return Ok(Claim::Lost);
            }
        }
        Ok(claim)
    }

    /// Stores the sealed payload of a record.
    pub async fn publish_sealed(&self, subject: &Digest, record: &str, sealed: &[u8]) -> Result<(), BusError> {
        self.publish_unread(&subjects::sealed(subject, record), sealed, RECORD_DEADLINE).await
    }

    /// The sealed payload of a record, whoever it is about.
    pub async fn find_sealed(&self, record: &str) -> Result<Option<Stored>, BusError> {
        let found = self.read_matching(SEALED, &subjects::sealed_of(record), 1, 1).await?;
        Ok(found.messages.into_iter().next())
    }

    /// A private key.
    pub async fn sealing_private(&self, subject: &Digest, public: &str) -> Result<Option<Stored>, BusError> {
        self.read_last(SEALING_KEYS, &subjects::sealing_private(subject, public)).await
    }

    /// Deletes a data subject's keys, then its payloads. The public key goes first: what is sealed from then on is
    /// sealed for a new one. Killed halfway and done again it ends the same.
    pub async fn erase_subject(&self, subject: &Digest) -> Result<Erasure, BusError> {
        let mut keys = 0;
        // Until a round finds nothing: a key may be offered meanwhile.
        for round in 0.. {
            if round == ERASE_ROUNDS_MAX {
                return Err(BusError::Unavailable("keys are offered as fast as they are erased".into()));
            }
            let public = self.read_last(SEALING_KEYS, &subjects::sealing_public(subject)).await?;
            if let Some(public) = &public {
                self.overwrite(public).await?;
            }
            let private = subjects::sealing_private_all(subject);
            let held = self.read_matching(SEALING_KEYS, &private, 1, KEYS_MAX).await?.messages;
            if public.is_none() && held.is_empty() {
                break;
            }
            for key in &held {
                self.overwrite(key).await?;
                keys += 1;
            }
        }
        let filter = json!({ "filter": subjects::sealed_all(subject) }).to_string();
        let purged = self.delete(&format!("$JS.API.STREAM.PURGE.{SEALED}"), filter).await?;
        match purged.error {
            Some(error) => Err(BusError::Refused(format!("{SEALED}: {}", error.description))),
            None => Ok(Erasure { keys, payloads: purged.purged }),
        }
    }

    /// Deletes a message of the keys' stream so that its bytes are overwritten on disk.
    async fn overwrite(&self, message: &Stored) -> Result<(), BusError> {
        let request = json!({ "seq": message.sequence, "no_erase": false }).to_string();
        match self.delete(&format!("$JS.API.STREAM.MSG.DELETE.{SEALING_KEYS}"), request).await?.error {
            Some(error) if [NO_MESSAGE, SEQUENCE_NOT_FOUND].contains(&error.err_code) => Ok(()),
            Some(error) => Err(BusError::Refused(format!("{SEALING_KEYS}: {}", error.description))),
            None => Ok(()),
        }
    }

    async fn delete(&self, api: &str, request: String) -> Result<Deleted, BusError> {
        let message = self.ask(api, HeaderMap::new(), Bytes::from(request), API_TIMEOUT).await?;
        serde_json::from_slice(&message.payload).map_err(|error| BusError::Malformed(format!("{api}: {error}")))
    }
}
