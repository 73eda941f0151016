//! What the sink itself has to say, in the stream that it keeps: cloned keys at once, heads of chains now and then.
//!
//! Both are drawn from the inventory, which forgets what is due when it finds the record in the log. Killed after a
//! publish: the record is in the stream, and is found there before anything is said again. Nothing is said before the
//! log has come to where the stream ended when this run began: an earlier run may have said it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use marque_bus::Bus;
use marque_bus::streams::AUDIT;
use marque_identity::{Did, UnixMillis};
use marque_judgement::record::{Body, HEADS_MAX, Heads, KeyHead, Record};
use marque_runtime::Clock;
use marque_signing::SigningKey;
use tokio::sync::watch;

use crate::SinkError;
use crate::cloned;
use crate::intake::blocking;
use crate::inventory::{Inventory, InventoryView};

/// Cloned keys that one round tells of; the next round goes on.
const FORKS_PER_ROUND: usize = 64;
/// Records of heads in one round: with 100 heads each, 5,000 active keys a minute. What is left is due in the next.
const HEADS_RECORDS_PER_ROUND: usize = 50;
/// After a failure, and where nothing new comes in, it is looked again.
const RETRY: Duration = Duration::from_secs(2);

/// Says what is due.
pub(crate) struct Notices {
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) key: SigningKey,
    pub(crate) clock: Clock,
    /// Between two statements of heads.
    pub(crate) heads_every: Duration,
    /// The stream's sequence that leaf 0 stands for.
    pub(crate) first_sequence: u64,
}

impl Notices {
    /// Speaks until `stopped`, or until `halted` says that the log goes no further.
    pub(crate) async fn run(&self, bus: &Bus, mut stopped: watch::Receiver<bool>, halted: impl Fn() -> bool) {
        let mut heads = tokio::time::interval_at(tokio::time::Instant::now() + self.heads_every, self.heads_every);
        heads.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Said in this run, and perhaps not yet come back.
        let mut said = HashSet::new();
        let mut begun = None;
        loop {
            let state_heads = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                _ = heads.tick() => true,
                () = self.inventory.grown() => false,
                () = tokio::time::sleep(RETRY) => false,
            };
            if halted() {
                return;
            }
            if begun.is_none() {
                begun = bus.stream_state(AUDIT).await.ok().map(|state| state.last_sequence);
            }
            let upto = (self.inventory.upto() + self.first_sequence).saturating_sub(1);
            if begun.is_none_or(|begun| upto < begun) {
                continue;
            }
            if let Err(error) = self.round(bus, state_heads, &mut said).await {
                tracing::warn!(%error, "what the sink has to say is not published yet");
            }
        }
    }

    async fn round(&self, bus: &Bus, heads: bool, said: &mut HashSet<(Did, u64)>) -> Result<(), SinkError> {
        let by = self.key.did();
        let inventory = Arc::clone(&self.inventory);
        let due = blocking(move || inventory.view()?.forks_due(FORKS_PER_ROUND)).await?;
        said.retain(|fork| due.iter().any(|(agent, seq, _)| (*agent, *seq) == *fork));
        for (agent, seq, fork) in due {
            if !said.contains(&(agent, seq)) {
                let record = cloned::risk(&by, &agent, seq, &fork);
                publish(bus, &self.key, &record, &agent).await?;
                tracing::warn!(%agent, seq, first = fork.first, second = fork.second.leaf, "KEY CLONED");
                said.insert((agent, seq));
            }
        }
        if heads {
            let (inventory, now) = (Arc::clone(&self.inventory), self.clock.unix_millis());
            for record in blocking(move || due_heads(&inventory.view()?, &by, now)).await? {
                publish(bus, &self.key, &record, &by).await?;
            }
        }
        Ok(())
    }
}

/// Publishes a record of the sink's own about a key.
pub(crate) async fn publish(bus: &Bus, key: &SigningKey, record: &Record, about: &Did) -> Result<(), SinkError> {
    let compact = record.seal(key).map_err(|error| SinkError::Asked(error.to_string()))?;
    bus.publish_record(record.kind().as_str(), Some(about), &compact).await?;
    Ok(())
}

/// The records that state every head that is due, as far as one round goes.
pub fn due_heads(view: &InventoryView, by: &Did, now: UnixMillis) -> Result<Vec<Record>, SinkError> {
    let mut records = Vec::new();
    let mut after = None;
    for _ in 0..HEADS_RECORDS_PER_ROUND {
        let due = view.heads_due(after.as_ref(), HEADS_MAX)?;
        let Some((last, _)) = due.last() else { break };
        after = Some(*last);
        let heads: Vec<KeyHead> = due
            .iter()
            .filter_map(|(agent, kept)| {
                let head = kept.head?;
                Some(KeyHead { agent: *agent, seq: head.seq, proof: head.proof, leaf: head.leaf })
            })
            .collect();
        records.push(Record::new(now, *by, Body::Heads(Heads { tree_size: view.upto(), heads })));
    }
    Ok(records)
}
