//! Acks: signed and sent by a task of their own, and a little later, so that applying never waits for them: not
//! the own, and not that of the other verifiers that share this machine and this broker.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use marque_identity::UnixMillis;
use marque_revocation::{Ack, AckKind, Closed, DirectiveId};
use marque_signing::SigningKey;
use tokio::sync::mpsc;

use super::Shared;
use crate::{Bus, subjects};

/// More directives than this at once are acked in part; the broadcaster then calls us silent, which is the safe side.
const QUEUED_MAX: usize = 4096;
/// A broker's fan-out to a hundred verifiers, each with a signature to verify, takes 3 to 9 ms on two cores; an ack
/// that is signed within it stands before another verifier's directive. Whoever waits for acks waits this longer.
const AFTER_APPLYING: Duration = Duration::from_millis(10);
/// Presence every 5 s, counted in ticks of 250 ms.
const PRESENCE_EVERY_TICKS: u64 = 20;
/// And on joining, every half second for 3 s: a broadcaster that starts beside us may not be listening yet.
const JOINING_TICKS: u64 = 12;
const PRESENCE_EVERY_TICKS_JOINING: u64 = 2;

/// What is to be acked: none is presence.
type Due = Option<(DirectiveId, Closed)>;

/// Where is left what is to be acked. The last one dropped, the sending task ends.
#[derive(Clone)]
pub(super) struct Acks {
    queue: mpsc::Sender<Due>,
    shared: Weak<Shared>,
    ticks: u64,
}

impl Acks {
    pub(super) fn start(bus: Bus, key: Arc<SigningKey>, shared: &Arc<Shared>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED_MAX);
        tokio::spawn(send(bus, key, shared.clone(), queued));
        Self { queue, shared: Arc::downgrade(shared), ticks: 0 }
    }

    /// A directive has been applied, and these connections were closed on it.
    pub(super) fn applied(&self, id: DirectiveId, closed: Closed) {
        self.push(Some((id, closed)));
    }

    /// A quarter of a second has passed.
    pub(super) fn tick(&mut self) {
        let every = if self.ticks < JOINING_TICKS { PRESENCE_EVERY_TICKS_JOINING } else { PRESENCE_EVERY_TICKS };
        if self.ticks.is_multiple_of(every) {
            self.push(None);
        }
        self.ticks = self.ticks.wrapping_add(1);
    }

    fn push(&self, what: Due) {
        if self.queue.try_send(what).is_err()
            && let Some(shared) = self.shared.upgrade()
        {
            shared.counters.acks_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn send(bus: Bus, key: Arc<SigningKey>, shared: Arc<Shared>, mut queued: mpsc::Receiver<Due>) {
    let verifier = key.did();
    let subject = subjects::ack(&verifier);
    let mut taken = Vec::new();
    // All that wait at once: the pause is one per batch, so that a storm is acked as fast as it is signed.
    while queued.recv_many(&mut taken, QUEUED_MAX).await > 0 {
        tokio::time::sleep(AFTER_APPLYING).await;
        for due in taken.drain(..) {
            // Delivered late it would count for nothing; presence comes again.
            if !bus.is_connected() {
                continue;
            }
            let (kind, id, closed) = match due {
                Some((id, closed)) => (AckKind::Applied, Some(id), closed),
                None => (AckKind::Presence, None, Closed::default()),
            };
            let (epoch, set_digest) = {
                let view = shared.view.read().unwrap_or_else(PoisonError::into_inner);
                (view.epoch(), view.set_digest())
            };
            let iat = UnixMillis(jiff::Timestamp::now().as_millisecond());
            let sent = match (Ack { verifier, kind, id, epoch, set_digest, iat, closed }).sign(&key) {
                Ok(signed) => bus.client().publish(subject.clone(), signed.into()).await.map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "an ack could not be sent");
            }
            // A directive that has come meanwhile is applied before the next one is signed.
            tokio::task::yield_now().await;
        }
    }
}
