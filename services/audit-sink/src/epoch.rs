//! A new epoch of the log: for an operator whose stream no longer is the log's (LOG.md rule 6). Never begun by itself.
//!
//! The store of the epoch before stays as it is, and gets its last checkpoint. The new one lies in a folder of its own
//! below the state directory, which a small file names: written last, it is what makes the new epoch the log. Killed
//! before: the log is the epoch before, and what was begun is put aside by the next try.

use std::path::{Path, PathBuf};

use marque_bus::streams::{AUDIT, CHECKPOINTS, StreamState};
use marque_bus::{Bus, Stored, subjects};
use marque_ledger::epoch::{EPOCHS_MAX, Genesis, Lost, epoch_origin};
use marque_ledger::{Checkpoint, Entry, Policy, VerifierKey, root_at};

use crate::files::LOG_FILE;
use crate::finality::FINAL_FILE;
use crate::guard::{examine, is_leaf};
use crate::keep::{keep, kept};
use crate::restore::has_no_log;
use crate::seal::{CHECKPOINT_FILE, COSIGNED_FILE, Sealer};
use crate::step::Step;
use crate::store::LogStore;
use crate::{Hole, SinkError};

/// Says which epoch is the log; absent in the first.
pub const EPOCH_FILE: &str = "epoch";
/// What the new epoch's first leaf says: to be handed to the other sinks of the log, whose epoch must begin alike.
pub const GENESIS_FILE: &str = "genesis.json";

/// Tries that broke off and lie beside the log: more than an operator has made by mistake.
const ASIDE_MAX: u32 = 64;

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
    keep(&state_dir.join(EPOCH_FILE), format!("{epoch}\n"))?;
    Step::Entered.taken();
    Ok(())
}

/// What is where an archive's log is to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vacancy {
    /// Nothing.
    Empty,
    /// A log of a later epoch that nothing names, and no other: a try has left it that broke off before its last step.
    Unnamed,
}

/// Refuses a state directory that has a log, in whatever epoch, or that names another epoch than the one to be filled.
pub(crate) fn vacancy(state_dir: &Path, first: &str, epoch: u64) -> Result<Vacancy, SinkError> {
    let unnamed = epoch > 1 && kept(&state_dir.join(EPOCH_FILE))?.is_none();
    let mut vacancy = Vacancy::Empty;
    for place in (1..=EPOCHS_MAX).map(|epoch| at(state_dir, first, epoch)) {
        match has_no_log(&place.folder) {
            Err(SinkError::ForeignStore(_))
                if unnamed && place.epoch == epoch && signed_in(&place.folder)?.is_none() =>
            {
                vacancy = Vacancy::Unnamed;
            }
            done => done?,
        }
    }
    let named = standing(state_dir, first)?;
    if named.epoch > 1 && named.epoch != epoch {
        let why = format!("`{EPOCH_FILE}` names epoch {}, the archive is of epoch {epoch}", named.epoch);
        return Err(SinkError::ForeignStore(why));
    }
    Ok(vacancy)
}

/// Whether the epoch in this folder is the log no more: nothing that it has signed will become final.
pub(crate) fn has_ended(folder: &Path) -> Result<bool, SinkError> {
    // The first lies in the state directory itself.
    if folder.join(EPOCH_FILE).try_exists().map_err(SinkError::at(folder))? {
        return Ok(true);
    }
    let of = |name: &str| name.strip_prefix('e')?.parse::<u64>().ok();
    let (Some(epoch), Some(state_dir)) = (folder.file_name().and_then(|name| of(name.to_str()?)), folder.parent())
    else {
        return Ok(false);
    };
    let named = kept(&state_dir.join(EPOCH_FILE))?.and_then(|text| text.trim_end().parse::<u64>().ok());
    Ok(named.is_some_and(|named| named > epoch))
}

