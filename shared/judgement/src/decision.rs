//! The decision: AAT §8 steps 6 to 8 over a verified chain, then ours.
//!
//! Order: 7a and 7b before 6b, so that only the key's holder can make us evaluate; 6b, 6c, 7c to 7h; 9 directives, 10
//! live narrowings, 11 freshness, 14 the manifest; 7i last, so that a denial consumes no `jti`. 12 (the proof is new
//! cluster-wide) is the caller's, by [`Permit::side_effecting`] and [`VerifiedProof::replay_key`].

pub(crate) mod directives;
pub(crate) mod narrowing;

use std::time::Duration;

pub use narrowing::validate as validate_narrowing;

use marque_credential::aat::Claims;
use marque_credential::{ConstraintMap, VerifiedCredential};
use marque_identity::refusal::{Blame, Code, Refusal};
use marque_identity::{Digest, Epoch, TrustDomain, UnixSeconds};
use marque_revocation::{Freshness, View};

use crate::proof::{self, PROOF_WINDOW_SECONDS};
use crate::{Audience, Call, ChainRefusal, Claimed, ProofPolicy, ReplayGuard, VerifiedChain, VerifiedProof, call};

/// A moment on both clocks. The wall clock judges what is signed, the monotonic one the age of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock.
    pub unix: UnixSeconds,
    /// The local monotonic clock, the one that the view's events were timed with.
    pub monotonic: Duration,
}

/// What an enforcement point asks for one tool.
#[derive(Debug, Clone)]
pub struct DecisionPolicy<'a> {
    /// Who it is.
    pub audience: &'a Audience,
    /// The nonce it demands, if it does.
    pub nonce: Option<&'a str>,
    /// How far a proof's `iat` may lie from now, in seconds.
    pub window_seconds: i64,
    /// How old the view of the directives may be for this tool.
    pub staleness_bound: Duration,
    /// Whether the tool has side effects: then the caller makes sure of step 12.
    pub side_effecting: bool,
    /// The trust domain whose kill switch holds here.
    pub domain: &'a TrustDomain,
}

impl<'a> DecisionPolicy<'a> {
    /// No nonce, the draft's window, no side effects.
    pub fn new(audience: &'a Audience, domain: &'a TrustDomain, staleness_bound: Duration) -> Self {
        Self {
            audience,
            nonce: None,
            window_seconds: PROOF_WINDOW_SECONDS,
            staleness_bound,
            side_effecting: false,
            domain,
        }
    }
}

/// What was known of the directives when it was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Basis {
    /// The sequence up to which everything was held.
    pub epoch: Epoch,
    /// Age of the youngest proof of that; `None` while the view was cold.
    pub view_age: Option<Duration>,
    /// How old it may be for this tool.
    pub staleness_bound: Duration,
}

/// An answer with reasons, either way.
#[derive(Debug)]
pub enum Decision {
    /// The call may happen.
    Permit(Permit),
    /// It may not.
    Deny(Denial),
}

/// Leave for one call, once its *decided* record is stored (ARCHITECTURE promise 3).
///
/// INVARIANT: only [`decide`] makes one.
#[derive(Debug)]
pub struct Permit {
    proof: VerifiedProof,
    basis: Basis,
    side_effecting: bool,
}

impl Permit {
    /// The proof it was given for.
    pub fn proof(&self) -> &VerifiedProof {
        &self.proof
    }

    /// What was known of the directives.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Whether step 12 is still to be made sure of: that the proof is new in the whole cluster.
    pub fn side_effecting(&self) -> bool {
        self.side_effecting
    }

    /// Step 12 has failed, or could not be learned: the permit becomes a denial.
    pub fn withdraw(self, code: Code, message: impl Into<String>) -> Denial {
        self.withdrawn(ChainRefusal::at("12", code, message))
    }

    /// Step 14: what an erasable tool's record leaves out could not be stored: the permit becomes a denial.
    pub fn unkept(self) -> Denial {
        let message = "what its record leaves out could not be stored, so nothing was done";
        self.withdrawn(ChainRefusal::at("14", Code::NotRecorded, message))
    }

