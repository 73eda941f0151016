//! Everything that knows NATS: subjects, streams, connecting, publishing, reading, services, the directive feed.
//!
//! In scope: the one table of subjects ([`subjects`]) and of streams ([`streams`]), the server's configuration drawn
//! from it ([`permissions`]), and what every service does with the bus. Out of scope: what the bytes mean (the lower
//! rooms), processes and files (`marque-runtime`).

pub mod callout;
pub mod connect;
pub mod consume;
mod error;
pub mod feed;
mod patience;
pub mod permissions;
pub mod publish;
mod raw;
pub mod request;
pub mod sealed;
pub mod service;
pub mod streams;
pub mod subjects;

pub use connect::{Bus, ConnectOptions, Presented};
pub use consume::{Batch, Stored, StreamReader};
pub use error::BusError;
pub use feed::{Counted, Feed, FeedOptions};
pub use patience::patiently;
pub use publish::{Claim, Recorded};
pub use raw::raw_lead;
pub use request::{CallError, Reply, WireRefusal};
pub use sealed::Erasure;
pub use service::{Endpoint, Request, RunningService, Service};
pub use streams::{StreamSpec, StreamState};

/// The client library's own types, for what this room does not wrap.
pub use async_nats;

/// Names of the headers that we set.
pub mod header {
    /// The chain: tokens, root first, joined by `~`.
    pub const CHAIN: &str = "Marque-Chain";
    /// The chain by digest, once the receiver has it: `sha-256:<hex>`.
    pub const CHAIN_REF: &str = "Marque-Chain-Ref";
    /// The proof of the action.
    pub const PROOF: &str = "Marque-Proof";
    /// W3C Trace Context.
    pub const TRACEPARENT: &str = "traceparent";
    /// A service error's code (ADR-32).
    pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
    /// A service error's text (ADR-32).
    pub const SERVICE_ERROR: &str = "Nats-Service-Error";
}
