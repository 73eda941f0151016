//! The proof of one action (AAT §7.2), with our claims: `seq`, `prev`, `task`, `why`, `cause`, `traceparent`,
//! `manifest_hash`.

use marque_identity::{Digest, TaskId, TokenId, UnixSeconds};
use marque_json::Json;
use marque_signing::{Compact, SigningKey, base64url, jws};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::CredentialError;
use crate::aat::Claims;
use crate::limits::TOKEN_BYTES_MAX;

/// `typ` of a proof (AAT §3.5).
pub const PROOF_TYPE: &str = "aat-pop+jwt";

/// What a proof shall say.
#[derive(Debug, Clone)]
pub struct ProofRequest<'a> {
    /// Fresh for each proof.
    pub jti: TokenId,
    /// Now.
    pub iat: UnixSeconds,
    /// The tool that is called.
    pub tool: &'a str,
    /// Its arguments, an object.
    pub args: &'a Json<'a>,
    /// To whom the proof is handed; none where it may be forwarded.
    pub aud: Option<String>,
    /// The enforcement point's nonce, if it demands one.
    pub nonce: Option<String>,
    /// This key's count of actions.
    pub seq: u64,
    /// SHA-256 of this key's previous proof.
    pub prev: Option<Digest>,
    /// The task.
    pub task: Option<TaskId>,
    /// The agent's own reason; recorded as claimed.
    pub why: Option<String>,
    /// The `jti` of the action or message that led to this one.
    pub cause: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The manifest that the root names: the agent repeats that this is still what runs.
    pub manifest_hash: Option<Digest>,
}

/// The payload of a proof as it is written; canonical JSON on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofPayload {
    /// Fresh for each proof.
    #[schemars(with = "String")]
    pub jti: TokenId,
    /// When it was made, in seconds.
    #[schemars(with = "i64")]
    pub iat: UnixSeconds,
    /// `jti` of the leaf.
    pub aat_id: String,
    /// SHA-256 of the leaf's signing input, in base64url.
    pub aat_hash: String,
    /// The tool that is called.
    pub aat_tool: String,
    /// To whom the proof is handed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aat_aud: Option<String>,
    /// The enforcement point's nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The arguments.
    pub hta: serde_json::Map<String, serde_json::Value>,
    /// This key's count of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// SHA-256 of this key's previous proof, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub prev: Option<Digest>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub task: Option<TaskId>,
    /// The agent's own reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What led to this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The manifest that the root names, hexadecimal. One that differs from the root's is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub manifest_hash: Option<Digest>,
}

/// Signs a proof of one action with the leaf's holder key. The payload is canonical JSON.
///
/// Refuses a key that does not hold the leaf, and arguments that are no object or hold an inadmissible number.
pub fn make_proof(holder: &SigningKey, leaf: &str, request: &ProofRequest<'_>) -> Result<String, CredentialError> {
    if leaf.len() > TOKEN_BYTES_MAX {
        return Err(CredentialError::Oversize { bytes: leaf.len(), bytes_max: TOKEN_BYTES_MAX });
    }
    let compact = Compact::split(leaf)?;
    let payload = compact.payload()?;
    let claims = Claims::parse(&payload).map_err(CredentialError::Json)?;
    let leaf_id = claims.non_empty("jti").ok_or(CredentialError::Claim { name: "jti" })?;
    if claims.holder().map_err(|_| CredentialError::Claim { name: "cnf" })? != holder.public() {
        return Err(CredentialError::NotHolder);
    }
    if request.args.as_object().is_none() || !request.args.is_admissible() {
        return Err(CredentialError::Claim { name: "hta" });
    }

    // Members in the order of RFC 8785; `hta` keeps its numbers as written until their canonical form.
    let mut out = Vec::with_capacity(512);
    let hash = base64url(&compact.signing_digest().0);
    text(&mut out, "aat_aud", request.aud.as_deref());
    text(&mut out, "aat_hash", Some(&hash));
    text(&mut out, "aat_id", Some(leaf_id));
    text(&mut out, "aat_tool", Some(request.tool));
    text(&mut out, "cause", request.cause.as_deref());
    name(&mut out, "hta");
    request.args.write_canonical(&mut out);
    name(&mut out, "iat");
    out.extend_from_slice(request.iat.0.to_string().as_bytes());
    text(&mut out, "jti", Some(&request.jti.0));
    text(&mut out, "manifest_hash", request.manifest_hash.map(|hash| hash.to_string()).as_deref());
    text(&mut out, "nonce", request.nonce.as_deref());
    text(&mut out, "prev", request.prev.map(|prev| prev.to_string()).as_deref());
    name(&mut out, "seq");
    out.extend_from_slice(request.seq.to_string().as_bytes());
    text(&mut out, "task", request.task.as_ref().map(TaskId::as_str));
    text(&mut out, "traceparent", request.traceparent.as_deref());
    text(&mut out, "why", request.why.as_deref());
    out.push(b'}');
    let proof = jws::sign(holder, PROOF_TYPE, None, &out);
    if proof.len() > TOKEN_BYTES_MAX {
        return Err(CredentialError::Oversize { bytes: proof.len(), bytes_max: TOKEN_BYTES_MAX });
    }
    Ok(proof)
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    Json::String(name.into()).write_canonical(out);
    out.push(b':');
}

fn text(out: &mut Vec<u8>, member: &str, value: Option<&str>) {
    if let Some(value) = value {
        name(out, member);
        Json::String(value.into()).write_canonical(out);
    }
}

/// What `prev` names: the digest of a whole proof.
pub fn proof_digest(proof: &str) -> Digest {
    marque_signing::sha256(proof.as_bytes())
}
