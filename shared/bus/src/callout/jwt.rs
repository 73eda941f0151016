//! NATS' JWTs: `{"typ":"JWT","alg":"ed25519-nkey"}`, three parts of base64url, issuers written as nkeys.

use marque_json::{JsonError, Limits};
use marque_signing::{PublicKey, SigningKey, base64url, base64url_decode};
use serde::de::DeserializeOwned;

/// What NATS writes; other members are ignored.
#[derive(serde::Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

/// A header is two short words.
const HEADER_BYTES_MAX: usize = 1024;
const HEADER: &[u8] = br#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// Why a JWT was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three parts of base64url.
    #[error("not three parts of base64url")]
    NotCompact,
    /// Another type or algorithm.
    #[error("not a JWT of type `JWT` and algorithm `ed25519-nkey`")]
    Header,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The claims are not what belongs here.
    #[error("the claims are not of the expected kind")]
    Claims(#[source] JsonError),
}

/// A JWT's parts. TRUST: none before [`verify`](Self::verify).
pub(super) struct Jwt<'a> {
    signed: &'a str,
    payload: Vec<u8>,
    signature: [u8; 64],
}

impl<'a> Jwt<'a> {
    /// Splits a token and reads its header.
    pub(super) fn split(token: &'a str) -> Result<Self, JwtError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::NotCompact)?;
        let (header, payload) = signed.split_once('.').filter(|(_, p)| !p.contains('.')).ok_or(JwtError::NotCompact)?;
        let bytes = |part: &str| base64url_decode(part).ok_or(JwtError::NotCompact);
        let header: Header =
            marque_json::from_slice(&bytes(header)?, Limits::bytes(HEADER_BYTES_MAX)).map_err(|_| JwtError::Header)?;
        if header.typ != "JWT" || header.alg != "ed25519-nkey" {
            return Err(JwtError::Header);
        }
        let signature = bytes(signature)?.try_into().map_err(|_| JwtError::NotCompact)?;
        Ok(Self { signed, payload: bytes(payload)?, signature })
    }

    /// The claims, to learn whose key should verify them. TRUST: none.
    pub(super) fn unverified<T: DeserializeOwned>(&self, bytes_max: usize) -> Result<T, JwtError> {
        marque_json::from_slice(&self.payload, Limits::bytes(bytes_max)).map_err(JwtError::Claims)
    }

    /// Whether this key signed it.
    pub(super) fn verify(&self, key: &PublicKey) -> Result<(), JwtError> {
        key.verify(self.signed.as_bytes(), &self.signature).map_err(|_| JwtError::Signature)
    }
}

/// Signs claims, written as JSON.
pub(super) fn sign(key: &SigningKey, claims: &[u8]) -> String {
    let mut token = format!("{}.{}", base64url(HEADER), base64url(claims));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&base64url(&signature));
    token
}
