//! AgentDojo suites as real input: each user task an enrolled agent, each tool a tool host, each call a signed action.
//!
//! What a suite file holds and how the two credential styles are written: [`suite`] and [`grant`]. The run itself,
//! against a live broker with the services: [`run`].

pub mod grant;
pub mod run;
pub mod suite;

pub use run::{Report, run_suite};
pub use suite::Suite;
