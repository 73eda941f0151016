//! Stored means stored, once; a claim is won once.

use std::time::Duration;

use futures::future::join_all;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, BusError, Claim, streams, subjects};
use marque_identity::{Did, Digest};
use marque_signing::sha256;
use marque_test_support::{Broker, DEADLINE};

const KEY: [u8; 32] = [9; 32];

fn key() -> Did {
    Did::from_key_bytes(KEY)
}

/// Another's message under the id that our record will have.
async fn squat(bus: &Bus, record: &str) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", sha256(record.as_bytes()).to_string());
    let subject = subjects::record("issued", None);
    let request = async_nats::Request::new().headers(headers).payload("something else".into());
    bus.client().send_request(subject, request).await.unwrap();
}

#[tokio::test]
async fn a_record_is_stored_once_however_often_it_is_published() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Issuer).await;
    let first = bus.publish_record("issued", Some(&key()), "the.signed.record").await.unwrap();
    let again = bus.publish_record("issued", Some(&key()), "the.signed.record").await.unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.sequence, again.sequence);
    let other = bus.publish_record("issued", Some(&key()), "another.signed.record").await.unwrap();
    assert_eq!(other.sequence, first.sequence + 1);
    let held = bus.read(streams::AUDIT, 1, 10).await.unwrap();
    assert_eq!(held.messages.len(), 2);
    assert_eq!(held.messages[0].payload, "the.signed.record");
    assert_eq!(held.messages[0].subject, subjects::record("issued", Some(&key())));
}

#[tokio::test]
async fn a_duplicate_of_other_bytes_is_not_believed() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Issuer).await;
    squat(&bus, "victim.record").await;
    let outcome = bus.publish_record("issued", Some(&key()), "victim.record").await;
    assert!(matches!(outcome, Err(BusError::Suppressed { sequence: 1 })), "{outcome:?}");
}

#[tokio::test]
async fn an_oversize_record_is_refused_before_it_is_sent() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Issuer).await;
    let fits = "x".repeat(marque_bus::publish::RECORD_BYTES_MAX);
    bus.publish_record("issued", None, &fits).await.unwrap();
    let outcome = bus.publish_record("issued", None, &format!("{fits}x")).await;
    assert!(matches!(outcome, Err(BusError::Oversize { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_record_is_published_again_until_the_broker_is_back() {
    let mut broker = Broker::start().await;
    let bus = broker.connect(BusRole::Issuer).await;
    bus.publish_record("issued", None, "before").await.unwrap();
    broker.kill();
    let publisher = bus.clone();
    let waiting = tokio::spawn(async move {
        publisher.publish_stored(&subjects::record("issued", None), b"during", None, DEADLINE).await
    });
    broker.restart();
    let recorded = waiting.await.unwrap().unwrap();
    // Stored once, whatever was sent before and after the crash; what was acked before is there.
    let held = bus.read(streams::AUDIT, 1, 10).await.unwrap().messages;
    assert_eq!(held.iter().map(|m| m.payload.as_ref()).collect::<Vec<_>>(), [b"before".as_ref(), b"during"]);
    assert_eq!(held[1].sequence, recorded.sequence);
}

#[tokio::test]
async fn without_a_broker_nothing_is_said_to_be_stored() {
    let mut broker = Broker::start().await;
    let bus = broker.connect(BusRole::Issuer).await;
    broker.kill();
    let deadline = Duration::from_millis(300);
    let outcome = bus.publish_stored(&subjects::record("issued", None), b"x", None, deadline).await;
    assert!(matches!(outcome, Err(BusError::Unavailable(_) | BusError::OutcomeUnknown(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_publish_at_another_place_than_expected_stores_nothing() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Broadcaster).await;
    let beat = |n: u64| format!("heartbeat {n}");
    let publish = async |n: u64, after: u64| {
        bus.publish_after(subjects::HEARTBEAT, beat(n).as_bytes(), after, None, DEADLINE).await
    };
    assert_eq!(publish(1, 0).await.unwrap().sequence, 1);
    let moved = publish(2, 0).await;
    assert!(matches!(moved, Err(BusError::SequenceMoved(_))), "{moved:?}");
    assert_eq!(publish(2, 1).await.unwrap().sequence, 2);
    // The same bytes again, as after a lost ack: they are there.
    assert!(publish(2, 1).await.unwrap().duplicate);
}

#[tokio::test]
async fn one_of_many_wins_a_claim() {
    let broker = Broker::start().await;
    let claimants = join_all((0..8).map(|_| broker.connect(BusRole::Verifier))).await;
    let proof = Digest([3; 32]);
    let outcomes = join_all(claimants.iter().map(|bus| bus.claim_proof(&proof))).await;
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Claim::Won))).count();
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Claim::Lost))).count();
    assert_eq!((won, lost), (1, 7), "{outcomes:?}");
    assert_eq!(claimants[0].claim_proof(&Digest([4; 32])).await.unwrap(), Claim::Won);
}

#[tokio::test]
async fn a_reader_sees_every_message_in_order_and_waits_for_the_next() {
    let broker = Broker::start().await;
    let (issuer, sink) = (broker.connect(BusRole::Issuer).await, broker.connect(BusRole::Sink).await);
    for n in 0..5 {
        issuer.publish_record("issued", None, &format!("early {n}")).await.unwrap();
    }
    let mut reader = sink.reader(streams::AUDIT, subjects::RECORDS_ALL, 1).await.unwrap();
    let writer = tokio::spawn(async move {
        for n in 0..300 {
            issuer.publish_record("issued", None, &format!("late {n}")).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 305 {
        let batch = tokio::time::timeout(DEADLINE, reader.next(7)).await.unwrap().unwrap();
        assert!(!batch.is_empty() && batch.len() <= 7);
        seen.extend(batch.into_iter().map(|stored| stored.sequence));
    }
    writer.await.unwrap();
    assert_eq!(seen, (1..=305).collect::<Vec<u64>>());
    assert_eq!(reader.next_sequence(), 306);
}

#[tokio::test]
async fn a_read_from_anywhere_gives_what_is_held_from_there() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Issuer).await;
    assert!(bus.read(streams::AUDIT, 1, 10).await.unwrap().messages.is_empty());
    for n in 0..3 {
        bus.publish_record("issued", None, &format!("{n}")).await.unwrap();
    }
    for (from, messages_max, sequences, pending) in [
        (0, 10, vec![1, 2, 3], 0),
        (2, 10, vec![2, 3], 0),
        (1, 1, vec![1], 2),
        (1, 2, vec![1, 2], 1),
        (4, 10, vec![], 0),
    ] {
        let batch = bus.read(streams::AUDIT, from, messages_max).await.unwrap();
        let found: Vec<u64> = batch.messages.iter().map(|m| m.sequence).collect();
        assert_eq!((found, batch.pending), (sequences, pending), "from {from}, {messages_max}");
    }
    let state = bus.stream_state(streams::AUDIT).await.unwrap();
    assert_eq!((state.first_sequence, state.last_sequence, state.messages), (1, 3, 3));
    assert!(state.created_ns > 0);
}
