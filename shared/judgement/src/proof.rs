//! The proof of one action: AAT §8 steps 7a to 7h.

use marque_credential::aat::Claims;
use marque_credential::canonically_equal;
use marque_credential::limits::TOKEN_BYTES_MAX;
use marque_credential::proof::PROOF_TYPE;
use marque_identity::refusal::Code;
use marque_identity::{Digest, TaskId, TokenId, UnixSeconds};
use marque_json::Json;
use marque_signing::jws::json_code;
use marque_signing::{Compact, PartsDigest, base64url_decode};

use crate::chain::{ALGORITHMS, header_refusal};
use crate::refusal::require;
use crate::{Audience, Call, ChainRefusal, VerifiedChain};

/// How far a proof's `iat` may lie from now, in seconds, either way (AAT §9.10, recommended 30).
pub const PROOF_WINDOW_SECONDS: i64 = 30;

/// What an enforcement point asks of a proof.
#[derive(Debug, Clone, Copy)]
pub struct ProofPolicy<'a> {
    /// Who it is.
    pub audience: &'a Audience,
    /// The nonce it demands, if it does.
    pub nonce: Option<&'a str>,
    /// How far the proof's `iat` may lie from now, in seconds.
    pub window_seconds: i64,
}

impl<'a> ProofPolicy<'a> {
    /// No nonce, and the draft's window.
    pub fn new(audience: &'a Audience) -> Self {
        Self { audience, nonce: None, window_seconds: PROOF_WINDOW_SECONDS }
    }
}

/// What a proof says beside the draft's claims. Its signer's word, nothing more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// This key's count of actions.
    pub seq: Option<u64>,
    /// SHA-256 of this key's previous proof.
    pub prev: Option<Digest>,
    /// The task.
    pub task: Option<TaskId>,
    /// The agent's own reason.
    pub why: Option<String>,
    /// What led to this action.
    pub cause: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The manifest that runs.
    pub manifest_hash: Option<Digest>,
}

/// A proof that holds for one chain, one tool and these arguments.
///
/// INVARIANT: only [`check_proof`] and [`decide`](crate::decide) make one. Whether it was used before is step 7i.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProof {
    jti: TokenId,
    iat: UnixSeconds,
    replay_key: Digest,
    claimed: Claimed,
}

impl VerifiedProof {
    /// Its `jti`.
    pub fn jti(&self) -> &TokenId {
        &self.jti
    }

    /// When it was made.
    pub fn iat(&self) -> UnixSeconds {
        self.iat
    }

    /// SHA-256 of the holder's key and the `jti`: what replay memory remembers, here and across a cluster.
    pub fn replay_key(&self) -> &Digest {
        &self.replay_key
    }

    /// What it says beside the draft's claims.
    pub fn claimed(&self) -> &Claimed {
        &self.claimed
    }
}

/// Whether the proof holds for the chain and the call: steps 7a to 7h.
pub fn check_proof(
    chain: &VerifiedChain,
    call: &Call<'_>,
    proof: &str,
    policy: &ProofPolicy<'_>,
    now: UnixSeconds,
) -> Result<VerifiedProof, ChainRefusal> {
    let payload = open(chain, proof)?;
    judge(chain, call, &parse(&payload)?, policy, now)
}

/// 7a and 7b up to the parser: header, then the leaf holder's signature. Gives the payload's bytes.
pub(crate) fn open(chain: &VerifiedChain, proof: &str) -> Result<Vec<u8>, ChainRefusal> {
    // a: the header. A proof is no larger than a token.
    require(proof.len() <= TOKEN_BYTES_MAX, "7a", Code::Oversize, "the proof is larger than is allowed")?;
    let compact =
        Compact::split(proof).map_err(|error| ChainRefusal::at("7a", error.code(), format!("the proof is {error}")))?;
    compact
        .check_header(PROOF_TYPE, ALGORITHMS)
        .map_err(|error| header_refusal("7a", &error, || base64url_decode(compact.header_base64())))?;
    // b: the signature, on the received bytes (I6).
    compact.check_signature(chain.leaf().holder_key()).map_err(|_| {
        ChainRefusal::at("7b", Code::SignatureInvalid, "the proof's signature does not verify under the leaf's key")
    })?;
    compact.payload().map_err(|error| ChainRefusal::at("7b", error.code(), "the proof's payload is not base64url"))
}

