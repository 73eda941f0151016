//! A directive is carried out whatever else the gatekeeper waits for, and what it says it closed is what it closed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use marque::dev::http;
use marque::service_config::Service;
use marque_agent::Commission;
use marque_bus::permissions::{Account, BusRole, system as server};
use marque_bus::{Bus, async_nats, streams, subjects};
use marque_identity::Did;
use marque_judgement::record::{Body, Record};
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Stream, blueprint, closed, commission, complaints, connect, enrol, grant, pattern, records, revoke};

/// Shorter than a gatekeeper waits for one server more.
const ANSWER_EVERY: Duration = Duration::from_millis(50);
/// Longer than a gatekeeper waits for one page of a list, whatever comes.
const ANSWERS: usize = 120;

/// Servers of a cluster that answer each question for the list one after the other, slowly, and say that they have more:
/// a list takes as long as a gatekeeper lets one take, which is longer than each step of a test may.
struct SlowCluster {
    asked: Arc<AtomicUsize>,
    _answering: JoinSet<()>,
}

impl SlowCluster {
    async fn join(client: async_nats::Client) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let mut questions = client.subscribe(server::CONNECTIONS).await.unwrap();
        client.flush().await.unwrap();
        let counted = asked.clone();
        let mut answering = JoinSet::new();
        answering.spawn(async move {
            let mut held = JoinSet::new();
            while let Some(question) = questions.next().await {
                let (client, reply) = (client.clone(), question.reply.unwrap());
                held.spawn(async move {
                    let mut turns = tokio::time::interval(ANSWER_EVERY);
                    for n in 0..ANSWERS {
                        turns.tick().await;
                        let data = json!({ "connections": [], "total": u64::MAX });
                        let page = json!({ "server": { "id": format!("NSLOW{n}") }, "data": data });
                        client.publish(reply.clone(), page.to_string().into()).await.unwrap();
                    }
                });
                // A list begins with its first page.
                let asked: Value = serde_json::from_slice(&question.payload).unwrap();
                counted.fetch_add(usize::from(asked["offset"] == 0), Ordering::SeqCst);
            }
        });
        Self { asked, _answering: answering }
    }

    /// Waits until so many lists are under way.
    async fn holds(&self, lists: usize) {
        eventually("lists are under way", DEADLINE, || async {
            let asked = self.asked.load(Ordering::SeqCst);
            if asked >= lists { Ok(()) } else { Err(asked) }
        })
        .await;
    }
}

/// How many connections a gatekeeper knows, by its page.
async fn known(page: &str) -> Result<usize, String> {
    let (_, said) = http::get(page, "/metrics", DEADLINE).await?;
    let line = said.lines().find_map(|line| line.strip_prefix("marque_gatekeeper_connections "));
    line.and_then(|count| count.parse().ok()).ok_or(said)
}

async fn both_know(pages: &[&str; 2], wanted: usize) {
    eventually("both gatekeepers know of it", DEADLINE, || async {
        let counts = [known(pages[0]).await?, known(pages[1]).await?];
        if counts == [wanted; 2] { Ok(()) } else { Err(format!("{counts:?}, not {wanted}")) }
    })
    .await;
}

/// Under a narrowing an agent is let in with what that leaves, and neither of two gatekeepers closes what the other let in
/// so, whatever else is directed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gatekeepers_neither_closes_a_narrowed_link_of_the_other() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let second = system.start_second_gatekeeper().await.unwrap();
    let first = system.address_of(Service::Gatekeeper).to_owned();
    let pages = [first.as_str(), second.as_str()];
    let agent = enrol(&system).await;
    let (root, other) = (commission(&agent).await, commission(&agent).await);
    let narrow = json!({ "nats:publish": pattern("team.open.>") }).to_string();
    let token = root.root_digest().to_string();
    let (code, reply) = system.marque(&["narrow", "token", &token, "--tools", &narrow, "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    let mut buses = Vec::new();
    for _ in 0..4 {
        buses.push(connect(&system, &cast::delegate(&root, tools(grant()), 0)).await.unwrap());
    }
    both_know(&pages, buses.len() + 1).await;
    // Whoever obeys a directive looks at every connection, and says which it closed.
    let told = revoke(&system, &["token", &other.root_digest().to_string()]);
    assert_eq!(told["receipt"]["closed"]["count"].as_u64().unwrap_or(0), 0, "{told}");
    for bus in &buses {
        assert!(bus.is_connected());
        assert_eq!(complaints(bus, &[(true, "team.open.a".to_owned()), (false, "team.a".to_owned())]).await, [""; 0]);
    }
    system.stop().await;
}

/// While the broker's list does not come, directives are carried out, and every gatekeeper learns who comes and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_the_brokers_list() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let second = system.start_second_gatekeeper().await.unwrap();
    let admin = system.administrator(Account::System).await.unwrap();
    system.until_ready(Service::Gatekeeper).await.unwrap();
    let first = system.address_of(Service::Gatekeeper).to_owned();
    let pages = [first.as_str(), second.as_str()];
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let [one, two, three] = [0; 3].map(|_| cast::delegate(&root, tools(grant()), 0));
    let (one_bus, two_bus) = (connect(&system, &one).await.unwrap(), connect(&system, &two).await.unwrap());
    // The agent's own, and two.
    both_know(&pages, 3).await;

    // 1. Both look at the list every few seconds, and it does not come: the next events are heard all the same.
    let cluster = SlowCluster::join(admin).await;
    cluster.holds(2).await;
    let three_bus = connect(&system, &three).await.unwrap();
    both_know(&pages, 4).await;
    three_bus.drain().await.unwrap();
    both_know(&pages, 3).await;
    // 2. A directive is carried out. After it each looks at the list once more, which does not come either.
    let told = revoke(&system, &["token", &one.leaf_digest().to_string()]);
    assert_eq!(told["receipt"]["closed"]["count"], 1, "{told}");
    closed(&one_bus).await;
    cluster.holds(4).await;
    // 3. Nor does the next directive wait for that.
    let told = revoke(&system, &["token", &two.leaf_digest().to_string()]);
    assert_eq!(told["receipt"]["closed"]["count"], 1, "{told}");
    closed(&two_bus).await;
    drop(cluster);
    system.stop().await;
}