    fn withdrawn(self, refusal: ChainRefusal) -> Denial {
        Denial {
            refusal,
            directive: None,
            claimed: self.proof.claimed().clone(),
            basis: self.basis,
            side_effecting: self.side_effecting,
        }
    }
}

/// Why a call may not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    refusal: ChainRefusal,
    directive: Option<String>,
    claimed: Claimed,
    basis: Basis,
    side_effecting: bool,
}

impl Denial {
    /// Stable reason.
    pub fn code(&self) -> Code {
        self.refusal.code
    }

    /// The step that denied.
    pub fn step(&self) -> &'static str {
        self.refusal.step
    }

    /// One sentence.
    pub fn message(&self) -> &str {
        &self.refusal.message
    }

    /// Who has to change something.
    pub fn blame(&self) -> Blame {
        self.refusal.blame()
    }

    /// The constraint that decided, as JSON text.
    pub fn constraint(&self) -> Option<&str> {
        self.refusal.constraint.as_deref()
    }

    /// The directive that decided.
    pub fn directive(&self) -> Option<&str> {
        self.directive.as_deref()
    }

    /// What the proof says beside the draft's claims, if its signature holds; else nothing.
    pub fn claimed(&self) -> &Claimed {
        &self.claimed
    }

    /// What was known of the directives.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Whether the tool has side effects.
    pub fn side_effecting(&self) -> bool {
        self.side_effecting
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        denial.refusal.into()
    }
}

/// A refusal, with the directive that decided if one did, and what the proof claims if its signature holds.
pub(crate) struct Refused(Box<Reasons>);

struct Reasons {
    refusal: ChainRefusal,
    directive: Option<String>,
    claimed: Claimed,
}

impl From<ChainRefusal> for Refused {
    fn from(refusal: ChainRefusal) -> Self {
        Self(Box::new(Reasons { refusal, directive: None, claimed: Claimed::default() }))
    }
}

impl Refused {
    fn by(refusal: ChainRefusal, directive: String) -> Self {
        Self(Box::new(Reasons { refusal, directive: Some(directive), claimed: Claimed::default() }))
    }

    /// The refusal, and the directive that decided.
    pub(crate) fn parts(self) -> (ChainRefusal, Option<String>) {
        let Reasons { refusal, directive, .. } = *self.0;
        (refusal, directive)
    }

    fn claiming(mut self, claimed: Claimed) -> Self {
        self.0.claimed = claimed;
        self
    }
}

/// Decides one call under a verified chain. What can't be decided is denied.
pub fn decide(
    chain: &VerifiedChain,
    call: &Call<'_>,
    proof: &str,
    policy: &DecisionPolicy<'_>,
    view: &View,
    replay: &ReplayGuard,
    now: Now,
) -> Decision {
    let basis =
        Basis { epoch: view.epoch(), view_age: view.age(now.monotonic), staleness_bound: policy.staleness_bound };
    let side_effecting = policy.side_effecting;
    match judge(chain, call, proof, policy, view, replay, now) {
        Ok(proof) => Decision::Permit(Permit { proof, basis, side_effecting }),
        Err(Refused(reasons)) => {
            let Reasons { refusal, directive, claimed } = *reasons;
            Decision::Deny(Denial { refusal, directive, claimed, basis, side_effecting })
        }
    }
}

fn judge(
    chain: &VerifiedChain,
    call: &Call<'_>,
    proof: &str,
    policy: &DecisionPolicy<'_>,
    view: &View,
    replay: &ReplayGuard,
    now: Now,
) -> Result<VerifiedProof, Refused> {
    let audience = policy.audience;
    let proof_policy = ProofPolicy { audience, nonce: policy.nonce, window_seconds: policy.window_seconds };
    // 7a, 7b: the holder's signature. The only one per action: the chain's were checked when it was verified.
    let payload = proof::open(chain, proof)?;
    let claims = proof::parse(&payload)?;
    let judged = (|| {
        // 3e, 3f, 4i, 4k: time goes on.
        chain.check_time(now.unix)?;
        // 6b, 6c: the call, and where it is presented.
        call::grants(chain, call)?;
        call::presented_here(chain, audience)?;
        // 7c to 7h: the proof is for this leaf, this place, this call, this moment.
        let verified = proof::judge(chain, call, &claims, &proof_policy, now.unix)?;
        // 9, 10: no directive has ended a link, and every live narrowing allows the call.
        directives::check(chain, call, policy.domain, view)?;
        // 11: the view is fresh enough for this tool.
        check_freshness(view, policy.staleness_bound, now.monotonic)?;
        // 14: what runs is what the root was issued for, by the agent's own word.
        check_manifest(chain, &claims)?;
        // 7i: new to this process. Last, so that a denial consumes nothing. 8: permit.
        replay.accept(&verified, policy.window_seconds, now.unix).map_err(ChainRefusal::from)?;
        Ok(verified)
    })();
    judged.map_err(|refused: Refused| refused.claiming(proof::claimed(&claims)))
}

