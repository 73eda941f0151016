//! Renewing: a new check and a new credential, never a longer old one.

use marque_credential::evidence::{Manifest, ProcessEvidence};
use marque_credential::{EvidenceDigest, EvidenceKind, IdentityClaims, Runtime};
use marque_identity::{Code, Refusal, TokenId, UnixSeconds};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::attest::{manifest, process};
use crate::blueprint::Blueprint;
use crate::blueprint::attest::Attestor;
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
    #[serde(default)]
    process_evidence: Option<String>,
    #[serde(default)]
    manifest: Option<Manifest>,
}

/// Examines a renewal; what it gives is not signed yet.
///
/// 1. the credential still holds and is the signer's own
/// 2. today's blueprint allows its model
/// 3. where an attestor's word is demanded it is a fresh one, on this key: a process that was seen once may have been
///    substituted since
/// 4. what runs now is what the credential was issued for, or a change that the blueprint allows
/// 5. it rests on every kind of evidence that is demanded today
///
/// Absent: whether the attestor's statement was used before (the store says), whether a directive stands against it
/// (the desk asks).
pub(crate) fn examine(request: &SignedRequest, rules: &Rules, now: UnixSeconds) -> Result<Commitment, Refusal> {
    let matter: RenewMatter = read(request.payload())?;
    let agent = request.agent().did();
    // 1
    let held = rules.credential(&matter.credential, request.agent(), now)?;
    // 2
    let blueprint = rules.blueprints.get(&held.claims().blueprint)?;
    blueprint.allow_model(&held.claims().runtime.model_id)?;
    // 3
    let demands = &blueprint.attest;
    let seen = matter.process_evidence.as_deref();
    let seen = seen.map(|token| process::examine(token, demands.process.as_ref(), &rules.bundle, &agent, now));
    let (attested, seen) = seen.transpose()?.unzip();
    if attested.is_none() && demands.requires(Attestor::Process) {
        let message = "the blueprint demands evidence of kind `process`: at renewal too, and fresh";
        return Err(Refusal::new(Code::EvidenceMissing, message));
    }
    // 4
    let stated = matter.manifest.as_ref();
    let Standing { mut claims, manifest_changed } = standing(held.claims(), stated, seen.as_ref(), blueprint)?;
    if let Some(fresh) = &attested {
        claims.evidence.retain(|piece| piece.kind != EvidenceKind::Process);
        claims.evidence.push(fresh.evidence);
    }
    // 5
    demands.check_held(&claims)?;

    // What was attested goes on; the credential that this one follows is the last piece.
    let kept = claims.evidence.iter().filter(|piece| match piece.kind {
        EvidenceKind::JoinToken | EvidenceKind::Oidc | EvidenceKind::Process | EvidenceKind::Manifest => true,
        EvidenceKind::Request | EvidenceKind::Credential => false,
    });
    let evidence = kept.copied().chain([EvidenceDigest::new(EvidenceKind::Credential, held.digest())]).collect();
    Ok(Commitment {
        about: About { manifest: claims.runtime.manifest_hash, ..About::of(&held, None) },
        uses: attested.into_iter().map(|attested| attested.used).collect(),
        manifest_changed,
        matter: Matter::Credential(Box::new(IdentityClaims {
            jti: TokenId::generate(),
            iat: now,
            exp: now.plus(blueprint.max_life_seconds),
            subject: claims.subject,
            blueprint: blueprint.name.clone(),
            sponsor: blueprint.sponsor.clone(),
            runtime: claims.runtime,
            evidence,
            status: None,
        })),
    })
}

/// What a credential would say today, and what is to be recorded of a change.
struct Standing {
    claims: IdentityClaims,
    manifest_changed: Option<String>,
}

/// Step 4. A changed manifest is refused unless the blueprint lists what may be deployed and this is that; then what
/// was measured of the old one is not known of the new. What an attestor has seen now counts, not what one saw before.
fn standing(
    held: &IdentityClaims,
    stated: Option<&Manifest>,
    seen: Option<&ProcessEvidence>,
    blueprint: &Blueprint,
) -> Result<Standing, Refusal> {
    let Runtime { model_id, manifest_hash: before, .. } = &held.runtime;
    let mut claims = held.clone();
    if seen.is_some() {
        claims.runtime.assurance = manifest::assurance(stated, seen);
    }
    let Some(stated) = stated else {
        check_without_manifest(blueprint)?;
        return Ok(Standing { claims, manifest_changed: None });
    };
    let digest = manifest::digest(stated)?;
    if *before == Some(digest) {
        manifest::examine(stated, None, model_id, blueprint)?;
        return Ok(Standing { claims, manifest_changed: None });
    }
    let before = before.map_or("none".to_owned(), |before| before.to_string());
    let changed = format!("the manifest at renewal is {digest}, the credential was issued for {before}");
    if blueprint.attest.manifest.is_none() {
        return Err(Refusal::new(Code::ManifestChanged, format!("{changed}; the blueprint lists none that may be")));
    }
    let deployed = manifest::examine(stated, None, model_id, blueprint)
        .map_err(|refusal| Refusal::new(Code::ManifestChanged, format!("{changed}; {}", refusal.message)))?;
    claims.runtime.manifest_hash = Some(digest);
    claims.runtime.assurance = manifest::assurance(Some(stated), seen);
    claims.evidence.retain(|piece| piece.kind != EvidenceKind::Manifest);
    claims.evidence.push(deployed);
    Ok(Standing { claims, manifest_changed: Some(changed) })
}

/// Without the manifest it can be told whether it is still allowed only where manifests are listed whole.
fn check_without_manifest(blueprint: &Blueprint) -> Result<(), Refusal> {
    match &blueprint.attest.manifest {
        Some(demand) if !demand.lists_whole() => {
            let message = "the blueprint judges the manifest's parts: state the manifest at renewal";
            Err(Refusal::new(Code::EvidenceMissing, message))
        }
        Some(_) | None => Ok(()),
    }
}
