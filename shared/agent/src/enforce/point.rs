//! The enforcement point: decides, records, and only then gives leave.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use marque_bus::{Bus, Claim, Feed};
use marque_identity::{Code, Did, Digest, Refusal};
use marque_judgement::action::{self, Presented};
use marque_judgement::record::{self, Body, Completed, InputDigest, Record, Refused};
use marque_judgement::{
    Audience, Basis, Call, Claimed, Decision, DecisionPolicy, Denial, Now, ReplayGuard, VerifiedChain, decide, sealed,
};
use marque_runtime::Clock;
use marque_signing::{SigningKey, TrustBundle};

use super::chains::Chains;
use super::observer::{Observer, Unobserved};
use super::policy::{Demand, Policy};
use super::presentation::{Presentation, Received};
use super::ruling::{Asked, Denied, Outcome, Permitted, Ruling};
use super::sealing;
use super::seen::SeenLinks;

/// Decides whether an action may run, and records it first. Cheap to clone; clones share everything.
///
/// The one piece of code for that: in tool hosts behind [`Enforcer`](super::Enforcer), and in the verifier service.
#[derive(Clone)]
pub struct EnforcementPoint {
    inner: Arc<Inner>,
}

struct Inner {
    bus: Bus,
    key: Arc<SigningKey>,
    by: Did,
    service: String,
    policy: Policy,
    feed: Feed,
    clock: Clock,
    chains: Chains,
    replay: ReplayGuard,
    seen: Mutex<SeenLinks>,
    observer: Arc<dyn Observer>,
}

/// What the directives said when a permit was given: whether they have to be asked again is told by comparing.
#[derive(PartialEq)]
struct InForce {
    set: marque_revocation::SetDigest,
    count: usize,
}

impl EnforcementPoint {
    /// A point that signs its records with `key`, under the name `service`, and goes by `bundle`, `feed` and `policy`.
    pub fn new(
        bus: &Bus,
        key: Arc<SigningKey>,
        service: impl Into<String>,
        bundle: &TrustBundle,
        feed: Feed,
        policy: Policy,
    ) -> Self {
        Self::observed_by(bus, key, service, bundle, feed, policy, Arc::new(Unobserved))
    }

