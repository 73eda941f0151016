//! Signatures that were found good lately: the chains of a task's agents begin with the same tokens, so that a sub-agent
//! never seen before brings one signature that is new. A bounded memory of a pure function: it changes no answer.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use marque_identity::Digest;

use crate::{Compact, JwsError, PublicKey};

/// 129 bytes each: what the links of some hundred tasks take. A signature that is not here is verified, no more.
const SIGNATURES_MAX: usize = 1024;
/// A key, the SHA-256 of what it signed, and the signature.
const FACT_BYTES: usize = 32 + 32 + 64;

type Fact = [u8; FACT_BYTES];

/// Remembers good signatures. Each has one place, by its message, and pushes out the one before it: whoever makes tokens
/// that fall on another's place makes that one be verified again, what it cost without this.
///
/// INVARIANT: it holds nothing but what [`PublicKey::verify`] found good, found only by exactly the same key, the SHA-256
/// of the same message, and the same signature.
pub struct VerifiedSignatures {
    /// One lock for all: it is held for a comparison of 128 bytes, beside what a signature takes.
    places: Mutex<Box<[Option<Fact>]>>,
}

impl Default for VerifiedSignatures {
    fn default() -> Self {
        Self { places: Mutex::new(vec![None; SIGNATURES_MAX].into()) }
    }
}

impl VerifiedSignatures {
    /// The [`signing_digest`](Compact::signing_digest) of a token, if its signature verifies under the key.
    pub fn check(&self, compact: &Compact<'_>, key: &PublicKey) -> Result<Digest, JwsError> {
        let digest = compact.signing_digest();
        let mut fact = [0; FACT_BYTES];
        fact[..32].copy_from_slice(key.bytes());
        fact[32..64].copy_from_slice(&digest.0);
        fact[64..].copy_from_slice(compact.signature());
        let place = usize::from(u16::from_le_bytes([digest.0[0], digest.0[1]])) % SIGNATURES_MAX;
        let is_known = self.places()[place] == Some(fact);
        if !is_known {
            compact.check_signature(key)?; // outside the lock
            self.places()[place] = Some(fact);
        }
        Ok(digest)
    }

    fn places(&self) -> MutexGuard<'_, Box<[Option<Fact>]>> {
        // What it holds is whole at every moment.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for VerifiedSignatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedSignatures({})", self.places().iter().flatten().count())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{SigningKey, jws};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_good_signature_is_good_under_its_own_key_alone() {
        let known = VerifiedSignatures::default();
        let token = jws::sign(&key(1), "aat+jwt", None, b"{}");
        let compact = Compact::split(&token).unwrap();
        for _ in 0..2 {
            assert_eq!(known.check(&compact, &key(1).public()), Ok(compact.signing_digest()));
            assert_eq!(known.check(&compact, &key(2).public()), Err(JwsError::SignatureInvalid));
        }
        assert_eq!(format!("{known:?}"), "VerifiedSignatures(1)", "what is not good is not kept");
    }

    #[test]
    fn a_token_on_another_ones_place_is_verified_again() {
        let known = VerifiedSignatures::default();
        let tokens: Vec<String> =
            (0..3 * SIGNATURES_MAX).map(|n| jws::sign(&key(1), "t", None, n.to_string().as_bytes())).collect();
        let other = jws::sign(&key(1), "t", None, b"another");
        for token in tokens.iter().chain(&tokens) {
            let compact = Compact::split(token).unwrap();
            assert_eq!(known.check(&compact, &key(1).public()), Ok(compact.signing_digest()));
            // The same message, whose place is taken by now, with a signature that is another's.
            let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
            let forged = Compact::split(&forged).unwrap();
            assert_eq!(known.check(&forged, &key(1).public()), Err(JwsError::SignatureInvalid));
        }
        assert!(known.places().iter().flatten().count() <= SIGNATURES_MAX);
    }

    proptest! {
        /// Whatever was asked before, each answer is the one that verifying gives.
        #[test]
        fn answers_as_verifying_does(
            asked in proptest::collection::vec((0_u8..3, 0_u8..3, 0_u8..3, any::<bool>()), 1..40)
        ) {
            let known = VerifiedSignatures::default();
            for (by, under, payload, other) in asked {
                let mut token = jws::sign(&key(by), "t", None, &[payload]);
                if other {
                    // Another message's signature, which is good there.
                    let foreign = jws::sign(&key(by), "t", None, &[payload + 1]);
                    let (signed, signature) = (token.rsplit_once('.').unwrap().0, foreign.rsplit_once('.').unwrap().1);
                    token = format!("{signed}.{signature}");
                }
                let compact = Compact::split(&token).unwrap();
                let key = key(under).public();
                let verified = compact.check_signature(&key).map(|()| compact.signing_digest());
                prop_assert_eq!(known.check(&compact, &key), verified);
            }
        }
    }
}
