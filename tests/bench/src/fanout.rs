//! From a directive's publish to its being applied by the last of many verifiers, each on a connection of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, VerifyingKey};
use futures::StreamExt;
use marque_bus::permissions::BusRole;
use marque_bus::{Feed, FeedOptions};
use marque_identity::Digest;
use marque_revocation::{SignedDirective, Target};
use marque_signing::{Compact, PublicKey};
use marque_test_support::{Broker, TestBroadcaster};
use tokio::sync::mpsc;

use crate::fixture::seeded;
use crate::measure::percentile;
use crate::report::Row;

/// Verifier connections.
const VERIFIERS: usize = 100;
/// Directives that are measured, after a tenth as many to warm up: of these the ten slowest lie beyond the p99.
const ROUNDS: usize = 1000;
/// Between rounds: the acks of one round are not to weigh on the next one's bare fan-out.
const SETTLE: Duration = Duration::from_millis(40);
/// The subject of the bare fan-out: core NATS, no stream captures it.
const BARE_SUBJECT: &str = "marque.ack.bench";

/// What a contender's receivers report: when the last of them was done.
type Done = mpsc::UnboundedReceiver<Instant>;

/// The rows about reach.
pub async fn rows() -> Vec<Row> {
    let broker = Broker::start().await;
    let mut broadcaster = TestBroadcaster::new(broker.connect(BusRole::Broadcaster).await).heard_by(VERIFIERS);
    let directives: Vec<SignedDirective> = (0..ROUNDS + ROUNDS / 10).map(|n| revocation(&broadcaster, n)).collect();

    let (mut bare, mut verified) = (bare(&broker, None).await, bare(&broker, Some(broadcaster.public())).await);
    let mut applied = feeds(&broker, broadcaster.public()).await;
    let publisher = broker.connect(BusRole::Verifier).await;

    let (mut of_bare, mut of_verified, mut of_feeds) = (Vec::new(), Vec::new(), Vec::new());
    for (round, directive) in directives.iter().enumerate() {
        let subjects = [(&mut bare, &mut of_bare, "plain"), (&mut verified, &mut of_verified, "verify")];
        for (done, taken, kind) in subjects {
            let begun = Instant::now();
            let subject = format!("{BARE_SUBJECT}-{kind}");
            let sent = publisher.client().publish(subject, directive.compact().to_owned().into()).await;
            sent.expect("the broker takes it");
            publisher.client().flush().await.expect("the broker takes it");
            note(taken, round, last(done).await.duration_since(begun));
        }
        let begun = Instant::now();
        broadcaster.publish(directive).await;
        note(&mut of_feeds, round, last(&mut applied).await.duration_since(begun));
        broadcaster.beat().await;
        tokio::time::sleep(SETTLE).await;
    }
    let p = |samples: &mut Vec<f64>, share| percentile(samples, share);
    let (b50, b99) = (p(&mut of_bare, 0.5), p(&mut of_bare, 0.99));
    let (v50, v99) = (p(&mut of_verified, 0.5), p(&mut of_verified, 0.99));
    let (f50, f99) = (p(&mut of_feeds, 0.5), p(&mut of_feeds, 0.99));
    let ours = |p: &str| format!("directive → applied by the last of {VERIFIERS}, {p}");
    vec![
        Row::ratio(ours("p99"), f99, "bare fan-out, each verifies once", v99, "≤ 1.3"),
        Row::ratio(ours("p50"), f50, "bare fan-out, each verifies once", v50, ""),
        Row::ratio(ours("p99"), f99, "bare fan-out, no verification", b99, ""),
        Row::ratio(ours("p50"), f50, "bare fan-out, no verification", b50, ""),
    ]
}

fn note(taken: &mut Vec<f64>, round: usize, time: Duration) {
    if round >= ROUNDS / 10 {
        taken.push(time.as_secs_f64() * 1e6);
    }
}

fn revocation(broadcaster: &TestBroadcaster, n: usize) -> SignedDirective {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&(n as u64).to_le_bytes());
    broadcaster.revocation(Target::Token(Digest(digest)))
}

/// The moment at which the last receiver was done with one message.
async fn last(done: &mut Done) -> Instant {
    let mut last = done.recv().await.expect("receivers live");
    for _ in 1..VERIFIERS {
        last = last.max(done.recv().await.expect("receivers live"));
    }
    last
}

/// Plain subscribers, each on a connection of its own; with a key each verifies strictly, once.
async fn bare(broker: &Broker, key: Option<PublicKey>) -> Done {
    let (tell, done) = mpsc::unbounded_channel();
    let kind = if key.is_some() { "verify" } else { "plain" };
    for _ in 0..VERIFIERS {
        let bus = broker.connect(BusRole::Broadcaster).await;
        let mut messages = bus.client().subscribe(format!("{BARE_SUBJECT}-{kind}")).await.expect("a subscription");
        bus.client().flush().await.expect("a live connection");
        let tell = tell.clone();
        let key = key.map(|key| VerifyingKey::from_bytes(key.bytes()).expect("our own key"));
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if let Some(key) = &key {
                    let text = std::str::from_utf8(&message.payload).expect("our own message");
                    let compact = Compact::split(text).expect("our own message");
                    let signature = Signature::from_bytes(compact.signature());
                    key.verify_strict(compact.signing_input(), &signature).expect("our own message");
                }
                let _ = tell.send(Instant::now());
            }
            drop(bus);
        });
    }
    done
}

/// Feeds as verifiers run them, each on a connection of its own, acks signed and sent; each tells when a directive
/// has taken effect in its view.
async fn feeds(broker: &Broker, broadcaster: PublicKey) -> Done {
    let (tell, done) = mpsc::unbounded_channel();
    for n in 0..VERIFIERS {
        let bus = broker.connect(BusRole::Verifier).await;
        let options = FeedOptions { ack_key: Some(Arc::new(seeded(1000 + n))), ..FeedOptions::default() };
        let feed = Feed::start(&bus, vec![broadcaster], options).await.expect("a feed");
        let tell = tell.clone();
        tokio::spawn(async move {
            let mut changes = feed.changes();
            let mut known = 0;
            while changes.changed().await.is_ok() {
                let active = feed.view().active_count();
                let now = Instant::now();
                for _ in known..active {
                    let _ = tell.send(now);
                }
                known = active;
            }
        });
    }
    done
}
