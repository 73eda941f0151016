//! `log_parted`: another sink signed another root for a size of ours. The sink's word on it, in the stream that both of
//! them keep: one record of *risk* for one parting.
//!
//! The log has halted by then and takes nothing in any more; the stream goes on, and whoever reads it is told. The record
//! is signed and kept before it is published, and known by the leaf from which the logs differ (by the size, where the leaf
//! could not be found): the next start, which parts again, says nothing twice. Killed after a publish, before that is
//! kept: the same bytes once more, which the stream refuses as a duplicate or an index knows as one.

use std::path::{Path, PathBuf};

use marque_bus::Bus;
use marque_identity::Did;
use marque_judgement::record::{Body, Record, RecordKind, Risk};
use marque_ledger::{Checkpoint, Hash};
use marque_runtime::Clock;
use marque_signing::SigningKey;
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, sleep};

use crate::SinkError;
use crate::keep::{keep, kept, renamed};

/// What the record calls it.
pub const SIGNAL: &str = "log_parted";
/// A record that is to be published.
const DUE: &str = "due";
/// One that was.
const SAID: &str = "said";
/// How often it is tried to publish what is due: five minutes and more. The next start begins anew.
const TRIES_MAX: u32 = 150;
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// Partings that one round tells of. A log halts at its first, so that each takes a start.
const DUE_MAX: usize = 64;

/// Two logs that are not one.
#[derive(Debug, Clone)]
pub struct Parting<'a> {
    /// The other sink.
    pub peer: &'a Did,
    /// What it has signed.
    pub theirs: &'a Checkpoint,
    /// That as a note.
    pub note: &'a str,
    /// What our log has at that size.
    pub ours: Hash,
}

impl Parting<'_> {
    /// What it is known by: the first leaf that differs, or where no one knows it the size.
    fn name(&self, leaf: Option<u64>) -> String {
        leaf.map_or_else(|| format!("parting-in-{}", self.theirs.size), |leaf| format!("parting-at-{leaf}"))
    }

    fn message(&self, leaf: Option<u64>) -> String {
        let (peer, ours, Checkpoint { origin, size, root }) = (self.peer, self.ours, self.theirs);
        let at = leaf.map_or_else(|| "the leaf is not known".to_owned(), |leaf| format!("they part at leaf {leaf}"));
        format!(
            "sink {peer} signed root {root} for size {size} of {origin}, this sink's log has {ours}: {at}, and at least one \
             of the two is not the stream's; this sink has halted"
        )
    }
}

/// What a sink keeps and says of partings.
pub struct Partings {
    state_dir: PathBuf,
    key: SigningKey,
    clock: Clock,
    due: Notify,
}

impl Partings {
    /// In this state directory, said under this key.
    pub fn new(state_dir: PathBuf, key: SigningKey, clock: Clock) -> Self {
        Self { state_dir, key, clock, due: Notify::new() }
    }

    /// Where both logs' statements of a size are kept.
    pub(crate) fn evidence(&self, size: u64) -> PathBuf {
        self.state_dir.join(format!("parted-{size}"))
    }

    /// Keeps what both logs state: ours in words, the other's as it signed it.
    pub(crate) fn keep_evidence(&self, parting: &Parting<'_>) -> Result<(), SinkError> {
        let stated = Checkpoint { root: parting.ours, ..parting.theirs.clone() };
        let text = format!("ours\n{}\ntheirs, signed by {}\n{}", stated.text(), parting.peer, parting.note);
        keep(&self.evidence(parting.theirs.size), text)
    }

    /// Has [`Self::run`] say it, unless it was said; kept when this returns. `leaf`: the first that differs.
    pub(crate) fn tell(&self, parting: &Parting<'_>, leaf: Option<u64>) -> Result<(), SinkError> {
        let path = self.state_dir.join(parting.name(leaf));
        let (due, said) = (path.with_added_extension(DUE), path.with_added_extension(SAID));
        if kept(&said)?.is_none() && kept(&due)?.is_none() {
            let risk = Risk { signal: SIGNAL.to_owned(), message: parting.message(leaf) };
            let record = Record::new(self.clock.unix_millis(), self.key.did(), Body::Risk(risk));
            keep(&due, record.seal(&self.key).map_err(|error| SinkError::Asked(error.to_string()))?)?;
        }
        self.due.notify_one();
        Ok(())
    }

