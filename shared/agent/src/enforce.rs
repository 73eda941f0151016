//! Enforcing: what stands between an action and the tool that it names (PROTOCOL §5).
//!
//! [`EnforcementPoint`] decides and records; it is the one piece of code for that, here and in the verifier service.
//! [`Enforcer`] puts it in front of tools inside the tool host's own process.

mod chains;
mod host;
mod observer;
mod point;
mod policy;
mod presentation;
pub mod reply;
mod ruling;
mod sealing;
mod seen;
pub mod wire;

pub use chains::Chains;
pub use host::{CALLS_MAX, Enforcer, Invocation, ServedTool, TOOL_TIMEOUT, ToolError, service_name};
pub use observer::Observer;
pub use point::EnforcementPoint;
pub use policy::{
    Demand, Policy, STALENESS_CRITICAL, STALENESS_MAX_MS, STALENESS_MIN_MS, STALENESS_STANDARD, Tier, ToolRule,
};
pub use presentation::{Chain, Presentation, Received};
pub use ruling::{Asked, Denied, Outcome, Permitted, Ruling};
pub use sealing::DataSubject;
