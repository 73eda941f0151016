//! Proofs already accepted: AAT §8 step 7i, within one process. Bounded; full denies.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use marque_identity::refusal::Code;
use marque_identity::{Digest, UnixSeconds};

use crate::{ChainRefusal, VerifiedProof};

/// About half a minute at 30,000 actions a second, which is what one core verifies; some 60 MB when full.
pub const REPLAY_ENTRIES_MAX: usize = 1 << 20;

/// Half a SHA-256: enough that two proofs never fall together by chance or by design.
type Key = [u8; 16];

/// Why a proof was not accepted a first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayRefusal {
    /// It has been accepted before.
    #[error("the proof has been accepted before")]
    Replayed,
    /// The memory is full.
    #[error("the replay memory is full")]
    Full,
    /// It is from a time that has been forgotten: the clock went back.
    #[error("the proof is from a time that is no longer remembered")]
    Forgotten,
}

impl From<ReplayRefusal> for ChainRefusal {
    fn from(refusal: ReplayRefusal) -> Self {
        let code = match refusal {
            ReplayRefusal::Replayed => Code::ProofReplayed,
            ReplayRefusal::Full | ReplayRefusal::Forgotten => Code::ReplayUndecided,
        };
        ChainRefusal::at("7i", code, refusal.to_string())
    }
}

/// Remembers accepted proofs until their `iat` leaves the window. Shared by threads; held for one lookup.
#[derive(Debug)]
pub struct ReplayGuard {
    memory: Mutex<Memory>,
    entries_max: usize,
}

#[derive(Debug, Default)]
struct Memory {
    seen: HashSet<Key, BuildHasherDefault<KeyHasher>>,
    /// By the last second in which the window still admits them.
    until: BTreeMap<i64, Vec<Key>>,
    /// Everything whose last second lies before this has been forgotten.
    forgotten_before: i64,
}

impl Default for ReplayGuard {
    fn default() -> Self {
        Self::new(REPLAY_ENTRIES_MAX)
    }
}

impl ReplayGuard {
    /// A guard that remembers so many proofs at once.
    pub fn new(entries_max: usize) -> Self {
        let memory = Memory { forgotten_before: i64::MIN, ..Memory::default() };
        Self { memory: Mutex::new(memory), entries_max }
    }

    /// Accepts a proof once: to be called when everything else permits, so that a denial consumes nothing.
    pub fn accept(&self, proof: &VerifiedProof, window_seconds: i64, now: UnixSeconds) -> Result<(), ReplayRefusal> {
        self.accept_key(proof.replay_key(), proof.iat().plus(window_seconds), now)
    }

    fn accept_key(&self, key: &Digest, until: UnixSeconds, now: UnixSeconds) -> Result<(), ReplayRefusal> {
        let mut short = Key::default();
        short.copy_from_slice(&key.0[..16]);
        // A panic elsewhere leaves the memory as it was: every change below is complete in itself.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.forget(now);
        if until.0 < memory.forgotten_before {
            return Err(ReplayRefusal::Forgotten);
        }
        if memory.seen.len() >= self.entries_max {
            let replayed = memory.seen.contains(&short);
            return Err(if replayed { ReplayRefusal::Replayed } else { ReplayRefusal::Full });
        }
        if !memory.seen.insert(short) {
            return Err(ReplayRefusal::Replayed);
        }
        memory.until.entry(until.0).or_default().push(short);
        Ok(())
    }

    /// How many proofs are remembered.
    pub fn len(&self) -> usize {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).seen.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Memory {
    fn forget(&mut self, now: UnixSeconds) {
        if now.0 <= self.forgotten_before {
            return;
        }
        self.forgotten_before = now.0;
        while let Some(first) = self.until.first_entry().filter(|first| *first.key() < now.0) {
            for key in first.remove() {
                self.seen.remove(&key);
            }
        }
    }
}

/// The key is a digest already: its first bytes are the hash.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for (index, byte) in bytes.iter().take(8).enumerate() {
            self.0 ^= u64::from(*byte) << (8 * index);
        }
    }

    fn write_usize(&mut self, _: usize) {} // the key's length, always 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Digest {
        Digest([n; 32])
    }

    #[test]
    fn accepts_once_within_the_window() {
        let guard = ReplayGuard::new(8);
        let at = UnixSeconds;
        assert_eq!(guard.accept_key(&key(1), at(130), at(100)), Ok(()));
        assert_eq!(guard.accept_key(&key(1), at(130), at(100)), Err(ReplayRefusal::Replayed));
        assert_eq!(guard.accept_key(&key(1), at(130), at(130)), Err(ReplayRefusal::Replayed));
        assert_eq!(guard.accept_key(&key(2), at(130), at(130)), Ok(()));
        // At 131 the window refuses the first by itself (7g), so that it may be forgotten.
        assert_eq!(guard.accept_key(&key(3), at(161), at(131)), Ok(()));
        assert_eq!(guard.len(), 1);
    }

    #[test]
    fn rejects_what_it_may_have_forgotten_when_the_clock_goes_back() {
        let guard = ReplayGuard::new(8);
        let at = UnixSeconds;
        assert_eq!(guard.accept_key(&key(1), at(130), at(100)), Ok(()));
        assert_eq!(guard.accept_key(&key(2), at(230), at(200)), Ok(()));
        assert_eq!(guard.accept_key(&key(1), at(130), at(100)), Err(ReplayRefusal::Forgotten));
    }

    #[test]
    fn full_denies() {
        let guard = ReplayGuard::new(2);
        let at = UnixSeconds;
        assert_eq!(guard.accept_key(&key(1), at(130), at(100)), Ok(()));
        assert_eq!(guard.accept_key(&key(2), at(130), at(100)), Ok(()));
        assert_eq!(guard.accept_key(&key(3), at(130), at(100)), Err(ReplayRefusal::Full));
        assert_eq!(guard.accept_key(&key(3), at(161), at(131)), Ok(()));
    }
}
