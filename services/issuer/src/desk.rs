//! The desk: one request from its bytes to its answer, for all three duties.

use std::sync::Arc;
use std::time::Instant;

use marque_credential::EvidenceKind;
use marque_identity::{Code, Did, Refusal, UnixMillis, UnixSeconds};
use marque_judgement::record::RecordKind;
use marque_signing::SigningKey;

use crate::attest::Issuers;
use crate::commitment::{Answer, Commitment};
use crate::metrics::Metrics;
use crate::records::{self, Records};
use crate::request::{Duty, SignedRequest};
use crate::rules::Rules;
use crate::standing::Directives;
use crate::step::Step;
use crate::store::{Begun, Grant, Store, StoreError};
use crate::{enrol, issue, renew};

/// How long a granted request is remembered, in seconds: the same bytes sent again within it get the same answer,
/// so that an agent outlasts our restart. The window for new requests is far shorter.
pub const ANSWER_MEMORY_SECONDS: i64 = 600;
/// Grants that one start settles at a time.
const SETTLED_AT_ONCE: usize = 256;

/// What the desk works with. Everything is handed in, so that a test can hand in a log that fails.
pub struct Desk<R, D> {
    /// The issuer's key.
    pub key: Arc<SigningKey>,
    /// What requests are examined against.
    pub rules: Arc<Rules>,
    /// Whose tokens are evidence.
    pub oidc: Arc<Issuers>,
    /// What was granted before.
    pub store: Store,
    /// Where records go.
    pub records: R,
    /// Whom directives stand against.
    pub directives: D,
    /// Wall time.
    pub now: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    /// Numbers.
    pub metrics: Metrics,
}

impl<R: Records, D: Directives> Desk<R, D> {
    /// Answers a request. A refusal is recorded before it is given.
    pub async fn answer(&self, duty: Duty, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let began = Instant::now();
        let (agent, outcome) = match SignedRequest::open(body, duty, &self.rules.bundle.trust_domain) {
            Ok(request) => (Some(request.agent().did()), self.grant(duty, &request).await),
            Err(refusal) => (None, Err(refusal)),
        };
        self.metrics.answered(duty, &outcome, began.elapsed());
        match outcome {
            Ok(grant) => Ok(grant.answer.into_bytes()),
            Err(refusal) => {
                self.record_refusal(&refusal, agent, body).await;
                Err(refusal)
            }
        }
    }

    /// One story in order:
    ///
    /// 1. the same request, granted before, is only settled again (7, 8)
    /// 2. a new one was signed just now
    /// 3. it is examined by the rules of its duty
    /// 4. no directive stands against it, by a view that is fresh
    /// 5. a changed manifest is recorded as a risk; the credential and its *issued* record are signed
    /// 6. both are kept, durably, with the use of the evidence in the same transaction
    /// 7. the record is stored in the stream (promise 1)
    /// 8. no directive has come meanwhile
    ///
    /// Killed between any two of these and run again, the same request gets the same bytes, or a refusal that left
    /// nothing behind.
    async fn grant(&self, duty: Duty, request: &SignedRequest) -> Result<Grant, Refusal> {
        // 1
        let (id, digest) = (request.id(), *request.digest());
        if let Some(earlier) = self.in_store(move |store| store.remembered(id, &digest)).await? {
            return self.settle(earlier).await;
        }
        // 2
        let now = self.now();
        request.check_window(now.seconds())?;
        // 3
        let commitment = match duty {
            Duty::Enrol => enrol::examine(request, &self.rules, &self.oidc, now.seconds()).await,
            Duty::Issue => issue::examine(request, &self.rules, now.seconds()),
            Duty::Renew => renew::examine(request, &self.rules, now.seconds()),
        }?;
        // 4
        self.directives.check(&commitment.about)?;
        // 5
        if let Some(message) = &commitment.manifest_changed {
            self.record_risk(&commitment.about.agent, message).await?;
        }
        let grant = self.sign(request, &commitment, now)?;
        Step::Signed.taken();
        // 6
        let uses = commitment.uses;
        let begun = self.in_store(move |store| store.begin(grant, &uses)).await?;
        Step::Begun.taken();
        match begun {
            Begun::Now(grant) | Begun::Earlier(grant) => self.settle(grant).await,
            Begun::EvidenceUsed(EvidenceKind::JoinToken) => {
                Err(Refusal::new(Code::JoinTokenUsed, "the join token has been used"))
            }
            Begun::EvidenceUsed(kind) => {
                Err(Refusal::new(Code::EvidenceReused, format!("the evidence of kind `{kind}` has been used")))
            }
        }
    }