/// What an operator says of the new epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Why there must be one.
    Reason(String),
    /// What another sink of this log has begun its own with.
    Of {
        /// As its file says.
        genesis: Genesis,
        /// Whose last checkpoint of the epoch that ends is believed: one of these policies' logs, whoever cosigned it.
        trusted: Vec<Policy>,
    },
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
    pub async fn next(self, bus: &Bus, sealer: &Sealer, why: Why, now_ms: i64) -> Result<Genesis, SinkError> {
        if self.standing.epoch >= EPOCHS_MAX {
            return Err(SinkError::Asked(format!("a log has at most {EPOCHS_MAX} epochs")));
        }
        let read = async |sequence| Ok(bus.read(AUDIT, sequence, 1).await?.messages.into_iter().next());
        // 1. There must be a reason that can be seen.
        if reason(examine(bus, &self.store).await)?.is_none() {
            let due = self.store.last_sequence() + 1;
            if gap(due, read(due).await?.as_ref()).is_none() {
                return Err(SinkError::Asked(format!("stream {AUDIT} is this log's own: no new epoch is needed")));
            }
        }
        // 2. The last checkpoint of the epoch that ends, in agreement with all that was signed and published.
        let subject = subjects::checkpoint(&sealer.verifier().key().did());
        if let Some(published) = bus.read_last(CHECKPOINTS, &subject).await? {
            sealer.remember(&published.payload)?;
        }
        let note = sealer.seal_last(&self.store)?;
        let genesis = match why {
            // 3. Where another sink of the log has found that the stream is another.
            Why::Of { genesis, trusted } => {
                self.may_follow(&genesis, &trusted)?;
                genesis
            }
            // 3. Where the stream is another.
            Why::Reason(reason) => {
                let state = bus.stream_state(AUDIT).await?;
                let begins = begins(&self.store, &state, read).await?;
                let after = self.store.last_sequence() + 1;
                let lost = (begins > after).then(|| Lost { from: after, to: begins - 1 });
                Genesis::after(note, reason, now_ms, begins, lost)?
            }
        };
        self.found(&genesis)?;
        Ok(genesis)
    }

    fn successor(&self) -> Standing {
        at(&self.state_dir, &self.first, self.standing.epoch + 1)
    }

    /// Whether another sink's genesis goes on from this log.
    fn may_follow(&self, genesis: &Genesis, trusted: &[Policy]) -> Result<(), SinkError> {
        let refused = |why: String| Err(SinkError::Asked(format!("the genesis {why}")));
        // 1. It is of the next epoch, after a checkpoint that a sink of this log has signed.
        let next = self.successor().origin;
        if genesis.origin != next {
            return refused(format!("is of log `{}`, the next epoch here is `{next}`", genesis.origin));
        }
        let logs: Vec<VerifierKey> = trusted.iter().flat_map(Policy::logs).cloned().collect();
        let previous = match genesis.previous(&logs) {
            Ok(previous) => previous,
            Err(error) => {
                return refused(format!("goes on from a checkpoint that no sink of this log signed: {error}"));
            }
        };
        // 2. As far as this log reaches, it is the same.
        if previous.size <= self.store.head().size {
            let ours = root_at(&self.store.view()?, previous.size)?;
            if ours != previous.root {
                let Checkpoint { size, root, .. } = previous;
                return refused(format!("goes on from root {root} at size {size}, this log has {ours} there"));
            }
        }
        // 3. What lies between the two is said to be lost, and nothing else.
        genesis.accounts_from((self.store.first_sequence() + previous.size).saturating_sub(1))?;
        let (end, known) = (self.store.last_sequence(), genesis.lost.map_or(genesis.first_sequence, |lost| lost.from));
        if known > end + 1 {
            return refused(format!(
                "says nothing of messages {} to {}, and this log ends at {end}: it needs them first, from an archive",
                end + 1,
                known - 1
            ));
        }
        Ok(())
    }

    /// The new epoch on disk, and then the log.
    fn found(&self, genesis: &Genesis) -> Result<(), SinkError> {
        // INVARIANT: this epoch's store is held open by us alone: while it is the log, nobody else begins another.
        if standing(&self.state_dir, &self.first)? != self.standing {
            return Err(SinkError::Asked(format!("`{}` is no longer the log's epoch", self.standing.origin)));
        }
        let next = self.successor();
        let folder = &next.folder;
        set_aside(folder)?;
        std::fs::create_dir(folder).map_err(SinkError::at(folder))?;
        Step::Founded.taken();
        let entry = genesis.entry()?;
        let store = LogStore::open(&folder.join(LOG_FILE), &next.origin)?;
        Step::Stored.taken();
        store.append(0, std::slice::from_ref(&entry))?;
        Step::Begun.taken();
        keep(&folder.join(GENESIS_FILE), Entry::decode(&entry)?.payload)?;
        Step::GenesisKept.taken();
        enter(&self.state_dir, next.epoch)
    }
}

