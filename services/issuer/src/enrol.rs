//! Enrolling: a join token and a proven key for an identity credential.

use marque_credential::{IdentityClaims, Runtime};
use marque_identity::{Code, Refusal, TokenId, UnixSeconds};
use marque_signing::Jwk;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::blueprint::MODEL_BYTES_MAX;
use crate::commitment::{About, Commitment, Matter};
use crate::join::JoinToken;
use crate::request::{SignedRequest, read};
use crate::rules::Rules;

/// How the runtime is known: the agent says so, and holds an operator's join token. Nothing measured it.
const ASSURANCE: &str = "claimed";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolMatter {
    #[serde(rename = "iat")]
    _iat: IgnoredAny,
    #[serde(rename = "jti")]
    _jti: IgnoredAny,
    #[serde(rename = "aud")]
    _aud: IgnoredAny,
    join_token: String,
    jwk: Jwk,
    runtime: RuntimeClaim,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeClaim {
    model_id: String,
    #[serde(default)]
    manifest_hash: Option<marque_identity::Digest>,
}

/// Examines an enrolment; what it gives is not signed yet.
///
/// 1. the key asked for is the key that signed
/// 2. an operator's join token for this domain, in its time
/// 3. its blueprint exists and allows the model
///
/// Absent: whether the join token was used (the store says), whether a directive stands against it (the desk asks).
pub(crate) fn examine(request: &SignedRequest, rules: &Rules, now: UnixSeconds) -> Result<Commitment, Refusal> {
    let matter: EnrolMatter = read(request.payload())?;

    // 1
    let jwk = matter.jwk.public_key().map_err(|error| Refusal::new(error.code(), format!("`jwk`: {error}")))?;
    if jwk != *request.agent() {
        let message = "`jwk` is not the key that signed the request";
        return Err(Refusal::new(Code::PossessionUnproven, message));
    }
    // 2
    let join = JoinToken::verify(&matter.join_token, &rules.bundle, now)?;
    // 3
    let RuntimeClaim { model_id, manifest_hash } = matter.runtime;
    if model_id.is_empty() || model_id.len() > MODEL_BYTES_MAX {
        let message = format!("`runtime.model_id` is not 1 to {MODEL_BYTES_MAX} bytes");
        return Err(Refusal::new(Code::ClaimsMalformed, message));
    }
    let blueprint = rules.blueprints.get(join.blueprint())?;
    blueprint.allow_model(&model_id)?;

    let agent = request.agent().did();
    Ok(Commitment {
        about: About {
            agent,
            blueprint: blueprint.name.clone(),
            manifest: manifest_hash,
            task: None,
            credential: None,
        },
        join: Some(join.used_by(&agent, now)),
        matter: Matter::Credential(Box::new(IdentityClaims {
            jti: TokenId::generate(),
            iat: now,
            exp: now.plus(blueprint.max_life_seconds),
            subject: agent,
            blueprint: blueprint.name.clone(),
            sponsor: blueprint.sponsor.clone(),
            runtime: Runtime { model_id, manifest_hash, assurance: ASSURANCE.to_owned() },
            evidence: vec![join.digest(), *request.digest()],
            status: None,
        })),
    })
}
