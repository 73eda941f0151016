//! A host agent's statement on the process that enrols, or renews.

use marque_credential::evidence::{EVIDENCE_BYTES_MAX, EVIDENCE_LIFE_SECONDS, ProcessEvidence};
use marque_credential::{EvidenceDigest, EvidenceKind};
use marque_identity::{Code, Did, Refusal, UnixSeconds};
use marque_signing::{Compact, JwsError, Role, TrustBundle};

use super::{Attested, EVIDENCE_MEMORY_SECONDS};
use crate::blueprint::attest::ProcessDemand;
use crate::request::{JTI_BYTES_MAX, WINDOW_SECONDS};
use crate::store::{self, EvidenceUse};

/// Examines a statement for an agent's key; what it says of the process is handed back too.
///
/// 1. an attestor of the bundle signed it, and it is of that attestor's own machine
/// 2. it is on this agent's key, for this domain
/// 3. its time
/// 4. the process is one that the blueprint demands, if it demands any
///
/// Absent: whether it has been used before (the store says).
pub(crate) fn examine(
    token: &str,
    demand: Option<&ProcessDemand>,
    bundle: &TrustBundle,
    agent: &Did,
    now: UnixSeconds,
) -> Result<(Attested, ProcessEvidence), Refusal> {
    // 1
    if token.len() > EVIDENCE_BYTES_MAX {
        return Err(JwsError::Oversize { bytes: token.len(), bytes_max: EVIDENCE_BYTES_MAX }.into());
    }
    let evidence = ProcessEvidence::open(token, &bundle.keys(Role::Attestor))
        .map_err(|error| invalid(format!("is not an attestor's: {}", Refusal::from(error).message)))?;
    if !bundle.is_named(&evidence.iss, Role::Attestor, &evidence.host) {
        return Err(invalid("is of another machine than its attestor's"));
    }
    // 2
    if evidence.sub != *agent {
        return Err(invalid("is on another key than the one that asks"));
    }
    if evidence.aud != bundle.trust_domain {
        return Err(invalid("is for another trust domain"));
    }
    // 3
    if evidence.iat > now.plus(WINDOW_SECONDS) {
        return Err(invalid("is from the future"));
    }
    if evidence.exp <= now {
        return Err(invalid("has expired"));
    }
    if evidence.exp <= evidence.iat || evidence.exp > evidence.iat.plus(EVIDENCE_LIFE_SECONDS) {
        return Err(invalid(format!("lives longer than {EVIDENCE_LIFE_SECONDS} s")));
    }
    if !(1..=JTI_BYTES_MAX).contains(&evidence.jti.0.len()) {
        return Err(invalid(format!("has a `jti` that is not 1 to {JTI_BYTES_MAX} bytes")));
    }
    // 4
    demand.map_or(Ok(()), |demand| demand.check(&evidence))?;

    let kind = EvidenceKind::Process;
    let attested = Attested {
        evidence: EvidenceDigest::new(kind, Compact::split(token)?.signing_digest()),
        used: EvidenceUse {
            key: store::use_key(kind, &evidence.iss.to_string(), &evidence.jti.0),
            kind,
            agent: *agent,
            used_at: now,
            keep_until: evidence.exp.plus(EVIDENCE_MEMORY_SECONDS),
        },
    };
    Ok((attested, evidence))
}

fn invalid(what: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::EvidenceInvalid, format!("the process evidence {what}"))
}

#[cfg(test)]
mod tests;
