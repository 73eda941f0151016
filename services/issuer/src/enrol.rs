//! Enrolling: evidence and a proven key for an identity credential.

use marque_credential::evidence::Manifest;
use marque_credential::{EvidenceDigest, EvidenceKind, IdentityClaims, Runtime};
use marque_identity::{BlueprintName, Code, Digest, Refusal, TokenId, UnixSeconds};
use marque_signing::Jwk;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::attest::{Attested, Issuers, manifest, oidc, process};
use crate::blueprint::MODEL_BYTES_MAX;
use crate::commitment::{About, Commitment, Matter};
use crate::join::JoinToken;
use crate::request::{SignedRequest, read};
use crate::rules::Rules;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolMatter {
    #[serde(rename = "iat")]
    _iat: IgnoredAny,
    #[serde(rename = "jti")]
    _jti: IgnoredAny,
    #[serde(rename = "aud")]
    _aud: IgnoredAny,
    jwk: Jwk,
    runtime: RuntimeClaim,
    #[serde(default)]
    blueprint: Option<BlueprintName>,
    #[serde(default)]
    join_token: Option<String>,
    #[serde(default)]
    oidc_token: Option<String>,
    #[serde(default)]
    process_evidence: Option<String>,
    #[serde(default)]
    manifest: Option<Manifest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeClaim {
    model_id: String,
    #[serde(default)]
    manifest_hash: Option<Digest>,
}

impl EnrolMatter {
    fn has(&self, kind: EvidenceKind) -> bool {
        match kind {
            EvidenceKind::JoinToken => self.join_token.is_some(),
            EvidenceKind::Oidc => self.oidc_token.is_some(),
            EvidenceKind::Process => self.process_evidence.is_some(),
            EvidenceKind::Manifest => self.manifest.is_some(),
            EvidenceKind::Request => true,
            EvidenceKind::Credential => false,
        }
    }
}

/// Examines an enrolment; what it gives is not signed yet.
///
/// 1. the key asked for is the key that signed
/// 2. a join token, if there is one, is an operator's for this domain, in its time
/// 3. the blueprint that it or the request names exists; both name the same
/// 4. it allows the model
/// 5. every kind of evidence that it demands is there
/// 6. each piece holds and is what it demands: the process, the manifest, the OpenID Connect token. The last may ask
///    another server, so it comes after whatever can be refused without
///
/// Absent: whether a piece was used before (the store says), whether a directive stands against it (the desk asks).
pub(crate) async fn examine(
    request: &SignedRequest,
    rules: &Rules,
    issuers: &Issuers,
    now: UnixSeconds,
) -> Result<Commitment, Refusal> {
    let matter: EnrolMatter = read(request.payload())?;
    let agent = request.agent().did();

    // 1
    let jwk = matter.jwk.public_key().map_err(|error| Refusal::new(error.code(), format!("`jwk`: {error}")))?;
    if jwk != *request.agent() {
        let message = "`jwk` is not the key that signed the request";
        return Err(Refusal::new(Code::PossessionUnproven, message));
    }
    // 2
    let join = matter.join_token.as_deref().map(|token| JoinToken::verify(token, &rules.bundle, now)).transpose()?;
    // 3
    let blueprint = rules.blueprints.get(named(matter.blueprint.as_ref(), join.as_ref())?)?;
    // 4
    let RuntimeClaim { model_id, manifest_hash } = &matter.runtime;
    if model_id.is_empty() || model_id.len() > MODEL_BYTES_MAX {
        let message = format!("`runtime.model_id` is not 1 to {MODEL_BYTES_MAX} bytes");
        return Err(Refusal::new(Code::ClaimsMalformed, message));
    }
    blueprint.allow_model(model_id)?;
    // 5
    let demands = &blueprint.attest;
    demands.check_complete(|kind| matter.has(kind))?;
    // 6
    let seen = matter.process_evidence.as_deref();
    let seen = seen.map(|token| process::examine(token, demands.process.as_ref(), &rules.bundle, &agent, now));
    let (process, seen) = seen.transpose()?.unzip();
    let stated = matter.manifest.as_ref();
    let deployed =
        stated.map(|manifest| manifest::examine(manifest, *manifest_hash, model_id, blueprint)).transpose()?;
    let oidc = match (&matter.oidc_token, &demands.oidc) {
        (Some(token), Some(demand)) => Some(oidc::examine(token, demand, issuers, request.agent(), now).await?),
        (Some(_), None) => {
            let message = "the blueprint goes by no OpenID Connect token, so that this one can't be judged";
            return Err(Refusal::new(Code::EvidenceMismatch, message));
        }
        (None, _) => None,
    };

    let attested: Vec<Attested> =
        [join.map(|join| join.used_by(&agent, now)), oidc, process].into_iter().flatten().collect();
    let pieces = attested.iter().map(|attested| attested.evidence).chain(deployed);
    let evidence = pieces.chain([EvidenceDigest::new(EvidenceKind::Request, *request.digest())]).collect();
    let manifest_hash = deployed.map(|deployed| deployed.sha256).or(*manifest_hash);
    let assurance = manifest::assurance(stated, seen.as_ref());
    Ok(Commitment {
        about: About {
            agent,
            blueprint: blueprint.name.clone(),
            manifest: manifest_hash,
            task: None,
            credential: None,
        },
        uses: attested.into_iter().map(|attested| attested.used).collect(),
        manifest_changed: None,
        matter: Matter::Credential(Box::new(IdentityClaims {
            jti: TokenId::generate(),
            iat: now,
            exp: now.plus(blueprint.max_life_seconds),
            subject: agent,
            blueprint: blueprint.name.clone(),
            sponsor: blueprint.sponsor.clone(),
            runtime: Runtime { model_id: model_id.clone(), manifest_hash, assurance },
            evidence,
            status: None,
        })),
    })
}

/// The blueprint: of the join token, of the request, or of both if they agree.
fn named<'a>(asked: Option<&'a BlueprintName>, join: Option<&'a JoinToken>) -> Result<&'a BlueprintName, Refusal> {
    match (asked, join.map(JoinToken::blueprint)) {
        (Some(asked), Some(invited)) if asked != invited => {
            let message = format!("the join token is for blueprint `{invited}`, the request for `{asked}`");
            Err(Refusal::new(Code::JoinTokenInvalid, message))
        }
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => {
            Err(Refusal::new(Code::EvidenceMissing, "there is neither a join token nor a `blueprint` to enrol as"))
        }
    }
}
