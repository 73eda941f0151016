//! The claims of a token as they are written. Reading goes through [`Claims`](super::Claims), step by step.

use marque_identity::{TaskId, TokenId, UnixSeconds};
use marque_signing::Jwk;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AgentClaim, DETAILS_TYPE};
use crate::tools::Tools;

/// The payload of a root or derived token (AAT §3.2), with our claims of a root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Payload {
    /// Unique token identifier, UUIDv7.
    #[schemars(with = "String")]
    pub jti: TokenId,
    /// Root: the issuer's URI. Derived: the thumbprint URI of the key that signed it.
    pub iss: String,
    /// When it was issued, in seconds.
    #[schemars(with = "i64")]
    pub iat: UnixSeconds,
    /// When it expires, in seconds.
    #[schemars(with = "i64")]
    pub exp: UnixSeconds,
    /// The holder's key.
    pub cnf: Confirmation,
    /// Where it may be presented; absent: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Vec<String>>,
    /// 0 for a root, else its parent's plus one.
    pub del_depth: u64,
    /// How deep its descendants may go.
    pub del_max_depth: u64,
    /// Derived: SHA-256 of the parent's signing input, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub par_hash: Option<String>,
    /// The grant.
    pub authorization_details: Vec<Details>,
    /// Root, ours: the task it was issued for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub task: Option<TaskId>,
    /// Root, ours: what for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Root, ours: whom it was issued to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentClaim>,
}

/// `cnf` (RFC 7800).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Confirmation {
    /// The public key.
    #[schemars(with = "JwkSchema")]
    pub jwk: Jwk,
}

/// A public Ed25519 key (RFC 8037), for schemas.
#[derive(JsonSchema)]
#[schemars(rename = "Jwk")]
#[expect(dead_code, reason = "only its schema is used")]
struct JwkSchema {
    /// Always `OKP`.
    kty: String,
    /// Always `Ed25519`.
    crv: String,
    /// The 32 bytes in base64url.
    x: String,
}

/// The entry of `authorization_details` that holds the tools (AAT §3.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Details {
    /// Always `attenuating_agent_token`.
    pub r#type: String,
    /// What may be called, and with what.
    pub tools: Tools,
}

impl Details {
    /// The entry of a grant.
    pub fn of(tools: Tools) -> Self {
        Self { r#type: DETAILS_TYPE.to_owned(), tools }
    }
}
