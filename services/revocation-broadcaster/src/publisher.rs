//! The one task that writes the directive stream: directives and heartbeats, one after the other.
//!
//! Each publish carries the sequence that it expects to follow, so that what a heartbeat vouches for is exactly what
//! stands before it. Where that fails, or the outcome is unknown, the stream is read to its end and decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marque_bus::{Bus, BusError, Recorded, subjects};
use marque_identity::{Digest, Epoch, UnixSeconds};
use marque_revocation::{Heartbeat, Item, RevocationError, SignedDirective};
use marque_runtime::{Clock, Shutdown};
use marque_signing::{PublicKey, SigningKey};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::beat::Beat;
use crate::follow::Follow;
use crate::metrics::Metrics;
use crate::outbox::{Outbox, RequestKey};
use crate::roster::Roster;
use crate::stream::{Head, catch_up};

/// PROTOCOL §6.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);
/// PROTOCOL §8. A joiner finds the last twenty.
const HEARTBEAT_TTL: Duration = Duration::from_secs(5);
/// A heartbeat that takes longer proves little; the next one is due four times over.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(1);
/// One try of a directive. Between two, heartbeats get their turn.
const DIRECTIVE_DEADLINE: Duration = Duration::from_secs(2);
/// The stream keeps a directive at least so long, even one that ends at once.
const DIRECTIVE_TTL_SECONDS_MIN: i64 = 60;
/// Between two tries while the stream does not answer.
const RETRY: Duration = Duration::from_millis(200);
/// Directives between two heartbeats at most, so that a flood of them does not make verifiers stale.
const DIRECTIVES_IN_A_ROW: usize = 64;
/// What is in hand at the end is tried so long; the outbox keeps the rest.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// A directive on its way into the stream.
#[derive(Debug, Clone)]
pub struct ToPublish {
    /// Its row in the outbox.
    pub key: RequestKey,
    /// The directive.
    pub signed: Arc<SignedDirective>,
    /// When the stream may forget it.
    pub gone_at: Option<UnixSeconds>,
    /// When it is the stream's turn: its raw copy has gone out before.
    pub not_before: Instant,
}

/// The publisher.
pub struct Publisher {
    /// The broker.
    pub bus: Bus,
    /// Signs heartbeats.
    pub key: Arc<SigningKey>,
    /// Whose messages count in the stream.
    pub broadcasters: Vec<PublicKey>,
    /// What is active.
    pub head: Head,
    /// Keeps the time floor.
    pub outbox: Outbox,
    /// Told when a directive goes out.
    pub roster: Roster,
    /// Told when it is durable.
    pub follow: Follow,
    /// The clock.
    pub clock: Clock,
    /// Numbers.
    pub metrics: Metrics,
}

/// What one step came to.
enum Step {
    Done,
    /// The stream has to be read first.
    Lost,
}

