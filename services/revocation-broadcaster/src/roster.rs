//! Who is present of those that apply directives, and who of them has applied what.
//!
//! A roster that has not listened for long knows only some of them. It says so, and waits: "all have applied it" is
//! never said of an empty room into which nobody has looked yet.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marque_identity::{Did, Epoch};
use marque_revocation::{Ack, AckKind, Closed, DirectiveId, RECEIPT_CLOSED_NAMED_MAX, Receipt, VerifierStatus};
use marque_signing::Role;
use tokio::sync::Notify;

/// Presence is sent every 5 s: who has missed three is gone.
const PRESENT_FOR: Duration = Duration::from_secs(15);
/// Who has listened for so long has heard everyone who is present: each says so every 5 s, and half a second is for
/// the way.
pub const COMPLETE_AFTER: Duration = Duration::from_millis(5500);

/// The roster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roster {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    heard: HashMap<Did, Heard>,
    followed: HashMap<DirectiveId, Reach>,
    /// How many keys there are that can be heard.
    keys: usize,
    complete_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
    role: Role,
    epoch: Epoch,
}

impl Heard {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    fn is_present(&self, now: Instant) -> bool {
        self.age(now) <= PRESENT_FOR
    }
}

/// Who has applied one directive.
#[derive(Debug)]
struct Reach {
    published_at: Instant,
    /// Its place in the stream, once it is durable.
    epoch: Option<Epoch>,
    silent: HashSet<Did>,
    took: HashMap<Did, Duration>,
    closed: Vec<Closed>,
}

/// What an open account waits for.
enum Waits {
    Nothing,
    /// For those who owe an answer.
    Answers,
    /// For those who may be there and were not heard of yet, at most until then.
    Others(Instant),
}

impl Roster {
    /// One that begins to listen now, and can hear so many keys.
    pub fn new(now: Instant, keys: usize) -> Self {
        let complete_at = now + COMPLETE_AFTER;
        let inner = Inner { heard: HashMap::new(), followed: HashMap::new(), keys, complete_at };
        Self { inner: Arc::new(Mutex::new(inner)), changed: Arc::default() }
    }

    /// Nobody could be heard until now: from here on the roster has to learn anew who is present.
    pub fn deaf(&self, now: Instant) {
        self.locked().complete_at = now + COMPLETE_AFTER;
    }

    /// An ack whose signature holds, from a key of the bundle with this role. Gives how long it took, if it tells of a
    /// directive that is followed and had not been told of before.
    pub fn heard(&self, ack: &Ack, role: Role, now: Instant) -> Option<Duration> {
        let mut inner = self.locked();
        let heard = Heard { at: now, role, epoch: ack.epoch };
        let is_new = inner.heard.insert(ack.verifier, heard).is_none();
        let is_late = is_new && now < inner.complete_at;
        let mut all = false;
        let took = ack.id.and_then(|id| {
            let reach = inner.followed.get_mut(&id)?;
            let took = reach.applied(ack, now)?;
            all = reach.silent.is_empty();
            Some(took)
        });
        // A storm of acks does not go through all that is followed, once for each: presence does, and it is rare.
        if is_late || ack.kind == AckKind::Presence {
            for reach in inner.followed.values_mut() {
                if is_late {
                    reach.owes(ack.verifier);
                }
                all |= reach.shown(ack.verifier, heard);
            }
        }
        drop(inner);
        if all || is_new {
            self.changed.notify_waiters();
        }
        took
    }

    /// A directive is about to be published: from now on acks of it count, and who is present now owes one.
    pub fn publishing(&self, id: DirectiveId, now: Instant) {
        self.locked().follow(id, now);
    }

