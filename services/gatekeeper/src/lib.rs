//! The gatekeeper: the broker asks it whom to let in, and it closes what a directive ends.
//!
//! ```text
//!  server ── question ──► Door ── record *connected* ──► answer: a user with the permissions of its chain
//!  feed ─── directive ──► Warden ── KICK ──► record *kicked* ──► ack, naming what was closed
//!  server ── events ────► Registry: who is connected, by what
//!  agents ── statement ─► Scribe ── the agent's own record, stored
//! ```
//!
//! Several gatekeepers share the questions as one queue group, and each knows every connection: a directive is carried
//! out by all of them. In scope: admission, closing, the agents' statements. Out of scope: what a chain grants on the
//! wire (`marque-agent`, `enforce::wire`), the callout's messages (`marque-bus`, `callout`), judging (`marque-judgement`).

pub mod config;
mod connections;
mod door;
mod list;
mod metrics;
mod name;
mod overlong;
mod pace;
mod records;
mod registry;
mod renewal;
mod roster;
mod scribe;
mod seats;
mod serve;
mod server;
mod span;
mod standing;
mod statements;
mod warden;

/// What the gatekeeper reads from outside, for tests that hand in anything: the server's events, lists and answers to a
/// kick; operators' questions; the subjects of agents' statements.
pub mod doors {
    pub use crate::list::asked;
    pub use crate::name::{ConnectionName, NotOurs};
    pub use crate::scribe::addressed;
    pub use crate::server::{End, KickOutcome, Listed, Overlong, Told, kicked, listed, overlong, told};
}

pub use config::Config;
pub use serve::{SPEC, serve};
