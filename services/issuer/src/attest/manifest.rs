//! The manifest: what the agent says was deployed. Its digest is the credential's `manifest_hash`.

use marque_credential::evidence::{MANIFEST_BYTES_MAX, Manifest, ProcessEvidence};
use marque_credential::{Assurance, EvidenceDigest, EvidenceKind};
use marque_identity::{Code, Digest, Refusal};
use marque_json::to_canonical;
use marque_signing::{JwsError, sha256};

use crate::blueprint::Blueprint;

/// Examines a manifest.
///
/// 1. its size; its digest is the one that was stated, if one was
/// 2. its model is the one that runs, and the blueprint allows it
/// 3. it is one that the blueprint demands, if it demands any
pub(crate) fn examine(
    manifest: &Manifest,
    stated: Option<Digest>,
    model_id: &str,
    blueprint: &Blueprint,
) -> Result<EvidenceDigest, Refusal> {
    // 1
    let digest = digest(manifest)?;
    if stated.is_some_and(|stated| stated != digest) {
        return Err(invalid("is not the one that `runtime.manifest_hash` names"));
    }
    // 2
    if manifest.model_id != model_id {
        return Err(invalid("names another model than `runtime.model_id`"));
    }
    blueprint.allow_model(&manifest.model_id)?;
    // 3
    blueprint.attest.manifest.as_ref().map_or(Ok(()), |demand| demand.check(manifest, digest))?;
    Ok(EvidenceDigest::new(EvidenceKind::Manifest, digest))
}

/// The digest of a manifest of bounded size.
pub(crate) fn digest(manifest: &Manifest) -> Result<Digest, Refusal> {
    let canonical = to_canonical(manifest).map_err(|error| Refusal::from(JwsError::Payload(error)))?;
    if canonical.len() > MANIFEST_BYTES_MAX {
        return Err(JwsError::Oversize { bytes: canonical.len(), bytes_max: MANIFEST_BYTES_MAX }.into());
    }
    Ok(sha256(&canonical))
}

/// How well it is known what runs: the code is measured where the manifest and an attestor name the same digest.
pub(crate) fn assurance(manifest: Option<&Manifest>, process: Option<&ProcessEvidence>) -> Assurance {
    let stated = manifest.and_then(|manifest| manifest.code_sha256);
    match stated.zip(process) {
        Some((stated, seen)) if stated == seen.process.exe_sha256 => Assurance::CodeMeasured,
        Some(_) | None => Assurance::Claimed,
    }
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::EvidenceInvalid, format!("the manifest {what}"))
}
