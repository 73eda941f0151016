//! The signed request for a directive, and what the broadcaster answers.

use marque_identity::{Did, Digest, Epoch, TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_signing::{Compact, JwsError, Role, SigningKey, jws, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::RevocationError;
use crate::{DirectiveId, Op, Receipt, SetDigest, Target};

/// `typ` of a request.
pub const REQUEST_TYP: &str = "marque-directive-request+jwt";
/// The bus carries 64 KiB; this leaves room for headers. A longer chain is shown by an operator's request, which
/// needs none.
pub const REQUEST_BYTES_MAX: usize = 60_000;
/// A `jti` is an index key of the outbox.
const JTI_BYTES_MAX: usize = 128;

/// When the answer comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// When the directive is durable.
    #[default]
    Durable,
    /// When every verifier present has applied it, or the broadcaster has waited long enough; with a receipt.
    Applied,
}

/// A request for a directive, signed by the one who asks. `jti` is the key of idempotency: the same `jti` gets the
/// same answer, and never a second directive; all but `iat` and `wait` must be the same, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectiveRequest {
    /// When it was signed; ± 30 s of the broadcaster's clock, unless its `jti` is known already.
    #[schemars(with = "i64")]
    pub iat: UnixSeconds,
    /// Key of idempotency.
    pub jti: String,
    /// The trust domain.
    #[schemars(with = "String")]
    pub aud: TrustDomain,
    /// What is asked for.
    pub op: Op,
    /// To what. May be left out of a resume or lift, which take the target of what they end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// When it shall end by itself, in seconds since 1970: suspend and narrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub until: Option<UnixSeconds>,
    /// The constraints of a narrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow: Option<Value>,
    /// The directive that a resume or lift ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub lifts: Option<DirectiveId>,
    /// For people.
    pub reason: String,
    /// Root first: shows that the requester holds an ancestor of the target token, or the token itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Vec<String>>,
    /// When the answer comes.
    #[serde(default)]
    pub wait: Wait,
}

impl DirectiveRequest {
    /// Signs it as the one who asks.
    pub fn sign(&self, requester: &SigningKey) -> Result<String, RevocationError> {
        Ok(jws::sign_as_did(requester, REQUEST_TYP, self)?)
    }

    /// SHA-256 of what is asked for: everything but when it was signed and when the answer shall come. Whoever asks
    /// again does so later, and signs anew; another target or reason under the same `jti` is another request.
    pub fn asked(&self) -> Result<Digest, RevocationError> {
        let what = Self { iat: UnixSeconds(0), wait: Wait::default(), ..self.clone() };
        Ok(sha256(&marque_json::to_canonical(&what).map_err(RevocationError::Json)?))
    }

    /// Opens a request: who signed it, and what it says. Whether that one may ask is not looked at here.
    pub fn open(bytes: &[u8]) -> Result<(Did, Self), RevocationError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RevocationError::NotUtf8)?;
        if text.len() > REQUEST_BYTES_MAX {
            let error = JwsError::Oversize { bytes: text.len(), bytes_max: REQUEST_BYTES_MAX };
            return Err(error.into());
        }
        let signer = jws::claimed_signer(text)?;
        let request: Self = jws::verify_json(text, &signer, REQUEST_TYP, REQUEST_BYTES_MAX)?;
        check_canonical(text)?;
        if request.jti.is_empty() || request.jti.len() > JTI_BYTES_MAX || request.jti.chars().any(char::is_control) {
            return Err(RevocationError::Shape { rule: "a `jti` is 1 to 128 bytes without control characters" });
        }
        Ok((signer.did(), request))
    }
}

/// A request is written canonically. So a number that would not survive the way into the directive as it is written
/// (AAT §3.4) is refused here, where its text is still to be seen.
fn check_canonical(token: &str) -> Result<(), RevocationError> {
    let payload = Compact::split(token)?.payload()?;
    let json = marque_json::parse(&payload, Limits::bytes(REQUEST_BYTES_MAX));
    let json = json.map_err(|error| RevocationError::Token(JwsError::Payload(error)))?;
    if json.canonical() == payload { Ok(()) } else { Err(RevocationError::NotCanonical) }
}

/// The answer to a request: the directive is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DirectiveReply {
    /// The directive's id.
    #[schemars(with = "String")]
    pub id: DirectiveId,
    /// Its sequence in the directive stream.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// The directive as signed.
    pub directive: String,
    /// Whether this `jti` had been answered before.
    pub duplicate: bool,
    /// Who has applied it: when the request waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// What the status endpoint is asked. All of it may be left out; an empty payload asks for the first page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {
    /// List active directives with a greater sequence than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    pub after: Option<Epoch>,
}

/// What the status endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StatusReply {
    /// The last sequence that the broadcaster has written or read.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// How many directives are active.
    pub active: u64,
    /// Their digest.
    #[schemars(with = "String")]
    pub set_digest: SetDigest,
    /// Accepted requests that are not yet in the stream.
    pub pending: u64,
    /// Who has been heard of in the last 15 s.
    pub verifiers: Vec<VerifierStatus>,
    /// A page of the active directives, by sequence.
    pub directives: Vec<DirectiveStatus>,
    /// Whether there are more: ask again with `after` = the last one's epoch.
    pub more: bool,
}

/// One on the roster: a verifier, a tool host or a gatekeeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct VerifierStatus {
    /// Its DID.
    #[schemars(with = "String")]
    pub verifier: Did,
    /// What it is: `verifier`, `host` or `gatekeeper`.
    #[schemars(with = "String")]
    pub role: Role,
    /// The sequence up to which it holds everything, by its last ack.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// How long ago it was heard of.
    pub heard_ms_ago: u64,
}

/// A directive in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DirectiveStatus {
    /// Its id.
    #[schemars(with = "String")]
    pub id: DirectiveId,
    /// Its sequence.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// What it does.
    pub op: Op,
    /// To what.
    pub target: Target,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub until: Option<UnixSeconds>,
}
