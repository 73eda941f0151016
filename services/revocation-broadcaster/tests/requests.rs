//! The real process over a real broker: who asks, what is stored, who is told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod house;

use futures::StreamExt as _;
use house::{BOUND, DRAINED, House, SHORT, ask, ask_raw, recorded, request, serving, status, stored, token};
use marque_bus::permissions::BusRole;
use marque_bus::{CallError, subjects};
use marque_identity::{Code, UnixSeconds};
use marque_revocation::{DirectiveRequest, Op, Target, Wait};
use marque_signing::SigningKey;
use marque_test_support::{Broker, DEADLINE, eventually, fresh, until};

fn refused(answer: Result<marque_revocation::DirectiveReply, CallError>) -> Code {
    answer.expect_err("a refusal").code()
}

#[tokio::test]
async fn a_revoke_reaches_every_verifier_and_all_of_it_is_recorded() {
    let (house, broker) = (House::new(2), Broker::start().await);
    // The receipt is counted when both have acked, however long that takes here.
    let mut process = house.start(&house.configure(&broker.url(), "", "reach_wait_ms = 15000"));
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    let feeds = [house.feed(&broker, 0).await, house.feed(&broker, 1).await];
    for feed in &feeds {
        fresh(feed, BOUND).await;
    }
    eventually("both are on the roster", DEADLINE, || async {
        let present = status(&bus).await.map_err(|error| error.to_string())?.verifiers.len();
        if present == 2 { Ok(()) } else { Err(format!("{present} are")) }
    })
    .await;

    let asked = DirectiveRequest { wait: Wait::Applied, ..request(Op::Suspend, Some(token(1))) };
    let reply = house.ask(&bus, &asked).await.unwrap();
    let receipt = reply.receipt.clone().unwrap();
    assert_eq!((receipt.acked, receipt.of, receipt.silent.len()), (2, 2, 0));
    for feed in &feeds {
        assert_eq!(feed.view().overlay(token(1).as_ref())[0].id(), reply.id);
    }
    // The same request again: the same answer, and nothing more is stored.
    let again = house.ask(&bus, &asked).await.unwrap();
    assert!(again.duplicate && !reply.duplicate);
    assert_eq!(
        (again.id, again.epoch, again.directive, again.receipt),
        (reply.id, reply.epoch, reply.directive.clone(), reply.receipt)
    );
    assert_eq!(stored(&bus_of(&broker).await, &house).await, [(reply.epoch.0, reply.directive.clone())]);
    // Later, signed anew, and without waiting: still the same request, however old it is.
    let old = UnixSeconds(asked.iat.0 - 3600);
    let later = DirectiveRequest { iat: old, wait: Wait::Durable, ..asked.clone() };
    let again = house.ask(&bus, &later).await.unwrap();
    assert_eq!((again.id, again.epoch, again.duplicate, again.receipt), (reply.id, reply.epoch, true, None));
    assert_eq!(stored(&bus_of(&broker).await, &house).await, [(reply.epoch.0, reply.directive.clone())]);
    // The same jti for another request.
    assert_eq!(refused(house.ask(&bus, &DirectiveRequest { reason: "other".into(), ..asked }).await), Code::Conflict);

    let lift = DirectiveRequest { lifts: Some(reply.id), wait: Wait::Applied, ..request(Op::Lift, None) };
    let lifted = house.ask(&bus, &lift).await.unwrap();
    assert_eq!(lifted.receipt.unwrap().acked, 2);
    assert!(feeds.iter().all(|feed| feed.view().is_clear()));
    until("both are fresh", || feeds.iter().all(|feed| feed.is_fresh(BOUND))).await;
    assert_eq!(serving(&bus).await.active, 0);

    let audit = bus_of(&broker).await;
    eventually("all is recorded", DEADLINE, || async {
        let mut kinds = recorded(&audit).await;
        kinds.sort();
        if kinds == ["directive", "directive", "receipt", "receipt", "refused"] { Ok(()) } else { Err(kinds.join(" ")) }
    })
    .await;
    process.terminate();
    assert!(process.wait(DRAINED).success(), "{}", process.said());
}

