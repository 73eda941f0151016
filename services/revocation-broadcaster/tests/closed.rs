//! What gatekeepers closed is named to whoever asked, and nobody is overlooked after a start.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod house;

use std::sync::Arc;

use house::{BOUND, House, request, serving, status, token};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, Feed, FeedOptions, streams};
use marque_identity::Did;
use marque_revocation::{Closed, ClosedConnection, DirectiveRequest, Op, Receipt, Wait};
use marque_signing::{Compact, Role, SigningKey};
use marque_test_support::{Broker, DEADLINE, eventually};
use serde_json::Value;
use tokio::sync::mpsc;

const SERVER: &str = "NDJ2WKDYBQ2XTYTWKVQP5OIRJ6PX4AUVPIMCSFQCMOUWOQ3KSNRBVN4F";

fn agent() -> Did {
    Did::from_key_bytes([9; 32])
}

fn connections(cids: &[u64]) -> Vec<ClosedConnection> {
    cids.iter().map(|cid| ClosedConnection { agent: agent(), server: SERVER.into(), cid: *cid }).collect()
}

/// Acks each directive with these connections, as one that has closed them.
async fn closing(house: &House, broker: &Broker, role: BusRole, key: &Arc<SigningKey>, cids: &'static [u64]) -> Feed {
    let bus = broker.connect(role).await;
    let (applied, mut to_carry_out) = mpsc::unbounded_channel();
    let options = FeedOptions { ack_key: Some(key.clone()), applied: Some(applied) };
    let feed = Feed::start(&bus, vec![house.broadcaster.public()], options).await.unwrap();
    let acking = feed.clone();
    tokio::spawn(async move {
        while let Some(id) = to_carry_out.recv().await {
            acking.acknowledge(id, Closed::of(connections(cids)));
        }
    });
    feed.fresh(BOUND).await;
    feed
}

async fn present(bus: &Bus, count: usize) {
    eventually("all are on the roster", DEADLINE, || async {
        let present = status(bus).await.unwrap().verifiers.len();
        if present == count { Ok(()) } else { Err(present) }
    })
    .await;
}

async fn revoke(house: &House, bus: &Bus, n: u8) -> Receipt {
    let asked = DirectiveRequest { wait: Wait::Applied, ..request(Op::Revoke, Some(token(n))) };
    house.ask(bus, &asked).await.unwrap().receipt.unwrap()
}

/// What the one *receipt* record states.
async fn receipt_record(broker: &Broker) -> Value {
    let audit = broker.connect(BusRole::Broadcaster).await;
    eventually("the receipt is recorded", DEADLINE, || async {
        let batch = audit.read(streams::AUDIT, 1, 1000).await.unwrap();
        let mut records = batch.messages.iter().filter(|message| message.subject.contains(".receipt."));
        let record = records.next().ok_or("none yet")?;
        let compact = Compact::split(std::str::from_utf8(&record.payload).unwrap()).unwrap();
        Ok::<Value, &str>(serde_json::from_slice(&compact.payload().unwrap()).unwrap())
    })
    .await
}

#[tokio::test]
async fn what_gatekeepers_closed_is_named_once_in_the_answer_and_in_the_record() {
    let (house, broker) = (House::with(1, 2), Broker::start().await);
    let _process = house.start(&house.configure(&broker.url(), "", ""));
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    let verifier = house.feed(&broker, 0).await;
    verifier.fresh(BOUND).await;
    let [one, other] = [&house.gatekeepers[0], &house.gatekeepers[1]];
    let _one = closing(&house, &broker, BusRole::Gatekeeper, one, &[17, 4]).await;
    let _other = closing(&house, &broker, BusRole::Gatekeeper, other, &[17, 23]).await;
    present(&bus, 3).await;
    let roles: Vec<_> = status(&bus).await.unwrap().verifiers.iter().map(|one| (one.verifier, one.role)).collect();
    for (key, role) in [(one, Role::Gatekeeper), (other, Role::Gatekeeper), (&house.verifiers[0], Role::Verifier)] {
        assert!(roles.contains(&(key.did(), role)), "{roles:?}");
    }

    let receipt = revoke(&house, &bus, 1).await;
    assert_eq!((receipt.acked, receipt.of, receipt.partial), (3, 3, false));
    assert_eq!(receipt.closed, Closed { count: 3, named: connections(&[4, 17, 23]) });
    let record = receipt_record(&broker).await;
    assert_eq!(record["closed"], serde_json::to_value(&receipt.closed).unwrap(), "{record}");
}

#[tokio::test]
async fn a_verifier_that_names_connections_is_refused() {
    let (house, broker) = (House::with(1, 0), Broker::start().await);
    let _process = house.start(&house.configure(&broker.url(), "", ""));
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    let _feed = closing(&house, &broker, BusRole::Verifier, &house.verifiers[0], &[17]).await;
    present(&bus, 1).await;
    // Its ack counts for nothing. Its presence, which comes after it, shows that the directive is applied.
    let receipt = revoke(&house, &bus, 1).await;
    assert_eq!((receipt.acked, receipt.of), (1, 1));
    assert!(receipt.closed.is_empty(), "{receipt:?}");
    let record = receipt_record(&broker).await;
    assert_eq!(record.get("closed"), None, "{record}");
}

#[tokio::test]
async fn asked_at_once_after_a_kill_it_waits_for_everyone_who_is_present() {
    // One of the verifiers' keys has nobody: that all keys were heard is not what ends the waiting.
    let (house, broker) = (House::with(3, 1), Broker::start().await);
    let config = house.configure(&broker.url(), "", "");
    let mut process = house.start(&config);
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    let _feeds = [house.feed(&broker, 0).await, house.feed(&broker, 1).await];
    let _gatekeeper = closing(&house, &broker, BusRole::Gatekeeper, &house.gatekeepers[0], &[17]).await;
    present(&bus, 3).await;
    process.kill();
    let _process = house.start(&config);
    serving(&bus).await;
    let receipt = revoke(&house, &bus, 1).await;
    assert_eq!((receipt.acked, receipt.of, receipt.silent.len()), (3, 3, 0));
    assert!(receipt.reached_all(), "{receipt:?}");
    assert_eq!(receipt.closed.named, connections(&[17]));
}