impl Publisher {
    /// Publishes `waiting`, what an earlier run has left, then what is queued, until `shutdown`; finishes then what is
    /// queued, within bounds.
    pub async fn run(self, mut waiting: VecDeque<ToPublish>, mut queue: mpsc::Receiver<ToPublish>, shutdown: Shutdown) {
        let mut beat = Beat::new(self.clock.unix_millis(), self.head.time(), self.clock.monotonic());
        let mut ticks = tokio::time::interval(HEARTBEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut in_step = false;
        let mut stop_by: Option<Instant> = None;
        loop {
            if shutdown.is_requested() {
                let stop_by = *stop_by.get_or_insert_with(|| Instant::now() + DRAIN_DEADLINE);
                queue.close();
                if (waiting.is_empty() && queue.is_empty()) || Instant::now() >= stop_by {
                    return;
                }
            }
            if !in_step {
                in_step = self.synchronise(&mut beat, &mut waiting).await;
                if !in_step {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            tokio::select! {
                biased;
                _ = ticks.tick() => in_step = matches!(self.heartbeat(&mut beat).await, Step::Done),
                () = std::future::ready(()), if !waiting.is_empty() => {
                    in_step = matches!(self.some(&mut waiting).await, Step::Done);
                }
                Some(next) = queue.recv() => {
                    waiting.push_back(next);
                    while let Some(next) = (waiting.len() < DIRECTIVES_IN_A_ROW).then(|| queue.try_recv().ok()).flatten() {
                        waiting.push_back(next);
                    }
                }
                () = shutdown.requested(), if stop_by.is_none() => {}
            }
        }
    }

    /// Reads the stream to its end. What waits and is found there needs no publishing.
    async fn synchronise(&self, beat: &mut Beat, waiting: &mut VecDeque<ToPublish>) -> bool {
        match catch_up(&self.bus, &self.head, &self.broadcasters).await {
            Ok(met) => {
                self.found(&met, waiting);
                beat.raise(self.head.time(), self.clock.monotonic());
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the directive stream can't be read; heartbeats pause");
                false
            }
        }
    }

    fn found(&self, met: &[(Digest, Epoch)], waiting: &mut VecDeque<ToPublish>) {
        waiting.retain(|entry| {
            let place = met.iter().find(|(digest, _)| *digest == entry.signed.digest());
            if let Some((_, epoch)) = place {
                self.follow.durable(entry.clone(), *epoch);
            }
            place.is_none()
        });
    }

    async fn heartbeat(&self, beat: &mut Beat) -> Step {
        let (boot, n, t) = beat.next(self.clock.unix_millis(), self.clock.monotonic());
        let (set_digest, active, ends) = self.head.at(t);
        if ends {
            let (outbox, raised) = (self.outbox.clone(), t);
            let raised = tokio::task::spawn_blocking(move || outbox.raise_time_floor(raised)).await;
            if !matches!(raised, Ok(Ok(()))) {
                tracing::error!("the outbox can't be written: no heartbeat");
                return Step::Done;
            }
        }
        let last = self.head.last();
        let made = Heartbeat { iss: self.key.did(), t, boot, n, epoch: Epoch(last + 1), active, set_digest };
        let signed = match made.sign(&self.key) {
            Ok(signed) => signed,
            Err(error) => return unsigned(&error),
        };
        let ttl = Some(HEARTBEAT_TTL);
        let stored =
            self.bus.publish_after(subjects::HEARTBEAT, signed.as_bytes(), last, ttl, HEARTBEAT_DEADLINE).await;
        let step = self.outcome("heartbeat", last, &stored);
        if let Step::Done = step {
            self.head.take(last + 1, &Item::Heartbeat(made));
            self.metrics.beat(active);
        }
        step
    }

    /// Publishes what waits, some of it, in order.
    async fn some(&self, waiting: &mut VecDeque<ToPublish>) -> Step {
        for _ in 0..DIRECTIVES_IN_A_ROW {
            let Some(next) = waiting.front() else { return Step::Done };
            if let Step::Lost = self.directive(next).await {
                return Step::Lost;
            }
            waiting.pop_front();
        }
        Step::Done
    }

    async fn directive(&self, entry: &ToPublish) -> Step {
        let directive = entry.signed.directive();
        let subject = subjects::directive(directive.target.kind().as_str(), &directive.id.to_string());
        let ttl = entry.gone_at.map(|gone_at| {
            let seconds = gone_at.0.saturating_sub(self.clock.unix().0).max(DIRECTIVE_TTL_SECONDS_MIN);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        });
        tokio::time::sleep_until(entry.not_before.into()).await;
        let last = self.head.last();
        self.roster.publishing(directive.id, Instant::now());
        let bytes = entry.signed.compact().as_bytes();
        let stored = self.bus.publish_after(&subject, bytes, last, ttl, DIRECTIVE_DEADLINE).await;
        if let Ok(recorded) = &stored
            && recorded.duplicate
            && recorded.sequence <= last
        {
            // An earlier run's, compared byte for byte; the head has it.
            self.follow.durable(entry.clone(), Epoch(recorded.sequence));
            return Step::Done;
        }
        let step = self.outcome("directive", last, &stored);
        if let Step::Done = step {
            self.head.take(last + 1, &Item::Directive(entry.signed.clone()));
            self.follow.durable(entry.clone(), Epoch(last + 1));
        }
        step
    }

    /// Stored at the place that was expected, and nowhere else, is done.
    fn outcome(&self, what: &'static str, last: u64, stored: &Result<Recorded, BusError>) -> Step {
        match stored {
            Ok(recorded) if recorded.sequence == last + 1 => return Step::Done,
            Ok(recorded) => tracing::warn!(what, sequence = recorded.sequence, last, "stored elsewhere before"),
            Err(error) => tracing::warn!(what, %error, "not published; the stream decides"),
        }
        self.metrics.lost_step();
        Step::Lost
    }
}

fn unsigned(error: &RevocationError) -> Step {
    tracing::error!(%error, "a heartbeat could not be signed");
    Step::Done
}
