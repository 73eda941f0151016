//! Killed at each place where it hurts: the outbox and the stream are put into the state that the kill would leave.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod house;

use std::time::Duration;

use house::{House, ask_raw, domain, recorded, request, serving, stored, token};
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_identity::UnixSeconds;
use marque_revocation::{Directive, DirectiveId, Op, SignedDirective};
use marque_revocation_broadcaster::outbox::{Outbox, RequestKey, Row};
use marque_test_support::{Broker, DEADLINE, eventually, fresh};

/// Accepts the operator's request as the service would have: the request's bytes and the directive.
fn accept(house: &House, n: u8) -> (Vec<u8>, SignedDirective) {
    let asked = request(Op::Revoke, Some(token(n)));
    let bytes = asked.sign(&house.operator).unwrap().into_bytes();
    let directive = Directive {
        id: DirectiveId::from_bytes([n; 16]),
        op: Op::Revoke,
        target: token(n),
        until: Some(UnixSeconds(house::now().0 + 900)),
        narrow: None,
        lifts: None,
        reason: "before the kill".into(),
        requested_by: house.operator.did(),
        iat: house::now(),
        domain: domain(),
    };
    let signed = SignedDirective::sign(directive, &house.broadcaster).unwrap();
    let row = Row {
        request: asked.asked().unwrap(),
        id: signed.directive().id,
        compact: signed.compact().to_owned(),
        gone_at: Some(UnixSeconds(house::now().0 + 1500)),
        epoch: None,
        receipt: None,
    };
    std::fs::create_dir_all(house.path("state")).unwrap();
    let outbox = Outbox::open(&house.path("state").join("outbox.redb"), &domain(), &house.broadcaster.did()).unwrap();
    outbox.accept(RequestKey::of(&house.operator.did(), &asked.jti), row, house::now()).unwrap();
    (bytes, signed)
}

async fn finds_it_once(house: &House, broker: &Broker, request: &[u8], signed: &SignedDirective) -> u64 {
    let _process = house.start(&house.configure(&broker.url(), "", "reach_wait_ms = 100"));
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    let reply = ask_raw(&bus, request.to_vec()).await.unwrap();
    assert!(reply.duplicate);
    assert_eq!((reply.id, reply.directive.as_str()), (signed.directive().id, signed.compact()));
    let audit = broker.connect(BusRole::Broadcaster).await;
    assert_eq!(stored(&audit, house).await, [(reply.epoch.0, signed.compact().to_owned())]);
    eventually("it is recorded", DEADLINE, || async {
        let kinds = recorded(&audit).await;
        if kinds == ["directive", "receipt"] { Ok(()) } else { Err(kinds.join(" ")) }
    })
    .await;
    reply.epoch.0
}

#[tokio::test]
async fn killed_after_accepting_publishes() {
    let (house, broker) = (House::new(0), Broker::start().await);
    let (request, signed) = accept(&house, 1);
    finds_it_once(&house, &broker, &request, &signed).await;
}

#[tokio::test]
async fn killed_after_publishing_does_not_publish_again() {
    let (house, broker) = (House::new(0), Broker::start().await);
    let (request, signed) = accept(&house, 1);
    let bus = broker.connect(BusRole::Broadcaster).await;
    let subject = subjects::directive("token", &signed.directive().id.to_string());
    // Behind other messages, and without the id by which the broker would know it again.
    for payload in [b"noise".as_slice(), signed.compact().as_bytes(), b"more noise"] {
        bus.client().publish(subject.clone(), payload.to_vec().into()).await.unwrap();
    }
    bus.flush().await.unwrap();
    assert_eq!(finds_it_once(&house, &broker, &request, &signed).await, 2);
}

#[tokio::test]
async fn another_hand_in_the_stream_costs_a_reading_and_no_more() {
    let (house, broker) = (House::new(1), Broker::start().await);
    let _process = house.start(&house.configure(&broker.url(), "", ""));
    let feed = house.feed(&broker, 0).await;
    fresh(&feed, house::BOUND).await;
    let bus = broker.connect(BusRole::Broadcaster).await;
    let operator = broker.connect(BusRole::Operator).await;
    serving(&operator).await;
    for n in 0..20 {
        bus.client().publish("marque.directive.token.noise", "noise".into()).await.unwrap();
        house.ask(&operator, &request(Op::Revoke, Some(token(n)))).await.unwrap();
    }
    eventually("the verifier has all and agrees", DEADLINE, || async {
        let all = (0..20).all(|n| !feed.view().overlay(token(n).as_ref()).is_empty());
        if all && feed.is_fresh(Duration::from_millis(600)) { Ok(()) } else { Err(feed.view().active_count()) }
    })
    .await;
    assert_eq!(stored(&bus, &house).await.len(), 20);
}
