//! Checkpoints: signed only over what is durable, kept before they are shown, never two roots for one size.
//!
//! Killed between keeping and publishing: the kept one is published by the next start, or a larger one is, which is
//! checked against it. Killed before keeping: nobody has seen it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use marque_identity::{Did, UnixSeconds};
use marque_ledger::epoch::{epoch_of, first_origin};
use marque_ledger::{
    Checkpoint, Hash, KeyKind, LedgerError, Note, NoteSignature, Policy, VerifierKey, cosign, root_at,
};
use marque_signing::{PublicKey, SigningKey};

use crate::SinkError;
use crate::finality::Finality;
use crate::keep::{keep, kept};
use crate::step::Step;
use crate::store::{LogStore, LogView};

/// The newest signed checkpoint, beside the store and not in it: a store that was rolled back does not take it along.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// The newest checkpoint of another sink that ours has cosigned, likewise.
pub const COSIGNED_FILE: &str = "cosigned";

/// The key under which a sink cosigns the others' checkpoints of this log.
pub fn cosigner(origin: &str, sink: &Did) -> Result<VerifierKey, LedgerError> {
    let key =
        PublicKey::from_did(sink).map_err(|_| LedgerError::VerifierKeyMalformed("the sink's DID names no key"))?;
    VerifierKey::new(&format!("{origin}/{}", sink.multibase()), KeyKind::Cosignature, key)
}

/// What became of another's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cosigned {
    /// Our log has the same root there: our line under it.
    Line(NoteSignature),
    /// Our log does not reach so far yet.
    NotYet,
    /// We have cosigned a larger one: a cosignature says that none is larger.
    Older {
        /// That one, with our line.
        last: Option<String>,
    },
    /// Our log has another root there: one of the two is not the stream's.
    Parted {
        /// Our root at that size.
        ours: Hash,
    },
}

/// A checkpoint and its signed note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it states.
    pub checkpoint: Checkpoint,
    /// As it is published.
    pub note: String,
}

/// Signs the log's checkpoints.
pub struct Sealer {
    key: SigningKey,
    verifier: VerifierKey,
    cosigner: VerifierKey,
    origin: String,
    path: PathBuf,
    cosigned_path: PathBuf,
    state: Mutex<State>,
    finality: Finality,
}

#[derive(Default)]
struct State {
    last: Option<Signed>,
    /// The largest that we have cosigned.
    cosigned: u64,
    /// What this key is known to have signed before, by size, and this log has not been compared with yet.
    unproven: BTreeMap<u64, Checkpoint>,
}

