//! The verifiers that are present, and who of them has applied what.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marque_identity::{Did, Epoch};
use marque_revocation::{Ack, AckKind, DirectiveId, Receipt, VerifierStatus};
use tokio::sync::Notify;

/// Presence is sent every 5 s: who has missed three is gone.
const PRESENT_FOR: Duration = Duration::from_secs(15);

/// The roster. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    heard: HashMap<Did, Heard>,
    followed: HashMap<DirectiveId, Reach>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
    epoch: Epoch,
}

/// Who has applied one directive.
#[derive(Debug)]
struct Reach {
    published_at: Instant,
    silent: HashSet<Did>,
    took: HashMap<Did, Duration>,
}

impl Roster {
    /// An ack whose signature holds, from a verifier of the bundle. Gives how long it took, if it tells of a directive
    /// that is followed and had not been told of before.
    pub fn heard(&self, ack: &Ack, now: Instant) -> Option<Duration> {
        let mut inner = self.locked();
        inner.heard.insert(ack.verifier, Heard { at: now, epoch: ack.epoch });
        let id = ack.id.filter(|_| ack.kind == AckKind::Applied)?;
        let reach = inner.followed.get_mut(&id)?;
        if reach.took.contains_key(&ack.verifier) {
            return None;
        }
        // One who was not known to be present counts too: after a start the roster fills within 5 s.
        reach.silent.remove(&ack.verifier);
        let took = now.saturating_duration_since(reach.published_at);
        reach.took.insert(ack.verifier, took);
        let all = reach.silent.is_empty();
        drop(inner);
        if all {
            self.changed.notify_waiters();
        }
        Some(took)
    }

    /// A directive is about to be published: from now on acks of it count, and who is present now owes one.
    pub fn publishing(&self, id: DirectiveId, now: Instant) {
        let mut inner = self.locked();
        inner.heard.retain(|_, heard| now.saturating_duration_since(heard.at) <= PRESENT_FOR);
        let silent = inner.heard.keys().copied().collect();
        inner.followed.entry(id).or_insert(Reach { published_at: now, silent, took: HashMap::new() });
    }

    /// Waits until all have applied it, at most so long, and closes the account.
    pub async fn settle(&self, id: DirectiveId, epoch: Epoch, wait: Duration) -> Receipt {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: an ack in between is not missed.
            changed.as_mut().enable();
            if self.locked().followed.get(&id).is_none_or(|reach| reach.silent.is_empty()) {
                break;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                break;
            }
        }
        match self.locked().followed.remove(&id) {
            Some(reach) => {
                Receipt::new(id, epoch, reach.took.into_values().collect(), reach.silent.into_iter().collect())
            }
            None => Receipt::new(id, epoch, Vec::new(), Vec::new()),
        }
    }

    /// Who is present.
    pub fn present(&self, now: Instant) -> Vec<VerifierStatus> {
        let inner = self.locked();
        let age = |heard: &Heard| now.saturating_duration_since(heard.at);
        let present = inner.heard.iter().filter(|(_, heard)| age(heard) <= PRESENT_FOR);
        let mut present: Vec<_> = present
            .map(|(verifier, heard)| VerifierStatus {
                verifier: *verifier,
                epoch: heard.epoch,
                heard_ms_ago: u64::try_from(age(heard).as_millis()).unwrap_or(u64::MAX),
            })
            .collect();
        present.sort_by_key(|status| status.verifier);
        present
    }

    /// A panic while it was held leaves maps that are whole.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_identity::UnixMillis;
    use marque_revocation::SetDigest;

    const ID: DirectiveId = DirectiveId::from_bytes([1; 16]);

    fn ack(verifier: u8, id: Option<DirectiveId>) -> Ack {
        Ack {
            verifier: Did::from_key_bytes([verifier; 32]),
            kind: if id.is_some() { AckKind::Applied } else { AckKind::Presence },
            id,
            epoch: Epoch(1),
            set_digest: SetDigest::default(),
            iat: UnixMillis(0),
            closed: marque_revocation::Closed::default(),
        }
    }

    #[tokio::test]
    async fn names_the_silent_and_forgets_the_gone() {
        let roster = Roster::default();
        let start = Instant::now();
        roster.heard(&ack(1, None), start);
        let later = start + Duration::from_secs(16);
        roster.heard(&ack(2, None), later);
        roster.heard(&ack(3, None), later);
        roster.publishing(ID, later);
        assert_eq!(roster.heard(&ack(2, Some(ID)), later + Duration::from_millis(3)), Some(Duration::from_millis(3)));
        assert_eq!(roster.heard(&ack(2, Some(ID)), later), None, "twice");
        assert_eq!(roster.heard(&ack(4, Some(ID)), later), Some(Duration::ZERO), "was not known to be present");
        let receipt = roster.settle(ID, Epoch(7), Duration::from_millis(20)).await;
        assert_eq!((receipt.acked, receipt.of, receipt.max_us), (2, 3, 3000));
        assert_eq!(receipt.silent, [Did::from_key_bytes([3; 32])]);
    }

    #[tokio::test]
    async fn settles_as_soon_as_all_have_applied() {
        let roster = Roster::default();
        let start = Instant::now();
        roster.heard(&ack(1, None), start);
        roster.publishing(ID, start);
        let (settling, telling) = (roster.clone(), roster.clone());
        let settled = tokio::spawn(async move { settling.settle(ID, Epoch(7), Duration::from_secs(60)).await });
        tokio::spawn(async move { telling.heard(&ack(1, Some(ID)), start) });
        assert_eq!(settled.await.unwrap().acked, 1);
    }
}
