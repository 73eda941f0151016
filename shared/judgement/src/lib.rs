//! Chain, decision, action: what a presented chain is worth, whether a call may happen, and the record of it.
//!
//! In scope: AAT draft -02 §8 with its step names, then ours: 9 directives, 10 narrowings, 11 freshness. Out of
//! scope: I/O, clocks (`now` is an argument), async, telemetry, and step 12 across a cluster (see
//! [`Permit::side_effecting`]). What can't be decided is denied.

pub mod action;
pub mod cache;
pub mod call;
pub mod chain;
pub mod decision;
pub mod hindsight;
pub mod plumbing;
pub mod proof;
pub mod record;
mod refusal;
pub mod replay;
pub mod sealed;

pub use cache::ChainCache;
pub use call::{Audience, Call, check_call};
pub use chain::{ChainLimits, Link, TrustAnchor, VerifiedChain, verify_chain, verify_chain_knowing};
pub use decision::{
    Basis, Decision, DecisionPolicy, Denial, Now, Permit, check_credential, check_standing, check_view, decide,
    narrowings_hold, validate_narrowing,
};
pub use proof::{Claimed, ProofPolicy, VerifiedProof, check_proof};
pub use refusal::ChainRefusal;
pub use replay::{ReplayGuard, ReplayRefusal};
