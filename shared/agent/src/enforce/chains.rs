//! Chains at an enforcement point: verified once, found again by their bytes or their digest.

use std::sync::{Arc, Mutex, PoisonError};

use marque_identity::{Code, Refusal, UnixSeconds};
use marque_judgement::chain::CHAIN_SEPARATOR;
use marque_judgement::{ChainCache, ChainLimits, TrustAnchor, VerifiedChain, verify_chain_knowing};
use marque_signing::{PublicKey, TrustBundle, VerifiedSignatures};

use super::presentation::Chain;

/// The trust anchors and the chains verified under them.
pub struct Chains {
    anchors: Vec<TrustAnchor>,
    limits: ChainLimits,
    cache: Mutex<ChainCache>,
    /// Of their links, which other chains begin with.
    signatures: VerifiedSignatures,
}

impl Chains {
    /// None yet, under a bundle's issuers.
    pub fn new(bundle: &TrustBundle) -> Self {
        let anchor = |anchor: &marque_signing::Anchor| {
            let key = PublicKey::from_did(&anchor.did).ok()?; // `TrustBundle::open` has refused a key that is none
            Some(TrustAnchor { iss: anchor.iss.clone(), key })
        };
        Self {
            anchors: bundle.issuers.iter().filter_map(anchor).collect(),
            limits: ChainLimits::default(),
            cache: Mutex::new(ChainCache::default()),
            signatures: VerifiedSignatures::default(),
        }
    }

    /// The chain as presented: AAT §8 steps 1 to 5 and 6a the first time its bytes are seen. TRUST: time, directives
    /// and the call are looked at by whoever decides, each time.
    pub fn find(&self, presented: Chain<'_>, now: UnixSeconds) -> Result<Arc<VerifiedChain>, Refusal> {
        match presented {
            Chain::Digest(digest) => self.cache().get_by_digest(&digest).ok_or_else(|| {
                Refusal::new(Code::ChainUnknown, "no chain of this digest is held here: send the whole chain")
            }),
            Chain::Whole(text) => {
                if let Some(chain) = self.cache().get(text) {
                    return Ok(chain);
                }
                // Outside the lock: it takes a signature for each link that is new.
                let tokens: Vec<&str> = text.split(CHAIN_SEPARATOR).collect();
                let chain = verify_chain_knowing(&tokens, &self.anchors, now, &self.limits, &self.signatures)?;
                Ok(self.cache().insert(chain))
            }
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, ChainCache> {
        // A panic inside the cache would be ours; what it holds was verified all the same.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