/// What was signed in an epoch's folder, if anything was.
fn signed_in(folder: &Path) -> Result<Option<PathBuf>, SinkError> {
    for signed in [CHECKPOINT_FILE, FINAL_FILE, COSIGNED_FILE] {
        let path = folder.join(signed);
        if there(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn there(path: &Path) -> Result<bool, SinkError> {
    path.try_exists().map_err(SinkError::at(path))
}

/// Renames what lies where an epoch is to be begun: a try that broke off has left it. Where it was signed it was more
/// than that, and stays.
pub(crate) fn set_aside(folder: &Path) -> Result<(), SinkError> {
    if !there(folder)? {
        return Ok(());
    }
    if let Some(path) = signed_in(folder)? {
        let why = format!("{} is there: that epoch was signed already, and is not begun again", path.display());
        return Err(SinkError::Asked(why));
    }
    for number in 1..=ASIDE_MAX {
        let aside = folder.with_extension(format!("aside-{number}"));
        if !there(&aside)? {
            std::fs::rename(folder, &aside).map_err(SinkError::at(folder))?;
            Step::SetAside.taken();
            return Ok(());
        }
    }
    let why = format!("{} tries lie beside {} already: move them away", ASIDE_MAX, folder.display());
    Err(SinkError::Asked(why))
}

/// Why the log can't go on in its stream; none where it can. What could not be found out is no reason.
fn reason(examined: Result<(), SinkError>) -> Result<Option<String>, SinkError> {
    match examined {
        Ok(()) => Ok(None),
        Err(SinkError::Halted(why)) => Ok(Some(why)),
        Err(SinkError::Hole(hole)) => Ok(Some(hole.to_string())),
        Err(error) => Err(error),
    }
}

/// The same of the first message behind the log's end, where there is one: the intake would halt there.
fn gap(due: u64, found: Option<&Stored>) -> Option<String> {
    let found = found.filter(|found| found.sequence != due)?.sequence;
    Some(Hole::before(due, found).to_string())
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
        // One that is gone says nothing; the next that is held does, for both.
        match read(middle).await?.filter(|message| message.sequence < high) {
            Some(message) if is_leaf(store, &message)? => low = message.sequence + 1,
            Some(_) | None => high = middle,
        }
    }
    // A message that is gone can't be the first.
    Ok(read(low).await?.map_or(low, |message| message.sequence.max(low)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::frame;
    use marque_ledger::KeyKind;
    use marque_signing::SigningKey;
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
        // Messages are gone from among the leaves: it is the same before and behind them.
        for gone in [1..=1, 10..=11, 11..=19, 2..=19] {
            let holes = |sequence| (!gone.contains(&sequence)).then_some("ours");
            assert_eq!(begin(1, 30, holes).await, 21, "{gone:?}");
            let refilled = |sequence| holes(sequence).map(|ours| if sequence <= 12 { ours } else { "theirs" });
            let due = (13..).find(|sequence| !gone.contains(sequence)).unwrap();
            assert_eq!(begin(1, 30, refilled).await, due, "{gone:?}");
        }
        // Nothing but its settings has changed; and a message behind the log's end is gone.
        assert_eq!(begin(1, 20, from(1)).await, 21);
        assert_eq!(begin(1, 30, |sequence| (sequence != 21).then_some("ours")).await, 22);
    }

    #[test]
    fn only_what_halts_the_log_is_a_reason() {
        assert_eq!(reason(Ok(())).unwrap(), None);
        assert_eq!(reason(Err(SinkError::Halted("it was purged".into()))).unwrap().unwrap(), "it was purged");
        let away = || SinkError::Bus(marque_bus::BusError::Unavailable("away".into()));
        for error in [away(), SinkError::ForeignStore("noise".into()), SinkError::NotFound("no leaf".into())] {
            assert!(reason(Err(error)).is_err());
        }
        // The stream goes on behind the log's end, or has nothing there yet, or nothing any more.
        assert_eq!(gap(21, None), None);
        assert_eq!(gap(21, Some(&message(21, "ours"))), None);
        assert_eq!(gap(21, Some(&message(22, "ours"))).unwrap(), Hole { from: 21, to: 21 }.to_string());
    }

    fn frozen(leaves: u64) -> (tempfile::TempDir, Frozen) {
        let (directory, store) = store(leaves);
        let state_dir = directory.path().to_owned();
        let standing = standing(&state_dir, FIRST).unwrap();
        (directory, Frozen { state_dir, first: FIRST.into(), standing, store })
    }

    /// A genesis after this checkpoint under this key.
    fn after(checkpoint: &Checkpoint, seed: u8, first_sequence: u64, lost: Option<(u64, u64)>) -> Genesis {
        let note = checkpoint.sign(&SigningKey::from_seed(&[seed; 32])).unwrap();
        let lost = lost.map(|(from, to)| Lost { from, to });
        Genesis::after(note, "it was purged".into(), 7, first_sequence, lost).unwrap()
    }

    /// The same after that of this log of 20 leaves.
    fn genesis(seed: u8, size: u64, first_sequence: u64, lost: Option<(u64, u64)>) -> Genesis {
        let (_directory, store) = store(20);
        let root = root_at(&store.view().unwrap(), size).unwrap();
        after(&Checkpoint { origin: FIRST.into(), size, root }, seed, first_sequence, lost)
    }

    fn sinks() -> Vec<Policy> {
        let key =
            |seed| VerifierKey::new(FIRST, KeyKind::Ed25519, SigningKey::from_seed(&[seed; 32]).public()).unwrap();
        vec![Policy::of_logs(vec![key(3)]), Policy::of_logs(vec![key(4)])]
    }

    #[test]
    fn follows_a_genesis_that_goes_on_from_this_log() {
        for (leaves, genesis) in [
            // Where it ends; where it was shorter; with what is lost; rolled back; where this log lags and is rolled back.
            (20, genesis(3, 20, 21, None)),
            (20, genesis(4, 18, 19, None)),
            (20, genesis(4, 20, 24, Some((21, 23)))),
            (20, genesis(4, 20, 13, None)),
            (18, genesis(4, 20, 13, None)),
        ] {
            let (_directory, frozen) = frozen(leaves);
            frozen.may_follow(&genesis, &sinks()).unwrap();
        }
    }

    #[test]
    fn refuses_a_genesis_that_does_not_go_on_from_this_log() {
        let (_directory, frozen) = frozen(20);
        let good = genesis(3, 20, 24, Some((21, 23)));
        let root = good.before().unwrap().root;
        let other = after(&Checkpoint { origin: FIRST.into(), size: 18, root }, 3, 19, None);
        let third = after(&Checkpoint { origin: "acme.example/audit/e2".into(), size: 20, root }, 3, 21, None);
        for (bad, why) in [
            (genesis(5, 20, 21, None), "no sink of this log signed"),
            (other, "this log has"),
            (third, "the next epoch here"),
            // It begins further on and calls nothing lost; it calls lost what the epoch before has; it leaves a hole.
            (genesis(3, 20, 24, None), "lost"),
            (genesis(3, 20, 24, Some((19, 23))), "lost"),
            (genesis(3, 20, 24, Some((22, 23))), "lost"),
        ] {
            let refused = frozen.may_follow(&bad, &sinks()).unwrap_err().to_string();
            assert!(refused.contains(why), "{why}: {refused}");
        }
        assert!(frozen.may_follow(&good, &[]).is_err());
        // A log that lags has not what the epoch before ended with.
        let (_directory, lagging) = self::frozen(18);
        let refused = lagging.may_follow(&good, &sinks()).unwrap_err().to_string();
        assert!(refused.contains("messages 19 to 20"), "{refused}");
    }

    #[test]
    fn an_epoch_that_was_signed_is_never_begun_again_and_nothing_is_deleted() {
        let (directory, frozen) = frozen(20);
        let (path, genesis) = (directory.path(), genesis(3, 20, 21, None));
        let next = path.join("e2");
        for signed in [CHECKPOINT_FILE, FINAL_FILE, COSIGNED_FILE] {
            std::fs::create_dir_all(&next).unwrap();
            std::fs::write(next.join(signed), "a note").unwrap();
            assert!(matches!(frozen.found(&genesis), Err(SinkError::Asked(why)) if why.contains("signed already")));
            assert_eq!(std::fs::read_to_string(next.join(signed)).unwrap(), "a note");
            std::fs::remove_file(next.join(signed)).unwrap();
        }
        // What tries have left lies aside, each of them.
        for number in 1..=2 {
            std::fs::create_dir_all(&next).unwrap();
            std::fs::write(next.join("left"), number.to_string()).unwrap();
            set_aside(&next).unwrap();
            let left = path.join(format!("e2.aside-{number}/left"));
            assert_eq!(std::fs::read_to_string(left).unwrap(), number.to_string());
        }
        std::fs::create_dir(&next).unwrap();
        frozen.found(&genesis).unwrap();
        assert_eq!(standing(path, FIRST).unwrap().folder, next);
        // Another has begun it meanwhile.
        assert!(matches!(frozen.found(&genesis), Err(SinkError::Asked(why)) if why.contains("no longer")));
        // One more than are kept.
        for number in 1..=ASIDE_MAX {
            std::fs::create_dir_all(next.with_extension(format!("aside-{number}"))).unwrap();
        }
        assert!(set_aside(&next).is_err() && next.exists());
    }

    #[test]
    fn an_archive_fills_only_what_has_no_log_in_any_epoch() {
        let with_log = |epoch, fills| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            assert_eq!(vacancy(path, FIRST, fills).unwrap(), Vacancy::Empty);
            let folder = at(path, FIRST, epoch).folder;
            std::fs::create_dir_all(&folder).unwrap();
            assert_eq!(vacancy(path, FIRST, fills).unwrap(), Vacancy::Empty);
            std::fs::write(folder.join(LOG_FILE), "a log").unwrap();
            directory
        };
        let refused = |path: &Path, fills| matches!(vacancy(path, FIRST, fills), Err(SinkError::ForeignStore(_)));
        for (epoch, fills) in [(1, 2), (2, 1), (2, 3), (64, 2), (1, 1)] {
            assert!(refused(with_log(epoch, fills).path(), fills), "{epoch} {fills}");
        }
        let directory = tempfile::tempdir().unwrap();
        enter(directory.path(), 3).unwrap();
        vacancy(directory.path(), FIRST, 3).unwrap();
        assert!(vacancy(directory.path(), FIRST, 2).is_err());
        // A later epoch's own, which nothing names and nobody has signed, is a broken-off try's; beside another, it is not.
        let left = |then: &dyn Fn(&Path)| {
            let directory = with_log(2, 2);
            then(directory.path());
            directory
        };
        assert_eq!(vacancy(left(&|_| {}).path(), FIRST, 2).unwrap(), Vacancy::Unnamed);
        assert!(refused(left(&|path| std::fs::write(path.join(LOG_FILE), "a log").unwrap()).path(), 2));
        assert!(refused(left(&|path| enter(path, 2).unwrap()).path(), 2));
        for signed in [CHECKPOINT_FILE, FINAL_FILE, COSIGNED_FILE] {
            assert!(refused(left(&|path| std::fs::write(path.join("e2").join(signed), "a note").unwrap()).path(), 2));
        }
    }

    #[test]
    fn an_epoch_has_ended_when_a_later_one_is_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let of = |epoch| has_ended(&at(directory.path(), FIRST, epoch).folder).unwrap();
        assert_eq!([1, 2, 3].map(of), [false; 3]);
        enter(directory.path(), 2).unwrap();
        assert_eq!([1, 2, 3].map(of), [true, false, false]);
        enter(directory.path(), 3).unwrap();
        assert_eq!([1, 2, 3].map(of), [true, true, false]);
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
