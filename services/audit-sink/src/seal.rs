//! Checkpoints: signed only over what is durable, kept before they are shown, never two roots for one size.
//!
//! Killed between keeping and publishing: the kept one is published by the next start, or a larger one is, which is
//! checked against it. Killed before keeping: nobody has seen it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use marque_ledger::{Checkpoint, KeyKind, VerifierKey, root_at};
use marque_signing::SigningKey;

use crate::SinkError;
use crate::store::{LogStore, LogView};

/// The newest signed checkpoint, beside the store and not in it: a store that was rolled back does not take it along.
pub const CHECKPOINT_FILE: &str = "checkpoint";

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
    origin: String,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<Signed>,
    /// What this key is known to have signed before, by size, and this log has not been compared with yet.
    unproven: BTreeMap<u64, Checkpoint>,
}

impl Sealer {
    /// Opens the sealer of a state directory. The kept checkpoint must be this key's and this log's.
    pub fn open(state_dir: &Path, origin: &str, key: SigningKey) -> Result<Self, SinkError> {
        let verifier = VerifierKey::new(origin, KeyKind::Ed25519, key.public())?;
        let path = state_dir.join(CHECKPOINT_FILE);
        let last = match std::fs::read_to_string(&path) {
            Ok(note) => {
                let checkpoint =
                    Checkpoint::open(note.as_bytes(), std::slice::from_ref(&verifier)).map_err(|error| {
                        SinkError::Halted(format!("{} is not a checkpoint of ours: {error}", path.display()))
                    })?;
                Some(Signed { checkpoint, note })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(SinkError::Io { path: path.display().to_string(), source }),
        };
        let unproven = last.iter().map(|signed| (signed.checkpoint.size, signed.checkpoint.clone())).collect();
        Ok(Self { key, verifier, origin: origin.to_owned(), path, state: Mutex::new(State { last, unproven }) })
    }

    /// The key under which the checkpoints verify.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The newest signed checkpoint.
    pub fn last(&self) -> Option<Signed> {
        self.lock().last.clone()
    }

    /// Another checkpoint under our key was found, such as the last published: the log must come to agree with it.
    /// One that our key did not sign is passed over.
    pub fn remember(&self, note: &[u8]) -> Result<(), SinkError> {
        let Ok(checkpoint) = Checkpoint::open(note, std::slice::from_ref(&self.verifier)) else {
            tracing::warn!("a published checkpoint is not ours: passed over");
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
        let signed = Signed { note: checkpoint.sign(&self.key)?, checkpoint };
        self.keep(&signed.note)?;
        state.unproven.insert(signed.checkpoint.size, signed.checkpoint.clone());
        state.last = Some(signed.clone());
        Ok(Some(signed))
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

    fn keep(&self, note: &str) -> Result<(), SinkError> {
        let next = self.path.with_extension("next");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&next)?;
            file.write_all(note.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&next, &self.path)?;
            // The name is durable when its directory is.
            self.path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
        };
        write().map_err(|source| SinkError::Io { path: self.path.display().to_string(), source })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> Sealer {
        Sealer::open(directory, "acme.example/audit", SigningKey::from_seed(&[3; 32])).unwrap()
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
