//! NATS xkeys: X25519 keys that seal a message for one reader (a NaCl box, marked `xkv1`).
//!
//! The server seals each question of its auth callout for the responder, so that nobody else in the account reads the
//! credentials in it, and opens the answer with a key of its own. The cipher is `crypto_box`'s, the layout nkeys': `xkv1`,
//! a nonce of 24 bytes, the box.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crypto_box::aead::Aead;
use crypto_box::{SalsaBox, SecretKey};
use zeroize::Zeroizing;

use crate::key::{KeyError, SigningKey};
use crate::nkey;

/// What a sealed message begins with.
const MARK: &[u8; 4] = b"xkv1";
/// A nonce's length in bytes: random, so that none comes twice under one key.
const NONCE_BYTES: usize = 24;
/// Peers whose shared secret is kept. Servers keep their xkey as long as they run, and a cluster has a handful.
const PEERS_MAX: usize = 64;

/// Why there is no xkey, no message, or no box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is no public xkey.
    #[error("not a public xkey")]
    NotAnXkey,
    /// Not sealed for this key by that sender, or not whole.
    #[error("not sealed for this key by that sender")]
    NotOpened,
    /// The system gave no randomness for a nonce.
    #[error("the system gave no randomness")]
    Randomness,
}

/// A private xkey. Shows nothing of itself.
pub struct SealingKey {
    secret: SecretKey,
    /// What it shares with peers, the one met last behind the others. A bounded memory of a pure function: finding a secret
    /// takes as long as verifying a signature, and every question of a server takes the same. Each is wiped when dropped.
    shared: Mutex<Vec<(PublicXkey, Arc<SalsaBox>)>>,
}

/// A public xkey, `X…`: whom a message is sealed for, or who sealed it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicXkey([u8; 32]);

impl SealingKey {
    /// The key of a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { secret: SecretKey::from_bytes(*seed), shared: Mutex::default() }
    }

    /// A new key from the system's randomness: for one that is not kept.
    pub fn generate() -> Result<Self, KeyError> {
        let seed: Zeroizing<[u8; 32]> = SigningKey::generate()?.seed();
        Ok(Self::from_seed(&seed))
    }

    /// The public half.
    pub fn public(&self) -> String {
        PublicXkey(*self.secret.public_key().as_bytes()).text()
    }

    /// Opens what `sender` sealed for this key.
    pub fn open(&self, sealed: &[u8], sender: &PublicXkey) -> Result<Vec<u8>, SealError> {
        let parts = sealed.strip_prefix(MARK).and_then(|rest| rest.split_first_chunk::<NONCE_BYTES>());
        let (nonce, boxed) = parts.ok_or(SealError::NotOpened)?;
        let secret = self.shared_with(sender);
        let message = secret.decrypt(nonce.into(), boxed).map_err(|_| SealError::NotOpened)?;
        // Whoever names senders that it is not pushes nobody's out.
        self.keep(sender, secret);
        Ok(message)
    }

    /// Seals for one reader.
    pub fn seal(&self, message: &[u8], reader: &PublicXkey) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Randomness)?;
        let secret = self.shared_with(reader);
        let boxed = secret.encrypt((&nonce).into(), message).map_err(|_| SealError::NotOpened)?; // a box takes any length
        self.keep(reader, secret);
        Ok([MARK, &nonce[..], &boxed].concat())
    }

    /// The secret shared with a peer.
    fn shared_with(&self, peer: &PublicXkey) -> Arc<SalsaBox> {
        if let Some((_, known)) = self.shared().iter().find(|(known, _)| known == peer) {
            return known.clone();
        }
        Arc::new(SalsaBox::new(&peer.0.into(), &self.secret)) // outside the lock: it takes a while
    }

    /// Keeps what is shared with a peer, as the last one met.
    fn keep(&self, peer: &PublicXkey, secret: Arc<SalsaBox>) {
        let mut shared = self.shared();
        match shared.iter().rposition(|(known, _)| known == peer) {
            Some(place) => shared[place..].rotate_left(1),
            None => {
                if shared.len() >= PEERS_MAX {
                    shared.remove(0);
                }
                shared.push((*peer, secret));
            }
        }
    }

    fn shared(&self) -> MutexGuard<'_, Vec<(PublicXkey, Arc<SalsaBox>)>> {
        // What it holds is whole at every moment.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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
        nkey::decode(nkey::CURVE, text).map(Self).map_err(|_| SealError::NotAnXkey)
    }

    /// The text, `X…`.
    pub fn text(&self) -> String {
        nkey::encode(nkey::CURVE, &self.0)
    }
}

