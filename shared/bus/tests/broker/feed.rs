//! The feed: what is published tightens at once, what was missed is read, silence denies.

use std::time::Duration;

use futures::StreamExt;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, Feed, FeedOptions, streams, subjects};
use marque_identity::Did;
use marque_revocation::{Ack, AckKind, Freshness, Op, Target};
use marque_signing::SigningKey;
use marque_test_support::{Broker, DEADLINE, TestBroadcaster, until};

const BOUND: Duration = Duration::from_secs(15);
/// So many heartbeats, one of which has to arrive within a short bound.
const BEATS_MAX: usize = 60;

async fn setup() -> (Broker, TestBroadcaster, Bus) {
    let broker = Broker::start().await;
    let broadcaster = TestBroadcaster::new(broker.connect(BusRole::Broadcaster).await);
    let verifier = broker.connect(BusRole::Verifier).await;
    (broker, broadcaster, verifier)
}

async fn start(bus: &Bus, broadcaster: &TestBroadcaster) -> Feed {
    let feed = Feed::start(bus, vec![broadcaster.public()], FeedOptions::default()).await.unwrap();
    bus.settle().await.unwrap();
    feed
}

fn key(n: u8) -> Did {
    SigningKey::from_seed(&[n; 32]).did()
}

fn is_hit(feed: &Feed, did: &Did) -> bool {
    !feed.view().overlay(Target::Key(*did).as_ref()).is_empty()
}

#[tokio::test]
async fn opens_with_a_heartbeat_and_applies_what_is_published() {
    let (_broker, mut broadcaster, bus) = setup().await;
    let feed = start(&bus, &broadcaster).await;
    assert!(matches!(feed.view().freshness(feed.now(), BOUND), Freshness::Cold));
    broadcaster.beat().await;
    tokio::time::timeout(DEADLINE, feed.fresh(BOUND)).await.unwrap();
    let revoked = broadcaster.revocation(Target::Key(key(1)));
    let epoch = broadcaster.publish(&revoked).await;
    until("the revocation is held", || is_hit(&feed, &key(1)) && feed.view().epoch() >= epoch).await;
    assert!(!is_hit(&feed, &key(2)));
    broadcaster.beat().await;
    until("the set agrees", || feed.view().epoch().0 == epoch.0 + 1).await;
    assert!(feed.is_fresh(BOUND));
    assert_eq!(feed.counted().alarms, 0);
}

#[tokio::test]
async fn the_raw_copy_alone_tightens_and_does_not_loosen() {
    let (broker, mut broadcaster, bus) = setup().await;
    let feed = start(&bus, &broadcaster).await;
    let suspended = broadcaster.sign(Op::Suspend, Target::Key(key(1)), None);
    broadcaster.publish(&suspended).await;
    broadcaster.beat().await;
    until("suspended", || is_hit(&feed, &key(1))).await;
    // Raw copies that no committed copy follows.
    let resume = broadcaster.sign(Op::Resume, Target::Key(key(1)), Some(suspended.directive().id));
    let revoke = broadcaster.revocation(Target::Key(key(2)));
    let raw = broker.connect(BusRole::Broadcaster).await;
    for signed in [&resume, &revoke] {
        let subject = subjects::raw("key", &signed.directive().id.to_string());
        raw.client().publish(subject, signed.compact().to_owned().into()).await.unwrap();
    }
    until("the raw revocation holds", || is_hit(&feed, &key(2))).await;
    assert!(is_hit(&feed, &key(1)), "a raw resume must not loosen");
    broadcaster.publish(&resume).await;
    until("the committed resume loosens", || !is_hit(&feed, &key(1))).await;
}

#[tokio::test]
async fn a_joiner_reads_what_it_missed() {
    let (_broker, mut broadcaster, bus) = setup().await;
    for n in 0..40 {
        broadcaster.publish(&broadcaster.revocation(Target::Key(key(n)))).await;
        if n % 10 == 0 {
            broadcaster.beat().await;
        }
    }
    let feed = start(&bus, &broadcaster).await;
    assert!(!is_hit(&feed, &key(0)));
    let last = broadcaster.beat().await;
    until("caught up", || feed.view().epoch() == last).await;
    assert!((0..40).all(|n| is_hit(&feed, &key(n))));
    tokio::time::timeout(DEADLINE, feed.fresh(BOUND)).await.unwrap();
    assert_eq!(feed.view().active_count(), 40);
    assert!(feed.counted().fills >= 1);
}

#[tokio::test]
async fn a_joiner_reads_more_than_one_batch() {
    let (_broker, mut broadcaster, bus) = setup().await;
    for n in 0..600u32 {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&n.to_le_bytes());
        broadcaster.publish(&broadcaster.revocation(Target::Token(marque_signing::sha256(&seed)))).await;
    }
    let feed = start(&bus, &broadcaster).await;
    let last = broadcaster.beat().await;
    until("caught up", || feed.view().epoch() == last).await;
    assert_eq!(feed.view().active_count(), 600);
    tokio::time::timeout(DEADLINE, feed.fresh(BOUND)).await.unwrap();
}

