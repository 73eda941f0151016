//! A new epoch of the log: for an operator whose stream no longer is the log's (LOG.md rule 6). Never begun by itself.
//!
//! The store of the epoch before stays as it is, and gets its last checkpoint. The new one lies in a folder of its own
//! below the state directory, which a small file names: written last, it is what makes the new epoch the log. Killed
//! before: the log is the epoch before, and what was begun is dropped by the next try.

use std::path::{Path, PathBuf};

use marque_bus::streams::{AUDIT, StreamState};
use marque_bus::{Bus, Stored};
use marque_ledger::Entry;
use marque_ledger::epoch::{EPOCHS_MAX, Genesis, Lost, epoch_origin};

use crate::SinkError;
use crate::files::LOG_FILE;
use crate::guard::{examine, is_leaf};
use crate::keep::{keep, kept};
use crate::seal::{CHECKPOINT_FILE, Sealer};
use crate::store::LogStore;

/// Says which epoch is the log; absent in the first.
pub const EPOCH_FILE: &str = "epoch";
/// What the new epoch's first leaf says: to be handed to the other sinks of the log, whose epoch must begin alike.
pub const GENESIS_FILE: &str = "genesis.json";

/// Which epoch is the log, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// From 1.
    pub epoch: u64,
    /// Where its store and everything beside it lies.
    pub folder: PathBuf,
    /// Its name.
    pub origin: String,
}

/// The epoch that a state directory's log is in. `first`: the first one's name.
pub fn standing(state_dir: &Path, first: &str) -> Result<Standing, SinkError> {
    let Some(text) = kept(&state_dir.join(EPOCH_FILE))? else { return Ok(at(state_dir, first, 1)) };
    let epoch = text.strip_suffix('\n').and_then(|text| text.parse().ok());
    let epoch = epoch.filter(|epoch| (2..=EPOCHS_MAX).contains(epoch));
    let epoch = epoch.ok_or_else(|| SinkError::ForeignStore(format!("`{EPOCH_FILE}` names no epoch")))?;
    Ok(at(state_dir, first, epoch))
}

/// Where an epoch lies, or is to lie.
pub(crate) fn at(state_dir: &Path, first: &str, epoch: u64) -> Standing {
    let folder = if epoch == 1 { state_dir.to_owned() } else { state_dir.join(format!("e{epoch}")) };
    Standing { epoch, folder, origin: epoch_origin(first, epoch) }
}

/// Makes an epoch the log.
pub(crate) fn enter(state_dir: &Path, epoch: u64) -> Result<(), SinkError> {
    keep(&state_dir.join(EPOCH_FILE), format!("{epoch}\n"))
}

/// What an operator says of the new epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Why there must be one.
    Reason(String),
    /// What another sink of this log has begun its own with.
    Of(Genesis),
}

/// A stopped sink's log, and where it stands.
pub struct Frozen {
    /// Where its epochs lie.
    pub state_dir: PathBuf,
    /// The first epoch's name.
    pub first: String,
    /// The epoch that it is in.
    pub standing: Standing,
    /// Its store.
    pub store: LogStore,
}

impl Frozen {
    /// Opens it. A sink that runs holds its store.
    pub fn open(state_dir: &Path, first: &str) -> Result<Self, SinkError> {
        let standing = standing(state_dir, first)?;
        let path = standing.folder.join(LOG_FILE);
        if !path.exists() {
            return Err(SinkError::NotFound(format!(
                "{} holds no log: there is nothing to go on from",
                path.display()
            )));
        }
        let store = LogStore::open(&path, &standing.origin)?;
        Ok(Self { state_dir: state_dir.to_owned(), first: first.to_owned(), standing, store })
    }

    /// Begins the next epoch at the stream's present state. `sealer`: of this epoch, for its last checkpoint.
    pub async fn next(
        self,
        bus: &Bus,
        sealer: Result<Sealer, SinkError>,
        why: Why,
        now_ms: i64,
    ) -> Result<Genesis, SinkError> {
        if self.standing.epoch >= EPOCHS_MAX {
            return Err(SinkError::Asked(format!("a log has at most {EPOCHS_MAX} epochs")));
        }
        let genesis = match why {
            Why::Of(genesis) => genesis,
            Why::Reason(reason) => {
                // 1. There must be a reason that can be seen.
                if examine(bus, &self.store).await.is_ok() {
                    return Err(SinkError::Asked(format!("stream {AUDIT} is this log's own: no new epoch is needed")));
                }
                // 2. The last checkpoint of the epoch that ends. A log that agrees no more with what was signed gets none.
                let note = self.last_checkpoint(sealer)?;
                // 3. Where the stream is another.
                let state = bus.stream_state(AUDIT).await?;
                let read = async |sequence| Ok(bus.read(AUDIT, sequence, 1).await?.messages.into_iter().next());
                let begins = begins(&self.store, &state, read).await?;
                let after = self.store.last_sequence() + 1;
                let lost = (begins > after).then(|| Lost { from: after, to: begins - 1 });
                Genesis::after(note, reason, now_ms, begins, lost)?
            }
        };
        let next = at(&self.state_dir, &self.first, self.standing.epoch + 1);
        if genesis.origin != next.origin {
            let why = format!("the genesis is of log `{}`, the next epoch here is `{}`", genesis.origin, next.origin);
            return Err(SinkError::Asked(why));
        }
        self.found(&next, &genesis)?;
        Ok(genesis)
    }

