//! Which of our checkpoints are final: enough witnesses have cosigned them. Source: C2SP `tlog-policy`.
//!
//! A checkpoint that is not final yet waits here for cosignatures; only final ones are shown and published. Without a
//! quorum each is final when it is signed. Killed: what waited is signed again, larger; what was final is in its file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use marque_ledger::{KeyKind, Note, NoteSignature, Policy, verify_cosignature};
use tokio::sync::watch;

use crate::SinkError;
use crate::keep::{keep, kept};
use crate::seal::Signed;
use crate::step::Step;

/// The newest final checkpoint, beside the store and not in it.
pub const FINAL_FILE: &str = "final";
/// Checkpoints that wait at once: witnesses answer within a few intervals, or not at all. The oldest is given up, since
/// every newer one stands for it.
pub const WAITING_MAX: usize = 16;

/// Checkpoints on their way to being final.
pub struct Finality {
    policy: Policy,
    path: PathBuf,
    state: Mutex<State>,
    /// Size of the newest final one, and of the newest that was signed.
    sizes: watch::Sender<(u64, u64)>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<u64, Note>,
    last: Option<Signed>,
}

impl Finality {
    /// Opens the finality of a state directory. A kept checkpoint that this policy does not hold for is passed over:
    /// the policy was made stricter, and a later one will satisfy it.
    pub fn open(state_dir: &Path, policy: Policy) -> Result<Self, SinkError> {
        let path = state_dir.join(FINAL_FILE);
        let held =
            |note: String| policy.open(note.as_bytes()).ok().map(|held| Signed { checkpoint: held.checkpoint, note });
        let last = kept(&path)?.and_then(held);
        let size = last.as_ref().map_or(0, |last| last.checkpoint.size);
        let state = Mutex::new(State { waiting: BTreeMap::new(), last });
        Ok(Self { policy, path, state, sizes: watch::Sender::new((size, size)) })
    }

    /// What must hold.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The newest final checkpoint.
    pub fn last(&self) -> Option<Signed> {
        self.lock().last.clone()
    }

    /// The newest checkpoint that waits, with the cosignatures that it has.
    pub fn waiting(&self) -> Option<Note> {
        self.lock().waiting.last_key_value().map(|(_, note)| note.clone())
    }

    /// Tells of growth: the size of the newest final checkpoint, and of the newest signed one.
    pub fn sizes(&self) -> watch::Receiver<(u64, u64)> {
        self.sizes.subscribe()
    }

    /// Takes in a checkpoint that we have signed, durably.
    pub(crate) fn signed(&self, signed: &Signed) -> Result<(), SinkError> {
        let mut state = self.lock();
        state.waiting.insert(signed.checkpoint.size, Note::parse(signed.note.as_bytes())?);
        while state.waiting.len() > WAITING_MAX {
            state.waiting.pop_first();
        }
        self.settle(&mut state, signed.checkpoint.size)?;
        let newest = signed.checkpoint.size;
        self.sizes.send_modify(|sizes| sizes.1 = newest);
        Ok(())
    }

    /// Takes in a cosignature under the checkpoint of this text. Gives whether it was of use: of a witness that the
    /// policy knows, under a checkpoint that waits, not there before, and valid.
    pub fn cosigned(&self, text: &str, line: &NoteSignature) -> Result<bool, SinkError> {
        let of = |name: &str, key_id: [u8; 4]| line.name == name && line.key_id == key_id;
        let Some(witness) = self.policy.witnesses().iter().find(|known| of(known.key.name(), known.key.key_id()))
        else {
            return Ok(false);
        };
        debug_assert_eq!(witness.key.kind(), KeyKind::Cosignature, "the policy takes no other");
        let mut state = self.lock();
        let Some((size, note)) = state.waiting.iter_mut().find(|(_, note)| note.text() == text) else {
            return Ok(false);
        };
        if verify_cosignature(note, &witness.key).is_some() {
            return Ok(false);
        }
        let mut alone = Note::new(text.to_owned())?;
        alone.add(line.clone());
        if verify_cosignature(&alone, &witness.key).is_none() {
            return Ok(false);
        }
        note.add(line.clone());
        let size = *size;
        self.settle(&mut state, size)?;
        Ok(true)
    }

