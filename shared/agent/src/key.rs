//! The agent's key, beside the history of what it has signed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use marque_bus::{ConnectOptions, Presented};
use marque_identity::{Did, Digest};
use marque_judgement::record::Record;
use marque_signing::nkey::{self, NonceRefused};
use marque_signing::{KeyError, PublicKey, SigningKey, sha256};

/// Statements that wait for the log; the oldest gives way, and shows there as a gap. Some 2 KiB each.
const OWED_MAX: usize = 64;

/// What one key has signed so far: where its chain of actions stands (PROTOCOL §4, `seq` and `prev`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// How many actions were signed; the next one bears this number plus one.
    pub signed: u64,
    /// SHA-256 of the last proof's text; none before the first.
    pub last: Option<Digest>,
}

/// An agent's signing key and its one action counter. Clones share both, whatever commissions they hold.
///
/// INVARIANT: no two proofs of one process bear the same `seq` under one `AgentKey`. Two processes that use one key
/// fork the history, and that shows: keep the [`History`] beside the seed where a key outlives its process.
#[derive(Clone)]
pub struct AgentKey {
    signing: Arc<SigningKey>,
    history: Arc<Mutex<History>>,
    owed: Arc<Mutex<VecDeque<Record>>>,
}

impl AgentKey {
    /// A new key out of the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self::new(SigningKey::generate()?))
    }

    /// A key that has signed no action yet.
    pub fn new(signing: SigningKey) -> Self {
        Self::resumed(signing, History::default())
    }

    /// A key that goes on where an earlier process stopped.
    pub fn resumed(signing: SigningKey, history: History) -> Self {
        Self { signing: Arc::new(signing), history: Arc::new(Mutex::new(history)), owed: Arc::default() }
    }

    /// The public half: what a delegator needs to know of a sub-agent.
    pub fn public(&self) -> PublicKey {
        self.signing.public()
    }

    /// The agent's name.
    pub fn did(&self) -> Did {
        self.public().did()
    }

    /// Where the chain of actions stands.
    pub fn history(&self) -> History {
        *self.lock()
    }

    /// How this key's holder connects to the broker: by its signature over the server's nonce, and what it presents.
    pub fn connect_options(&self, url: &str, name: &str, presented: Presented) -> ConnectOptions {
        ConnectOptions::new(url, name).agent(self.signing.clone(), presented)
    }

    /// Signs a broker's nonce, for whoever speaks NATS without this library. Refuses one that could be a token.
    pub fn sign_nonce(&self, nonce: &[u8]) -> Result<[u8; 64], NonceRefused> {
        nkey::sign_nonce(&self.signing, nonce)
    }

    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Signs the next action: `sign` is handed `seq` and `prev`. The history moves on only where it succeeds.
    pub(crate) fn sign_next<E>(
        &self,
        sign: impl FnOnce(u64, Option<Digest>) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut history = self.lock();
        let seq = history.signed.saturating_add(1);
        let proof = sign(seq, history.last)?;
        *history = History { signed: seq, last: Some(sha256(proof.as_bytes())) };
        Ok(proof)
    }

    /// A statement that the log is to have.
    pub(crate) fn owe(&self, record: Record) {
        let mut owed = self.owed();
        if owed.len() == OWED_MAX {
            owed.pop_front();
        }
        owed.push_back(record);
    }

    /// It could not be stored; room is made for it again only while there is some.
    pub(crate) fn still_owe(&self, record: Record) {
        let mut owed = self.owed();
        if owed.len() < OWED_MAX {
            owed.push_front(record);
        }
    }

    /// The oldest statement that the log is to have.
    pub(crate) fn next_owed(&self) -> Option<Record> {
        self.owed().pop_front()
    }

    /// Whether there is one.
    pub(crate) fn owes(&self) -> bool {
        !self.owed().is_empty()
    }

    fn owed(&self) -> std::sync::MutexGuard<'_, VecDeque<Record>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, History> {
        // A panic while it was held leaves a whole `History`: it is written in one assignment.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentKey").field("did", &self.did()).field("history", &self.history()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_signed_and_links_it() {
        let key = AgentKey::generate().unwrap();
        let first = key.sign_next(|seq, prev| Ok::<_, ()>(format!("{seq} {prev:?}"))).unwrap();
        assert_eq!(first, "1 None");
        let second = key.clone().sign_next(|seq, prev| Ok::<_, ()>(format!("{seq} {}", prev.unwrap()))).unwrap();
        assert_eq!(second, format!("2 {}", sha256(first.as_bytes())));
    }

    #[test]
    fn a_failed_signature_leaves_no_gap() {
        let key = AgentKey::generate().unwrap();
        assert_eq!(key.sign_next(|_, _| Err("no")), Err("no"));
        assert_eq!(key.history(), History::default());
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = AgentKey::new(SigningKey::from_seed(&[7; 32]));
        let shown = format!("{key:?}");
        assert!(shown.contains("did:key:") && !shown.contains("seed") && !shown.contains("7, 7"));
    }
}