    /// Waits until everyone who is present is known and has applied it, at most so long, and closes the account.
    pub async fn settle(&self, id: DirectiveId, epoch: Epoch, wait: Duration) -> Receipt {
        let deadline = tokio::time::Instant::now() + wait;
        self.locked().durable(id, epoch, Instant::now());
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: an ack in between is not missed.
            changed.as_mut().enable();
            let look_again = match self.locked().waits(id, Instant::now()) {
                Waits::Nothing => break,
                Waits::Answers => deadline,
                Waits::Others(until) => deadline.min(until.into()),
            };
            if tokio::time::timeout_at(look_again, changed).await.is_err() && look_again == deadline {
                break;
            }
        }
        self.locked().close(id, epoch, Instant::now())
    }

    /// Who is present.
    pub fn present(&self, now: Instant) -> Vec<VerifierStatus> {
        let inner = self.locked();
        let present = inner.heard.iter().filter(|(_, heard)| heard.is_present(now));
        let mut present: Vec<_> = present
            .map(|(verifier, heard)| VerifierStatus {
                verifier: *verifier,
                role: heard.role,
                epoch: heard.epoch,
                heard_ms_ago: u64::try_from(heard.age(now).as_millis()).unwrap_or(u64::MAX),
            })
            .collect();
        present.sort_by_key(|status| status.verifier);
        present
    }

    /// How many are present.
    pub fn present_count(&self, now: Instant) -> usize {
        self.locked().heard.values().filter(|heard| heard.is_present(now)).count()
    }

    /// Whether everyone who is present has been heard of, and none of this role is among them.
    pub fn lacks(&self, role: Role, now: Instant) -> bool {
        let inner = self.locked();
        inner.is_complete(now) && !inner.heard.values().any(|heard| heard.role == role && heard.is_present(now))
    }

    /// A panic while it was held leaves maps that are whole.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Opens its account, unless it is open.
    fn follow(&mut self, id: DirectiveId, now: Instant) -> &mut Reach {
        self.heard.retain(|_, heard| heard.is_present(now));
        let silent = || self.heard.keys().copied().collect();
        self.followed.entry(id).or_insert_with(|| Reach {
            published_at: now,
            epoch: None,
            silent: silent(),
            took: HashMap::new(),
            closed: Vec::new(),
        })
    }

    /// It stands at this place: who has shown to be that far has applied it. One that an earlier run has published
    /// gets its account here.
    fn durable(&mut self, id: DirectiveId, epoch: Epoch, now: Instant) {
        self.follow(id, now).epoch = Some(epoch);
        let Some(reach) = self.followed.get_mut(&id) else { return };
        for (verifier, heard) in &self.heard {
            reach.shown(*verifier, *heard);
        }
    }

    fn waits(&self, id: DirectiveId, now: Instant) -> Waits {
        let Some(reach) = self.followed.get(&id) else { return Waits::Nothing };
        if !reach.silent.is_empty() {
            return Waits::Answers;
        }
        if self.is_complete(now) { Waits::Nothing } else { Waits::Others(self.complete_at) }
    }

    /// Whether everyone who is present has been heard of: the time is over, or there is nobody else.
    fn is_complete(&self, now: Instant) -> bool {
        now >= self.complete_at || self.heard.len() >= self.keys
    }

    fn close(&mut self, id: DirectiveId, epoch: Epoch, now: Instant) -> Receipt {
        let partial = !self.is_complete(now);
        let Some(reach) = self.followed.remove(&id) else {
            return Receipt { partial, ..Receipt::new(id, epoch, Vec::new(), Vec::new()) };
        };
        let (took, silent) = (reach.took.into_values().collect(), reach.silent.into_iter().collect());
        let closed = Closed::merged(reach.closed, RECEIPT_CLOSED_NAMED_MAX);
        Receipt { closed, partial, ..Receipt::new(id, epoch, took, silent) }
    }
}

impl Reach {
    /// Its ack has come. One who was not known to be present counts too.
    fn applied(&mut self, ack: &Ack, now: Instant) -> Option<Duration> {
        if self.took.contains_key(&ack.verifier) {
            return None;
        }
        self.silent.remove(&ack.verifier);
        let took = now.saturating_duration_since(self.published_at);
        self.took.insert(ack.verifier, took);
        if !ack.closed.is_empty() {
            self.closed.push(ack.closed.clone());
        }
        Some(took)
    }

