//! NATS xkeys: X25519 keys that seal a message for one reader (a NaCl box, marked `xkv1`).
//!
//! The server seals each question of its auth callout for the responder, so that nobody else in the account reads the
//! credentials in it, and opens the answer with a key of its own. The cipher is the `nkeys` crate's.

use std::fmt;

use zeroize::Zeroizing;

use crate::key::{KeyError, SigningKey};

/// A text that is no xkey, or a message that was not sealed by whom it should be, for whom it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not sealed for this key by that sender")]
pub struct SealError;

/// A private xkey. Shows nothing of itself.
pub struct SealingKey(nkeys::XKey);

/// A public xkey, `X…`: whom a message is sealed for, or who sealed it.
#[derive(Clone)]
pub struct PublicXkey(nkeys::XKey);

impl SealingKey {
    /// The key of a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(nkeys::XKey::new_from_raw(*seed))
    }

    /// A new key from the system's randomness: for one that is not kept.
    pub fn generate() -> Result<Self, KeyError> {
        let seed: Zeroizing<[u8; 32]> = SigningKey::generate()?.seed();
        Ok(Self::from_seed(&seed))
    }

    /// The public half.
    pub fn public(&self) -> String {
        self.0.public_key()
    }

    /// Opens what `sender` sealed for this key.
    pub fn open(&self, sealed: &[u8], sender: &PublicXkey) -> Result<Vec<u8>, SealError> {
        self.0.open(sealed, &sender.0).map_err(|_| SealError)
    }

    /// Seals for one reader.
    pub fn seal(&self, message: &[u8], reader: &PublicXkey) -> Result<Vec<u8>, SealError> {
        self.0.seal(message, &reader.0).map_err(|_| SealError)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.public())
    }
}

impl PublicXkey {
    /// Reads `X…`.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        // The crate decodes whatever length it is given: an xkey has 56 characters.
        if text.len() != 56 || !text.starts_with('X') {
            return Err(SealError);
        }
        nkeys::XKey::from_public_key(text).map(Self).map_err(|_| SealError)
    }

    /// The text, `X…`.
    pub fn text(&self) -> String {
        self.0.public_key()
    }
}

impl fmt::Debug for PublicXkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicXkey({})", self.0.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_was_sealed_for_it_and_nothing_else() {
        let key = |seed| SealingKey::from_seed(&[seed; 32]);
        let public = |seed| PublicXkey::parse(&key(seed).public()).unwrap();
        let sealed = key(1).seal(b"question", &public(2)).unwrap();
        assert!(sealed.starts_with(b"xkv1"));
        assert_eq!(key(2).open(&sealed, &public(1)).unwrap(), b"question");
        assert_eq!(key(3).open(&sealed, &public(1)), Err(SealError));
        assert_eq!(key(2).open(&sealed, &public(3)), Err(SealError));
        for at in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            assert_eq!(key(2).open(&touched, &public(1)), Err(SealError), "{at}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(key(2).open(&sealed[..cut], &public(1)), Err(SealError), "{cut}");
        }
    }

    #[test]
    fn refuses_a_text_that_is_no_xkey() {
        let good = SealingKey::from_seed(&[1; 32]).public();
        let user = crate::nkey::user_public(&SigningKey::from_seed(&[1; 32]).public());
        for text in ["", "X", &good[1..], &format!("{good}A"), &good.to_lowercase(), &"X".repeat(56), &user, "…"] {
            assert!(PublicXkey::parse(text).is_err(), "{text}");
        }
    }
}
