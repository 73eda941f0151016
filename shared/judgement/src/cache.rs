//! Chains already verified, by their bytes and by their digest. Structure only: time, audience and directives are
//! looked at again on every action.

use std::collections::HashMap;
use std::sync::Arc;

use marque_identity::Digest;

use crate::VerifiedChain;

/// A few MB to some tens, depending on the chains.
pub const CHAINS_MAX: usize = 4096;
/// Bytes of chain text held at most; parsed, a chain takes two to three times its text.
pub const CHAIN_TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many characters of the leaf's signature a chain is found by; compared in full afterwards.
const TAIL_BYTES: usize = 32;

/// A bounded store of verified chains. The one least recently used makes room.
///
/// INVARIANT: it holds what [`verify_chain`](crate::verify_chain), or [`verify_chain_knowing`](crate::verify_chain_knowing), gave, found only by exactly the bytes that it was
/// verified from. Whoever changes the trust anchors clears it.
#[derive(Debug)]
pub struct ChainCache {
    by_tail: HashMap<[u8; TAIL_BYTES], Vec<u64>>,
    by_digest: HashMap<Digest, u64>,
    chains: HashMap<u64, Held>,
    /// Counts insertions and uses: the age of what is held.
    clock: u64,
    text_bytes: usize,
    chains_max: usize,
}

#[derive(Debug)]
struct Held {
    chain: Arc<VerifiedChain>,
    digest: Digest,
    used: u64,
}

impl Held {
    fn touch(&mut self, clock: &mut u64) -> Arc<VerifiedChain> {
        *clock += 1;
        self.used = *clock;
        self.chain.clone()
    }
}

impl Default for ChainCache {
    fn default() -> Self {
        Self::new(CHAINS_MAX)
    }
}

impl ChainCache {
    /// A cache of at most so many chains.
    pub fn new(chains_max: usize) -> Self {
        Self {
            by_tail: HashMap::new(),
            by_digest: HashMap::new(),
            chains: HashMap::new(),
            clock: 0,
            text_bytes: 0,
            chains_max,
        }
    }

    /// The chain of exactly these bytes (tokens joined by `~`).
    pub fn get(&mut self, text: &str) -> Option<Arc<VerifiedChain>> {
        for id in self.by_tail.get(&tail(text))? {
            if let Some(held) = self.chains.get_mut(id).filter(|held| held.chain.text() == text) {
                return Some(held.touch(&mut self.clock));
            }
        }
        None
    }

    /// The chain of this digest (`Marque-Chain-Ref`).
    pub fn get_by_digest(&mut self, digest: &Digest) -> Option<Arc<VerifiedChain>> {
        let held = self.chains.get_mut(self.by_digest.get(digest)?)?;
        Some(held.touch(&mut self.clock))
    }

    /// Keeps a chain; gives it back shared. One that is held already is not kept twice.
    pub fn insert(&mut self, chain: VerifiedChain) -> Arc<VerifiedChain> {
        if let Some(held) = self.get(chain.text()) {
            return held;
        }
        let chain = Arc::new(chain);
        while self.chains.len() >= self.chains_max.max(1)
            || (self.text_bytes + chain.text().len() > CHAIN_TEXT_BYTES_MAX && !self.chains.is_empty())
        {
            self.evict();
        }
        self.clock += 1;
        let (id, digest) = (self.clock, chain.digest());
        self.by_tail.entry(tail(chain.text())).or_default().push(id);
        self.by_digest.insert(digest, id);
        self.text_bytes += chain.text().len();
        self.chains.insert(id, Held { chain: chain.clone(), digest, used: id });
        chain
    }

    /// Forgets everything: to be called when the trust anchors change.
    pub fn clear(&mut self) {
        *self = Self::new(self.chains_max);
    }

    /// How many chains are held.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Drops the oldest sixteenth at once, so that the search for it is paid rarely.
    fn evict(&mut self) {
        let mut ages: Vec<(u64, u64)> = self.chains.iter().map(|(id, held)| (held.used, *id)).collect();
        ages.sort_unstable();
        for (_, id) in ages.iter().take(self.chains_max / 16 + 1) {
            let Some(held) = self.chains.remove(id) else { continue };
            self.text_bytes -= held.chain.text().len();
            self.by_digest.remove(&held.digest);
            let tail = tail(held.chain.text());
            if let Some(ids) = self.by_tail.get_mut(&tail) {
                ids.retain(|other| other != id);
                if ids.is_empty() {
                    self.by_tail.remove(&tail);
                }
            }
        }
    }
}

/// The last characters of a chain: those of its leaf's signature, which nobody but the holder's parent chooses.
fn tail(text: &str) -> [u8; TAIL_BYTES] {
    let mut tail = [0; TAIL_BYTES];
    let bytes = text.as_bytes();
    let length = bytes.len().min(TAIL_BYTES);
    tail[..length].copy_from_slice(&bytes[bytes.len() - length..]);
    tail
}