    /// This one was present all the time, or is about to be.
    fn owes(&mut self, verifier: Did) {
        if !self.took.contains_key(&verifier) {
            self.silent.insert(verifier);
        }
    }

    /// Who owes an ack and holds everything up to the directive's place and beyond has applied it: the ack was lost, or
    /// went to an earlier run. Gives whether it was the last one.
    fn shown(&mut self, verifier: Did, heard: Heard) -> bool {
        let has_applied = self.epoch.is_some_and(|epoch| heard.epoch >= epoch) && applying_is_all(heard.role);
        if !has_applied || !self.silent.remove(&verifier) {
            return false;
        }
        self.took.insert(verifier, heard.at.saturating_duration_since(self.published_at));
        self.silent.is_empty()
    }
}

/// Whether its part is done once its view has a directive. A gatekeeper has connections to close, and says so in its ack.
fn applying_is_all(role: Role) -> bool {
    match role {
        Role::Verifier | Role::Host => true,
        Role::Gatekeeper | Role::Issuer | Role::Broadcaster | Role::Sink | Role::Risk | Role::Attestor => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_identity::UnixMillis;
    use marque_revocation::{ClosedConnection, SetDigest};

    const ID: DirectiveId = DirectiveId::from_bytes([1; 16]);
    /// Long enough to be listening, and never waited for.
    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(20);

    fn did(verifier: u8) -> Did {
        Did::from_key_bytes([verifier; 32])
    }

    fn ack(verifier: u8, id: Option<DirectiveId>) -> Ack {
        Ack {
            verifier: did(verifier),
            kind: if id.is_some() { AckKind::Applied } else { AckKind::Presence },
            id,
            epoch: Epoch(1),
            set_digest: SetDigest::default(),
            iat: UnixMillis(0),
            closed: Closed::default(),
        }
    }

    fn present_at(verifier: u8, epoch: u64) -> Ack {
        Ack { epoch: Epoch(epoch), ..ack(verifier, None) }
    }

    fn closing(gatekeeper: u8, cids: &[u64]) -> Ack {
        let one = |cid: &u64| ClosedConnection { agent: did(99), server: "NA".into(), cid: *cid };
        Ack { closed: Closed::of(cids.iter().map(one).collect()), ..ack(gatekeeper, Some(ID)) }
    }

    /// A roster that has listened for long enough, and that time.
    fn complete() -> (Roster, Instant) {
        let start = Instant::now();
        let roster = Roster::new(start, usize::MAX);
        roster.locked().complete_at = start;
        (roster, start)
    }

    #[tokio::test]
    async fn names_the_silent_and_forgets_the_gone() {
        let (roster, start) = complete();
        roster.heard(&ack(1, None), Role::Verifier, start);
        let later = start + Duration::from_secs(16);
        roster.heard(&ack(2, None), Role::Verifier, later);
        roster.heard(&ack(3, None), Role::Host, later);
        roster.publishing(ID, later);
        let took = roster.heard(&ack(2, Some(ID)), Role::Verifier, later + Duration::from_millis(3));
        assert_eq!(took, Some(Duration::from_millis(3)));
        assert_eq!(roster.heard(&ack(2, Some(ID)), Role::Verifier, later), None, "twice");
        let unknown = roster.heard(&ack(4, Some(ID)), Role::Verifier, later);
        assert_eq!(unknown, Some(Duration::ZERO), "was not known to be present");
        let receipt = roster.settle(ID, Epoch(7), SHORT).await;
        assert_eq!((receipt.acked, receipt.of, receipt.max_us), (2, 3, 3000));
        assert_eq!(receipt.silent, [did(3)]);
        assert!(!receipt.partial && !receipt.reached_all());
    }

    #[tokio::test]
    async fn settles_as_soon_as_all_have_applied() {
        let (roster, start) = complete();
        roster.heard(&ack(1, None), Role::Verifier, start);
        roster.publishing(ID, start);
        let (settling, telling) = (roster.clone(), roster.clone());
        let settled = tokio::spawn(async move { settling.settle(ID, Epoch(7), LONG).await });
        tokio::spawn(async move { telling.heard(&ack(1, Some(ID)), Role::Verifier, start) });
        assert_eq!(settled.await.unwrap().acked, 1);
    }

    #[tokio::test]
    async fn an_empty_room_that_was_not_listened_to_is_not_everyone() {
        let start = Instant::now();
        let roster = Roster::new(start + LONG, 2);
        roster.publishing(ID, start);
        let receipt = roster.settle(ID, Epoch(7), SHORT).await;
        assert_eq!((receipt.acked, receipt.of, receipt.partial), (0, 0, true));
        // Some of it is not everyone either.
        roster.publishing(ID, start);
        roster.heard(&ack(1, Some(ID)), Role::Verifier, start);
        let receipt = roster.settle(ID, Epoch(7), SHORT).await;
        assert_eq!((receipt.acked, receipt.of, receipt.partial), (1, 1, true));
        assert!(!receipt.reached_all());
    }

    #[tokio::test]
    async fn who_is_first_heard_of_while_it_is_young_owes_an_answer() {
        let start = Instant::now();
        let roster = Roster::new(start + LONG, 3);
        roster.publishing(ID, start);
        roster.heard(&ack(1, Some(ID)), Role::Verifier, start);
        roster.heard(&present_at(2, 6), Role::Verifier, start);
        roster.heard(&present_at(3, 6), Role::Verifier, start);
        // With the third all keys are known: what it waits for are the two that owe.
        let receipt = roster.settle(ID, Epoch(7), SHORT).await;
        assert_eq!((receipt.acked, receipt.of, receipt.partial), (1, 3, false));
        assert_eq!(receipt.silent.len(), 2);
    }

    #[tokio::test]
    async fn settles_when_every_key_has_answered_however_young_it_is() {
        let start = Instant::now();
        let roster = Roster::new(start + LONG, 2);
        roster.publishing(ID, start);
        let (settling, telling) = (roster.clone(), roster.clone());
        let settled = tokio::spawn(async move { settling.settle(ID, Epoch(7), LONG).await });
        tokio::spawn(async move {
            telling.heard(&ack(1, Some(ID)), Role::Verifier, start);
            tokio::task::yield_now().await;
            telling.heard(&present_at(2, 3), Role::Host, start);
            tokio::task::yield_now().await;
            telling.heard(&present_at(2, 7), Role::Host, start)
        });
        let receipt = settled.await.unwrap();
        assert_eq!((receipt.acked, receipt.of), (2, 2));
        assert!(receipt.reached_all());
    }

    #[tokio::test]
    async fn settles_when_its_time_is_over() {
        // Its time is over a moment from now.
        let roster = Roster::new(Instant::now(), 2);
        roster.locked().complete_at = Instant::now() + SHORT;
        roster.publishing(ID, Instant::now());
        roster.heard(&ack(1, Some(ID)), Role::Verifier, Instant::now());
        let receipt = roster.settle(ID, Epoch(7), LONG).await;
        assert!(receipt.reached_all());
    }

    #[test]
    fn lacks_whom_it_would_have_heard() {
        let start = Instant::now();
        let roster = Roster::new(start, 2);
        let lacks = |after| roster.lacks(Role::Gatekeeper, start + after);
        roster.heard(&ack(1, None), Role::Verifier, start);
        assert!(!lacks(Duration::ZERO), "it may not have been heard yet");
        assert!(lacks(COMPLETE_AFTER));
        roster.heard(&ack(2, None), Role::Gatekeeper, start);
        assert!(!lacks(Duration::ZERO) && !lacks(PRESENT_FOR));
        assert!(lacks(PRESENT_FOR + Duration::from_millis(1)));
    }

    #[tokio::test]
    async fn presence_at_the_directives_place_shows_it_applied_but_not_by_a_gatekeeper() {
        let (roster, start) = complete();
        for (verifier, role) in [(1, Role::Verifier), (2, Role::Host), (3, Role::Gatekeeper), (4, Role::Verifier)] {
            roster.heard(&present_at(verifier, 6), role, start);
        }
        roster.publishing(ID, start);
        // Before the place is known, and after.
        roster.heard(&present_at(1, 8), Role::Verifier, start + SHORT);
        roster.heard(&present_at(3, 8), Role::Gatekeeper, start + SHORT);
        roster.heard(&present_at(4, 6), Role::Verifier, start + SHORT);
        roster.locked().durable(ID, Epoch(7), start);
        assert_eq!(roster.heard(&present_at(2, 7), Role::Host, start + 2 * SHORT), None, "no time of its own");
        // Who owes nothing is not counted for being there.
        roster.heard(&present_at(5, 9), Role::Verifier, start + SHORT);
        let receipt = roster.settle(ID, Epoch(7), SHORT).await;
        assert_eq!((receipt.acked, receipt.of, receipt.max_us), (2, 4, 40_000));
        let mut silent = [did(3), did(4)];
        silent.sort_unstable();
        assert_eq!(receipt.silent, silent);
    }

    #[tokio::test]
    async fn a_directive_of_an_earlier_run_is_shown_applied() {
        let (roster, start) = complete();
        roster.heard(&present_at(1, 9), Role::Verifier, start);
        roster.heard(&present_at(2, 9), Role::Gatekeeper, start);
        let receipt = roster.settle(ID, Epoch(7), SHORT).await;
        assert_eq!((receipt.acked, receipt.of, receipt.silent), (1, 2, vec![did(2)]));
    }

    #[tokio::test]
    async fn names_what_gatekeepers_closed_once_each() {
        let (roster, start) = complete();
        roster.publishing(ID, start);
        roster.heard(&closing(1, &[17, 4]), Role::Gatekeeper, start);
        roster.heard(&closing(1, &[99]), Role::Gatekeeper, start);
        roster.heard(&closing(2, &[17, 5]), Role::Gatekeeper, start);
        let closed = roster.settle(ID, Epoch(7), SHORT).await.closed;
        assert_eq!(closed.count, 3);
        assert_eq!(closed.named.iter().map(|one| one.cid).collect::<Vec<_>>(), [4, 5, 17]);
        // Many gatekeepers with full lists: all counted, some named.
        roster.publishing(ID, start);
        for gatekeeper in 1..=9 {
            let first = u64::from(gatekeeper) * 100;
            roster.heard(&closing(gatekeeper, &(first..first + 30).collect::<Vec<_>>()), Role::Gatekeeper, start);
        }
        let closed = roster.settle(ID, Epoch(7), SHORT).await.closed;
        assert_eq!((closed.count, closed.named.len()), (9 * 30, RECEIPT_CLOSED_NAMED_MAX));
    }

    #[tokio::test]
    async fn after_a_silence_it_learns_anew_who_is_there() {
        let (roster, start) = complete();
        roster.heard(&ack(1, None), Role::Verifier, start);
        let later = start + Duration::from_secs(20);
        roster.deaf(later);
        roster.publishing(ID, later);
        roster.heard(&ack(1, None), Role::Verifier, later);
        let receipt = roster.settle(ID, Epoch(7), SHORT).await;
        assert_eq!((receipt.acked, receipt.of, receipt.partial), (0, 1, true));
    }

    #[test]
    fn tells_what_each_one_is() {
        let (roster, start) = complete();
        roster.heard(&ack(1, None), Role::Gatekeeper, start);
        assert_eq!(roster.present(start)[0].role, Role::Gatekeeper);
    }
}
