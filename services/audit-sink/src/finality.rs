//! Which of our checkpoints are final: enough witnesses have cosigned them. Source: C2SP `tlog-policy`.
//!
//! A checkpoint that is not final yet waits here for cosignatures; only final ones are shown and published. Without a
//! quorum each is final when it is signed. Killed: what waited is signed again, larger; what was final is in its file.
//!
//! The log grows while witnesses think. So that they meet, all are asked for one: the candidate, held until it or a
//! larger one is final. The newest takes its place only where it can't become final any more, since a witness that it
//! needs has cosigned a larger one (of another sink, perhaps), or where it was held for [`HELD_MAX`], or for [`HELD_BEYOND_MAX`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marque_ledger::{Checkpoint, KeyKind, Note, NoteSignature, Policy, verify_cosignature};
use tokio::sync::watch;

use crate::SinkError;
use crate::keep::{keep, kept};
use crate::seal::Signed;
use crate::step::Step;

/// The newest final checkpoint, beside the store and not in it.
pub const FINAL_FILE: &str = "final";
/// Checkpoints that wait at once. The oldest is given up, since every newer one stands for it; the candidate is not.
pub const WAITING_MAX: usize = 16;
/// How long a candidate is held: several times what a witness may take to answer (5 s), tried again. One that is away
/// for longer is asked for a newer one when it is back.
pub const HELD_MAX: Duration = Duration::from_secs(30);
/// How long where a witness is beyond it and others would be enough: one of those may be away.
pub const HELD_BEYOND_MAX: Duration = Duration::from_secs(10);

/// Checkpoints on their way to being final.
pub struct Finality {
    policy: Policy,
    path: PathBuf,
    held_max: Duration,
    held_beyond_max: Duration,
    state: Mutex<State>,
    /// Size of the newest final one, and of the newest that was signed.
    sizes: watch::Sender<(u64, u64)>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<u64, Note>,
    candidate: Option<Held>,
    /// The size that a witness cosigned last, as far as is known; by its name in the policy.
    stands: HashMap<String, u64>,
    last: Option<Signed>,
}