    /// The same, telling `observer` what it does.
    pub fn observed_by(
        bus: &Bus,
        key: Arc<SigningKey>,
        service: impl Into<String>,
        bundle: &TrustBundle,
        feed: Feed,
        policy: Policy,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let inner = Inner {
            bus: bus.clone(),
            by: key.did(),
            key,
            service: service.into(),
            policy,
            feed,
            clock: Clock::new(),
            chains: Chains::new(bundle),
            replay: ReplayGuard::default(),
            seen: Mutex::default(),
            observer,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What it demands.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// The view of the directives that it goes by.
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// Decides one action and stores the *decided* record, whichever way it goes. What can't be decided is denied.
    ///
    /// 1. The chain: found, or verified now (AAT §8 steps 1 to 5, 6a).
    /// 2. The decision (6 to 8, then 9 to 11, 7i), in one look at the view.
    /// 3. For a side-effecting tool, the proof is claimed for the whole cluster (12).
    /// 4. The records: *delegated* for each link not seen before, *decided*, and *risk* where a denial calls for it. No
    ///    ack, no permit. Of an erasable tool, what the record leaves out is stored before it.
    /// 5. Time and the view once more (4i, 9 to 11): the ack took time; a token may have expired and a directive may
    ///    have come meanwhile.
    pub async fn decide(&self, asked: Asked<'_>) -> Ruling {
        let started = Instant::now();
        let ruling = match asked.presentation {
            Ok(presentation) => self.judge(asked.tool, presentation, asked.received).await,
            Err(refusal) => self.refuse_unjudged(asked.tool, None, refusal, asked.received).await,
        };
        self.inner.observer.decided(ruling.denied(), started.elapsed());
        ruling
    }

    async fn judge(&self, tool: &str, presentation: Presentation<'_>, received: Received<'_>) -> Ruling {
        let inner = &*self.inner;
        // 1. The chain.
        let found = inner.chains.find(presentation.chain, inner.clock.unix());
        let chain = match found.and_then(|chain| same_agent(&chain, presentation.agent).map(|()| chain)) {
            Ok(chain) => chain,
            Err(refusal) => return self.refuse_unjudged(tool, Some(&presentation), refusal, received).await,
        };

        // 2. The decision.
        let demand = inner.policy.demand(tool);
        let judgement = Judgement {
            chain: &chain,
            call: Call { tool, args: &presentation.args },
            proof: presentation.proof,
            audience: demanded(presentation.audience.clone()),
            nonce: presentation.nonce,
            demand,
        };
        let (mut decision, in_force) = self.decide_now(&judgement, &inner.replay);

        // 3. Step 12.
        if let Decision::Permit(permit) = decision {
            decision = match permit.side_effecting() {
                true => match inner.bus.claim_proof(permit.proof().replay_key()).await {
                    Ok(Claim::Won) => Decision::Permit(permit),
                    Ok(Claim::Lost) => {
                        let message = "the proof has been accepted elsewhere before";
                        Decision::Deny(permit.withdraw(Code::ProofReplayed, message))
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a proof could not be claimed");
                        let message = "whether the proof was accepted elsewhere could not be learned";
                        Decision::Deny(permit.withdraw(Code::ReplayUndecided, message))
                    }
                },
                false => Decision::Permit(permit),
            };
        }

        // 4. The records.
        self.record_links(&chain).await;
        let presented = Presented {
            by: inner.by,
            iat_ms: inner.clock.unix_millis(),
            tool,
            proof: presentation.proof,
            input: received.payload,
            audience: presentation.audience.as_deref(),
        };
        let (decision, record) = match inner.policy.erasable(tool) {
            None => {
                let record = action::decided(&decision, &chain, &presented);
                (decision, record)
            }
            Some(of) => {
                let subject = of.of(inner.policy.domain(), &presentation.args, chain.leaf().holder());
                self.withhold(decision, &chain, &presented, &subject).await
            }
        };
        let stored = self.publish(&record).await;
        let permit = match decision {
            Decision::Permit(permit) => permit,
            Decision::Deny(denial) => {
                if let Some(risk) = action::risk(&denial, &chain, &presented) {
                    // Where it is not stored, telemetry tells; the denial stands.
                    let _ = self.publish(&risk).await;
                }
                return denied(denial, stored.is_ok().then_some(record.id));
            }
        };
        if let Err(refusal) = stored {
            return Ruling::Denied(Denied { refusal, record: None, basis: *permit.basis() });
        }
        let permitted = Permitted {
            agent: *chain.leaf().holder(),
            task: record.task.clone(),
            tool: tool.to_owned(),
            token: *chain.leaf().digest(),
            links: record.links.clone(),
            basis: *permit.basis(),
            since: Instant::now(),
            erasable: inner.policy.erasable(tool).is_some(),
            record: record.id,
        };

        // 5. Time and the view once more.
        match self.withdrawn(&judgement, &in_force) {
            None => Ruling::Permitted(permitted),
            Some(denial) => {
                let id = permitted.record.clone();
                self.complete(permitted, Outcome::Failed(denial.code().as_str())).await;
                denied(denial, Some(id))
            }
        }
    }

    /// The *decided* record of an erasable tool, once what it leaves out is stored. Where that fails there is no permit.
    /// A denial of what bears no signature that holds leaves nothing: anybody could have sent it, in anyone's name.
    async fn withhold(
        &self,
        decision: Decision,
        chain: &VerifiedChain,
        presented: &Presented<'_>,
        subject: &Digest,
    ) -> (Decision, Record) {
        let signed = match &decision {
            Decision::Permit(_) => true,
            Decision::Deny(denial) => *denial.claimed() != Claimed::default(),
        };
        let mut record = action::decided(&decision, chain, presented);
        if !signed {
            sealed::redact(&mut record);
            return (decision, record);
        }
        let kept = match sealed::withhold(&mut record, presented.proof, presented.input) {
            Ok(payload) => sealing::keep(&self.inner.bus, subject, &record.id, &payload).await,
            Err(error) => Err(error.into()),
        };
        let Err(error) = kept else { return (decision, record) };
        tracing::error!(id = record.id, %error, "what a record leaves out was not stored");
        self.inner.observer.unrecorded();
        let denial = match decision {
            Decision::Permit(permit) => permit.unkept(),
            Decision::Deny(denial) => denial,
        };
        let mut record = action::denial(&denial, chain, presented);
        sealed::unkept(&mut record, presented.proof);
        (Decision::Deny(denial), record)
    }

    /// One look at the view: the decision, and what was in force.
    fn decide_now(&self, judgement: &Judgement<'_>, replay: &ReplayGuard) -> (Decision, InForce) {
        let inner = &*self.inner;
        let policy = DecisionPolicy {
            nonce: judgement.nonce,
            side_effecting: judgement.demand.side_effecting,
            ..DecisionPolicy::new(&judgement.audience, inner.policy.domain(), judgement.demand.staleness_bound)
        };
        let unix = inner.clock.unix();
        let view = inner.feed.view();
        let now = Now { unix, monotonic: inner.feed.now() };
        let decision = decide(judgement.chain, &judgement.call, judgement.proof, &policy, &view, replay, now);
        (decision, InForce { set: view.set_digest(), count: view.active_count() })
    }

    /// Step 5: why the permit no longer holds, if it does not. Nothing is asked again while no token has expired, the
    /// view is fresh and the same directives are in force.
    fn withdrawn(&self, judgement: &Judgement<'_>, before: &InForce) -> Option<Denial> {
        let unchanged = {
            let view = self.inner.feed.view();
            let fresh = view.freshness(self.inner.feed.now(), judgement.demand.staleness_bound).is_fresh();
            fresh && *before == InForce { set: view.set_digest(), count: view.active_count() }
        };
        if unchanged && judgement.chain.check_time(self.inner.clock.unix()).is_ok() {
            return None;
        }
        // The proof was accepted a moment ago: this look must not take it for a replay.
        match self.decide_now(judgement, &ReplayGuard::new(1)).0 {
            Decision::Permit(_) => None,
            Decision::Deny(denial) => Some(denial),
        }
    }

    /// A denial without a judgement: the chain does not hold, or what was presented can't be read.
    async fn refuse_unjudged(
        &self,
        tool: &str,
        presentation: Option<&Presentation<'_>>,
        refusal: Refusal,
        received: Received<'_>,
    ) -> Ruling {
        let basis = self.basis(self.inner.policy.demand(tool));
        let erasable = self.inner.policy.erasable(tool).is_some();
        if refusal.code == Code::ChainUnknown {
            // Nothing is decided: the caller sends the same proof again with the whole chain.
            let record = match erasable {
                true => self.refuse_input(&refusal, None).await,
                false => self.refuse(&refusal, received).await,
            };
            return Ruling::Denied(Denied { refusal, record, basis });
        }
        let bytes = received.bytes();
        let presented = Presented {
            by: self.inner.by,
            iat_ms: self.inner.clock.unix_millis(),
            tool,
            proof: presentation.map_or("", |presentation| presentation.proof),
            input: &bytes,
            audience: presentation.and_then(|presentation| presentation.audience.as_deref()),
        };
        let mut record = action::refused(&refusal, &basis, &presented);
        if erasable {
            sealed::redact(&mut record);
        }
        let stored = self.publish(&record).await;
        Ruling::Denied(Denied { refusal, record: stored.is_ok().then_some(record.id), basis })
    }

    fn basis(&self, demand: Demand) -> Basis {
        let view = self.inner.feed.view();
        Basis {
            epoch: view.epoch(),
            view_age: view.age(self.inner.feed.now()),
            staleness_bound: demand.staleness_bound,
        }
    }

    /// Stores the *refused* record of a request that names no action. Gives its id, if it was stored.
    pub async fn refuse(&self, refusal: &Refusal, received: Received<'_>) -> Option<String> {
        self.refuse_input(refusal, Some(&received.bytes())).await
    }

    async fn refuse_input(&self, refusal: &Refusal, input: Option<&[u8]>) -> Option<String> {
        let body = Refused::of(refusal, &self.inner.service, input);
        let record = Record::new(self.inner.clock.unix_millis(), self.inner.by, Body::Refused(body));
        self.publish(&record).await.ok().map(|()| record.id)
    }

    /// Stores the *completed* record of a permitted action. Where it is not acknowledged the tool has run all the
    /// same: telemetry and [`Observer::unrecorded`] tell, and the *decided* record stands without its end.
    pub async fn complete(&self, permitted: Permitted, outcome: Outcome<'_>) {
        let Permitted { record: decided, agent, task, tool, token, links, since, erasable, .. } = permitted;
        let duration_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let completed = match outcome {
            Outcome::Answered(reply) => {
                let InputDigest { sha256, bytes } = InputDigest::of(reply);
                let (reply_sha256, reply_bytes) = ((!erasable).then_some(sha256), Some(bytes));
                Completed {
                    decided,
                    outcome: record::Outcome::Ok,
                    status: None,
                    reply_sha256,
                    reply_bytes,
                    duration_us,
                }
            }
            Outcome::Failed(status) => Completed {
                decided,
                outcome: record::Outcome::Error,
                status: Some(status.chars().take(STATUS_CHARS_MAX).collect()),
                reply_sha256: None,
                reply_bytes: None,
                duration_us,
            },
        };
        let record = Record {
            agent: Some(agent),
            task,
            tool: Some(tool),
            token: Some(token),
            links,
            ..Record::new(self.inner.clock.unix_millis(), self.inner.by, Body::Completed(completed))
        };
        // `publish` has told whoever looks after it; the caller can't undo what has run.
        let _ = self.publish(&record).await;
    }

    /// Stores a *delegated* record for each derived link that was not recorded here before.
    async fn record_links(&self, chain: &VerifiedChain) {
        let inner = &*self.inner;
        let new: Vec<usize> = {
            let mut seen = inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let links = chain.links().iter().enumerate().skip(1);
            links.filter(|(_, link)| seen.insert(*link.digest())).map(|(depth, _)| depth).collect()
        };
        let record = |depth: usize| async move {
            let Some(record) = action::delegated(chain, depth, inner.by, inner.clock.unix_millis()) else { return };
            if self.publish(&record).await.is_err()
                && let Some(link) = chain.links().get(depth)
            {
                inner.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(link.digest());
            }
        };
        futures::future::join_all(new.into_iter().map(record)).await;
    }

    /// Stored, or the refusal that says it is not.
    async fn publish(&self, record: &Record) -> Result<(), Refusal> {
        let inner = &*self.inner;
        let not_recorded = |why: String| {
            tracing::error!(id = record.id, kind = record.kind().as_str(), why, "a record was not acknowledged");
            inner.observer.unrecorded();
            Refusal::new(Code::NotRecorded, "the record was not acknowledged, so nothing was done")
        };
        let compact = record.seal(&inner.key).map_err(|error| not_recorded(error.to_string()))?;
        let key = record.agent.unwrap_or(record.by);
        let stored = inner.bus.publish_record(record.kind().as_str(), Some(&key), &compact).await;
        stored.map(drop).map_err(|error| not_recorded(error.to_string()))
    }
}

/// Of a tool's own status, in a record.
const STATUS_CHARS_MAX: usize = 128;

/// What one action is judged by.
struct Judgement<'a> {
    chain: &'a VerifiedChain,
    call: Call<'a>,
    proof: &'a str,
    audience: Audience,
    nonce: Option<&'a str>,
    demand: Demand,
}

fn denied(denial: Denial, record: Option<String>) -> Ruling {
    let basis = *denial.basis();
    Ruling::Denied(Denied { refusal: denial.into(), record, basis })
}

/// The agent that the asking host believes to act is the one whom the leaf is bound to.
fn same_agent(chain: &VerifiedChain, believed: Option<Did>) -> Result<(), Refusal> {
    match believed {
        Some(agent) if agent != *chain.leaf().holder() => {
            Err(Refusal::new(Code::PossessionUnproven, "the leaf is bound to another agent than `subject.id` names"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A point that has a name accepts proofs made for it alone (PROTOCOL §4).
fn demanded(name: Option<String>) -> Audience {
    match name {
        Some(name) => Audience::new([name]).demand_proof(),
        None => Audience::default(),
    }
}
