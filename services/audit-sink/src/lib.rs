//! The audit sink: takes the audit stream into a Merkle log, signs its checkpoints, and answers what is asked of it.

mod error;
pub mod index;
pub mod intake;
pub mod judge;
pub mod metrics;
pub mod postings;
pub mod store;

pub use error::SinkError;
