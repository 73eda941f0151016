//! Acting: each call of a tool is a signed action.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use marque_bus::{Bus, CallError as BusCallError, Reply, header, subjects};
use marque_credential::{ProofRequest, make_proof};
use marque_identity::{Code, TaskId, TokenId};
use marque_json::{Json, Limits};
use marque_runtime::Clock;

use crate::answer::DECIDED;
use crate::statement::{self, UnderWay};
use crate::{Answer, CallError, Commission};

/// What an agent states beside an action. Recorded as *claimed*; nothing is permitted on it.
#[derive(Debug, Clone, Default)]
pub struct Why {
    /// Its reason, in words.
    pub why: Option<String>,
    /// The `jti` of the action, or the id of the message, that led to this one.
    pub cause: Option<String>,
    /// The task; none: the commission's.
    pub task: Option<TaskId>,
    /// W3C Trace Context of the caller.
    pub traceparent: Option<String>,
}

impl Why {
    /// A reason in words.
    pub fn because(why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..Self::default() }
    }

    /// The same, led to by this action (its `jti`).
    #[must_use]
    pub fn caused_by(mut self, action: impl Into<String>) -> Self {
        self.cause = Some(action.into());
        self
    }
}

/// How long a call waits for its answer unless told otherwise: beyond the 8 s in which a record may wait for the audit
/// stream's new leader (NATS.md), and the tool's own time.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Receivers that are remembered to hold our chain; forgetting one costs a longer message.
const RECEIVERS_MAX: usize = 1024;

/// A commission on the bus: calls tools. Cheap to clone.
#[derive(Clone)]
pub struct Actor {
    bus: Bus,
    commission: Arc<Commission>,
    /// Bus subjects whose enforcement point has verified our chain and so can be sent its digest alone.
    receivers: Arc<Mutex<HashSet<String>>>,
    timeout: Duration,
}

impl Commission {
    /// This commission, acting over `bus`.
    pub fn on(&self, bus: &Bus) -> Actor {
        Actor { bus: bus.clone(), commission: Arc::new(self.clone()), receivers: Arc::default(), timeout: CALL_TIMEOUT }
    }
}

impl Actor {
    /// The same, waiting at most this long for each answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What it acts under.
    pub fn commission(&self) -> &Commission {
        &self.commission
    }

    /// Calls the tool whose host enforces in its own process on `tool_subject`: the tool `nats:<tool_subject>`.
    pub async fn call(&self, tool_subject: &str, args: &serde_json::Value, why: Why) -> Result<Answer, CallError> {
        let args = serde_json::to_vec(args).map_err(|_| CallError::NotAnObject)?;
        self.call_bytes(tool_subject, args.into(), why).await
    }

    /// The same with the arguments as JSON text, whose numbers are judged as they are written.
    pub async fn call_bytes(&self, tool_subject: &str, args: Bytes, why: Why) -> Result<Answer, CallError> {
        self.send(tool_subject, tool_subject, args, why).await
    }

    /// Calls a tool that knows nothing of us, through the verifier's gate.
    pub async fn call_via_gate(
        &self,
        tool_subject: &str,
        args: &serde_json::Value,
        why: Why,
    ) -> Result<Answer, CallError> {
        let args = serde_json::to_vec(args).map_err(|_| CallError::NotAnObject)?;
        self.call_bytes_via_gate(tool_subject, args.into(), why).await
    }

    /// The same with the arguments as JSON text.
    pub async fn call_bytes_via_gate(&self, tool_subject: &str, args: Bytes, why: Why) -> Result<Answer, CallError> {
        self.send(&subjects::gate(tool_subject), tool_subject, args, why).await
    }

    /// The signed proof of a call, for a host that carries it in its own way (`marque.verifier.decide`).
    ///
    /// Uses up one `seq`. `audience`: the place of use; `nonce`: what the host demanded.
    pub fn prove(
        &self,
        tool: &str,
        args: &[u8],
        audience: Option<String>,
        nonce: Option<String>,
        why: Why,
    ) -> Result<SignedAction, CallError> {
        let args = marque_json::parse(args, Limits::DEFAULT).map_err(CallError::Arguments)?;
        if args.as_object().is_none() {
            return Err(CallError::NotAnObject);
        }
        self.sign(tool, &args, audience, nonce, why)
    }

    fn sign(
        &self,
        tool: &str,
        args: &Json<'_>,
        audience: Option<String>,
        nonce: Option<String>,
        why: Why,
    ) -> Result<SignedAction, CallError> {
        let key = self.commission.key();
        let action = TokenId::generate();
        let task = why.task.or_else(|| self.commission.task().cloned());
        let proof = key.sign_next(|seq, prev| {
            let request = ProofRequest {
                jti: action.clone(),
                iat: Clock::new().unix(),
                tool,
                args,
                aud: audience,
                nonce,
                seq,
                prev,
                task,
                why: why.why,
                cause: why.cause,
                traceparent: why.traceparent,
                manifest_hash: self.commission.manifest_hash(),
            };
            make_proof(key.signing(), self.commission.leaf(), &request)
        });
        Ok(SignedAction { action: action.0, proof: proof.map_err(CallError::Proof)? })
    }

