//! The broadcaster's heartbeat: proof that the stream moves, and of what is active at this place in it.

use marque_identity::{Did, Epoch, UnixMillis};
use marque_json::Limits;
use marque_signing::{Compact, JwsError, PublicKey, SigningKey, jws};
use serde::{Deserialize, Serialize};

use crate::SetDigest;
use crate::error::RevocationError;
use crate::signer::{KnownSigner, signer_of};

/// `typ` of a heartbeat.
pub const HEARTBEAT_TYP: &str = "marque-heartbeat+jwt";
/// Ours take 600 bytes.
pub const HEARTBEAT_BYTES_MAX: usize = 2 * 1024;

/// A heartbeat, one message of the directive stream.
///
/// It is published with its predecessor's sequence as a condition, so that it knows its own place: `epoch`. One
/// that stands elsewhere is a replay and counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The broadcaster's DID.
    #[schemars(with = "String")]
    pub iss: Did,
    /// The broadcaster's time in milliseconds since 1970; never goes back. Directives end by it.
    #[schemars(with = "i64")]
    pub t: UnixMillis,
    /// When the broadcaster's clock was last set from the outside. While `boot` stays, `t` runs at the pace of a
    /// monotonic clock, which is what a verifier measures delay by.
    #[schemars(with = "i64")]
    pub boot: UnixMillis,
    /// Counts from 1 in every boot.
    pub n: u64,
    /// The stream sequence it was made for.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// How many directives are active at this place, after those that end by `t` have ended.
    pub active: u64,
    /// Their digest.
    #[schemars(with = "String")]
    pub set_digest: SetDigest,
}

impl Heartbeat {
    /// Signs it.
    pub fn sign(&self, broadcaster: &SigningKey) -> Result<String, RevocationError> {
        Ok(jws::sign_as_did(broadcaster, HEARTBEAT_TYP, self)?)
    }

    /// Verifies one under one of the broadcasters' keys, which must be its `iss`.
    pub fn verify(bytes: &[u8], broadcasters: &[PublicKey]) -> Result<Self, RevocationError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RevocationError::NotUtf8)?;
        let key = signer_of(text, broadcasters)?;
        let heartbeat: Self = jws::verify_json(text, &key, HEARTBEAT_TYP, HEARTBEAT_BYTES_MAX)?;
        heartbeat.of_signer(&key)
    }

    /// The same, for who knows the headers that the broadcasters write. A header that is written otherwise is read.
    pub(crate) fn verify_known(bytes: &[u8], known: &[KnownSigner]) -> Result<Self, RevocationError> {
        if bytes.len() > HEARTBEAT_BYTES_MAX {
            return Err(JwsError::Oversize { bytes: bytes.len(), bytes_max: HEARTBEAT_BYTES_MAX }.into());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RevocationError::NotUtf8)?;
        let compact = Compact::split(text)?;
        let Some(signer) = known.iter().find(|signer| signer.heartbeat_header == compact.header_base64()) else {
            let keys: Vec<PublicKey> = known.iter().map(|signer| signer.key).collect();
            return Self::verify(bytes, &keys);
        };
        compact.check_signature(&signer.key)?;
        let read = marque_json::from_slice(&compact.payload()?, Limits::bytes(HEARTBEAT_BYTES_MAX));
        read.map_err(JwsError::Payload)
            .map_err(RevocationError::from)
            .and_then(|beat: Self| beat.of_signer(&signer.key))
    }

    fn of_signer(self, key: &PublicKey) -> Result<Self, RevocationError> {
        if self.iss != key.did() { Err(RevocationError::SignerUnknown) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(key: &SigningKey) -> Heartbeat {
        Heartbeat {
            iss: key.did(),
            t: UnixMillis(1_800_000_000_000),
            boot: UnixMillis(1_799_999_999_000),
            n: 4,
            epoch: Epoch(9),
            active: 0,
            set_digest: SetDigest::default(),
        }
    }

    #[test]
    fn accepts_a_broadcasters_and_refuses_anothers() {
        let (key, thief) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let signed = heartbeat(&key).sign(&key).unwrap();
        assert_eq!(Heartbeat::verify(signed.as_bytes(), &[key.public()]), Ok(heartbeat(&key)));
        assert_eq!(Heartbeat::verify(signed.as_bytes(), &[thief.public()]), Err(RevocationError::SignerUnknown));
        let posed = heartbeat(&key).sign(&thief).unwrap();
        assert_eq!(
            Heartbeat::verify(posed.as_bytes(), &[key.public(), thief.public()]),
            Err(RevocationError::SignerUnknown)
        );
    }
}