    /// Makes a waiting checkpoint final if the policy holds for it: kept on disk first, then shown.
    fn settle(&self, state: &mut State, size: u64) -> Result<(), SinkError> {
        let Some(note) = state.waiting.get(&size).map(Note::to_string) else { return Ok(()) };
        let Ok(held) = self.policy.open(note.as_bytes()) else { return Ok(()) };
        if state.last.as_ref().is_none_or(|last| last.checkpoint.size < size) {
            keep(&self.path, &note)?;
            Step::Final.taken();
            state.last = Some(Signed { checkpoint: held.checkpoint, note });
            self.sizes.send_modify(|sizes| sizes.0 = size);
        }
        // What is older is implied.
        state.waiting.retain(|waiting, _| *waiting > size);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_identity::UnixSeconds;
    use marque_ledger::{Checkpoint, Hash, VerifierKey, Witness, cosign};
    use marque_signing::SigningKey;

    const ORIGIN: &str = "acme.example/audit";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn policy(least: usize) -> Policy {
        let log = VerifierKey::new(ORIGIN, KeyKind::Ed25519, key(1).public()).unwrap();
        let witness = |seed: u8| {
            let name = format!("w{seed}");
            let key = VerifierKey::new(&name, KeyKind::Cosignature, key(seed).public()).unwrap();
            Witness { name, key, url: None }
        };
        Policy::at_least(vec![log], least, vec![witness(2), witness(3), witness(4)]).unwrap()
    }

    fn signed(size: u64) -> Signed {
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: Hash::leaf(&size.to_be_bytes()) };
        Signed { note: checkpoint.sign(&key(1)).unwrap(), checkpoint }
    }

    fn line(size: u64, seed: u8) -> (String, NoteSignature) {
        let text = signed(size).checkpoint.text();
        let line = cosign(&text, &format!("w{seed}"), &key(seed), UnixSeconds(7)).unwrap();
        (text, line)
    }

    fn cosigned(finality: &Finality, size: u64, seed: u8) -> bool {
        let (text, line) = line(size, seed);
        finality.cosigned(&text, &line).unwrap()
    }

    fn final_size(finality: &Finality) -> Option<u64> {
        finality.last().map(|last| last.checkpoint.size)
    }

    #[test]
    fn without_a_quorum_each_is_final_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let finality = Finality::open(directory.path(), policy(0)).unwrap();
        finality.signed(&signed(5)).unwrap();
        assert_eq!((final_size(&finality), finality.waiting().is_none()), (Some(5), true));
    }

    #[test]
    fn the_quorum_makes_it_final_and_a_restart_remembers() {
        let directory = tempfile::tempdir().unwrap();
        let finality = Finality::open(directory.path(), policy(2)).unwrap();
        finality.signed(&signed(5)).unwrap();
        assert!(cosigned(&finality, 5, 2) && !cosigned(&finality, 5, 2));
        assert_eq!(final_size(&finality), None);
        // One that is not known, and one under a checkpoint that does not wait.
        assert!(!cosigned(&finality, 5, 9) && !cosigned(&finality, 6, 3));
        // A known witness's line under another text.
        let (text, _) = line(5, 4);
        assert!(!finality.cosigned(&text, &line(6, 4).1).unwrap());
        assert!(cosigned(&finality, 5, 3));
        assert_eq!(final_size(&finality), Some(5));
        let again = Finality::open(directory.path(), policy(2)).unwrap();
        assert_eq!(again.last(), finality.last());
        // A stricter policy does not take it over.
        assert_eq!(Finality::open(directory.path(), policy(3)).unwrap().last(), None);
    }

    #[test]
    fn a_later_one_may_be_final_first_and_implies_the_earlier() {
        let directory = tempfile::tempdir().unwrap();
        let finality = Finality::open(directory.path(), policy(1)).unwrap();
        finality.signed(&signed(5)).unwrap();
        finality.signed(&signed(6)).unwrap();
        assert!(cosigned(&finality, 6, 2));
        assert_eq!(final_size(&finality), Some(6));
        assert!(!cosigned(&finality, 5, 2));
        assert_eq!(final_size(&finality), Some(6));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let finality = Finality::open(directory.path(), policy(1)).unwrap();
        (1..=WAITING_MAX as u64 + 1).for_each(|size| finality.signed(&signed(size)).unwrap());
        assert!(!cosigned(&finality, 1, 2) && cosigned(&finality, 2, 2));
    }
}
