//! Witnesses that are not ours: each checkpoint is handed to them over HTTP. Source: C2SP `tlog-witness`.
//!
//! A witness is a name, a key and a URL of the policy. It gets the candidate and its proof from the one that it
//! cosigned last; what it says about that is believed only so far as to choose where the proof begins. A witness that
//! finds a checkpoint inconsistent does not halt the log: it could be wrong, and must not be able to stop us. It is told
//! loudly, and nothing that needs its cosignature becomes final.

use std::sync::Arc;
use std::time::Duration;

use marque_ledger::witness::{AddCheckpoint, PATH, with_cosignature};
use marque_ledger::{Checkpoint, Note, Witness, prove_consistency};
use tokio::sync::watch;

use crate::SinkError;
use crate::intake::blocking;
use crate::metrics::Metrics;
use crate::seal::Sealer;
use crate::store::LogStore;

/// How long a witness may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// An answer is some lines of 200 bytes, or a number.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// One witness, and what it takes to ask it.
pub struct Outside {
    witness: Witness,
    url: String,
    agent: ureq::Agent,
    sealer: Arc<Sealer>,
    store: Arc<LogStore>,
    metrics: Metrics,
}

/// What a witness answered.
enum Answer {
    /// Lines, perhaps with its cosignature.
    Lines(String),
    /// It cosigned this size last.
    LastIs(u64),
}

impl Outside {
    /// Every witness of the policy that has a URL.
    pub fn all(sealer: &Arc<Sealer>, store: &Arc<LogStore>, metrics: &Metrics) -> Result<Vec<Self>, SinkError> {
        let of = |witness: &Witness| {
            let url = witness.url.clone()?;
            Some(Self::new(witness.clone(), &url, Arc::clone(sealer), Arc::clone(store), metrics.clone()))
        };
        sealer.finality().policy().witnesses().iter().filter_map(of).collect()
    }

    fn new(
        witness: Witness,
        url: &str,
        sealer: Arc<Sealer>,
        store: Arc<LogStore>,
        metrics: Metrics,
    ) -> Result<Self, SinkError> {
        let parsed: ureq::http::Uri =
            url.parse().map_err(|_| SinkError::Asked(format!("the URL of witness `{}` is no URL", witness.name)))?;
        let https = match parsed.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => {
                return Err(SinkError::Asked(format!("the URL of witness `{}` is not http(s)", witness.name)));
            }
        };
        let config = ureq::Agent::config_builder().https_only(https).max_redirects(0).http_status_as_error(false);
        let config = config.timeout_global(Some(ANSWER_TIME));
        // What is on this machine is asked directly, whatever proxy the environment names.
        let agent = if https { config } else { config.proxy(None) }.build().new_agent();
        let url = format!("{}/{PATH}", url.trim_end_matches('/'));
        Ok(Self { witness, url, agent, sealer, store, metrics })
    }

    /// Hands over what waits, until `stopped`.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut sizes = this.sealer.finality().sizes();
        // Where the witness stands; learned from its first answer.
        let mut last = 0;
        // The candidate that it has answered for.
        let mut answered = 0;
        loop {
            sizes.borrow_and_update();
            let asking = match this.candidate() {
                Ok(Some((note, checkpoint))) if checkpoint.size > answered => {
                    let size = checkpoint.size;
                    let asking = tokio::select! {
                        _ = stopped.wait_for(|stop| *stop) => return,
                        asking = this.ask(note, checkpoint, last) => asking,
                    };
                    asking.map(|stands| Some((stands, size)))
                }
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            };
            match asking {
                Ok(Some(done)) => (last, answered) = done,
                Ok(None) => tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => return,
                    changed = sizes.changed() => if changed.is_err() { return },
                },
                Err(error) => {
                    this.metrics.witness_failed();
                    tracing::warn!(witness = this.witness.name, %error, "a witness does not cosign");
                    tokio::select! {
                        _ = stopped.wait_for(|stop| *stop) => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    fn candidate(&self) -> Result<Option<(Note, Checkpoint)>, SinkError> {
        let Some(note) = self.sealer.finality().candidate() else { return Ok(None) };
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(Some((note, checkpoint)))
    }

    /// Has the candidate cosigned; gives the size at which the witness stands then.
    async fn ask(self: &Arc<Self>, note: Note, checkpoint: Checkpoint, last: u64) -> Result<u64, SinkError> {
        let this = Arc::clone(self);
        blocking(move || {
            match this.hand_over(&note, &checkpoint, last)? {
                Answer::Lines(lines) => this.take(&note, &lines).map(|()| checkpoint.size),
                // It is beyond: another sink of this log has been there. A later one of ours will do.
                Answer::LastIs(size) if size > checkpoint.size => {
                    this.sealer.finality().stands(&this.witness.name, size);
                    Ok(size)
                }
                Answer::LastIs(size) if size == last => Err(SinkError::Asked(format!(
                    "it stands at {size} and says that the log of {} leaves does not go on from there",
                    checkpoint.size
                ))),
                Answer::LastIs(size) => match this.hand_over(&note, &checkpoint, size)? {
                    Answer::Lines(lines) => this.take(&note, &lines).map(|()| checkpoint.size),
                    Answer::LastIs(again) => Err(SinkError::Asked(format!("it says {size}, then {again}"))),
                },
            }
        })
        .await
    }

    fn hand_over(&self, note: &Note, checkpoint: &Checkpoint, old_size: u64) -> Result<Answer, SinkError> {
        let proof = match old_size {
            0 => Vec::new(),
            old if old >= checkpoint.size => Vec::new(),
            old => prove_consistency(&self.store.view()?, old, checkpoint.size)?,
        };
        let asked = AddCheckpoint { old_size: old_size.min(checkpoint.size), proof, checkpoint: note.to_string() };
        let told = |error: ureq::Error| SinkError::Asked(format!("{}: {error}", self.url));
        let mut response = self.agent.post(&self.url).send(asked.to_string()).map_err(told)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(told)?;
        match status {
            200 => Ok(Answer::Lines(body)),
            409 => match body.trim_end().parse() {
                Ok(size) => Ok(Answer::LastIs(size)),
                Err(_) => Err(SinkError::Asked("it names no size where it stands".into())),
            },
            422 => {
                tracing::error!(
                    witness = self.witness.name,
                    size = checkpoint.size,
                    old_size,
                    "A WITNESS FINDS THE LOG INCONSISTENT"
                );
                Err(SinkError::Asked(format!("it finds size {} inconsistent with {old_size}", checkpoint.size)))
            }
            other => Err(SinkError::Asked(format!("it answers {other}: {}", body.lines().next().unwrap_or_default()))),
        }
    }

    /// Takes its cosignature over, if it verifies.
    fn take(&self, note: &Note, lines: &str) -> Result<(), SinkError> {
        let key = &self.witness.key;
        let whole = with_cosignature(&note.to_string(), lines, key)?;
        let whole = Note::parse(whole.as_bytes())?;
        for line in whole.signatures().iter().filter(|line| line.name == key.name() && line.key_id == key.key_id()) {
            if self.sealer.finality().cosigned(note.text(), line)? {
                self.metrics.cosignature_taken();
            }
        }
        Ok(())
    }
}
