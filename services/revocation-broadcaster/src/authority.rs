//! Who may ask for what. Source: PROTOCOL §6.
//!
//! | who | may |
//! |---|---|
//! | an operator | everything |
//! | an issuer | everything but the kill switch and other issuers |
//! | the risk service | suspend or narrow for at most an hour; not issuers, not the domain |
//! | a holder who shows the chain | the token it holds, and what descends from it |
//! | an agent who shows a chain that its key stands in | its own key |
//!
//! All but operators end only what they asked for themselves: an issuer can't lift what an operator imposed, nor an
//! agent what was imposed on it.

use marque_identity::{Code, Did, Refusal, UnixSeconds};
use marque_judgement::VerifiedChain;
use marque_revocation::{DirectiveRequest, Op, Target};
use marque_signing::{Role, TrustBundle};

/// A risk service sees patterns, not intentions: what it does must end by itself before a person's day does.
pub const RISK_UNTIL_SECONDS_MAX: i64 = 3600;

/// What a resume or lift would end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it does.
    pub op: Op,
    /// To what.
    pub target: Target,
    /// Who asked for it.
    pub requested_by: Did,
}

/// Whether `requester` may ask this of `target`. `ended` is what a resume or lift names; `chain` is what the
/// requester shows, verified.
pub fn check(
    bundle: &TrustBundle,
    requester: &Did,
    request: &DirectiveRequest,
    target: &Target,
    ended: Option<&Ended>,
    chain: Option<&VerifiedChain>,
    now: UnixSeconds,
) -> Result<(), Refusal> {
    if bundle.is_operator(requester) {
        return Ok(());
    }
    if let Some(ended) = ended
        && ended.requested_by != *requester
    {
        return Err(refused("only an operator, or who asked for a directive, may end it"));
    }
    if bundle.has_role(requester, Role::Issuer) && issuer_may(bundle, requester, target) {
        return Ok(());
    }
    if bundle.has_role(requester, Role::Risk) && risk_may(target) {
        return risk_ceiling(request, now);
    }
    let own = match target {
        // A key that nothing was issued to needs no directive, and anybody can make one: the set would have no bound.
        Target::Key(did) => did == requester && (ended.is_some() || chain.is_some_and(|chain| holds_any(chain, did))),
        Target::Token(_) => ended.is_some() || chain.is_some_and(|chain| holds_above(chain, requester, target)),
        Target::Blueprint(_) | Target::Task(_) | Target::Manifest(_) | Target::Issuer(_) | Target::Domain(_) => false,
    };
    if own { Ok(()) } else { Err(refused("this key may not ask for that; a holder shows the chain to the target")) }
}

/// Everything is its own but other issuers, and the domain as a whole.
fn issuer_may(bundle: &TrustBundle, issuer: &Did, target: &Target) -> bool {
    match target {
        Target::Token(_) | Target::Key(_) | Target::Blueprint(_) | Target::Task(_) | Target::Manifest(_) => true,
        Target::Issuer(uri) => bundle.issuers.iter().any(|anchor| anchor.did == *issuer && anchor.iss == *uri),
        Target::Domain(_) => false,
    }
}

fn risk_may(target: &Target) -> bool {
    match target {
        Target::Token(_) | Target::Key(_) | Target::Blueprint(_) | Target::Task(_) | Target::Manifest(_) => true,
        Target::Issuer(_) | Target::Domain(_) => false,
    }
}

fn risk_ceiling(request: &DirectiveRequest, now: UnixSeconds) -> Result<(), Refusal> {
    let fits = match request.op {
        Op::Suspend | Op::Narrow => request.until.is_some_and(|until| until <= now.plus(RISK_UNTIL_SECONDS_MAX)),
        // Only its own: checked before.
        Op::Resume | Op::Lift => true,
        Op::Revoke => false,
    };
    if fits { Ok(()) } else { Err(refused("the risk service suspends or narrows, for at most an hour")) }
}

/// Whether `holder` holds the link that `target` names, or one above it, in a chain that reaches the target.
///
/// The chain is verified, so that each link was derived by its parent's holder: whoever holds a link has made, or
/// let be made, all that descends from it. Holding a link *below* the target gives no right over it.
fn holds_above(chain: &VerifiedChain, holder: &Did, target: &Target) -> bool {
    let Target::Token(digest) = target else { return false };
    let Some(at) = chain.links().iter().position(|link| link.digest() == digest) else { return false };
    chain.links()[..=at].iter().any(|link| link.holder() == holder)
}

/// Whether a verified chain has a link of this holder's.
fn holds_any(chain: &VerifiedChain, holder: &Did) -> bool {
    chain.links().iter().any(|link| link.holder() == holder)
}

fn refused(why: &str) -> Refusal {
    Refusal::new(Code::NotAuthorized, why)
}