impl Sealer {
    /// Opens the sealer of a state directory. The kept checkpoints must be this key's and this log's. A checkpoint is
    /// final when `policy` holds for it; without one, when it is signed.
    pub fn open(state_dir: &Path, origin: &str, key: SigningKey, policy: Option<Policy>) -> Result<Self, SinkError> {
        let verifier = VerifierKey::new(origin, KeyKind::Ed25519, key.public())?;
        let cosigner = cosigner(origin, &key.did())?;
        let path = state_dir.join(CHECKPOINT_FILE);
        let foreign = |path: &Path, error: LedgerError| {
            SinkError::Halted(format!("{} is not a checkpoint of ours: {error}", path.display()))
        };
        let last = match kept(&path)? {
            Some(note) => {
                let checkpoint = Checkpoint::open(note.as_bytes(), std::slice::from_ref(&verifier));
                Some(Signed { checkpoint: checkpoint.map_err(|error| foreign(&path, error))?, note })
            }
            None => None,
        };
        let cosigned_path = state_dir.join(COSIGNED_FILE);
        let cosigned = match kept(&cosigned_path)? {
            Some(text) => {
                let read = || {
                    let note = Note::parse(text.as_bytes())?;
                    note.verify(std::slice::from_ref(&cosigner))?;
                    Checkpoint::parse(note.text())
                };
                Some(read().map_err(|error| foreign(&cosigned_path, error))?)
            }
            None => None,
        };
        let before = last.iter().map(|signed| &signed.checkpoint).chain(&cosigned);
        let mut unproven = BTreeMap::new();
        for checkpoint in before {
            let known = unproven.insert(checkpoint.size, checkpoint.clone());
            if known.is_some_and(|known| known.root != checkpoint.root) {
                return Err(SinkError::Halted(format!("two roots are signed for size {}", checkpoint.size)));
            }
        }
        let policy = policy.unwrap_or_else(|| Policy::of_logs(vec![verifier.clone()]));
        let finality = Finality::open(state_dir, policy)?;
        if let Some(signed) = finality.last() {
            let known = unproven.insert(signed.checkpoint.size, signed.checkpoint.clone());
            if known.is_some_and(|known| known.root != signed.checkpoint.root) {
                return Err(SinkError::Halted(format!("two roots are signed for size {}", signed.checkpoint.size)));
            }
        }
        let size_of = |signed: &Option<Signed>| signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
        if let Some(signed) = last.as_ref().filter(|_| size_of(&finality.last()) < size_of(&last)) {
            // Killed between signing and finality, or while it waited for its witnesses.
            finality.signed(signed)?;
        }
        let cosigned = cosigned.map_or(0, |checkpoint| checkpoint.size);
        let state = Mutex::new(State { last, cosigned, unproven });
        Ok(Self { key, verifier, cosigner, origin: origin.to_owned(), path, cosigned_path, state, finality })
    }

    /// The key under which the checkpoints verify.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The newest final checkpoint: what is shown.
    pub fn last(&self) -> Option<Signed> {
        self.finality.last()
    }

    /// Which checkpoints are final.
    pub fn finality(&self) -> &Finality {
        &self.finality
    }

    /// Our line under another sink's checkpoint, if our own log has its root; kept on disk when this returns.
    /// TRUST: the caller has checked who signed it, and that it is of this log.
    pub fn cosign(&self, store: &LogStore, theirs: &Checkpoint, now: UnixSeconds) -> Result<Cosigned, SinkError> {
        let view = store.view()?;
        let mut state = self.lock();
        self.compare(&mut state, &view)?;
        let signed_upto = state.unproven.keys().next_back().copied().unwrap_or(0);
        if theirs.size > view.size() || signed_upto > view.size() {
            return Ok(Cosigned::NotYet);
        }
        let ours = root_at(&view, theirs.size)?;
        if ours != theirs.root {
            return Ok(Cosigned::Parted { ours });
        }
        if theirs.size < state.cosigned {
            return Ok(Cosigned::Older { last: kept(&self.cosigned_path)? });
        }
        let line = cosign(&theirs.text(), self.cosigner.name(), &self.key, now)?;
        if theirs.size > state.cosigned {
            let mut note = Note::new(theirs.text())?;
            note.add(line.clone());
            keep(&self.cosigned_path, note.to_string())?;
            Step::Cosigned.taken();
            state.cosigned = theirs.size;
            state.unproven.insert(theirs.size, theirs.clone());
        }
        Ok(Cosigned::Line(line))
    }

    /// Another checkpoint under our key was found, such as the last published: the log must come to agree with it.
    /// One that our key did not sign is passed over, and one of an epoch before ours; one of a later epoch halts the log,
    /// which has ended.
    pub fn remember(&self, note: &[u8]) -> Result<(), SinkError> {
        let Ok(checkpoint) = Checkpoint::open(note, std::slice::from_ref(&self.verifier)) else {
            if let Some(Checkpoint { origin, size, .. }) = self.of_a_later_epoch(note) {
                return Err(SinkError::Halted(format!(
                    "this key has signed `{origin}` at size {size}, a later epoch than `{}`: the state directory is old, \
                     or empty, and is to be restored",
                    self.origin
                )));
            }
            tracing::warn!("a published checkpoint is not of this log and key: passed over");
            return Ok(());
        };
        let mut state = self.lock();
        match state.unproven.get(&checkpoint.size) {
            Some(known) if known.root != checkpoint.root => {
                Err(SinkError::Halted(format!("two roots are signed for size {}", checkpoint.size)))
            }
            Some(_) | None => {
                state.unproven.insert(checkpoint.size, checkpoint);
                Ok(())
            }
        }
    }

