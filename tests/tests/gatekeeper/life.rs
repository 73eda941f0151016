//! The life of a connection, which is not the task's: it runs out, and whoever still may comes back by itself.

use futures::{FutureExt, StreamExt};
use marque::service_config::Service;
use marque_agent::enforce::Policy;
use marque_agent::{AgentKey, Commission, Delegation};
use marque_bus::Bus;
use marque_bus::async_nats::Subscriber;
use marque_identity::Code;
use marque_judgement::record::{Body, Record};
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};

use super::{Stream, blueprint, commission, connect, enrol, grant, revoke};

/// Nearly as short as the configuration permits. The gatekeeper renews at half of it.
const LIFE_SECONDS: i64 = 6;
/// The life of a chain that ends while its holder is connected, for the second time where the machine is fast.
const CHAIN_SECONDS: i64 = 5;

/// A life within which a gatekeeper is killed and started again, on two slow cores that are shared.
const LONGER_LIFE_SECONDS: i64 = 30;

async fn system() -> TestSystem {
    system_of(LIFE_SECONDS).await
}

async fn system_of(life_seconds: i64) -> TestSystem {
    let life = format!("connection_life_seconds = {life_seconds}");
    TestSystem::start_with(&[blueprint()], &[(Service::Gatekeeper, &life)]).await.unwrap()
}

/// What the log has of an agent at the door, in order.
fn at_the_door<'a>(records: &'a [Record], agent: &Commission) -> impl Iterator<Item = &'a Body> {
    let did = agent.key().did();
    let of_it = records.iter().filter(move |record| record.agent == Some(did)).map(|record| &record.body);
    of_it.filter(|body| matches!(body, Body::Connected(_) | Body::Refused(_) | Body::Kicked(_) | Body::Disconnected(_)))
}

/// Waits until an agent has been let in for the `time`th time.
async fn let_in(stream: &mut Stream<'_>, agent: &Commission, time: usize) {
    let times = |records: &[Record]| {
        at_the_door(records, agent).filter(|body| matches!(body, Body::Connected(_))).count() >= time
    };
    stream.until("it is let in again", times).await;
}

/// Waits until an agent has been refused, and holds the reason to be this.
async fn kept_out(stream: &mut Stream<'_>, agent: &Commission, by: Code) {
    let refused = |records: &[Record]| {
        let codes = at_the_door(records, agent).filter_map(|body| match body {
            Body::Refused(refused) => Some(refused.code),
            _ => None,
        });
        codes.inspect(|code| assert_eq!(*code, by)).count() > 0
    };
    stream.until("it is refused", refused).await;
}

/// Says something where it has listened since before, and calls its tool, over a connection that was made long before.
/// A link may end by its life at any moment: what was under way then is done again.
async fn works(agent: &Commission, bus: &Bus, heard: &mut Subscriber, n: usize) {
    let word = format!("word {n}");
    let hears_itself = async {
        loop {
            bus.client().publish("team.room", word.clone().into()).await.unwrap();
            // The broker's answer to a later message: by then the word has come, if it comes.
            bus.settle().await.unwrap();
            while let Some(Some(message)) = heard.next().now_or_never() {
                if message.payload == word {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, hears_itself).await.expect("its subscription is there again");
    eventually("its call is answered", DEADLINE, || async {
        cast::call(agent, bus, n as u64).await.map_err(|error| error.to_string())
    })
    .await;
}

/// Twice the life of its connection is over: it is let in anew, on the same chain, without anyone's help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_lived_its_life_comes_back_and_works_as_before() {
    let system = system().await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let agent = enrol(&system).await;
    let child = cast::delegate(&commission(&agent).await, tools(grant()), 0);
    let bus = connect(&system, &child).await.unwrap();
    let mut heard = bus.client().subscribe("team.room").await.unwrap();
    let mut stream = Stream::of(&system).await;
    for time in 1..=3 {
        let_in(&mut stream, &child, time).await;
        works(&child, &bus, &mut heard, time).await;
    }
    // Nobody ended it, nobody refused it, and what it may do ends when it would have ended.
    let (mut ends, mut renewals) = (Vec::new(), 0);
    for body in at_the_door(&stream.records, &child) {
        match body {
            Body::Connected(connected) => ends.push(connected.expires_at.unwrap()),
            // By the gatekeeper; where that was too slow, by the broker.
            Body::Disconnected(disconnected) => {
                renewals += usize::from(disconnected.reason == "Kicked");
                assert!(
                    ["Kicked", "Authentication Expired"].contains(&disconnected.reason.as_str()),
                    "{disconnected:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(renewals, 0, "the broker ended it every time: stock clients give up on that");
    assert!(ends.len() >= 3 && ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    // The agent's own connection, which shows its credential, came back by the same way.
    commission(&agent).await;
    system.stop().await;
}

/// The gatekeeper that let it in is killed: the next one, which learns of it from the broker's list and the log, renews it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_renewed_by_a_gatekeeper_that_was_not_there_when_it_came() {
    let mut system = system_of(LONGER_LIFE_SECONDS).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let agent = enrol(&system).await;
    let child = cast::delegate(&commission(&agent).await, tools(grant()), 0);
    let bus = connect(&system, &child).await.unwrap();
    let mut heard = bus.client().subscribe("team.room").await.unwrap();
    system.kill_and_restart(Service::Gatekeeper).await.unwrap();
    let mut stream = Stream::of(&system).await;
    let_in(&mut stream, &child, 2).await;
    works(&child, &bus, &mut heard, 1).await;
    // Its end is recorded beside its return, in whichever order.
    let has_ended = |records: &[Record]| at_the_door(records, &child).any(|body| matches!(body, Body::Disconnected(_)));
    stream.until("its end is recorded", has_ended).await;
    let first_end = at_the_door(&stream.records, &child).find_map(|body| match body {
        Body::Disconnected(disconnected) => Some(disconnected.reason.as_str()),
        _ => None,
    });
    assert_eq!(first_end, Some("Kicked"), "closed by the gatekeeper, before the broker ended it");
    system.stop().await;
}

/// Who has been revoked, or whose chain has ended, is not let in again, however often its client asks; its sibling is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_ended_meanwhile_does_not_come_back() {
    let system = system().await;
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let [stays, revoked] = [0; 2].map(|_| cast::delegate(&root, tools(grant()), 0));
    let key = AgentKey::generate().unwrap();
    let brief = Delegation::new(tools(grant())).ttl_seconds(CHAIN_SECONDS);
    let chain = root.delegate(&key.public(), brief).unwrap();
    let brief = Commission::adopt(key, chain).unwrap();
    // Held to the end: their clients go on asking.
    let mut held = Vec::new();
    for agent in [&brief, &stays, &revoked] {
        held.push(connect(&system, agent).await.unwrap());
    }
    let mut stream = Stream::of(&system).await;
    for agent in [&stays, &revoked] {
        let_in(&mut stream, agent, 2).await;
    }
    revoke(&system, &["token", &revoked.leaf_digest().to_string()]);
    kept_out(&mut stream, &revoked, Code::Revoked).await;
    kept_out(&mut stream, &brief, Code::TokenExpired).await;
    // Its sibling lives on, over two lives more.
    let_in(&mut stream, &stays, 4).await;
    for agent in [&revoked, &brief] {
        let bodies: Vec<&Body> = at_the_door(&stream.records, agent).collect();
        let refused = bodies.iter().position(|body| matches!(body, Body::Refused(_))).unwrap();
        let after = &bodies[refused..];
        assert!(!after.iter().any(|body| matches!(body, Body::Connected(_))), "{after:?}");
    }
    system.stop().await;
}