    fn sign(&self, request: &SignedRequest, commitment: &Commitment, now: UnixMillis) -> Result<Grant, Refusal> {
        let signed = commitment.matter.sign(&self.key)?;
        let answer = serde_json::to_string(&Answer::of(&commitment.matter, &signed))
            .map_err(|error| Refusal::new(Code::Internal, format!("an answer could not be written: {error}")))?;
        Ok(Grant {
            id: request.id(),
            request: *request.digest(),
            kind: commitment.matter.kind(),
            about: commitment.about.clone(),
            record: records::issued(&self.key, commitment, &signed, request.digest(), now)?,
            answer,
            keep_until: now.seconds().plus(ANSWER_MEMORY_SECONDS),
        })
    }

    /// Steps 7 and 8. Any number of times: the record's id is the digest of its bytes.
    async fn settle(&self, grant: Grant) -> Result<Grant, Refusal> {
        self.record(&grant).await?;
        self.directives.check(&grant.about)?;
        Ok(grant)
    }

    async fn record(&self, grant: &Grant) -> Result<(), Refusal> {
        let id = grant.id;
        if self.in_store(move |store| store.is_recorded(id)).await? {
            return Ok(());
        }
        self.records.publish(RecordKind::Issued, &grant.about.agent, &grant.record).await.map_err(|error| {
            let message = format!("the issued record was not acknowledged, nothing is handed out: {}", error.message);
            Refusal::new(Code::NotRecorded, message)
        })?;
        Step::Recorded.taken();
        let recorded = grant.clone();
        self.in_store(move |store| store.recorded(&recorded)).await?;
        Step::Settled.taken();
        Ok(())
    }

    /// Publishes what an earlier run began and did not see acknowledged, so that no join token is used without a
    /// trace. Stops at the first that can't be published.
    pub async fn settle_pending(&self) -> Result<usize, Refusal> {
        let mut settled = 0;
        loop {
            let pending = self.in_store(|store| store.pending(SETTLED_AT_ONCE)).await?;
            if pending.is_empty() {
                return Ok(settled);
            }
            for grant in &pending {
                self.record(grant).await?;
            }
            settled += pending.len();
        }
    }

    /// Forgets what is over and shows the totals. `unavailable`: the store's disk has failed, and nothing is granted
    /// until it is opened again.
    pub async fn tidy(&self) -> Result<(), Refusal> {
        let now: UnixSeconds = self.now().seconds();
        let totals = self.in_store(move |store| store.forget(now).and_then(|_| store.totals())).await?;
        self.metrics.totals(&totals);
        Ok(())
    }

    /// That a manifest which the blueprint allows has changed; nothing is granted before it is stored.
    async fn record_risk(&self, agent: &Did, message: &str) -> Result<(), Refusal> {
        let record = records::manifest_changed(&self.key, *agent, message, self.now())?;
        self.records.publish(RecordKind::Risk, agent, &record).await.map_err(|error| {
            let message = format!("the risk record was not acknowledged, nothing is handed out: {}", error.message);
            Refusal::new(Code::NotRecorded, message)
        })
    }

    /// A refusal that can't be recorded is given all the same: it hands out nothing.
    async fn record_refusal(&self, refusal: &Refusal, agent: Option<Did>, body: &[u8]) {
        tracing::info!(code = %refusal.code, step = refusal.step, "refused");
        if matches!(refusal.code, Code::NotRecorded) {
            // The log does not answer; asking it once more would only keep the caller waiting.
            return self.metrics.refusal_unrecorded();
        }
        if let (Code::ManifestChanged, Some(agent)) = (refusal.code, &agent)
            && let Err(error) = self.record_risk(agent, &refusal.message).await
        {
            self.metrics.refusal_unrecorded();
            tracing::warn!(error = %error, "a risk could not be recorded");
        }
        let subject = agent.unwrap_or_else(|| self.key.did());
        let recorded = match records::refused(&self.key, refusal, agent, body, self.now()) {
            Ok(record) => self.records.publish(RecordKind::Refused, &subject, &record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            self.metrics.refusal_unrecorded();
            tracing::warn!(code = %refusal.code, error = %error, "a refusal could not be recorded");
        }
    }

    fn now(&self) -> UnixMillis {
        (self.now)()
    }

    /// The store blocks on the disk.
    async fn in_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.store.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&store)).await;
        let asked = asked.map_err(|error| Refusal::new(Code::Internal, format!("the store stopped: {error}")))?;
        Ok(asked?)
    }
}

#[cfg(test)]
mod failing;
#[cfg(test)]
mod tests;