    /// Publishes what is due until `stopped`: what an earlier run has left at once, and what this one tells.
    pub async fn run(&self, bus: &Bus, mut stopped: watch::Receiver<bool>) {
        let mut tries = 0;
        loop {
            let said = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                said = self.say(bus) => said,
            };
            let again = match said {
                Ok(()) => false,
                Err(error) => {
                    tries += 1;
                    tracing::warn!(%error, tries, "what the sink has to say of a parting is not published yet");
                    tries < TRIES_MAX
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = self.due.notified() => tries = 0,
                () = sleep(RETRY), if again => {}
            }
        }
    }

    async fn say(&self, bus: &Bus) -> Result<(), SinkError> {
        for due in self.due()? {
            let Some(record) = kept(&due)? else { continue };
            bus.publish_record(RecordKind::Risk.as_str(), Some(&self.key.did()), &record).await?;
            renamed(&due, &due.with_extension(SAID))?;
            tracing::error!(record = %due.display(), "THE LOGS PART: a record in the stream says so");
        }
        Ok(())
    }

    fn due(&self) -> Result<Vec<PathBuf>, SinkError> {
        let failed = SinkError::at(&self.state_dir);
        let is_due = |path: &Path| {
            let named = path.file_name().and_then(|name| name.to_str());
            named.is_some_and(|name| name.starts_with("parting-")) && path.extension().is_some_and(|end| end == DUE)
        };
        let mut due = Vec::new();
        for entry in std::fs::read_dir(&self.state_dir).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            if is_due(&path) && due.len() < DUE_MAX {
                due.push(path);
            }
        }
        due.sort();
        Ok(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_parting_is_told_once_whatever_size_shows_it() {
        let directory = tempfile::tempdir().unwrap();
        let partings = || Partings::new(directory.path().to_owned(), key(3), Clock::new());
        let tell = |size: u64, leaf| {
            let theirs = Checkpoint { origin: "acme.example/audit".into(), size, root: Hash::leaf(b"theirs") };
            let (peer, ours, note) = (key(4).did(), Hash::leaf(b"ours"), theirs.sign(&key(4)).unwrap());
            partings().tell(&Parting { peer: &peer, theirs: &theirs, note: &note, ours }, leaf).unwrap();
            partings().due().unwrap()
        };
        let due = tell(700, Some(433));
        assert_eq!(due.len(), 1);
        let record = kept(&due[0]).unwrap().unwrap();
        let (opened, _) = Record::open_any(&record).unwrap();
        let Body::Risk(risk) = &opened.body else { panic!("{opened:?}") };
        assert_eq!((opened.by, risk.signal.as_str()), (key(3).did(), SIGNAL));
        for said in ["size 700", "they part at leaf 433", &key(4).did().to_string()] {
            assert!(risk.message.contains(said), "{said}: {}", risk.message);
        }
        // Not said yet: the same bytes, whatever size shows it next. Said: never again.
        assert_eq!(tell(900, Some(433)), due);
        assert_eq!(kept(&due[0]).unwrap().unwrap(), record);
        renamed(&due[0], &due[0].with_extension(SAID)).unwrap();
        assert!(tell(901, Some(433)).is_empty());
        // Another leaf is another parting; one whose leaf nobody could find is known by its size.
        assert_eq!(tell(901, Some(7)).len(), 1);
        assert_eq!(tell(901, None).len(), 2);
        assert_eq!(tell(902, None).len(), 3);
    }

    #[test]
    fn what_lies_beside_it_is_not_published() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["parted-7", "parting-at-7.said", "parting-at-8.due.next", "checkpoint.due", "parting-at-9"] {
            std::fs::write(directory.path().join(name), "x").unwrap();
        }
        assert!(Partings::new(directory.path().to_owned(), key(3), Clock::new()).due().unwrap().is_empty());
    }
}