    /// What a note states that our key has signed for a later epoch of this log.
    fn of_a_later_epoch(&self, note: &[u8]) -> Option<Checkpoint> {
        let origin = Checkpoint::stated(note).ok()?.origin;
        let epoch = |name: &str| epoch_of(first_origin(&self.origin), name);
        if epoch(&origin)? <= epoch(&self.origin)? {
            return None;
        }
        let key = VerifierKey::new(&origin, KeyKind::Ed25519, self.key.public()).ok()?;
        Checkpoint::open(note, &[key]).ok()
    }

    /// Signs the log as it stands on disk, if it has grown and agrees with everything that was signed before; the
    /// note is kept on disk when this returns. None while there is nothing new, or the log has not yet come again to
    /// where it had been signed.
    pub fn seal(&self, store: &LogStore) -> Result<Option<Signed>, SinkError> {
        let view = store.view()?;
        let mut state = self.lock();
        self.compare(&mut state, &view)?;
        if state.unproven.keys().next_back().is_some_and(|size| *size > view.size()) {
            return Ok(None);
        }
        let before = state.last.as_ref().map_or(0, |signed| signed.checkpoint.size);
        if view.size() <= before {
            return Ok(None);
        }
        let checkpoint =
            Checkpoint { origin: self.origin.clone(), size: view.size(), root: root_at(&view, view.size())? };
        Step::Rooted.taken();
        let signed = Signed { note: checkpoint.sign(&self.key)?, checkpoint };
        keep(&self.path, &signed.note)?;
        state.unproven.insert(signed.checkpoint.size, signed.checkpoint.clone());
        state.last = Some(signed.clone());
        Step::Kept.taken();
        self.finality.signed(&signed)?;
        Ok(Some(signed))
    }

    /// The log's last checkpoint, signed where it ends: for a log that nothing more is appended to. Refused where more is
    /// signed than it has, and where nothing ever was.
    pub fn seal_last(&self, store: &LogStore) -> Result<String, SinkError> {
        self.seal(store)?;
        let state = self.lock();
        let (end, signed) = (store.head().size, state.unproven.keys().next_back().copied().unwrap_or(0));
        if signed > end {
            let why =
                format!("the log has {end} leaves, but {signed} were signed: its store is old, and is to be restored");
            return Err(SinkError::Halted(why));
        }
        let last = state.last.as_ref().map(|last| last.note.clone());
        last.ok_or_else(|| SinkError::NotFound("the log was never signed: there is nothing to go on from".into()))
    }

