//! From a request to a directive: what is asked is completed, and what can't be is refused.

use marque_identity::{Code, Did, Refusal, TrustDomain, UnixSeconds};
use marque_judgement::{VerifiedChain, validate_narrowing};
use marque_revocation::{Directive, DirectiveId, DirectiveRequest, Op, Target};

use crate::authority::Ended;

/// AAT §4.4: a root lives 90 days at most, and nothing outlives its root. Holds for a token that was not shown.
const TOKEN_LIFE_SECONDS_MAX: i64 = 90 * 24 * 3600;
/// Twice the 30 s by which clocks may differ: a verifier's and the issuer's.
const SKEW_SECONDS: i64 = 60;
/// A directive leaves the stream so long after it has ended: later than a heartbeat that still counts it can come out
/// of any buffer.
const STREAM_MARGIN_SECONDS: i64 = 600;
/// What ends a directive leaves the stream later than what it ends.
const LOOSENING_MARGIN_SECONDS: i64 = 60;

/// A directive to be signed, and when the stream may forget it.
#[derive(Debug, Clone, PartialEq)]
pub struct Composed {
    /// What it says.
    pub directive: Directive,
    /// When the stream may forget it, in seconds since 1970; never if absent.
    pub gone_at: Option<UnixSeconds>,
}

/// The target of a request: its own, or that of the directive that it ends.
pub fn target_of(request: &DirectiveRequest, ended: Option<&Ended>) -> Result<Target, Refusal> {
    match (&request.target, ended) {
        (Some(named), Some(ended)) if *named != ended.target => {
            Err(Refusal::new(Code::TargetInvalid, "the directive that is to be ended has another target"))
        }
        (_, Some(ended)) => Ok(ended.target.clone()),
        (Some(named), None) => Ok(named.clone()),
        (None, None) => Err(Refusal::new(Code::TargetInvalid, "the request names no target")),
    }
}

/// Whether this request may end that directive at all.
pub fn check_end(op: Op, ended: &Ended) -> Result<(), Refusal> {
    if op.may_end(ended.op) {
        return Ok(());
    }
    let why = format!("a {op} can't end a {}; a revoke is final", ended.op);
    Err(Refusal::new(Code::Conflict, why))
}

/// The directive that a request becomes. `ended_until` is the `until` of what it ends.
pub fn compose(
    request: &DirectiveRequest,
    target: Target,
    requester: Did,
    domain: &TrustDomain,
    chain: Option<&VerifiedChain>,
    ended_until: Option<UnixSeconds>,
    now: UnixSeconds,
) -> Result<Composed, Refusal> {
    let malformed = |why: &str| Err(Refusal::new(Code::ClaimsMalformed, why));
    if request.op == Op::Revoke && request.until.is_some() {
        return malformed("a revoke is final: it has no `until`");
    }
    if request.until.is_some_and(|until| until <= now) {
        return malformed("`until` has passed");
    }
    if let Some(narrow) = &request.narrow {
        validate_narrowing(narrow)
            .map_err(|error| Refusal::new(error.code(), format!("the narrowing can't be read: {error}")))?;
    }
    let until = match (&target, request.op) {
        // Once no token that it can match lives any more, it need not be kept.
        (Target::Token(digest), Op::Revoke | Op::Suspend | Op::Narrow) => {
            let shown = chain.and_then(|chain| chain.links().iter().find(|link| link.digest() == digest));
            let lives_until = shown.map_or(now.plus(TOKEN_LIFE_SECONDS_MAX), |link| link.exp());
            Some(request.until.unwrap_or(lives_until.plus(SKEW_SECONDS)))
        }
        (_, _) => request.until,
    };
    let directive = Directive {
        id: DirectiveId::from_bytes(uuid::Uuid::now_v7().into_bytes()),
        op: request.op,
        target,
        until,
        narrow: request.narrow.clone(),
        lifts: request.lifts,
        reason: request.reason.clone(),
        requested_by: requester,
        iat: now,
        domain: domain.clone(),
    };
    directive.check()?;
    let ends = until.map(|until| until.plus(STREAM_MARGIN_SECONDS));
    let gone_at = ends.or(ended_until.map(|until| until.plus(STREAM_MARGIN_SECONDS + LOOSENING_MARGIN_SECONDS)));
    Ok(Composed { directive, gone_at })
}
