//! Steps 9 and 10: what directives say of any link, of the root's agent and task, of the issuer, of the domain.

use marque_credential::aat::MarqueReading;
use marque_credential::{ConstraintMap, VerifiedCredential};
use marque_identity::TrustDomain;
use marque_identity::refusal::Code;
use marque_revocation::{ActiveDirective, Overlay, TargetRef, View};

use super::{Refused, narrowing};
use crate::{Call, ChainRefusal, VerifiedChain};

/// 9: no link, nor anything the root names, is revoked or suspended. 10: every live narrowing allows the call.
pub(crate) fn check(chain: &VerifiedChain, call: &Call<'_>, domain: &TrustDomain, view: &View) -> Result<(), Refused> {
    check_ended(chain, domain, view)?;
    check_narrowed(chain, call, domain, view)
}

/// Step 9.
pub(super) fn check_ended(chain: &VerifiedChain, domain: &TrustDomain, view: &View) -> Result<(), Refused> {
    // A root with claims of ours that can't be read can't be matched: undecidable, hence denied.
    if *chain.marque() == MarqueReading::Malformed {
        let message = "the root's `task`, `purpose` or `agent` is malformed, so that directives can't be matched";
        return Err(ChainRefusal::at("9", Code::ClaimsMalformed, message).into());
    }
    if view.is_clear() {
        return Ok(());
    }
    visit(chain, domain, view, |active| match active.overlay() {
        Overlay::Revoked => Err(ended(active, Code::Revoked, "a directive has revoked a link of this chain")),
        Overlay::Suspended => Err(ended(active, Code::Suspended, "a directive has suspended a link of this chain")),
        Overlay::Narrow(_) => Ok(()),
    })
}

/// Step 9 for an identity credential. Narrowings are not looked at: they are about what a chain grants.
pub(super) fn check_credential(
    credential: &VerifiedCredential,
    domain: &TrustDomain,
    view: &View,
) -> Result<(), Refused> {
    let claims = credential.claims();
    let (issuer, digest) = (domain.issuer_uri(), credential.digest());
    let targets = [
        TargetRef::Domain(domain.as_str()),
        TargetRef::Issuer(&issuer),
        TargetRef::Token(&digest),
        TargetRef::Key(&claims.subject),
        TargetRef::Blueprint(claims.blueprint.as_str()),
    ];
    let manifest = claims.runtime.manifest_hash.as_ref().map(TargetRef::Manifest);
    targets.into_iter().chain(manifest).flat_map(|target| view.overlay(target)).try_for_each(|active| {
        match active.overlay() {
            Overlay::Revoked => Err(ended(active, Code::Revoked, "a directive has revoked this identity credential")),
            Overlay::Suspended => {
                Err(ended(active, Code::Suspended, "a directive has suspended this identity credential"))
            }
            Overlay::Narrow(_) => Ok(()),
        }
    })
}

/// Step 10.
pub(super) fn check_narrowed(
    chain: &VerifiedChain,
    call: &Call<'_>,
    domain: &TrustDomain,
    view: &View,
) -> Result<(), Refused> {
    if view.is_clear() {
        return Ok(());
    }
    visit(chain, domain, view, |active| match active.overlay() {
        Overlay::Narrow(narrow) => {
            narrowing::check(narrow, call).map_err(|refusal| Refused::by(refusal, active.id().to_string()))
        }
        Overlay::Revoked | Overlay::Suspended => Ok(()),
    })
}

/// Whether every live narrowing of a tool satisfies `judge`; one that can't be read does not.
pub(super) fn narrowings_hold(
    chain: &VerifiedChain,
    tool: &str,
    domain: &TrustDomain,
    view: &View,
    mut judge: impl FnMut(&ConstraintMap) -> bool,
) -> bool {
    let narrowed = || ChainRefusal::at("10", Code::Narrowed, "a live narrowing");
    let visited = visit(chain, domain, view, |active| match active.overlay() {
        Overlay::Narrow(narrow) => match narrowing::map(narrow, tool) {
            Ok(map) if map.is_none_or(&mut judge) => Ok(()),
            Ok(_) | Err(narrowing::Unreadable) => Err(narrowed().into()),
        },
        Overlay::Revoked | Overlay::Suspended => Ok(()),
    });
    visited.is_ok()
}

fn ended(active: &ActiveDirective, code: Code, message: &str) -> Refused {
    Refused::by(ChainRefusal::at("9", code, message), active.id().to_string())
}

/// Every active directive on any target that the chain names. Does not allocate.
fn visit(
    chain: &VerifiedChain,
    domain: &TrustDomain,
    view: &View,
    mut judge: impl FnMut(&ActiveDirective) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut on = |target: TargetRef<'_>| view.overlay(target).iter().try_for_each(&mut judge);
    on(TargetRef::Domain(domain.as_str()))?;
    on(TargetRef::Issuer(chain.issuer()))?;
    for link in chain.links() {
        on(TargetRef::Token(link.digest()))?;
        on(TargetRef::Key(link.holder()))?;
    }
    let Some(claims) = chain.root_claims() else { return Ok(()) };
    on(TargetRef::Task(claims.task.as_str()))?;
    on(TargetRef::Blueprint(claims.agent.blueprint.as_str()))?;
    if let Some(manifest) = &claims.agent.manifest_hash {
        on(TargetRef::Manifest(manifest))?;
    }
    if claims.agent.did != *chain.root().holder() {
        on(TargetRef::Key(&claims.agent.did))?;
    }
    Ok(())
}
