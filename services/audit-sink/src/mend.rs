//! What the stream lacks, out of another sink's log (LOG.md rule 4): never filled by guess, never skipped.
//!
//! Another sink has read the messages while the stream held them. Its word alone is not taken: a checkpoint of it that
//! the quorum has cosigned must cover the range, and our own tree, extended by exactly the entries that it hands over,
//! must be what that checkpoint's tree begins with (RFC 6962 §2.1.2). And the message that the stream holds right behind
//! the hole must be the leaf right behind the range (RFC 6962 §2.1.1): a stream that was made anew is not gone on with.
//! All of that is checked before anything is appended. What can't be shown so halts the log, as the hole would.
//!
//! Killed anywhere: the log has whole batches, each checked; what is still missing is asked for again.

mod batch;
mod vouched;

use std::sync::Arc;
use std::time::Duration;

use marque_bus::streams::{AUDIT, CHECKPOINTS};
use marque_bus::{Bus, subjects};
use marque_identity::Did;
use marque_ledger::{Checkpoint, Policy};
use marque_signing::{PublicKey, Role, TrustBundle};
use tokio::time::Instant;

use crate::intake::blocking;
use crate::metrics::Metrics;
use crate::step::Step;
use crate::store::{LogStore, frame};
use crate::tiles::Tiles;
use crate::{Hole, SinkError};
use batch::{Batch, entries};
use vouched::{agree, consistency, covers, is_behind, vouched};

/// How long another sink may take over a batch: 256 pieces on a slow machine. One that hands over a byte at a time keeps
/// nobody from asking the next.
const BATCH_TIME: Duration = Duration::from_secs(60);
/// How long the others are asked again: a checkpoint that covers the range becomes final within a second or two, and a
/// witness outside may take five.
const ASKING_MAX: Duration = Duration::from_secs(10);
/// Between two rounds of asking.
const RETRY: Duration = Duration::from_secs(1);

/// Mends the log where the stream has a hole.
pub struct Mender {
    store: Arc<LogStore>,
    origin: String,
    others: Vec<PublicKey>,
    /// A checkpoint is believed where one of these holds for it, and asks for somebody's cosignature.
    trusted: Vec<Policy>,
    metrics: Metrics,
}

impl Mender {
    /// By the other sinks that the bundle names. `trusted`: what this sink goes by where it has no log yet.
    pub fn new(
        bundle: &TrustBundle,
        own: &Did,
        origin: &str,
        trusted: Vec<Policy>,
        store: Arc<LogStore>,
        metrics: Metrics,
    ) -> Self {
        let others = bundle.keys(Role::Sink).into_iter().filter(|key| key.did() != *own).collect();
        // Without a quorum nobody's cosignature is asked for, and the one who is asked would vouch for itself.
        let trusted = trusted.into_iter().filter(|policy| !policy.is_met_by(|_| false)).collect();
        Self { store, origin: origin.to_owned(), others, trusted, metrics }
    }

    /// Takes what the stream lacks over from another sink's log, or halts. A broker that fails is no answer.
    pub async fn mend(&self, bus: &Bus, hole: Hole) -> Result<(), SinkError> {
        let halted = |tried: &str| Err(SinkError::Halted(format!("{hole}; {tried}")));
        if self.others.is_empty() {
            return halted("no other sink is named that could have them");
        }
        if self.trusted.is_empty() {
            return halted(
                "no cosignature is asked for (`audit_sink.cosignatures`), so no other sink's log is believed",
            );
        }
        let until = Instant::now() + ASKING_MAX;
        loop {
            // One that takes long costs the others no turn: whoever was asked before its time is asked once more.
            let last = Instant::now() >= until;
            let mut tried = Vec::new();
            for other in &self.others {
                match self.take_over(bus, other, &hole).await {
                    Ok(()) => return Ok(()),
                    Err(error @ (SinkError::Asked(_) | SinkError::Ledger(_))) => {
                        tried.push(format!("{}: {error}", other.did()));
                    }
                    Err(error) => return Err(error),
                }
            }
            if last {
                return halted(&format!("no other sink's log gives them: {}", tried.join("; ")));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The range, from this sink's log.
    async fn take_over(&self, bus: &Bus, other: &PublicKey, hole: &Hole) -> Result<(), SinkError> {
        let did = other.did();
        // 1. What the quorum says that its log is, as far as the hole reaches.
        let subject = subjects::checkpoint(&did);
        let Some(note) = bus.read_last(CHECKPOINTS, &subject).await? else {
            return Err(SinkError::Asked("it has published no checkpoint".into()));
        };
        let vouched = vouched(&note.payload, &self.origin, other, &self.trusted)?;
        let until = (hole.to + 1).saturating_sub(self.store.first_sequence());
        covers(&vouched, until)?;
        let tiles = Tiles::of(bus, &did);
        let hashes = |id| {
            let tiles = tiles.clone();
            async move { tiles.hashes(id).await }
        };
        let slow = |_| SinkError::Asked("it takes too long to hand them over".into());
        // 2. It is the log of this stream.
        let behind = bus.read(AUDIT, hole.to + 1, 1).await?.messages.into_iter().next();
        let behind = behind
            .filter(|message| message.sequence == hole.to + 1)
            .ok_or_else(|| SinkError::Asked(format!("the stream has no message {} to be known by", hole.to + 1)))?;
        tokio::time::timeout(BATCH_TIME, is_behind(until, &frame(&behind)?, &vouched, hashes))
            .await
            .map_err(slow)??;
        // 3. Batch by batch: asked for, checked, appended.
        loop {
            let size = self.store.head().size;
            if size >= until {
                break;
            }
            let piece = |id, entry, byte| {
                let tiles = tiles.clone();
                async move { tiles.piece(id, entry, byte).await }
            };
            let checked = async {
                let entries = entries(size..until, vouched.size, piece).await?;
                let batch = Batch { first: size, first_sequence: self.store.first_sequence(), entries };
                let grown = batch.extend(self.store.edge())?;
                let proof = consistency(grown.size(), vouched.size, hashes).await?;
                agree(&grown, &vouched, &proof)?;
                Ok::<_, SinkError>(batch)
            };
            let batch = tokio::time::timeout(BATCH_TIME, checked).await.map_err(slow)??;
            let (store, count) = (Arc::clone(&self.store), batch.entries.len());
            let head = blocking(move || store.append_mended(batch.first, &batch.entries)).await?;
            Step::Appended.taken();
            self.metrics.appended(count, head.size);
            self.metrics.mended(count);
        }
        let Checkpoint { size, root, .. } = &vouched;
        tracing::warn!(
            from = hole.from, to = hole.to, sink = %did, checkpoint_size = size, checkpoint_root = %root,
            "THE STREAM LACKED MESSAGES: they were taken over from another sink's log"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
