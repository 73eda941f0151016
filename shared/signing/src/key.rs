//! Ed25519 keys. Verification is strict and single, everywhere.

use std::fmt;

use curve25519_dalek::edwards::EdwardsPoint;
use ed25519_dalek::{Signer, Verifier};
use marque_identity::{Code, Did, Digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::decoded;
use crate::encoding::{base64url, base64url_32, decode_array};
use crate::sha256;

/// 32 bytes of the system's randomness, wiped when they are dropped: a seed, a salt.
pub fn random_32() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|_| KeyError::Randomness)?;
    Ok(bytes)
}

/// Why bytes are no key of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes.
    #[error("an Ed25519 key has 32 bytes")]
    Length,
    /// Not a point on the curve, or not its canonical encoding.
    #[error("not the canonical encoding of a curve point")]
    NotAPoint,
    /// A point of small order, under which signatures prove nothing.
    #[error("a point of small order is no key")]
    SmallOrder,
    /// A JWK that is not a public OKP key on Ed25519, or that carries a private member.
    #[error("not a public OKP Ed25519 JWK")]
    Jwk,
    /// No randomness to be had.
    #[error("the system gave no randomness")]
    Randomness,
}

impl KeyError {
    /// The outward code.
    pub fn code(&self) -> Code {
        match self {
            Self::Length | Self::NotAPoint | Self::SmallOrder | Self::Jwk => Code::HolderKeyInvalid,
            Self::Randomness => Code::Internal,
        }
    }
}

/// The signature does not verify, strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// The canonical encodings of the eight points of small order (the torsion subgroup of Curve25519).
const SMALL_ORDER: [[u8; 32]; 8] = {
    const ORDER_8_A: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const ORDER_8_B: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    const fn ends_in(mut bytes: [u8; 32], last: u8) -> [u8; 32] {
        bytes[31] = last;
        bytes
    }
    const fn begins_with(mut bytes: [u8; 32], first: u8) -> [u8; 32] {
        bytes[0] = first;
        bytes
    }
    [
        begins_with([0; 32], 1),
        begins_with(ends_in([0xff; 32], 0x7f), 0xec),
        [0; 32],
        ends_in([0; 32], 0x80),
        ORDER_8_A,
        ends_in(ORDER_8_A, 0x85),
        ORDER_8_B,
        ends_in(ORDER_8_B, 0xfa),
    ]
};

/// Whether an encoding below the field's order is that of a point of small order, the sign of a zero x aside.
fn is_small_order(bytes: &[u8; 32]) -> bool {
    let mut unsigned = *bytes;
    unsigned[31] &= 0x7f;
    SMALL_ORDER.contains(bytes) || unsigned == SMALL_ORDER[0] || unsigned == SMALL_ORDER[1]
}

/// Whether the R of a signature that passes the plain check is of small order: there it is canonical.
pub(crate) fn has_small_order(r: &[u8; 32]) -> bool {
    SMALL_ORDER.contains(r)
}

/// RFC 9278 §3, for SHA-256.
const THUMBPRINT_URI: &str = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";

/// A public Ed25519 key: a canonical curve point, not of small order.
///
/// INVARIANT: only [`PublicKey::from_bytes`] makes one from outside bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// The key of 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        if let Some(key) = decoded::recall(bytes) {
            return Ok(Self(key));
        }
        let key = Self::decode(bytes)?;
        decoded::remember(key.0);
        Ok(key)
    }

    fn decode(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        // y ≥ p = 2²⁵⁵ − 19 has a second, canonical encoding.
        let beyond_field = bytes[0] >= 0xed && bytes[31] | 0x80 == 0xff && bytes[1..31].iter().all(|b| *b == 0xff);
        if beyond_field {
            return Err(KeyError::NotAPoint);
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if is_small_order(bytes) { Err(KeyError::SmallOrder) } else { Ok(Self(key)) }
    }

    /// The key that a DID names.
    pub fn from_did(did: &Did) -> Result<Self, KeyError> {
        Self::from_bytes(did.key_bytes())
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) fn point(&self) -> EdwardsPoint {
        self.0.to_edwards()
    }

    /// The DID that names this key.
    pub fn did(&self) -> Did {
        Did::from_key_bytes(*self.bytes())
    }

    /// As a JWK (RFC 8037).
    pub fn jwk(&self) -> Jwk {
        Jwk { kty: "OKP".into(), crv: "Ed25519".into(), x: base64url(self.bytes()) }
    }

    /// The RFC 7638 thumbprint, SHA-256 in base64url.
    pub fn thumbprint(&self) -> String {
        base64url(&self.thumbprint_digest().0)
    }

    /// The thumbprint as a URI (RFC 9278): the `iss` of tokens that this key derives.
    pub fn thumbprint_uri(&self) -> String {
        format!("{THUMBPRINT_URI}{}", self.thumbprint())
    }

    /// Whether this is the key's thumbprint URI. Does not allocate.
    pub fn has_thumbprint_uri(&self, uri: &str) -> bool {
        let thumbprint = uri.strip_prefix(THUMBPRINT_URI);
        thumbprint.is_some_and(|text| text.as_bytes() == base64url_32(&self.thumbprint_digest().0))
    }

    /// SHA-256 of the required members of the JWK, in lexicographic order and without space (RFC 7638 §3).
    fn thumbprint_digest(&self) -> Digest {
        let [before, behind] = [br#"{"crv":"Ed25519","kty":"OKP","x":""#.as_slice(), br#""}"#];
        let mut members = [0; 79];
        let (head, rest) = members.split_at_mut(before.len());
        let (x, tail) = rest.split_at_mut(43);
        head.copy_from_slice(before);
        x.copy_from_slice(&base64url_32(self.bytes()));
        tail.copy_from_slice(behind);
        sha256(&members)
    }

    /// Verifies one signature strictly: what `verify_strict` of ed25519-dalek accepts, and nothing else.
    ///
    /// That is: canonical S, no small-order A (kept out when the key was made) and no small-order R. The plain
    /// check recomputes R and compares encodings, so that R is canonical where it passes; one of small order
    /// then has one of eight encodings. Comparing with those spares the decompression of R, an eighth of the
    /// cost of `verify_strict`; a test holds the two against each other.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        if has_small_order(signature.r_bytes()) {
            return Err(SignatureError);
        }
        self.0.verify(message, &signature).map_err(|_| SignatureError)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.did())
    }
}