/// The candidate.
#[derive(Clone, Copy)]
struct Held {
    size: u64,
    since: Instant,
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
        let state = Mutex::new(State { last, ..State::default() });
        Ok(Self {
            policy,
            path,
            held_max: HELD_MAX,
            held_beyond_max: HELD_BEYOND_MAX,
            state,
            sizes: watch::Sender::new((size, size)),
        })
    }

    /// What must hold.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The newest final checkpoint.
    pub fn last(&self) -> Option<Signed> {
        self.lock().last.clone()
    }

    /// The checkpoint that every witness is to be asked for, with the cosignatures that it has.
    pub fn candidate(&self) -> Option<Note> {
        let mut state = self.lock();
        let newest = *state.waiting.last_key_value()?.0;
        let held = state.candidate.filter(|held| state.waiting.contains_key(&held.size));
        let superseded = held.is_some_and(|held| newest > held.size && self.has_had_its_time(&state, held));
        let size = match held {
            Some(held) if !superseded => held.size,
            Some(_) | None => {
                state.candidate = Some(Held { size: newest, since: Instant::now() });
                newest
            }
        };
        if superseded {
            // Those that have answered for the one before are to be asked again.
            self.sizes.send_modify(|_| {});
        }
        state.waiting.get(&size).cloned()
    }

    /// A witness says that it has cosigned this size, and no larger one. TRUST: its own word, which can only have it
    /// asked for another checkpoint: where the policy holds without it, the candidate stays.
    pub fn stands(&self, witness: &str, size: u64) {
        let mut state = self.lock();
        let beyond = state.candidate.is_some_and(|held| held.size < size);
        if state.stands.insert(witness.to_owned(), size) != Some(size) && beyond {
            self.sizes.send_modify(|_| {});
        }
    }

    fn has_had_its_time(&self, state: &State, held: Held) -> bool {
        let beyond = state.stands.values().any(|stands| *stands > held.size);
        let most = if beyond { self.held_beyond_max } else { self.held_max };
        held.since.elapsed() >= most || !self.attainable(state, held.size)
    }

    /// Whether the policy can still hold for the one of this size: no witness cosigns one smaller than its last.
    fn attainable(&self, state: &State, size: u64) -> bool {
        let Some(note) = state.waiting.get(&size) else { return false };
        self.policy.is_met_by(|witness| {
            state.stands.get(&witness.name).is_none_or(|stands| *stands <= size)
                || verify_cosignature(note, &witness.key).is_some()
        })
    }

    /// Tells of growth: the size of the newest final checkpoint, and of the newest signed one. Also tells when there is
    /// another candidate.
    pub fn sizes(&self) -> watch::Receiver<(u64, u64)> {
        self.sizes.subscribe()
    }

    /// Takes in a checkpoint that we have signed, durably.
    pub(crate) fn signed(&self, signed: &Signed) -> Result<(), SinkError> {
        let mut state = self.lock();
        state.waiting.insert(signed.checkpoint.size, Note::parse(signed.note.as_bytes())?);
        while state.waiting.len() > WAITING_MAX {
            let held = state.candidate.map(|held| held.size);
            let Some(oldest) = state.waiting.keys().copied().find(|size| Some(*size) != held) else { break };
            state.waiting.remove(&oldest);
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
        let mut alone = Note::new(text.to_owned())?;
        alone.add(line.clone());
        // A witness cosigns other logs, too.
        let of_ours = |stated: &Checkpoint| self.policy.logs().iter().any(|log| log.name() == stated.origin);
        let Some(stated) = Checkpoint::parse(text).ok().filter(of_ours) else { return Ok(false) };
        if verify_cosignature(&alone, &witness.key).is_none() {
            return Ok(false);
        }
        self.stands(&witness.name, stated.size);
        let mut state = self.lock();
        let Some((size, note)) = state.waiting.iter_mut().find(|(_, note)| note.text() == text) else {
            return Ok(false);
        };
        if verify_cosignature(note, &witness.key).is_some() {
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
        assert_eq!((final_size(&finality), finality.candidate().is_none()), (Some(5), true));
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

    fn candidate(finality: &Finality) -> Option<u64> {
        finality.candidate().map(|note| Checkpoint::parse(note.text()).unwrap().size)
    }

    #[test]
    fn the_candidate_is_held_until_it_or_a_larger_one_is_final() {
        let directory = tempfile::tempdir().unwrap();
        let finality = Finality::open(directory.path(), policy(3)).unwrap();
        let grow = |sizes: std::ops::RangeInclusive<u64>| {
            sizes.for_each(|size| finality.signed(&signed(size)).unwrap());
            candidate(&finality)
        };
        assert_eq!(grow(1..=5), Some(5));
        assert!(cosigned(&finality, 5, 2));
        // Far more than wait at once.
        assert_eq!(grow(6..=5 + 3 * WAITING_MAX as u64), Some(5));
        assert!(cosigned(&finality, 5, 3) && cosigned(&finality, 5, 4));
        assert_eq!((final_size(&finality), candidate(&finality)), (Some(5), Some(53)));
        assert_eq!(grow(54..=60), Some(53));
        assert!(cosigned(&finality, 60, 2) && cosigned(&finality, 60, 3) && cosigned(&finality, 60, 4));
        assert_eq!((final_size(&finality), candidate(&finality)), (Some(60), None));
    }

    #[test]
    fn the_newest_takes_its_place_where_the_policy_needs_a_witness_that_is_beyond() {
        let directory = tempfile::tempdir().unwrap();
        let finality = Finality::open(directory.path(), policy(2)).unwrap();
        let mut sizes = finality.sizes();
        [5, 6].iter().for_each(|size| finality.signed(&signed(*size)).unwrap());
        assert_eq!(candidate(&finality), Some(6));
        finality.signed(&signed(7)).unwrap();
        // One may be beyond: two others are enough. So may one that has cosigned it already.
        finality.stands("w2", 9);
        assert_eq!(candidate(&finality), Some(6));
        assert!(cosigned(&finality, 6, 3));
        finality.stands("w3", 9);
        assert_eq!(candidate(&finality), Some(6));
        sizes.borrow_and_update();
        // Its line says so by itself, under one that does not wait here.
        assert!(!cosigned(&finality, 9, 4));
        assert!(sizes.has_changed().unwrap(), "whoever waits to be asked is not told");
        assert_eq!(candidate(&finality), Some(7));
        // What it says of another log says nothing of this one.
        let text = Checkpoint { origin: "o.example".into(), ..signed(8).checkpoint }.text();
        let line = cosign(&text, "w4", &key(4), UnixSeconds(7)).unwrap();
        finality.stands("w4", 7);
        assert!(!finality.cosigned(&text, &line).unwrap());
        assert_eq!(finality.lock().stands["w4"], 7);
    }

    #[test]
    fn the_newest_takes_its_place_after_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let opened = Finality::open(directory.path(), policy(2)).unwrap();
        let finality = Finality { held_beyond_max: Duration::ZERO, ..opened };
        finality.signed(&signed(5)).unwrap();
        assert_eq!(candidate(&finality), Some(5));
        let mut sizes = finality.sizes();
        finality.signed(&signed(6)).unwrap();
        sizes.borrow_and_update();
        assert_eq!(candidate(&finality), Some(5));
        // Sooner where a witness is beyond it: two others would be enough, but one may be away.
        finality.stands("w2", 9);
        let finality = Finality { held_beyond_max: Duration::MAX, ..finality };
        assert_eq!(candidate(&finality), Some(5));
        let finality = Finality { held_beyond_max: Duration::ZERO, ..finality };
        assert_eq!(candidate(&finality), Some(6));
        assert!(sizes.has_changed().unwrap());
        // There is nothing newer: it stays, and nobody is told again and again.
        sizes.borrow_and_update();
        assert_eq!((candidate(&finality), sizes.has_changed().unwrap()), (Some(6), false));
        finality.stands("w2", 1);
        finality.signed(&signed(7)).unwrap();
        assert_eq!(candidate(&finality), Some(6));
        let finality = Finality { held_max: Duration::ZERO, ..finality };
        assert_eq!(candidate(&finality), Some(7));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let finality = Finality::open(directory.path(), policy(1)).unwrap();
        (1..=WAITING_MAX as u64 + 1).for_each(|size| finality.signed(&signed(size)).unwrap());
        assert!(!cosigned(&finality, 1, 2) && cosigned(&finality, 2, 2));
    }
}
