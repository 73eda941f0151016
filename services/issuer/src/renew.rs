//! Renewing: a new check and a new credential, never a longer old one.

use marque_credential::IdentityClaims;
use marque_identity::{Refusal, TokenId, UnixSeconds};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::commitment::{About, Commitment, Matter};
use crate::request::{SignedRequest, read};
use crate::rules::Rules;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewMatter {
    #[serde(rename = "iat")]
    _iat: IgnoredAny,
    #[serde(rename = "jti")]
    _jti: IgnoredAny,
    #[serde(rename = "aud")]
    _aud: IgnoredAny,
    credential: String,
}

/// Examines a renewal: the credential still holds, is the signer's own, and today's blueprint still allows it.
pub(crate) fn examine(request: &SignedRequest, rules: &Rules, now: UnixSeconds) -> Result<Commitment, Refusal> {
    let matter: RenewMatter = read(request.payload())?;
    let held = rules.credential(&matter.credential, request.agent(), now)?;
    let claims = held.claims();
    let blueprint = rules.blueprints.get(&claims.blueprint)?;
    blueprint.allow_model(&claims.runtime.model_id)?;

    // What was attested at enrolment stays the first piece; the credential that this one follows is the last.
    let evidence = claims.evidence.first().copied().into_iter().chain([held.digest()]).collect();
    Ok(Commitment {
        about: About::of(&held, None),
        join: None,
        matter: Matter::Credential(Box::new(IdentityClaims {
            jti: TokenId::generate(),
            iat: now,
            exp: now.plus(blueprint.max_life_seconds),
            subject: claims.subject,
            blueprint: blueprint.name.clone(),
            sponsor: blueprint.sponsor.clone(),
            runtime: claims.runtime.clone(),
            evidence,
            status: None,
        })),
    })
}