#[tokio::test]
async fn a_gap_left_by_a_cut_is_filled() {
    let (mut broker, mut broadcaster, bus) = setup().await;
    let feed = start(&bus, &broadcaster).await;
    broadcaster.beat().await;
    tokio::time::timeout(DEADLINE, feed.fresh(BOUND)).await.unwrap();
    // The verifier's connection is cut by a crash of the broker; whoever is back first goes on.
    broker.kill();
    broker.restart();
    broadcaster.publish(&broadcaster.revocation(Target::Key(key(1)))).await;
    let last = broadcaster.beat().await;
    // Seen live or read: a heartbeat that arrives shows what is missing. Until one does, another is sent.
    let mut head = last;
    for _ in 0..50 {
        if feed.view().epoch() >= last {
            break;
        }
        head = broadcaster.beat().await;
        let mut changes = feed.changes();
        let _ = tokio::time::timeout(Duration::from_millis(200), changes.changed()).await;
    }
    until("caught up", || feed.view().epoch() >= last && is_hit(&feed, &key(1))).await;
    assert!(head >= last);
    assert_eq!(feed.counted().alarms, 0);
}

#[tokio::test]
async fn silence_makes_the_view_stale_and_a_heartbeat_fresh_again() {
    let (_broker, mut broadcaster, bus) = setup().await;
    let feed = start(&bus, &broadcaster).await;
    let bound = Duration::from_millis(300);
    // One beat may take longer than the bound to arrive: the next may not.
    for _ in 0..2 {
        let mut beats = 0;
        while !feed.is_fresh(bound) {
            assert!(beats < BEATS_MAX, "not fresh by {beats} heartbeats");
            broadcaster.beat().await;
            beats += 1;
            let _ = tokio::time::timeout(bound, feed.fresh(bound)).await;
        }
        until("stale", || matches!(feed.view().freshness(feed.now(), bound), Freshness::Stale { .. })).await;
    }
}

#[tokio::test]
async fn what_is_not_the_broadcasters_counts_for_nothing_but_its_place() {
    let (broker, mut broadcaster, bus) = setup().await;
    let feed = start(&bus, &broadcaster).await;
    broadcaster.beat().await;
    // A thief of the broadcaster's bus password, without its key.
    let thief = broker.connect(BusRole::Broadcaster).await;
    let mut forger = TestBroadcaster::new(broker.connect(BusRole::Broadcaster).await);
    let honest = forger.revocation(Target::Key(key(1)));
    let mut forged = honest.compact().to_owned();
    let flipped = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(forged.len() - 40..forged.len() - 39, flipped);
    let noise = vec![0xff; 900];
    for payload in [forged.as_bytes(), b"", b"{}", noise.as_slice()] {
        thief.client().publish(subjects::raw("key", "forged"), payload.to_vec().into()).await.unwrap();
        thief.publish_stored("marque.directive.key.forged", payload, None, DEADLINE).await.unwrap();
    }
    until("all were looked at", || feed.counted().refused >= 8).await;
    assert!(!is_hit(&feed, &key(1)));
    until("its place is passed over", || feed.view().epoch().0 == 5).await;
    // The honest broadcaster, were it to go on from there, is believed.
    forger.skip_to(5);
    forger.beat().await;
    until("the heartbeat counts", || feed.view().epoch().0 == 6).await;
    tokio::time::timeout(DEADLINE, feed.fresh(BOUND)).await.unwrap();
}

#[tokio::test]
async fn acks_tell_presence_and_what_was_applied() {
    let (broker, mut broadcaster, bus) = setup().await;
    let listener = broker.connect(BusRole::Broadcaster).await;
    let mut acks = listener.client().subscribe(subjects::ACKS_ALL).await.unwrap();
    listener.settle().await.unwrap();
    let ack_key = std::sync::Arc::new(SigningKey::from_seed(&[0xaa; 32]));
    let options = FeedOptions { ack_key: Some(ack_key.clone()), ..FeedOptions::default() };
    let _feed = Feed::start(&bus, vec![broadcaster.public()], options).await.unwrap();
    let next = async |acks: &mut async_nats::Subscriber| {
        let message = tokio::time::timeout(DEADLINE, acks.next()).await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), subjects::ack(&ack_key.did()));
        Ack::verify(&message.payload, &ack_key.public()).unwrap()
    };
    assert_eq!(next(&mut acks).await.kind, AckKind::Presence);
    let revoked = broadcaster.revocation(Target::Key(key(1)));
    broadcaster.publish(&revoked).await;
    let ack = next(&mut acks).await;
    assert_eq!((ack.kind, ack.id), (AckKind::Applied, Some(revoked.directive().id)));
}

#[tokio::test]
async fn the_committed_copy_carries_the_streams_sequence() {
    let (_broker, mut broadcaster, bus) = setup().await;
    let mut committed = bus.client().subscribe(subjects::COMMITTED_ALL).await.unwrap();
    bus.settle().await.unwrap();
    let epoch = broadcaster.beat().await;
    let message = tokio::time::timeout(DEADLINE, committed.next()).await.unwrap().unwrap();
    assert_eq!(message.subject.as_str(), subjects::COMMITTED_HEARTBEAT);
    let sequence = message.headers.as_ref().and_then(|h| h.get("Nats-Sequence")).unwrap();
    assert_eq!(sequence.as_str(), epoch.to_string());
    assert_eq!(bus.stream_state(streams::DIRECTIVES).await.unwrap().last_sequence, epoch.0);
}