#[tokio::test]
async fn what_tightens_goes_out_raw_once_and_what_loosens_does_not() {
    let (house, broker) = (House::new(0), Broker::start().await);
    let _process = house.start(&house.configure(&broker.url(), "", ""));
    let bus = broker.connect(BusRole::Operator).await;
    let mut raw = bus.client().subscribe(subjects::DIRECTIVES_RAW).await.unwrap();
    serving(&bus).await;
    let mut heard = async || {
        let message = tokio::time::timeout(DEADLINE, raw.next()).await.unwrap().unwrap();
        String::from_utf8(message.payload.to_vec()).unwrap()
    };
    let suspended = house.ask(&bus, &request(Op::Suspend, Some(token(1)))).await.unwrap();
    assert_eq!(heard().await, suspended.directive);
    let lift = DirectiveRequest { lifts: Some(suspended.id), ..request(Op::Lift, None) };
    let lifted = house.ask(&bus, &lift).await.unwrap();
    let revoked = house.ask(&bus, &request(Op::Revoke, Some(token(2)))).await.unwrap();
    assert_eq!(heard().await, revoked.directive, "the next one after the suspend");
    let stored = stored(&bus_of(&broker).await, &house).await;
    let stored: Vec<_> = stored.into_iter().map(|(_, directive)| directive).collect();
    assert_eq!(stored, [suspended.directive, lifted.directive, revoked.directive]);
}

async fn bus_of(broker: &Broker) -> marque_bus::Bus {
    broker.connect(BusRole::Broadcaster).await
}

