//! What a verifier answers: that it is there, and that it has applied a directive.

use marque_identity::{Did, Epoch, UnixMillis};
use marque_signing::{PublicKey, SigningKey, jws};
use serde::{Deserialize, Serialize};

use crate::error::RevocationError;
use crate::{DirectiveId, SetDigest};

/// `typ` of an ack.
pub const ACK_TYP: &str = "marque-ack+jwt";
/// Ours take 600 bytes.
pub const ACK_BYTES_MAX: usize = 2 * 1024;

/// Why it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckKind {
    /// On joining and every 5 s: the roster.
    Presence,
    /// On applying a directive.
    Applied,
}

/// An ack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The DID of the key that signs it.
    #[schemars(with = "String")]
    pub verifier: Did,
    /// Why it is sent.
    pub kind: AckKind,
    /// The directive that was applied; absent on presence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub id: Option<DirectiveId>,
    /// The sequence up to which the verifier holds everything.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// The digest of its committed active set.
    #[schemars(with = "String")]
    pub set_digest: SetDigest,
    /// The verifier's time; for people, nothing is measured by it.
    #[schemars(with = "i64")]
    pub iat: UnixMillis,
}

impl Ack {
    /// Signs it; the key is `verifier`'s.
    pub fn sign(&self, verifier: &SigningKey) -> Result<String, RevocationError> {
        self.check()?;
        Ok(jws::sign_as_did(verifier, ACK_TYP, self)?)
    }

    /// Verifies one: signed by the key that it names. The caller asks whether that key is a verifier's, before
    /// (`claimed` is the DID in the bus subject, or the roster's).
    pub fn verify(bytes: &[u8], claimed: &PublicKey) -> Result<Self, RevocationError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RevocationError::NotUtf8)?;
        let ack: Self = jws::verify_json(text, claimed, ACK_TYP, ACK_BYTES_MAX)?;
        if ack.verifier != claimed.did() {
            return Err(RevocationError::SignerUnknown);
        }
        ack.check()?;
        Ok(ack)
    }

    fn check(&self) -> Result<(), RevocationError> {
        if (self.kind == AckKind::Applied) != self.id.is_some() {
            return Err(RevocationError::Shape { rule: "an applied ack names a directive, and presence none" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_verifiers_own_and_refuses_anothers() {
        let (key, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let mut ack = Ack {
            verifier: key.did(),
            kind: AckKind::Presence,
            id: None,
            epoch: Epoch(3),
            set_digest: SetDigest::default(),
            iat: UnixMillis(5),
        };
        let signed = ack.sign(&key).unwrap();
        assert_eq!(Ack::verify(signed.as_bytes(), &key.public()), Ok(ack.clone()));
        assert!(Ack::verify(signed.as_bytes(), &other.public()).is_err());
        let posed = ack.sign(&other).unwrap();
        assert_eq!(Ack::verify(posed.as_bytes(), &other.public()), Err(RevocationError::SignerUnknown));
        ack.kind = AckKind::Applied;
        assert!(ack.sign(&key).is_err());
    }
}
