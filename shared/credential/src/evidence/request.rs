//! What an agent sends its attestor: proof that it holds the key which the evidence is to be about.

use marque_identity::{TokenId, TrustDomain, UnixSeconds};
use marque_signing::{JwsError, PublicKey, SigningKey, jws};
use serde::{Deserialize, Serialize};

/// `typ` of a request for evidence.
pub const ATTEST_REQUEST_TYPE: &str = "marque-attest+jwt";
/// A line to the attestor, its newline not counted: a signed request has about 500 bytes.
pub const ATTEST_LINE_BYTES_MAX: usize = 4 * 1024;

/// A request for evidence, signed by the agent's key. Its signer is whom the evidence will be about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestRequest {
    /// The trust domain that the evidence is for.
    pub aud: TrustDomain,
    /// When it was signed, in seconds.
    pub iat: UnixSeconds,
    /// UUIDv7.
    pub jti: TokenId,
}

impl AttestRequest {
    /// Signs it; `kid` is the key's own DID URL.
    pub fn sign(&self, agent: &SigningKey) -> Result<String, JwsError> {
        jws::sign_as_did(agent, ATTEST_REQUEST_TYPE, self)
    }

    /// Reads one, and the key that signed it. Any key may ask: who asks proves that it holds the key, no more. TRUST:
    /// time and audience are the caller's to judge.
    pub fn open(token: &str) -> Result<(Self, PublicKey), JwsError> {
        if token.len() > ATTEST_LINE_BYTES_MAX {
            return Err(JwsError::Oversize { bytes: token.len(), bytes_max: ATTEST_LINE_BYTES_MAX });
        }
        let signer = jws::claimed_signer(token)?;
        Ok((jws::verify_json(token, &signer, ATTEST_REQUEST_TYPE, ATTEST_LINE_BYTES_MAX)?, signer))
    }
}
