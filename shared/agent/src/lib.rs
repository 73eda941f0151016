//! The SDK: what a developer of agents or of tools uses. Enrol, delegate, act; and for tool hosts, enforce.
//!
//! ```text
//! AgentKey ──enrol──► Agent ──commission──► Commission ──on(bus)──► Actor ──call──► Answer
//!                                               │ delegate (offline)                  ▲
//!                                               └──► chain text ──adopt──► Commission ┘     of a sub-agent
//!
//! each connects by its own key: to enrol, with its credential, with a chain ([`AgentKey::connect_options`])
//!
//! a call's headers and payload ──► Enforcer (tool host) or the verifier service ──► EnforcementPoint ──► Ruling
//! ```
//!
//! In scope: the agent's side of the protocol, and the one piece of code that decides and records
//! ([`enforce::EnforcementPoint`]), which tool hosts and the verifier service share. Out of scope: judging itself
//! (`marque-judgement`), and how bytes travel (`marque-bus`).
//!
//! A private key never leaves the [`AgentKey`] that holds it (ARCHITECTURE promise 7): delegation hands over a chain,
//! never a key.

mod actor;
mod agent;
mod answer;
mod attest;
mod commission;
pub mod enforce;
mod error;
mod evidence;
mod key;
mod statement;

pub use actor::{Actor, CALL_TIMEOUT, SignedAction, Why};
pub use agent::{ADMISSION_TIME, Agent, CommissionRequest, RuntimeClaim};
pub use answer::{Answer, DECIDED, Denial};
pub use attest::attest;
pub use commission::{Commission, Delegation};
pub use error::{AgentError, CallError};
pub use evidence::Evidence;
pub use key::{AgentKey, History};