impl fmt::Debug for PublicXkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicXkey({})", self.text())
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
        assert_eq!(key(3).open(&sealed, &public(1)), Err(SealError::NotOpened));
        assert_eq!(key(2).open(&sealed, &public(3)), Err(SealError::NotOpened));
        for at in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            assert_eq!(key(2).open(&touched, &public(1)), Err(SealError::NotOpened), "{at}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(key(2).open(&sealed[..cut], &public(1)), Err(SealError::NotOpened), "{cut}");
        }
    }

    /// The layout that nkeys' own implementations write, which a server reads: sealed there, opened here, and back.
    #[test]
    fn is_understood_by_nkeys() {
        let (ours, theirs) = (SealingKey::from_seed(&[1; 32]), nkeys::XKey::new_from_raw([2; 32]));
        assert_eq!(ours.public(), nkeys::XKey::new_from_raw([1; 32]).public_key());
        let (us, them) = (nkeys::XKey::from_public_key(&ours.public()).unwrap(), theirs.public_key());
        let them = PublicXkey::parse(&them).unwrap();
        assert_eq!(ours.open(&theirs.seal(b"question", &us).unwrap(), &them).unwrap(), b"question");
        assert_eq!(theirs.open(&ours.seal(b"answer", &them).unwrap(), &us).unwrap(), b"answer");
    }

    /// The seed and the public key of a pair that nkeys' implementation in Go made, as the Rust crate's tests have it.
    #[test]
    fn reads_a_key_that_another_implementation_wrote() {
        let theirs =
            nkeys::XKey::from_seed("SXAKIYZX2POLIHZ5W5YZEWVTH24NLEUETBW3TKIVYRSS3GNHFXO5D4JJZM").unwrap().public_key();
        assert_eq!(theirs, "XBUJMZHVOPQ2SK5VD3TY4VNBPVU2YFGRLK6EFPEPSMVDUYEBSROWZCEA");
        assert_eq!(PublicXkey::parse(&theirs).unwrap().text(), theirs);
    }

    #[test]
    fn no_two_boxes_are_the_same() {
        let key = SealingKey::from_seed(&[1; 32]);
        let reader = PublicXkey::parse(&SealingKey::from_seed(&[2; 32]).public()).unwrap();
        assert_ne!(key.seal(b"message", &reader).unwrap(), key.seal(b"message", &reader).unwrap());
    }

    #[test]
    fn keeps_the_secrets_of_those_it_met_last_and_opens_by_a_forgotten_one() {
        let reader = SealingKey::from_seed(&[0; 32]);
        let public = PublicXkey::parse(&reader.public()).unwrap();
        let opens = |seed: u8| {
            let peer = SealingKey::from_seed(&[seed; 32]);
            let sender = PublicXkey::parse(&peer.public()).unwrap();
            assert_eq!(reader.open(&peer.seal(b"question", &public).unwrap(), &sender).unwrap(), b"question");
            sender
        };
        let first = opens(1);
        for round in 0..2 {
            for seed in 2..=u8::try_from(PEERS_MAX).unwrap() + 2 {
                opens(seed);
                opens(1);
                let shared = reader.shared();
                assert!(shared.len() <= PEERS_MAX, "{round}");
                assert_eq!(
                    shared.iter().filter(|(peer, _)| *peer == first).count(),
                    1,
                    "met again and again, held once"
                );
            }
        }
    }

    #[test]
    fn keeps_nothing_of_a_sender_who_did_not_seal() {
        let reader = SealingKey::from_seed(&[1; 32]);
        let public = PublicXkey::parse(&reader.public()).unwrap();
        let sealed = SealingKey::from_seed(&[2; 32]).seal(b"question", &public).unwrap();
        let claimed = PublicXkey::parse(&SealingKey::from_seed(&[3; 32]).public()).unwrap();
        assert_eq!(reader.open(&sealed, &claimed), Err(SealError::NotOpened));
        assert!(reader.shared().is_empty());
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