#[tokio::test]
async fn refuses_and_records_what_may_not_be_asked() {
    let (house, broker) = (House::new(0), Broker::start().await);
    let _process = house.start(&house.configure(&broker.url(), "", ""));
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    let nobody = SigningKey::from_seed(&[0x77; 32]);
    let revoke = |n| request(Op::Revoke, Some(token(n)));

    let mut refusals = 0;
    let mut check = |answer, code| {
        refusals += 1;
        assert_eq!(refused(answer), code, "refusal {refusals}");
    };
    check(ask(&bus, &nobody, &revoke(1)).await, Code::NotAuthorized);
    check(ask(&bus, &nobody, &request(Op::Suspend, Some(Target::Domain(house::domain())))).await, Code::NotAuthorized);
    // A kill switch that would stop nothing, by whoever may pull the right one.
    for elsewhere in [Target::Domain("acme.exampel".parse().unwrap()), Target::Issuer("https://acme.exampel".into())] {
        check(house.ask(&bus, &request(Op::Suspend, Some(elsewhere))).await, Code::TargetInvalid);
    }
    check(
        house.ask(&bus, &DirectiveRequest { aud: "other.example".parse().unwrap(), ..revoke(1) }).await,
        Code::AudienceMismatch,
    );
    check(house.ask(&bus, &DirectiveRequest { iat: house::now().plus(-31), ..revoke(1) }).await, Code::RequestStale);
    check(house.ask(&bus, &DirectiveRequest { iat: house::now().plus(40), ..revoke(1) }).await, Code::RequestStale);
    check(
        house.ask(&bus, &DirectiveRequest { until: Some(house::now().plus(9)), ..revoke(1) }).await,
        Code::ClaimsMalformed,
    );
    check(house.ask(&bus, &request(Op::Revoke, None)).await, Code::TargetInvalid);
    check(house.ask(&bus, &request(Op::Lift, None)).await, Code::ClaimsMalformed);
    let unknown = marque_revocation::DirectiveId::from_bytes([9; 16]);
    check(
        house.ask(&bus, &DirectiveRequest { lifts: Some(unknown), ..request(Op::Lift, None) }).await,
        Code::DirectiveUnknown,
    );
    let narrow = serde_json::json!({"tools": {"*": {"a": {"constraint_type": "magic"}}}});
    check(
        house.ask(&bus, &DirectiveRequest { narrow: Some(narrow), ..request(Op::Narrow, Some(token(1))) }).await,
        Code::ConstraintUnknown,
    );
    let (one, other) = (revoke(1).sign(&house.operator).unwrap(), revoke(2).sign(&house.operator).unwrap());
    let forged = format!("{}.{}", one.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
    check(ask_raw(&bus, forged.into_bytes()).await, Code::SignatureInvalid);
    for noise in [&b""[..], b"\xff\xfe", b"a.b.c", b"{}", &[b'['; 4000]] {
        let code = ask_raw(&bus, noise.to_vec()).await.expect_err("noise").code();
        assert!(matches!(code, Code::Malformed | Code::SignatureInvalid), "{code}");
        refusals += 1;
    }

    // An agent, its own key; and what it did not ask for it can't end.
    let itself = request(Op::Suspend, Some(Target::Key(nobody.did())));
    assert_eq!(refused(ask(&bus, &nobody, &itself).await), Code::NotAuthorized);
    let shown = DirectiveRequest { chain: Some(vec![house.root(&nobody)]), ..request(Op::Suspend, itself.target) };
    let own = ask(&bus, &nobody, &shown).await.unwrap();
    let by_operator = house.ask(&bus, &request(Op::Suspend, Some(Target::Key(nobody.did())))).await.unwrap();
    let lift = |lifts| DirectiveRequest { lifts: Some(lifts), ..request(Op::Lift, None) };
    assert_eq!(refused(ask(&bus, &nobody, &lift(by_operator.id)).await), Code::NotAuthorized);
    ask(&bus, &nobody, &lift(own.id)).await.unwrap();
    let revoked = house.ask(&bus, &revoke(2)).await.unwrap();
    assert_eq!(refused(house.ask(&bus, &lift(revoked.id)).await), Code::Conflict);

    let audit = bus_of(&broker).await;
    let count = recorded(&audit).await.iter().filter(|kind| *kind == "refused").count();
    assert_eq!(count, refusals + 3);
}

#[tokio::test]
async fn what_was_accepted_survives_a_kill_and_is_published_once() {
    let (house, mut broker) = (House::new(1), Broker::start().await);
    let config = house.configure(&broker.url(), "", "");
    let mut process = house.start(&config);
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    let feed = house.feed(&broker, 0).await;
    fresh(&feed, BOUND).await;

    // Killed in the middle of many.
    let mut asked: Vec<_> = (0..40).map(|n| request(Op::Revoke, Some(token(n)))).collect();
    let mut waiting = tokio::task::JoinSet::new();
    for request in &asked {
        let (bus, signed) = (bus.clone(), request.sign(&house.operator).unwrap());
        waiting.spawn(async move { ask_raw(&bus, signed.into_bytes()).await.ok() });
    }
    let one_is_answered = async {
        loop {
            if let Some(reply) = waiting.join_next().await.expect("one is answered").unwrap() {
                return reply;
            }
        }
    };
    let mut answered = vec![tokio::time::timeout(DEADLINE, one_is_answered).await.expect("one is answered")];
    process.kill();
    // What was answered by now counts; nobody waits for the rest.
    waiting.abort_all();
    while let Some(done) = waiting.join_next().await {
        match done {
            Ok(reply) => answered.extend(reply),
            Err(cut) => assert!(cut.is_cancelled(), "{cut}"),
        }
    }
    // And the broker too.
    broker.kill();
    broker.restart();
    let _process = house.start(&config);
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    for request in &mut asked {
        let reply = house.ask(&bus, request).await.unwrap();
        if let Some(before) = answered.iter().find(|before| before.id == reply.id) {
            assert_eq!((before.epoch, &before.directive), (reply.epoch, &reply.directive));
            assert!(reply.duplicate);
        }
    }
    let audit = bus_of(&broker).await;
    assert_eq!(stored(&audit, &house).await.len(), 40, "each once");
    until("the verifier has all and is fresh", || {
        feed.is_fresh(BOUND) && (0..40).all(|n| !feed.view().overlay(token(n).as_ref()).is_empty())
    })
    .await;
    eventually("each is recorded once", DEADLINE, || async {
        let count = recorded(&audit).await.iter().filter(|kind| *kind == "directive").count();
        if count == 40 { Ok(()) } else { Err(count) }
    })
    .await;
}

#[tokio::test]
async fn a_view_is_stale_without_the_broadcaster_and_fresh_again_with_it() {
    let (house, broker) = (House::new(1), Broker::start().await);
    let config = house.configure(&broker.url(), "", "reach_wait_ms = 300");
    let mut process = house.start(&config);
    let feed = house.feed(&broker, 0).await;
    fresh(&feed, SHORT).await;
    process.kill();
    until("the view is stale", || !feed.is_fresh(SHORT)).await;
    let _process = house.start(&config);
    until("the view is fresh", || feed.is_fresh(SHORT)).await;
    // A verifier that is gone is named.
    let bus = broker.connect(BusRole::Operator).await;
    serving(&bus).await;
    eventually("it is on the roster", DEADLINE, || async {
        let roster = status(&bus).await.map_err(|error| error.to_string())?.verifiers;
        if roster.is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
    })
    .await;
    drop(feed);
    let asked = DirectiveRequest { wait: Wait::Applied, ..request(Op::Revoke, Some(token(1))) };
    let receipt = house.ask(&bus, &asked).await.unwrap().receipt.unwrap();
    assert_eq!((receipt.acked, receipt.of, receipt.silent), (0, 1, vec![house.verifiers[0].did()]));
}
