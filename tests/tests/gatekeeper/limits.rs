//! An agent has so many connections at once, and no more; and it keeps those that it may have.

use marque::service_config::Service;
use marque_agent::Commission;
use marque_identity::Code;
use marque_judgement::record::{Body, Record, Shown};
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};

use super::{Stream, blueprint, commission, connect, enrol, grant, records, refused};

const OF_AGENT_MAX: usize = 2;
/// Nearly as short as the configuration permits. The gatekeeper renews at half of it.
const LIFE_SECONDS: u64 = 6;
/// How often each connection is renewed before it is enough.
const RENEWALS: usize = 3;

async fn system(more: &str) -> TestSystem {
    let settings = format!("connections_per_agent = {OF_AGENT_MAX}\n{more}");
    TestSystem::start_with(&[blueprint()], &[(Service::Gatekeeper, &settings)]).await.unwrap()
}

/// How often the log says that an agent was let in by its chain, and for which reasons it was not.
fn at_the_door(records: &[Record], agent: &Commission) -> (usize, Vec<Code>) {
    let did = agent.key().did();
    let (mut let_in, mut refused) = (0, Vec::new());
    for record in records.iter().filter(|record| record.agent == Some(did)) {
        match &record.body {
            Body::Connected(connected) => let_in += usize::from(connected.shown == Shown::Chain),
            Body::Refused(was) => refused.push(was.code),
            _ => {}
        }
    }
    (let_in, refused)
}

/// How often it was refused, by the log.
async fn refusals_of(system: &TestSystem, agent: &Commission) -> usize {
    at_the_door(&records(system).await, agent).1.len()
}

/// One more is refused, and neither recorded as let in nor a hindrance to others; who makes room for it gets it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_has_as_many_connections_as_it_may_and_no_more() {
    let mut system = system("").await;
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let [full, other] = [0; 2].map(|_| cast::delegate(&root, tools(grant()), 0));
    let first = connect(&system, &full).await.unwrap();
    let second = connect(&system, &full).await.unwrap();
    refused(&system, &full).await;
    connect(&system, &other).await.unwrap();
    let mut stream = Stream::of(&system).await;
    stream.until("the refusal is recorded", |records| !at_the_door(records, &full).1.is_empty()).await;
    assert_eq!(at_the_door(&stream.records, &full).1, [Code::TooManyConnections]);
    assert_eq!(at_the_door(&stream.records, &full).0, OF_AGENT_MAX);
    assert!(first.is_connected() && second.is_connected());

    // It closes one, and asks in the same breath: the word of the end may come after the question.
    let mut last = first;
    for _ in 0..8 {
        last.drain().await.unwrap();
        last = connect(&system, &full).await.unwrap();
    }
    assert_eq!(refusals_of(&system, &full).await, 1, "refused though there was room");
    // What another gatekeeper let in counts for one that was not there.
    system.start_second_gatekeeper().await.unwrap();
    system.kill(Service::Gatekeeper);
    eventually("the other refuses it", DEADLINE, || async {
        // A question that the killed one has still got is answered by nobody.
        assert!(connect(&system, &full).await.is_err());
        if refusals_of(&system, &full).await > 1 { Ok(()) } else { Err("not refused by its count") }
    })
    .await;
    last.drain().await.unwrap();
    connect(&system, &full).await.unwrap();
    assert!(second.is_connected());
    system.stop().await;
}

/// All that an agent may have are renewed again and again, by either of two gatekeepers, and none is refused since the
/// one that it replaces still counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_all_it_may_have_keeps_them_over_their_renewals() {
    let mut system = system(&format!("connection_life_seconds = {LIFE_SECONDS}")).await;
    system.start_second_gatekeeper().await.unwrap();
    let agent = enrol(&system).await;
    let child = cast::delegate(&commission(&agent).await, tools(grant()), 0);
    let buses = [connect(&system, &child).await.unwrap(), connect(&system, &child).await.unwrap()];
    let wanted = OF_AGENT_MAX * (1 + RENEWALS);
    let mut stream = Stream::of(&system).await;
    let are_renewed = |records: &[Record]| at_the_door(records, &child).0 >= wanted;
    stream.until("each is renewed some times", are_renewed).await;
    let refused = at_the_door(&stream.records, &child).1;
    assert!(refused.is_empty(), "at its renewal: {refused:?}");
    drop(buses);
    system.stop().await;
}
