//! Minting a root token. Source: AAT §6.1.3.

use marque_identity::{TokenId, UnixSeconds};
use marque_signing::{PublicKey, SigningKey};

use super::wire::{Confirmation, Details, Payload};
use super::{MarqueClaims, is_uri, sign};
use crate::CredentialError;
use crate::limits::{DELEGATION_DEPTH_MAX, LIFETIME_SECONDS_MAX};
use crate::tools::Tools;

/// What a root token shall say.
#[derive(Debug, Clone, PartialEq)]
pub struct RootRequest {
    /// The issuer's URI.
    pub iss: String,
    /// Its identifier.
    pub jti: TokenId,
    /// When it is issued.
    pub iat: UnixSeconds,
    /// When it expires.
    pub exp: UnixSeconds,
    /// How deep it may be delegated; 0: not at all.
    pub del_max_depth: u64,
    /// Whose it is.
    pub holder: PublicKey,
    /// Where it may be presented; none: anywhere.
    pub aud: Option<Vec<String>>,
    /// What it grants.
    pub tools: Tools,
    /// For which task and to whom.
    pub marque: MarqueClaims,
}

/// Mints a root token; refuses to mint what would not verify.
pub fn mint_root(issuer: &SigningKey, request: &RootRequest) -> Result<String, CredentialError> {
    if !is_uri(&request.iss) {
        return Err(CredentialError::IssuerNotUri);
    }
    if request.exp <= request.iat {
        return Err(CredentialError::Life { reason: "a token must expire after it is issued" });
    }
    if request.exp > request.iat.plus(LIFETIME_SECONDS_MAX) {
        return Err(CredentialError::Life { reason: "a token's life is longer than is allowed" });
    }
    if request.del_max_depth > DELEGATION_DEPTH_MAX {
        return Err(CredentialError::Depth { reason: "`del_max_depth` is beyond the limit" });
    }
    if request.jti.0.is_empty() {
        return Err(CredentialError::Claim { name: "jti" });
    }
    let marque = request.marque.clone();
    sign(
        issuer,
        &Payload {
            jti: request.jti.clone(),
            iss: request.iss.clone(),
            iat: request.iat,
            exp: request.exp,
            cnf: Confirmation { jwk: request.holder.jwk() },
            aud: request.aud.clone(),
            del_depth: 0,
            del_max_depth: request.del_max_depth,
            par_hash: None,
            authorization_details: vec![Details::of(request.tools.clone())],
            task: Some(marque.task),
            purpose: Some(marque.purpose),
            agent: Some(marque.agent),
        },
    )
}