    /// One action: signed once, sent, and stated in the log where the answer does not show that its number stands there.
    async fn send(&self, subject: &str, tool_subject: &str, args: Bytes, why: Why) -> Result<Answer, CallError> {
        let traceparent = why.traceparent.clone();
        let audience = self.commission.domain().audience(tool_subject);
        let tool = format!("nats:{tool_subject}");
        let signed = self.prove(&tool, &args, Some(audience), None, why)?;
        let under_way = UnderWay::new(&self.commission, &tool, &signed);
        let outcome = self.ask(subject, &signed, traceparent.as_deref(), args).await;
        match &outcome {
            Ok(_) | Err(CallError::ToolFailed(_)) => under_way.numbered(),
            Err(CallError::Denied(denial)) if !statement::is_unnumbered(denial) => under_way.numbered(),
            Err(_) => drop(under_way),
        }
        self.settle(outcome.is_err()).await;
        outcome
    }

    /// States in the log an action that was signed by [`prove`](Self::prove) and that no enforcement point has answered:
    /// the next one names it as its predecessor. [`call`](Self::call) does so by itself.
    pub async fn state(&self, tool: &str, signed: &SignedAction) {
        drop(UnderWay::new(&self.commission, tool, signed));
        self.settle(true).await;
    }

    /// What is owed to the log is stored before a failure is told; a good answer does not wait for it.
    async fn settle(&self, waited_for: bool) {
        let key = self.commission.key();
        if !key.owes() {
            return;
        }
        let (bus, key) = (self.bus.clone(), key.clone());
        let settling = tokio::spawn(async move { statement::settle(&bus, &key).await });
        if waited_for {
            // A task that died has told why; the call's own outcome stands.
            drop(settling.await);
        }
    }

    /// Sent with the chain's digest where the receiver should know it, and again with the whole chain where it does not.
    /// The proof is the same both times, so that the action stays one.
    async fn ask(
        &self,
        subject: &str,
        signed: &SignedAction,
        traceparent: Option<&str>,
        args: Bytes,
    ) -> Result<Answer, CallError> {
        if self.is_known_at(subject) {
            match self.request(subject, Chain::Digest, signed, traceparent, args.clone()).await {
                Err(CallError::Denied(denial)) if denial.code == Code::ChainUnknown => self.forget(subject),
                outcome => return outcome,
            }
        }
        let outcome = self.request(subject, Chain::Whole, signed, traceparent, args).await;
        if outcome.is_ok() {
            self.remember(subject);
        }
        outcome
    }

    async fn request(
        &self,
        subject: &str,
        chain: Chain,
        signed: &SignedAction,
        traceparent: Option<&str>,
        args: Bytes,
    ) -> Result<Answer, CallError> {
        let mut headers = marque_bus::async_nats::HeaderMap::new();
        match chain {
            Chain::Whole => headers.insert(header::CHAIN, self.commission.chain()),
            Chain::Digest => headers.insert(header::CHAIN_REF, format!("sha-256:{}", self.commission.chain_digest())),
        }
        headers.insert(header::PROOF, signed.proof.as_str());
        if let Some(traceparent) = traceparent {
            headers.insert(header::TRACEPARENT, traceparent);
        }
        match self.bus.request(subject, headers, args, self.timeout).await {
            Ok(Reply { headers, payload }) => {
                let record = headers.get(DECIDED).map(|id| id.as_str().to_owned());
                Ok(Answer { payload, record, action: signed.action.clone() })
            }
            Err(error) => Err(self.failure(subject, signed, error)),
        }
    }

    fn failure(&self, subject: &str, signed: &SignedAction, error: BusCallError) -> CallError {
        match error {
            BusCallError::Refused(refusal) if matches!(refusal.code, Code::ToolFailed | Code::ToolUnserved) => {
                CallError::ToolFailed(Box::new(refusal.into()))
            }
            BusCallError::Refused(refusal) => CallError::Denied(Box::new(refusal.into())),
            BusCallError::Foreign { code, message } => {
                CallError::ToolFailed(Box::new(crate::Denial::foreign(&code, &message)))
            }
            BusCallError::Unanswered(refusal) if refusal.code == Code::OutcomeUnknown => CallError::OutcomeUnknown {
                subject: subject.to_owned(),
                waited: self.timeout,
                action: signed.action.clone(),
            },
            BusCallError::Unanswered(refusal) => CallError::Unanswered(refusal),
        }
    }

    fn is_known_at(&self, subject: &str) -> bool {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).contains(subject)
    }

    fn remember(&self, subject: &str) {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        if receivers.len() >= RECEIVERS_MAX {
            receivers.clear();
        }
        receivers.insert(subject.to_owned());
    }

    fn forget(&self, subject: &str) {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).remove(subject);
    }
}

enum Chain {
    Whole,
    Digest,
}

/// A proof and what it is called by.
#[derive(Debug, Clone)]
pub struct SignedAction {
    /// The proof's `jti`.
    pub action: String,
    /// The proof, an `aat-pop+jwt`.
    pub proof: String,
}
