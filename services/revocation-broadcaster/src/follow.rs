//! From durable to told: notes the place, lets the requester be answered, waits for the verifiers, records both.

use std::sync::Arc;
use std::time::Duration;

use marque_identity::{Epoch, Refusal};
use marque_runtime::Clock;
use marque_signing::SigningKey;
use tokio::sync::Notify;

use crate::board::Board;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::publisher::ToPublish;
use crate::records;
use crate::roster::Roster;

/// What a durable directive is handed to. Cheap to clone.
#[derive(Clone)]
pub struct Follow {
    /// Signs the records.
    pub key: Arc<SigningKey>,
    /// Remembers what came of it.
    pub outbox: Outbox,
    /// Tells those who wait.
    pub board: Board,
    /// Knows who has applied it.
    pub roster: Roster,
    /// Told that there are records to publish.
    pub to_record: Arc<Notify>,
    /// The clock.
    pub clock: Clock,
    /// Numbers.
    pub metrics: Metrics,
    /// How long verifiers are waited for.
    pub reach_wait: Duration,
}

impl Follow {
    /// A directive stands in the stream at this place.
    pub fn durable(&self, entry: ToPublish, epoch: Epoch) {
        let follow = self.clone();
        tokio::spawn(async move { follow.through(entry, epoch).await });
    }

    async fn through(self, entry: ToPublish, epoch: Epoch) {
        let id = entry.signed.directive().id;
        let (key, signed) = (entry.key, entry.signed.clone());
        // Durable in the stream is durable: should the outbox fail, the next start finds the directive there.
        self.note(move |follow| {
            let record = records::directive(&follow.key, &signed, epoch, follow.clock.unix_millis())?;
            Ok(follow.outbox.published(key, epoch, &record)?)
        })
        .await;
        self.board.durable(id, epoch);
        let receipt = self.roster.settle(id, epoch, self.reach_wait).await;
        self.metrics.reached(&receipt);
        if receipt.acked < receipt.of {
            tracing::warn!(%id, acked = receipt.acked, of = receipt.of, "verifiers have not applied a directive");
        }
        if receipt.partial {
            tracing::warn!(%id, of = receipt.of, "not everyone who is present was known yet");
        }
        let (signed, stated) = (entry.signed, receipt.clone());
        self.note(move |follow| {
            let record = records::receipt(&follow.key, &signed, &stated, follow.clock.unix_millis())?;
            Ok(follow.outbox.reached(key, &stated, &record)?)
        })
        .await;
        self.board.done(id, receipt);
    }

    /// Writes into the outbox, off the threads that wait for the network.
    async fn note(&self, write: impl FnOnce(&Self) -> Result<(), Refusal> + Send + 'static) {
        let follow = self.clone();
        match tokio::task::spawn_blocking(move || write(&follow)).await {
            Ok(Ok(())) => self.to_record.notify_one(),
            Ok(Err(refusal)) => tracing::error!(%refusal, "the outbox could not be written"),
            Err(error) => tracing::error!(%error, "writing the outbox broke off"),
        }
    }
}