    fn last_checkpoint(&self, sealer: Result<Sealer, SinkError>) -> Result<String, SinkError> {
        if let Err(error) = sealer.and_then(|sealer| sealer.seal(&self.store)) {
            tracing::warn!(%error, "the last checkpoint stays the one before");
        }
        let path = self.standing.folder.join(CHECKPOINT_FILE);
        let why = || SinkError::NotFound("the log was never signed: there is nothing to go on from".into());
        kept(&path)?.ok_or_else(why)
    }

    /// The new epoch on disk, and then the log.
    fn found(&self, next: &Standing, genesis: &Genesis) -> Result<(), SinkError> {
        let folder = &next.folder;
        // Begun by a try that broke off: nothing has read or signed it.
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(SinkError::at(folder)(error)),
            Ok(()) | Err(_) => {}
        }
        std::fs::create_dir(folder).map_err(SinkError::at(folder))?;
        let entry = genesis.entry()?;
        LogStore::open(&folder.join(LOG_FILE), &next.origin)?.append(0, std::slice::from_ref(&entry))?;
        keep(&folder.join(GENESIS_FILE), Entry::decode(&entry)?.payload)?;
        enter(&self.state_dir, next.epoch)
    }
}

/// The first message that the stream holds and this log does not: from there on it is another's.
async fn begins(
    store: &LogStore,
    state: &StreamState,
    read: impl AsyncFn(u64) -> Result<Option<Stored>, SinkError>,
) -> Result<u64, SinkError> {
    // INVARIANT: all before `low` are leaves or gone; what lies at `high` or behind it is none.
    let mut low = state.first_sequence.max(store.begins_at());
    let mut high = low.max(store.last_sequence().min(state.last_sequence) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let same = match read(middle).await? {
            Some(message) if message.sequence == middle => is_leaf(store, &message)?,
            Some(_) | None => false,
        };
        if same {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // A message that is gone can't be the first.
    Ok(read(low).await?.map_or(low, |message| message.sequence.max(low)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::frame;
    use serde_json::json;

    const FIRST: &str = "acme.example/audit";

    fn message(sequence: u64, payload: &str) -> Stored {
        let payload = payload.as_bytes().to_vec().into();
        Stored { sequence, time_ns: 5, subject: "marque.record.decided.none".into(), payload }
    }

    fn store(leaves: u64) -> (tempfile::TempDir, LogStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(&directory.path().join(LOG_FILE), FIRST).unwrap();
        let frames: Vec<_> = (1..=leaves).map(|at| frame(&message(at, "ours")).unwrap()).collect();
        store.append(0, &frames).unwrap();
        (directory, store)
    }

    /// Where a log of 20 leaves goes on in a stream of these messages.
    async fn begin(first: u64, last: u64, held: impl Fn(u64) -> Option<&'static str>) -> u64 {
        let (_directory, store) = store(20);
        let state = StreamState {
            first_sequence: first,
            last_sequence: last,
            messages: 0,
            bytes: 0,
            created_ns: 7,
            settings: json!({}),
        };
        let read = async |from: u64| {
            let found = (from..=last).find_map(|sequence| Some(message(sequence, held(sequence)?)));
            Ok(found)
        };
        begins(&store, &state, read).await.unwrap()
    }

    #[tokio::test]
    async fn an_epoch_begins_where_the_stream_is_another() {
        let from = |first: u64| move |sequence: u64| (sequence >= first).then_some("ours");
        // Purged: up to the log's end, beyond it, of everything.
        assert_eq!(begin(21, 30, from(21)).await, 21);
        assert_eq!(begin(25, 30, from(25)).await, 25);
        assert_eq!(begin(31, 30, |_| None).await, 31);
        // Rolled back, and refilled: shorter and longer than the log.
        for last in [15, 40] {
            let refilled = |sequence| Some(if sequence <= 12 { "ours" } else { "theirs" });
            assert_eq!(begin(1, last, refilled).await, 13);
        }
        assert_eq!(begin(1, 12, from(1)).await, 13);
        // Made anew: empty, and with other messages.
        assert_eq!(begin(0, 0, |_| None).await, 1);
        assert_eq!(begin(1, 40, |_| Some("theirs")).await, 1);
        // Nothing but its settings has changed; and a message behind the log's end is gone.
        assert_eq!(begin(1, 20, from(1)).await, 21);
        assert_eq!(begin(1, 30, |sequence| (sequence != 21).then_some("ours")).await, 22);
    }

    #[test]
    fn what_no_pointer_names_is_not_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(standing(path, FIRST).unwrap(), at(path, FIRST, 1));
        std::fs::create_dir(path.join("e2")).unwrap();
        assert_eq!(standing(path, FIRST).unwrap().folder, path);
        enter(path, 2).unwrap();
        let second = standing(path, FIRST).unwrap();
        assert_eq!((second.folder, second.origin.as_str()), (path.join("e2"), "acme.example/audit/e2"));
        for bad in ["", "1\n", "0\n", "2", "65\n", "two\n"] {
            std::fs::write(path.join(EPOCH_FILE), bad).unwrap();
            assert!(matches!(standing(path, FIRST), Err(SinkError::ForeignStore(_))), "{bad:?}");
        }
    }
}
