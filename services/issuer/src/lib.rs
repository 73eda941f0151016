//! The issuer: enrols agents by the evidence that their blueprints demand, and commissions them for tasks.
//!
//! In scope: who may have which credential ([`desk`] tells the story of a request), what was granted before
//! ([`store`]), what evidence is worth ([`attest`]), and what anyone may read ([`documents`]). Out of scope: what a token means (`marque-credential`),
//! who is revoked (the broadcaster; [`standing`] asks the view of its feed), and every action under a token.
//!
//! Promise 1: no credential leaves before its *issued* record is acknowledged.

pub mod attest;
pub mod blueprint;
mod ceiling;
mod commitment;
pub mod config;
pub mod desk;
pub mod documents;
mod enrol;
mod issue;
pub mod join;
pub mod metrics;
pub mod records;
mod renew;
pub mod request;
pub mod rules;
mod serve;
pub mod standing;
pub mod step;
pub mod store;
#[cfg(test)]
mod testing;

pub use commitment::About;
pub use config::Config;
pub use serve::{SPEC, serve};
