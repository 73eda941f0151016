//! Publishing so that it is stored: nothing is said to be recorded before the broker's acknowledgement.

use std::time::Duration;

use marque_identity::{Did, Digest};

use crate::{Bus, BusError};

/// Where a record stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The stream's sequence.
    pub sequence: u64,
    /// It had been stored before, by an earlier try with the same bytes.
    pub duplicate: bool,
}

/// The outcome of claiming a proof for the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Ours: nobody has claimed it before.
    Won,
    /// Somebody has claimed it.
    Lost,
}

impl Bus {
    /// Publishes a signed record to the audit stream and waits until it is stored.
    ///
    /// `Nats-Msg-Id` is the hex SHA-256 of `compact`; the same id is sent again until the ack or the deadline. A
    /// duplicate ack is believed only after the stored bytes have been read back and are the same.
    pub async fn publish_record(&self, kind: &str, key: Option<&Did>, compact: &str) -> Result<Recorded, BusError> {
        let _ = (kind, key, compact);
        todo!()
    }

    /// The same for any captured subject, with a deadline and an optional time to live (the stream must allow it).
    pub async fn publish_stored(
        &self,
        subject: &str,
        payload: &[u8],
        ttl: Option<Duration>,
        deadline: Duration,
    ) -> Result<Recorded, BusError> {
        let _ = (subject, payload, ttl, deadline);
        todo!()
    }

    /// Claims a proof's digest in the proof stream, which the first one gets. An error is undecided: deny.
    pub async fn claim_proof(&self, proof: &Digest) -> Result<Claim, BusError> {
        let _ = proof;
        todo!()
    }
}
