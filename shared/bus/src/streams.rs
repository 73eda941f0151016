//! The streams, strictly configured: created once by the bootstrap, afterwards only compared.

use async_nats::jetstream::stream::Config;

use crate::{Bus, BusError};

/// Directives and heartbeats.
pub const DIRECTIVES: &str = "MARQUE_DIRECTIVES";
/// Records.
pub const AUDIT: &str = "MARQUE_AUDIT";
/// Checkpoints of the audit log.
pub const CHECKPOINTS: &str = "MARQUE_CHECKPOINTS";
/// Claims on proofs.
pub const PROOFS: &str = "MARQUE_PROOFS";

/// Every stream as we ask for it, with this many replicas.
pub fn specs(replicas: usize) -> Vec<Config> {
    let _ = replicas;
    todo!()
}

impl Bus {
    /// Creates what is absent and compares what is there. Only the bootstrap role may; nothing is updated or deleted.
    pub async fn bootstrap_streams(&self, replicas: usize) -> Result<(), BusError> {
        let _ = replicas;
        todo!()
    }

    /// Compares a stream with what we ask for; a service refuses to start when it differs or is absent.
    pub async fn expect_stream(&self, stream: &str) -> Result<(), BusError> {
        let _ = stream;
        todo!()
    }
}
