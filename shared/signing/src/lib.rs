//! Keys, and what they sign.
//!
//! In scope: Ed25519 with strict verification, JWS compact (RFC 7515), JWK thumbprints (RFC 7638, 9278), NATS
//! nkeys and xkeys, a memory of signatures that were verified, and the trust bundle that says which key has which role.
//! Out of scope: what a token means.
//!
//! This is the only room that knows a cipher.

pub mod bundle;
mod decoded;
mod encoding;
pub mod jws;
mod key;
mod many;
pub mod nkey;
mod verified;
pub mod xkey;

pub use bundle::{Anchor, BundleError, Operator, Role, ServiceKey, TrustBundle};
pub use encoding::{base64url, base64url_decode};
pub use jws::{Algorithms, Compact, JwsError};
pub use key::{Jwk, KeyError, PublicKey, SignatureError, SigningKey, random_32};
pub use many::{Signed, verify_each};
pub use verified::VerifiedSignatures;

use marque_identity::Digest;
use sha2::Digest as _;

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// SHA-256 of bytes that come in parts.
#[derive(Debug, Clone, Default)]
pub struct PartsDigest(sha2::Sha256);

impl PartsDigest {
    /// Takes the next part.
    pub fn take(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all parts.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_digest_of_the_whole() {
        let mut parts = PartsDigest::default();
        for part in [&b"ab"[..], b"", b"c"] {
            parts.take(part);
        }
        assert_eq!(parts.finish(), sha256(b"abc"));
    }
}