/// A private Ed25519 key. Zeroized when dropped; has no `Clone` and shows nothing of itself.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self::from_seed(&*random_32()?))
    }

    /// The key of an RFC 8032 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The RFC 8032 seed. TRUST: whoever holds it is this key.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The DID that names this key.
    pub fn did(&self) -> Did {
        self.public().did()
    }

    /// Signs bytes (RFC 8032, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.did())
    }
}

/// A public JWK of an Ed25519 key (RFC 8037 §2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Always `OKP`.
    pub kty: String,
    /// Always `Ed25519`.
    pub crv: String,
    /// The 32 bytes in base64url.
    pub x: String,
}

impl Jwk {
    /// The key. A JWK with a private member `d` never gets here: see [`PublicKey::from_jwk_parts`].
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_jwk_parts(Some(&self.kty), Some(&self.crv), Some(&self.x))
    }
}

impl PublicKey {
    /// The key of a JWK's members `kty`, `crv` and `x`; the caller refuses a `d`.
    pub fn from_jwk_parts(kty: Option<&str>, crv: Option<&str>, x: Option<&str>) -> Result<Self, KeyError> {
        let (Some("OKP"), Some("Ed25519"), Some(x)) = (kty, crv, x) else { return Err(KeyError::Jwk) };
        Self::from_bytes(&decode_array(x.as_bytes()).ok_or(KeyError::Length)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_every_small_order_key() {
        for encoding in SMALL_ORDER {
            assert!(PublicKey::from_bytes(&encoding).is_err());
            let point = ed25519_dalek::VerifyingKey::from_bytes(&encoding).unwrap();
            assert!(point.is_weak(), "the list holds a point that is not of small order");
        }
        // The two with x = 0 decode with either sign.
        for mut encoding in [SMALL_ORDER[0], SMALL_ORDER[1]] {
            encoding[31] |= 0x80;
            assert!(PublicKey::from_bytes(&encoding).is_err());
        }
        let distinct: std::collections::BTreeSet<_> = SMALL_ORDER.iter().collect();
        assert_eq!(distinct.len(), 8);
    }

    #[test]
    fn decodes_the_same_again() {
        // Keys on one place push each other out; a refused encoding is refused again.
        let good: Vec<_> = (0..=u8::MAX).map(|seed| SigningKey::from_seed(&[seed; 32]).public()).collect();
        for _ in 0..2 {
            for key in &good {
                assert_eq!(PublicKey::from_bytes(key.bytes()), Ok(*key));
                let mut neighbour = *key.bytes();
                neighbour[31] ^= 0x80;
                assert_eq!(PublicKey::from_bytes(&neighbour), PublicKey::decode(&neighbour));
                neighbour[2] ^= 1;
                assert_eq!(PublicKey::from_bytes(&neighbour), PublicKey::decode(&neighbour));
            }
            for encoding in SMALL_ORDER {
                assert!(PublicKey::from_bytes(&encoding).is_err());
            }
        }
    }

    #[test]
    fn refuses_an_encoding_beyond_the_field() {
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                bytes[0] = low;
                bytes[31] = high;
                assert_eq!(PublicKey::from_bytes(&bytes), Err(KeyError::NotAPoint));
            }
        }
    }

    #[test]
    fn knows_the_drafts_orchestrator() {
        let key = SigningKey::from_seed(&[2; 32]).public();
        assert_eq!(key.jwk().x, "gTl3Dqh9F19Wo1Rmw0x-zMuNipG07jeiXfYPW4_Js5Q");
        assert_eq!(key.thumbprint(), "aVBtapLd11SUVKIMGJfPzOEDuN0sXcmzJQNVT-_sKEU");
        assert_eq!(key.jwk().public_key().unwrap(), key);
        let uri = key.thumbprint_uri();
        assert_eq!(uri, format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{}", key.thumbprint()));
        assert!(key.has_thumbprint_uri(&uri));
        for other in [&uri[..uri.len() - 1], &format!("{uri}="), &uri.to_uppercase(), &key.thumbprint(), ""] {
            assert!(!key.has_thumbprint_uri(other), "{other}");
        }
        assert!(!SigningKey::from_seed(&[3; 32]).public().has_thumbprint_uri(&uri));
    }

    #[test]
    fn shows_nothing_of_the_seed() {
        let key = SigningKey::from_seed(&[7; 32]);
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.did()));
    }

    proptest! {
        #[test]
        fn agrees_with_verify_strict(seed: [u8; 32], message in proptest::collection::vec(any::<u8>(), 0..64), flip in 0usize..512, flips: bool, small in 0usize..16) {
            let key = SigningKey::from_seed(&seed);
            let mut signature = key.sign(&message);
            if flips { signature[flip / 8] ^= 1 << (flip % 8); }
            if let Some(encoding) = SMALL_ORDER.get(small) { signature[..32].copy_from_slice(encoding); }
            let strict = key.public().0.verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&signature)).is_ok();
            prop_assert_eq!(key.public().verify(&message, &signature).is_ok(), strict);
            prop_assert_eq!(strict, !flips && small >= 8);
        }
    }
}
