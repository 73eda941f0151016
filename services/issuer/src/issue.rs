//! Issuing: a root token for one task, within the blueprint's ceiling, by a live identity credential.

use marque_credential::{AgentClaim, MarqueClaims, RootRequest, Tools};
use marque_identity::{Code, Refusal, TaskId, TokenId, UnixSeconds};
use marque_json::{Json, Limits};
use marque_signing::JwsError;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ceiling;
use crate::commitment::{About, Commitment, Matter};
use crate::request::{REQUEST_BYTES_MAX, SignedRequest, read};
use crate::rules::Rules;

/// A sentence or two.
const PURPOSE_BYTES_MAX: usize = 1024;
/// Places of use that one root names.
const AUDIENCES_MAX: usize = 16;
/// A domain (253) and a bus subject.
const AUDIENCE_BYTES_MAX: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueMatter {
    #[serde(rename = "iat")]
    _iat: IgnoredAny,
    #[serde(rename = "jti")]
    _jti: IgnoredAny,
    #[serde(rename = "aud")]
    _aud: IgnoredAny,
    credential: String,
    task: TaskId,
    purpose: String,
    /// Read apart, from the text: numbers are judged as written.
    #[serde(rename = "tools")]
    _tools: IgnoredAny,
    #[serde(default)]
    ttl_seconds: Option<i64>,
    #[serde(default)]
    del_max_depth: Option<u64>,
    #[serde(default)]
    token_aud: Option<Vec<String>>,
}

/// Examines a request for a root; what it gives is not signed yet.
///
/// 1. the credential holds and is the signer's own
/// 2. its blueprint exists, still allows its model, and demands no evidence that it does not rest on
/// 3. the tools are well-formed, as they would have to be in the token
/// 4. tools, life and depth lie within the ceiling; nothing is cut down
///
/// Absent: whether a directive stands against it (the desk asks).
pub(crate) fn examine(request: &SignedRequest, rules: &Rules, now: UnixSeconds) -> Result<Commitment, Refusal> {
    let matter: IssueMatter = read(request.payload())?;
    bounded(&matter)?;

    // 1
    let held = rules.credential(&matter.credential, request.agent(), now)?;
    let claims = held.claims();
    // 2
    let blueprint = rules.blueprints.get(&claims.blueprint)?;
    blueprint.allow_model(&claims.runtime.model_id)?;
    blueprint.attest.check_held(claims)?;
    // 3
    let tools = tools(request.payload())?;
    // 4
    ceiling::tools(blueprint, &tools)?;
    let exp = ceiling::life(blueprint, matter.ttl_seconds, now, claims.exp)?;
    let del_max_depth = ceiling::depth(blueprint, matter.del_max_depth)?;

    Ok(Commitment {
        about: About::of(&held, Some(matter.task.clone())),
        uses: Vec::new(),
        manifest_changed: None,
        matter: Matter::Root(Box::new(RootRequest {
            iss: rules.iss.clone(),
            jti: TokenId::generate(),
            iat: now,
            exp,
            del_max_depth,
            holder: *held.holder(),
            aud: matter.token_aud,
            tools,
            marque: MarqueClaims {
                task: matter.task,
                purpose: matter.purpose,
                agent: AgentClaim {
                    did: claims.subject,
                    blueprint: claims.blueprint.clone(),
                    sponsor: claims.sponsor.clone(),
                    manifest_hash: claims.runtime.manifest_hash,
                    vc_hash: held.digest(),
                },
            },
        })),
    })
}

fn bounded(matter: &IssueMatter) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new(Code::ClaimsMalformed, message));
    if matter.purpose.is_empty() || matter.purpose.len() > PURPOSE_BYTES_MAX {
        return refused(format!("`purpose` is not 1 to {PURPOSE_BYTES_MAX} bytes"));
    }
    let places = matter.token_aud.as_deref().unwrap_or(&[]);
    if matter.token_aud.is_some() && places.is_empty() || places.len() > AUDIENCES_MAX {
        return refused(format!("`token_aud` names no place, or more than {AUDIENCES_MAX}"));
    }
    if !places.iter().all(|place| (1..=AUDIENCE_BYTES_MAX).contains(&place.len())) {
        return refused(format!("a place in `token_aud` is not 1 to {AUDIENCE_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn tools(payload: &[u8]) -> Result<Tools, Refusal> {
    let json = marque_json::parse(payload, Limits::bytes(REQUEST_BYTES_MAX))
        .map_err(|error| Refusal::from(JwsError::Payload(error)))?;
    let tools = json.as_object().and_then(|request| request.get("tools")).unwrap_or(&Json::Null);
    Tools::parse(tools).map_err(|error| Refusal::new(error.code(), error.to_string()))
}
