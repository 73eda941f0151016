//! An agent's key as a NATS user nkey: the same 32 bytes in another writing.

use data_encoding::BASE32_NOPAD;
use marque_identity::Code;
use zeroize::Zeroizing;

use crate::key::{PublicKey, SigningKey};

/// Prefix of a user's public nkey: `U`.
const USER: u8 = 20 << 3;
/// Prefix of a seed: `S`.
const SEED: u8 = 18 << 3;
/// A NATS server's nonce has 11 to 22 characters; a JWT's signing input has far more, and a dot.
const NONCE_BYTES_MAX: usize = 64;

/// A nonce that is shaped like something else we sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a nonce has at most {NONCE_BYTES_MAX} bytes and no dot; this one could be a token's signing input")]
pub struct NonceRefused;

impl NonceRefused {
    /// The outward code.
    pub fn code(&self) -> Code {
        Code::Malformed
    }
}

/// The public nkey, `U…`.
pub fn user_public(key: &PublicKey) -> String {
    let mut bytes = vec![USER];
    bytes.extend_from_slice(key.bytes());
    encode(bytes)
}

/// The nkey seed, `SU…`, for handing to a NATS client in the same process. TRUST: whoever holds it is this key.
pub fn user_seed(key: &SigningKey) -> Zeroizing<String> {
    let mut bytes = vec![SEED | USER >> 5, (USER & 31) << 3];
    bytes.extend_from_slice(key.seed().as_ref());
    Zeroizing::new(encode(bytes))
}

/// Signs a NATS connect nonce. Refuses one that could be a JWT's signing input, so that a hostile server can't
/// have a token signed.
pub fn sign_nonce(key: &SigningKey, nonce: &[u8]) -> Result<[u8; 64], NonceRefused> {
    if nonce.len() > NONCE_BYTES_MAX || nonce.contains(&b'.') {
        return Err(NonceRefused);
    }
    Ok(key.sign(nonce))
}

fn encode(mut bytes: Vec<u8>) -> String {
    let check = crc16(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

/// CRC-16/XMODEM, as nkeys use it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_nkeys_as_nats_does() {
        let key = SigningKey::from_seed(&[1; 32]);
        let public = user_public(&key.public());
        assert!(public.starts_with('U') && public.len() == 56, "{public}");
        let seed = user_seed(&key);
        assert!(seed.starts_with("SU") && seed.len() == 58);
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn refuses_a_nonce_shaped_like_a_token() {
        let key = SigningKey::from_seed(&[1; 32]);
        assert!(sign_nonce(&key, b"abcdefghijk").is_ok());
        assert!(sign_nonce(&key, &[b'a'; NONCE_BYTES_MAX]).is_ok());
        assert_eq!(sign_nonce(&key, &[b'a'; NONCE_BYTES_MAX + 1]), Err(NonceRefused));
        assert_eq!(sign_nonce(&key, b"eyJ0eXAi.e30"), Err(NonceRefused));
    }
}