/// Steps 9 and 11 without a call, for whoever lets a chain's holder in: no directive has ended a link, and the view is
/// fresh. An error names the directive that decided, if one did.
pub fn check_standing(
    chain: &VerifiedChain,
    domain: &TrustDomain,
    view: &View,
    bound: Duration,
    now: Duration,
) -> Result<(), (ChainRefusal, Option<String>)> {
    let reasons = |Refused(reasons): Refused| (reasons.refusal, reasons.directive);
    directives::check_ended(chain, domain, view).map_err(reasons)?;
    check_freshness(view, bound, now).map_err(|refusal| (refusal, None))
}

/// The same for whoever shows an identity credential: no directive has ended it, its holder, its blueprint, its manifest,
/// the issuer or the domain.
pub fn check_credential(
    credential: &VerifiedCredential,
    domain: &TrustDomain,
    view: &View,
    bound: Duration,
    now: Duration,
) -> Result<(), (ChainRefusal, Option<String>)> {
    directives::check_credential(credential, domain, view).map_err(Refused::parts)?;
    check_freshness(view, bound, now).map_err(|refusal| (refusal, None))
}

/// Step 11 alone.
pub fn check_view(view: &View, bound: Duration, now: Duration) -> Result<(), ChainRefusal> {
    check_freshness(view, bound, now)
}

/// Step 10 for calls that are not made yet: whether what each live narrowing says of a tool's arguments satisfies
/// `judge`. A narrowing that can't be read does not.
pub fn narrowings_hold(
    chain: &VerifiedChain,
    tool: &str,
    domain: &TrustDomain,
    view: &View,
    judge: impl FnMut(&ConstraintMap) -> bool,
) -> bool {
    directives::narrowings_hold(chain, tool, domain, view, judge)
}

/// Step 14: a manifest that the proof repeats is the root's. A proof that repeats none passes; one that repeats what
/// can't be compared is denied.
fn check_manifest(chain: &VerifiedChain, claims: &Claims<'_>) -> Result<(), ChainRefusal> {
    let Some(said) = claims.get("manifest_hash") else { return Ok(()) };
    let root = chain.root_claims().and_then(|claims| claims.agent.manifest_hash);
    let said = said.as_str().and_then(|said| said.parse::<Digest>().ok());
    let message = match (said, root) {
        (Some(said), Some(root)) if said == root => return Ok(()),
        (Some(said), Some(root)) => format!("the proof repeats manifest {said}, the root was issued for {root}"),
        (Some(said), None) => format!("the proof repeats manifest {said}, the root names none"),
        (None, _) => "`manifest_hash` of the proof is no digest".to_owned(),
    };
    Err(ChainRefusal::at("14", Code::ManifestChanged, message))
}

/// Step 11.
fn check_freshness(view: &View, bound: Duration, now: Duration) -> Result<(), ChainRefusal> {
    match view.freshness(now, bound) {
        Freshness::Fresh { .. } => Ok(()),
        Freshness::Stale { age, .. } => {
            let message = format!(
                "the view of the directives is {} ms old where {} ms are allowed",
                age.as_millis(),
                bound.as_millis()
            );
            Err(ChainRefusal::at("11", Code::ViewStale, message))
        }
        Freshness::Cold => {
            Err(ChainRefusal::at("11", Code::ViewStale, "the view of the directives has not caught up yet"))
        }
        Freshness::Diverged { epoch } => {
            let message = format!("the view of the directives differs from the broadcaster's at epoch {epoch}");
            Err(ChainRefusal::at("11", Code::ViewDiverged, message))
        }
    }
}
