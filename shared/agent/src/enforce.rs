//! Enforcing: what stands between an action and the tool that it names (PROTOCOL §5).
//!
//! [`EnforcementPoint`] decides and records; it is the one piece of code for that, here and in the verifier service.
//! [`Enforcer`] puts it in front of a tool inside the tool host's own process.

mod policy;

pub use policy::{Demand, Policy, STALENESS_CRITICAL, STALENESS_STANDARD, Tier, ToolRule};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use marque_bus::{Bus, BusError, Feed};
use marque_signing::{SigningKey, TrustBundle};

/// What a permitted tool is handed.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The arguments: a JSON object, as received.
    pub args: Bytes,
    /// The id of the *decided* record, which is stored.
    pub record: String,
    /// The agent that acts.
    pub agent: marque_identity::Did,
    /// W3C Trace Context of the caller.
    pub traceparent: Option<String>,
}

/// A tool's own failure; the caller gets `tool_failed` with this text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// Enforcement inside a tool host. Cheap to clone.
#[derive(Clone)]
pub struct Enforcer {}

/// A tool that is being served.
pub struct ServedTool {}

impl Enforcer {
    /// An enforcement point that signs its records with the host's `key` and goes by `bundle`, `feed` and `policy`.
    pub fn new(bus: &Bus, key: Arc<SigningKey>, bundle: &TrustBundle, feed: Feed, policy: Policy) -> Self {
        let _ = (bus, key, bundle, feed, policy);
        todo!()
    }

    /// Serves `handler` as the tool `nats:<tool_subject>`: it runs only after its *decided* record is stored, and
    /// its caller is answered after its *completed* record is.
    pub async fn serve_tool<H, F>(&self, tool_subject: &str, handler: H) -> Result<ServedTool, BusError>
    where
        H: Fn(Invocation) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Bytes, ToolError>> + Send + 'static,
    {
        let _ = (tool_subject, handler);
        todo!()
    }
}

impl ServedTool {
    /// Takes no more calls and finishes those it has, at most until `deadline`.
    pub async fn drain(self, deadline: Duration) {
        let _ = deadline;
        todo!()
    }
}
