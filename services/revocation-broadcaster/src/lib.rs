//! The revocation broadcaster: publishes directives for those who may ask, and heartbeats that prove what is active.
//!
//! In scope: who may ask for what ([`authority`]), what a request becomes ([`compose`]), the outbox that survives a
//! kill ([`outbox`]), the one task that orders everything in the stream ([`publisher`]), and who has applied what
//! ([`roster`]). Out of scope: what a directive means to a view (`marque-revocation`), and to a call
//! (`marque-judgement`).
//!
//! Promises: an accepted request is published exactly once, whatever is killed; nothing is answered before it is
//! durable (2, 10); every refusal is recorded (8).

mod acks;
pub mod authority;
pub mod beat;
pub mod board;
pub mod compose;
pub mod config;
pub mod desk;
mod follow;
pub mod metrics;
pub mod outbox;
pub mod publisher;
pub mod records;
pub mod roster;
mod serve;
mod status;
pub mod stream;

pub use config::Config;
pub use serve::{SPEC, serve};