/// The rest of 7b: parse, no member twice.
pub(crate) fn parse(payload: &[u8]) -> Result<Claims<'_>, ChainRefusal> {
    Claims::parse(payload).map_err(|error| ChainRefusal::at("7b", json_code(&error), error.to_string()))
}

/// 7c to 7h.
pub(crate) fn judge(
    chain: &VerifiedChain,
    call: &Call<'_>,
    claims: &Claims<'_>,
    policy: &ProofPolicy<'_>,
    now: UnixSeconds,
) -> Result<VerifiedProof, ChainRefusal> {
    // c: claims present, each of its kind, and made for this very leaf.
    let text = |name: &'static str| {
        claims
            .non_empty(name)
            .ok_or_else(|| ChainRefusal::at("7c", Code::ProofMalformed, format!("`{name}` is not a non-empty string")))
    };
    let (jti, aat_id, aat_hash, aat_tool) = (text("jti")?, text("aat_id")?, text("aat_hash")?, text("aat_tool")?);
    let iat = claims
        .numeric_date("iat")
        .ok_or_else(|| ChainRefusal::at("7c", Code::ProofMalformed, "`iat` is not an integer of seconds"))?;
    let hta = claims
        .get("hta")
        .filter(|hta| hta.as_object().is_some())
        .ok_or_else(|| ChainRefusal::at("7c", Code::ProofMalformed, "`hta` is not an object"))?;
    let leaf = chain.leaf();
    require(aat_id == leaf.jti().0, "7c", Code::ProofTokenMismatch, "`aat_id` is not the leaf's `jti`")?;
    require(aat_hash == leaf.hash(), "7c", Code::ProofTokenMismatch, "`aat_hash` is not the leaf's digest")?;
    // d: handed to us.
    match claims.get("aat_aud") {
        Some(aud) => {
            let named = aud.as_str().is_some_and(|aud| policy.audience.is(aud));
            require(named, "7d", Code::AudienceMismatch, "`aat_aud` names another enforcement point")?;
        }
        None => {
            let free = !policy.audience.proof_required;
            require(free, "7d", Code::AudienceMismatch, "the proof has no `aat_aud`, which is demanded here")?;
        }
    }
    // e: this tool; f: these arguments.
    require(aat_tool == call.tool, "7e", Code::ProofToolMismatch, "`aat_tool` is not the tool that is called")?;
    let same = canonically_equal(hta, call.args);
    require(same, "7f", Code::ProofArgumentsMismatch, "`hta` is not the arguments that are sent")?;
    // g: now.
    let window = policy.window_seconds;
    let timely = iat >= now.plus(window.saturating_neg()) && iat <= now.plus(window);
    require(timely, "7g", Code::ProofOutOfWindow, "the proof's `iat` lies outside the window")?;
    // h: our nonce.
    if let Some(nonce) = policy.nonce {
        let ours = claims.text("nonce") == Some(nonce);
        require(ours, "7h", Code::NonceMismatch, "the proof does not carry the nonce that is demanded here")?;
    }
    let mut replay_key = PartsDigest::default();
    replay_key.take(leaf.holder_key().bytes());
    replay_key.take(jti.as_bytes());
    Ok(VerifiedProof { jti: TokenId(jti.to_owned()), iat, replay_key: replay_key.finish(), claimed: claimed(claims) })
}

/// What the signer says beside the draft's claims; one that is not of its kind counts as not said.
pub(crate) fn claimed(claims: &Claims<'_>) -> Claimed {
    let text = |name| claims.text(name).map(str::to_owned);
    Claimed {
        seq: claims.natural("seq"),
        prev: claims.text("prev").and_then(|prev| prev.parse().ok()),
        task: claims.text("task").and_then(|task| task.parse().ok()),
        why: text("why"),
        cause: text("cause"),
        traceparent: text("traceparent"),
        manifest_hash: claims.text("manifest_hash").and_then(|hash| hash.parse().ok()),
    }
}

/// Whether arguments are an object, the only form that a call has.
pub(crate) fn is_call_shaped(args: &Json<'_>) -> bool {
    args.as_object().is_some()
}
