//! Enforcement inside a tool host's own process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use marque_bus::service::Request;
use marque_bus::{Bus, BusError, Endpoint, Feed, Reply, RunningService, Service, header};
use marque_identity::{Code, Did, Refusal};
use marque_signing::{SigningKey, TrustBundle};

use super::point::EnforcementPoint;
use super::policy::Policy;
use super::presentation::{Presentation, Received};
use super::ruling::{Asked, Outcome, Permitted, Ruling};
use super::{Observer, reply};

/// How long a tool may run: below a caller's default wait of 30 s, so that the caller hears what became of it.
pub const TOOL_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls of one tool in hand at once; more wait in the subscription. Each holds its payload, 64 KiB at the most.
pub const CALLS_MAX: usize = 64;

/// What a permitted tool is handed.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The arguments: a JSON object, as received.
    pub args: Bytes,
    /// The id of the *decided* record, which is stored.
    pub record: String,
    /// The agent that acts.
    pub agent: Did,
    /// W3C Trace Context of the caller.
    pub traceparent: Option<String>,
}

/// A tool's own failure: the caller gets `tool_failed` with this text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// Puts an enforcement point in front of tools that this process serves. Cheap to clone.
#[derive(Clone)]
pub struct Enforcer {
    bus: Bus,
    point: EnforcementPoint,
    tool_timeout: Duration,
    calls_max: usize,
}

/// A tool that is being served; dropped, it stops at once.
pub struct ServedTool(RunningService);

impl Enforcer {
    /// An enforcement point that signs its records with the host's `key` (in the bundle as `host`) and goes by
    /// `bundle`, `feed` and `policy`.
    pub fn new(bus: &Bus, key: Arc<SigningKey>, bundle: &TrustBundle, feed: Feed, policy: Policy) -> Self {
        Self::at(bus, EnforcementPoint::new(bus, key, "host", bundle, feed, policy))
    }

    /// The same, telling `observer` what it does.
    pub fn observed_by(
        bus: &Bus,
        key: Arc<SigningKey>,
        bundle: &TrustBundle,
        feed: Feed,
        policy: Policy,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self::at(bus, EnforcementPoint::observed_by(bus, key, "host", bundle, feed, policy, observer))
    }

    fn at(bus: &Bus, point: EnforcementPoint) -> Self {
        Self { bus: bus.clone(), point, tool_timeout: TOOL_TIMEOUT, calls_max: CALLS_MAX }
    }

    /// The same, letting each tool run at most this long.
    #[must_use]
    pub fn tool_timeout(mut self, timeout: Duration) -> Self {
        self.tool_timeout = timeout;
        self
    }

    /// The same, with this many calls of one tool in hand at once.
    #[must_use]
    pub fn calls_max(mut self, calls_max: usize) -> Self {
        self.calls_max = calls_max;
        self
    }

    /// The enforcement point, for a host that carries actions in its own way.
    pub fn point(&self) -> &EnforcementPoint {
        &self.point
    }

    /// Serves `handler` as the tool `nats:<tool_subject>`: it runs only after its *decided* record is stored, and its
    /// caller is answered after its *completed* record is. A panic or a timeout is `tool_failed`, and recorded.
    pub async fn serve_tool<H, F>(&self, tool_subject: &str, handler: H) -> Result<ServedTool, BusError>
    where
        H: Fn(Invocation) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Bytes, ToolError>> + Send + 'static,
    {
        let tool = Arc::new(Tool {
            point: self.point.clone(),
            name: format!("nats:{tool_subject}"),
            audience: self.point.policy().domain().audience(tool_subject),
            timeout: self.tool_timeout,
            handler,
        });
        let answer = move |request| {
            let tool = tool.clone();
            async move { Ok::<_, Refusal>(tool.answer(request).await) }
        };
        let endpoint = Endpoint::new("call", tool_subject, answer).concurrency(self.calls_max);
        let about = format!("The tool nats:{tool_subject}, under enforcement in its host");
        let service = Service::new(service_name(tool_subject), env!("CARGO_PKG_VERSION"), about).endpoint(endpoint);
        Ok(ServedTool(service.start(&self.bus).await?))
    }
}

impl ServedTool {
    /// Takes no more calls and finishes those it has, at most until `deadline`.
    pub async fn drain(self, deadline: Duration) {
        self.0.drain(deadline).await;
    }
}

struct Tool<H> {
    point: EnforcementPoint,
    name: String,
    audience: String,
    timeout: Duration,
    handler: H,
}

impl<H, F> Tool<H>
where
    H: Fn(Invocation) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Bytes, ToolError>> + Send + 'static,
{
    /// Decides and records, runs, records what came of it, answers.
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        let presentation = Presentation::read(&request, self.audience.clone());
        let asked = Asked { tool: &self.name, presentation, received: Received::of(&request) };
        let permitted = match self.point.decide(asked).await {
            Ruling::Permitted(permitted) => permitted,
            Ruling::Denied(denied) => return reply::refusal(&denied.refusal, denied.record.as_deref()),
        };
        let record = permitted.record().to_owned();
        match self.clone().run(&permitted, &request).await {
            Ok(payload) => {
                self.point.complete(permitted, Outcome::Answered(&payload)).await;
                reply::answer(payload, &record)
            }
            Err(failure) => {
                self.point.complete(permitted, Outcome::Failed(failure.status)).await;
                let refusal = Refusal::new(Code::ToolFailed, failure.message);
                reply::refusal(&refusal, Some(&record))
            }
        }
    }

    /// In a task of its own, so that its panic or its sleep ends nothing else.
    async fn run(self: Arc<Self>, permitted: &Permitted, request: &Request) -> Result<Bytes, Failure> {
        let invocation = Invocation {
            args: request.payload.clone(),
            record: permitted.record().to_owned(),
            agent: *permitted.agent(),
            traceparent: request.header(header::TRACEPARENT).map(str::to_owned),
        };
        let tool = self.clone();
        let mut task = tokio::spawn(async move { (tool.handler)(invocation).await });
        match tokio::time::timeout(self.timeout, &mut task).await {
            Ok(Ok(Ok(payload))) => Ok(payload),
            Ok(Ok(Err(ToolError(message)))) => Err(Failure { status: "tool_error", message }),
            Ok(Err(_)) => {
                tracing::error!(tool = self.name, "a tool's handler panicked");
                Err(Failure { status: "panic", message: "the tool's handler panicked".to_owned() })
            }
            Err(_) => {
                task.abort();
                Err(Failure { status: "timeout", message: format!("the tool did not end within {:?}", self.timeout) })
            }
        }
    }
}

struct Failure {
    status: &'static str,
    message: String,
}

/// The micro service that a served tool answers as. A service's name has no dots.
pub fn service_name(tool_subject: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    format!("marque-tool-{}", tool_subject.chars().map(allowed).collect::<String>())
}
