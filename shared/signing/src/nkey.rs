//! NATS nkeys: an Ed25519 key's 32 bytes in another writing, with a letter that says whose it is.

use data_encoding::BASE32_NOPAD;
use marque_identity::Code;
use zeroize::Zeroizing;

use crate::key::{PublicKey, SigningKey};

/// Prefix of a seed: `S`.
const SEED: u8 = 18 << 3;
/// Prefix of a public xkey, `X`: no Ed25519 key, hence none of the kinds below.
pub(crate) const CURVE: u8 = 23 << 3;
/// A prefix byte, 32 bytes and a check of two, in base32.
const PUBLIC_CHARS: usize = 56;

/// Whose key it is: the first letter of its public nkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `A`: an account; it signs users.
    Account,
    /// `N`: a server.
    Server,
    /// `U`: a user.
    User,
}

impl Kind {
    fn prefix(self) -> u8 {
        match self {
            Self::Account => 0,
            Self::Server => 13 << 3,
            Self::User => 20 << 3,
        }
    }
}

/// A text that is no public nkey of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public nkey of that kind")]
pub struct NkeyError;
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

/// The public nkey of a kind: 56 characters.
pub fn public(kind: Kind, key: &PublicKey) -> String {
    encode(kind.prefix(), key.bytes())
}

/// The public nkey of a user, `U…`.
pub fn user_public(key: &PublicKey) -> String {
    public(Kind::User, key)
}

/// The key that a public nkey of this kind writes. Refuses a wrong check, another kind, and what is no key.
pub fn parse_public(kind: Kind, text: &str) -> Result<PublicKey, NkeyError> {
    PublicKey::from_bytes(&decode(kind.prefix(), text)?).map_err(|_| NkeyError)
}

/// The 32 bytes behind this prefix. Refuses a wrong check and another prefix.
pub(crate) fn decode(prefix: u8, text: &str) -> Result<[u8; 32], NkeyError> {
    if text.len() != PUBLIC_CHARS {
        return Err(NkeyError);
    }
    let bytes = BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| NkeyError)?;
    let (body, check) = bytes.split_last_chunk::<2>().ok_or(NkeyError)?;
    let (first, key) = body.split_first().ok_or(NkeyError)?;
    if *first != prefix || crc16(body).to_le_bytes() != *check {
        return Err(NkeyError);
    }
    key.try_into().map_err(|_| NkeyError)
}

/// 32 bytes behind this prefix.
pub(crate) fn encode(prefix: u8, key: &[u8; 32]) -> String {
    let mut bytes = vec![prefix];
    bytes.extend_from_slice(key);
    checked(bytes)
}

/// The nkey seed, `SU…`, for handing to a NATS client in the same process. TRUST: whoever holds it is this key.
pub fn user_seed(key: &SigningKey) -> Zeroizing<String> {
    let user = Kind::User.prefix();
    let mut bytes = vec![SEED | user >> 5, (user & 31) << 3];
    bytes.extend_from_slice(key.seed().as_ref());
    Zeroizing::new(checked(bytes))
}

/// Signs a NATS connect nonce. Refuses one that could be a JWT's signing input, so that a hostile server can't
/// have a token signed.
pub fn sign_nonce(key: &SigningKey, nonce: &[u8]) -> Result<[u8; 64], NonceRefused> {
    if nonce.len() > NONCE_BYTES_MAX || nonce.contains(&b'.') {
        return Err(NonceRefused);
    }
    Ok(key.sign(nonce))
}

/// The text of bytes with their check behind them.
fn checked(mut bytes: Vec<u8>) -> String {
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
    fn reads_what_it_wrote_and_no_other_kind() {
        let key = SigningKey::from_seed(&[1; 32]).public();
        for (kind, letter) in [(Kind::Account, 'A'), (Kind::Server, 'N'), (Kind::User, 'U')] {
            let text = public(kind, &key);
            assert!(text.starts_with(letter), "{text}");
            assert_eq!(parse_public(kind, &text), Ok(key));
            for other in [Kind::Account, Kind::Server, Kind::User].into_iter().filter(|other| *other != kind) {
                assert_eq!(parse_public(other, &text), Err(NkeyError));
            }
            for at in 0..text.len() {
                let mut touched = text.clone().into_bytes();
                touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
                let touched = String::from_utf8(touched).unwrap();
                assert_eq!(parse_public(kind, &touched), Err(NkeyError), "{touched}");
            }
        }
        let small_order = encode(Kind::User.prefix(), &[0; 32]);
        for text in ["", "U", &"A".repeat(56), &"a".repeat(56), &small_order] {
            assert_eq!(parse_public(Kind::User, text), Err(NkeyError), "{text}");
        }
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