    /// Compares the log with what was signed at sizes that it has reached. The largest stays, for the next time.
    fn compare(&self, state: &mut State, view: &LogView) -> Result<(), SinkError> {
        for (size, checkpoint) in state.unproven.range(..=view.size()) {
            let root = root_at(view, *size)?;
            if root != checkpoint.root {
                let why = format!("at size {size} the log's root is {root}, but {} was signed", checkpoint.root);
                return Err(SinkError::Halted(why));
            }
        }
        let reached = state.unproven.range(..=view.size()).next_back().map(|(size, _)| *size);
        if let Some(reached) = reached {
            state.unproven.retain(|size, _| *size >= reached);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> Sealer {
        Sealer::open(directory, "acme.example/audit", SigningKey::from_seed(&[3; 32]), None).unwrap()
    }

    #[test]
    fn a_checkpoint_of_a_later_epoch_halts_the_one_before() {
        let note = |origin: &str, seed: u8| {
            let checkpoint = Checkpoint { origin: origin.into(), size: 5, root: Hash::leaf(b"5") };
            checkpoint.sign(&SigningKey::from_seed(&[seed; 32])).unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let of = |origin: &str| Sealer::open(directory.path(), origin, SigningKey::from_seed(&[3; 32]), None).unwrap();
        let (first, second) = ("acme.example/audit", "acme.example/audit/e2");
        for (ours, later) in [(first, second), (first, "acme.example/audit/e64"), (second, "acme.example/audit/e10")] {
            let halted = of(ours).remember(note(later, 3).as_bytes());
            assert!(matches!(halted, Err(SinkError::Halted(why)) if why.contains(later)), "{ours} {later}");
        }
        // An epoch before; another's; of another log; no epoch; noise.
        for (ours, passed) in [
            (second, note(first, 3)),
            (first, note(second, 4)),
            (first, note("evil.example/audit/e2", 3)),
            (first, note("acme.example/audit/e65", 3)),
            (first, "noise".into()),
        ] {
            of(ours).remember(passed.as_bytes()).unwrap();
        }
    }

    #[test]
    fn the_last_checkpoint_agrees_with_all_that_was_signed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let store = LogStore::open(&path.join("audit.redb"), "acme.example/audit").unwrap();
        assert!(matches!(open(path).seal_last(&store), Err(SinkError::NotFound(_))));
        store.append(0, &[b"a".to_vec()]).unwrap();
        let note = open(path).seal_last(&store).unwrap();
        assert_eq!(Checkpoint::stated(note.as_bytes()).unwrap().size, 1);
        assert_eq!(open(path).seal_last(&store).unwrap(), note);
        // Published, and not kept: a larger one, or another root.
        std::fs::remove_file(path.join(CHECKPOINT_FILE)).unwrap();
        std::fs::remove_file(path.join(crate::finality::FINAL_FILE)).unwrap();
        for (size, why) in [(2, "were signed"), (1, "was signed")] {
            let checkpoint = Checkpoint { origin: "acme.example/audit".into(), size, root: Hash::leaf(b"other") };
            let sealer = open(path);
            sealer.remember(checkpoint.sign(&SigningKey::from_seed(&[3; 32])).unwrap().as_bytes()).unwrap();
            assert!(matches!(sealer.seal_last(&store), Err(SinkError::Halted(said)) if said.contains(why)), "{size}");
            assert!(!path.join(CHECKPOINT_FILE).exists());
        }
    }

    /// The note is written under another name, synced, and named: each of them fails here, and what a broken-off write
    /// left lies in the way.
    #[test]
    fn a_checkpoint_that_cannot_be_kept_is_not_handed_out_and_the_next_agrees_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let store = LogStore::open(&path.join("audit.redb"), "acme.example/audit").unwrap();
        store.append(0, &[b"a".to_vec()]).unwrap();
        let sealer = open(path);
        // It can't be written: a directory has its other name. Then it can't be named: a directory has its own.
        for in_the_way in [path.join(CHECKPOINT_FILE).with_extension("next"), path.join(CHECKPOINT_FILE)] {
            std::fs::create_dir(&in_the_way).unwrap();
            assert!(matches!(sealer.seal(&store), Err(SinkError::Io { .. })));
            assert_eq!(sealer.last(), None, "it is handed out, and not kept");
            std::fs::remove_dir(&in_the_way).unwrap();
        }
        std::fs::write(path.join(CHECKPOINT_FILE).with_extension("next"), "acme.example/au").unwrap();
        let signed = sealer.seal(&store).unwrap().unwrap();
        store.append(1, &[b"b".to_vec()]).unwrap();
        let again = open(path);
        assert_eq!(again.last(), Some(signed.clone()));
        // One that was handed out and is not on disk any more: the log has to agree with it all the same.
        let grown = again.seal(&store).unwrap().unwrap();
        std::fs::write(path.join(CHECKPOINT_FILE), &signed.note).unwrap();
        let rolled_back = open(path);
        rolled_back.remember(grown.note.as_bytes()).unwrap();
        assert_eq!(rolled_back.seal(&store).unwrap().unwrap(), grown, "the same size, the same root");
    }
}