/// The audit stream takes nothing: a directive closes its connections all the same, its receipt says so, and what was
/// closed is recorded once the stream takes records again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directive_waits_for_no_record() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let admin = system.administrator(Account::Marque).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    let settings = api(&admin, "INFO", json!({})).await["config"].clone();
    let messages = api(&admin, "INFO", json!({})).await["state"]["messages"].clone();
    let mut full = settings.clone();
    full["max_msgs"] = messages;
    api(&admin, "UPDATE", full).await;

    let told = revoke(&system, &["token", &root.root_digest().to_string()]);
    closed(&bus).await;
    assert_eq!(names(&told), [root.key().did()].into(), "{told}");
    let kicked = |records: &[Record]| records.iter().any(|record| matches!(&record.body, Body::Kicked(_)));
    assert!(!kicked(&records(&system).await), "it was stored: the stream is not full");
    api(&admin, "UPDATE", settings).await;
    let mut stream = Stream::of(&system).await;
    stream.until("what was closed is recorded", kicked).await;
    system.stop().await;
}

/// What a revoker is told was closed is what was there, each once, and what the log says was closed; with a second
/// gatekeeper, too, whose connections they are as much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoker_is_told_exactly_what_was_closed() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let stays = cast::delegate(&root, tools(grant()), 0);
    let stays_bus = connect(&system, &stays).await.unwrap();
    for gatekeepers in 1..=2 {
        if gatekeepers == 2 {
            system.start_second_gatekeeper().await.unwrap();
        }
        let ended = cast::delegate(&root, tools(grant()), 1);
        let mut below: Vec<Commission> = (0..4).map(|_| cast::delegate(&ended, tools(grant()), 0)).collect();
        below.push(ended);
        let mut buses = Vec::new();
        for one in below.iter().chain(&below) {
            buses.push(connect(&system, one).await.unwrap());
        }
        let mut there = BTreeSet::new();
        for one in &below {
            there.extend(connections(&system, &one.key().did()).await);
        }
        assert_eq!(there.len(), buses.len());
        let told = revoke(&system, &["token", &below[4].leaf_digest().to_string()]);
        assert_eq!(told["receipt"]["closed"]["count"], json!(there.len()), "{told}");
        assert_eq!(named(&told), there, "{told}");
        for bus in &buses {
            closed(bus).await;
        }
        let id = told["id"].as_str().unwrap();
        let mut stream = Stream::of(&system).await;
        stream.until("each is recorded", |records| kicked_on(records, id) == there).await;
        let twice = stream.records.iter().filter(|record| is_kick_on(record, id).is_some()).count();
        assert_eq!(twice, there.len(), "each once");
        assert!(stays_bus.is_connected());
    }
    system.stop().await;
}

/// An agent's connection at the broker: the agent, the server, the number there.
type Place = (Did, String, u64);

/// An agent's connections, as a gatekeeper lists them.
async fn connections(system: &TestSystem, agent: &Did) -> BTreeSet<Place> {
    let operator: Bus = system.bus(BusRole::Operator).await.unwrap();
    let question = json!({ "agent": agent }).to_string();
    let asked = operator.request(subjects::GATEKEEPER_CONNECTIONS, Default::default(), question, DEADLINE).await;
    let listed: Value = serde_json::from_slice(&asked.unwrap().payload).unwrap();
    listed["connections"].as_array().unwrap().iter().map(place).collect()
}

fn place(entry: &Value) -> Place {
    let agent = entry["agent"].as_str().unwrap().parse().unwrap();
    (agent, entry["server"].as_str().unwrap().to_owned(), entry["cid"].as_u64().unwrap())
}

/// What an answer names as closed.
fn named(told: &Value) -> BTreeSet<Place> {
    told["receipt"]["closed"]["named"].as_array().unwrap().iter().map(place).collect()
}

fn names(told: &Value) -> BTreeSet<Did> {
    named(told).into_iter().map(|(agent, ..)| agent).collect()
}

fn is_kick_on(record: &Record, directive: &str) -> Option<Place> {
    match &record.body {
        Body::Kicked(kicked) if kicked.directive.as_deref() == Some(directive) => {
            Some((record.agent.unwrap(), kicked.connection.server.clone(), kicked.connection.cid))
        }
        _ => None,
    }
}

fn kicked_on(records: &[Record], directive: &str) -> BTreeSet<Place> {
    records.iter().filter_map(|record| is_kick_on(record, directive)).collect()
}

/// The audit stream, by hand.
async fn api(admin: &async_nats::Client, verb: &str, body: Value) -> Value {
    let reply = admin.request(format!("$JS.API.STREAM.{verb}.{}", streams::AUDIT), body.to_string().into()).await;
    let reply: Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
    assert!(reply.get("error").is_none(), "{reply}");
    reply
}
