//! A decentralized identifier of an agent or a service, in the `did:key` method for Ed25519.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base58::{self, Fault};

/// Multicodec prefix of an Ed25519 public key (`ed25519-pub`, 0xed as a varint).
const ED25519_PUB: [u8; 2] = [0xed, 0x01];
const METHOD: &str = "did:key:";
/// `did:key:` + `z` + base58btc of 34 bytes: 47 characters of base58 at the most.
const DID_BYTES_MAX: usize = 64;

/// The `did:key` of an Ed25519 key. Source: W3C CCG *did:key Method*.
///
/// Holds the 32 bytes; whether they are a point on the curve is checked where a key is made of them
/// (`marque-signing`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did([u8; 32]);

/// Why a text is no `did:key` of an Ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// Does not begin with `did:key:z`.
    #[error("not a did:key in base58btc")]
    Method,
    /// The part behind `z` is not base58btc, or is far too long.
    #[error("not base58btc")]
    Encoding,
    /// The multicodec is not `ed25519-pub`, or the key is not 32 bytes.
    #[error("not an Ed25519 public key")]
    KeyType,
}

impl Did {
    /// The DID of a public key's 32 bytes.
    pub fn from_key_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The public key's 32 bytes.
    pub fn key_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The multibase part alone (`z6Mk…`): letters and digits, so that it can be one token of a bus subject.
    pub fn multibase(&self) -> String {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&ED25519_PUB);
        bytes[2..].copy_from_slice(&self.0);
        let mut text = String::with_capacity(DID_BYTES_MAX);
        text.push('z');
        base58::encode_onto(&mut text, &bytes);
        text
    }

    /// The DID whose [`multibase`](Self::multibase) part this is.
    pub fn from_multibase(text: &str) -> Result<Self, DidError> {
        let encoded = text.strip_prefix('z').ok_or(DidError::Method)?;
        if encoded.len() > DID_BYTES_MAX {
            return Err(DidError::Encoding);
        }
        let bytes = base58::decode(encoded.as_bytes()).map_err(|fault| match fault {
            Fault::Character => DidError::Encoding,
            Fault::Length => DidError::KeyType,
        })?;
        let key = bytes.strip_prefix(&ED25519_PUB).ok_or(DidError::KeyType)?;
        Ok(Self(key.try_into().map_err(|_| DidError::KeyType)?))
    }

    /// The DID URL of the only verification method: `did:key:z6Mk…#z6Mk…`. Used as `kid`.
    pub fn url(&self) -> String {
        let multibase = self.multibase();
        format!("{METHOD}{multibase}#{multibase}")
    }

    /// The DID in front of a DID URL's fragment, which must name the same key.
    pub fn from_url(url: &str) -> Result<Self, DidError> {
        let (did, fragment) = url.split_once('#').ok_or(DidError::Method)?;
        let did: Self = did.parse()?;
        if Self::from_multibase(fragment)? == did { Ok(did) } else { Err(DidError::KeyType) }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(METHOD)?;
        f.write_str(&self.multibase())
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Did {
    type Err = DidError;
    fn from_str(text: &str) -> Result<Self, DidError> {
        Self::from_multibase(text.strip_prefix(METHOD).ok_or(DidError::Method)?)
    }
}

impl Serialize for Did {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Did {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(key: [u8; 32]) {
            let did = Did::from_key_bytes(key);
            prop_assert_eq!(did.to_string().parse::<Did>().unwrap(), did);
            prop_assert_eq!(Did::from_url(&did.url()).unwrap(), did);
            prop_assert!(did.multibase().starts_with("z6Mk"));
        }

        #[test]
        fn refuses_noise_without_panic(text in "(did:key:)?z?[ -~]{0,80}") {
            if let Ok(did) = text.parse::<Did>() { prop_assert_eq!(did.to_string(), text); }
        }
    }

    #[test]
    fn refuses_another_key_type() {
        // An X25519 key from the did:key specification.
        assert_eq!("did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc".parse::<Did>(), Err(DidError::KeyType));
    }
}
