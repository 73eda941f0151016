//! The broker holds agents to their chains: who is let in, what they reach, how they are closed; with the real broker,
//! the real gatekeeper, and clients that don't cooperate.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod attacks;
mod closing;
mod cluster;
mod crowd;
mod directives;
mod drains;
mod hangs;
mod inplace;
mod kills;
mod life;
mod limits;
mod permissions;
mod reach;

use std::time::{Duration, Instant};

use marque_agent::{Agent, AgentKey, Commission, CommissionRequest};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, BusError, streams};
use marque_identity::Code;
use marque_judgement::record::{Body, Record};
use marque_test_support::until;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

const BLUEPRINT: &str = "wired";
const MODEL: &str = "test/model-1";
const HOSTED: &str = "tools.ledger.read";
/// Between two looks at the stream.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn blueprint() -> (String, String) {
    let text = format!(
        "name = \"{BLUEPRINT}\"\ndescription = \"tests of the broker\"\nsponsor = \"tests\"\nmodels = [\"{MODEL}\"]\n\
         max_life_seconds = 3600\nmax_depth = 4\n[tools.\"nats:{HOSTED}\"]\n\
         [tools.\"nats:publish\"]\n[tools.\"nats:subscribe\"]\n"
    );
    (BLUEPRINT.to_owned(), text)
}

fn pattern(pattern: &str) -> Value {
    json!({ "subject": { "constraint_type": "nats_subject", "pattern": pattern } })
}

/// A tool, and everything below `team.` both ways.
fn grant() -> Value {
    json!({ format!("nats:{HOSTED}"): {}, "nats:publish": pattern("team.>"), "nats:subscribe": pattern("team.>") })
}

async fn enrol(system: &TestSystem) -> Agent {
    enrol_key(system, AgentKey::generate().unwrap()).await
}

async fn enrol_key(system: &TestSystem, key: AgentKey) -> Agent {
    let join = system.join_token(BLUEPRINT).unwrap();
    cast::enrol_key(system, key, &join, MODEL).await.unwrap()
}

fn request() -> CommissionRequest {
    CommissionRequest::new("urn:task:wire".parse().unwrap(), "to be tried", tools(grant())).depth_max(3)
}

async fn commission(agent: &Agent) -> Commission {
    agent.commission(&request()).await.unwrap()
}

async fn connect(system: &TestSystem, commission: &Commission) -> Result<Bus, BusError> {
    commission.connect(system.url(), "test-agent", DEADLINE).await
}

/// Waits until the broker has closed it.
async fn closed(bus: &Bus) {
    until("the broker closes the connection", || !bus.is_connected()).await;
}

/// A connect that must be refused.
async fn refused(system: &TestSystem, commission: &Commission) {
    let outcome = connect(system, commission).await;
    assert!(matches!(outcome, Err(BusError::Forbidden(_))), "{:?}", outcome.map(|_| "let in"));
}

fn revoke(system: &TestSystem, args: &[&str]) -> Value {
    let all = [&["revoke"], args, &["--reason", "test"]].concat();
    let (code, reply) = system.marque(&all);
    assert_eq!(code, 0, "{reply}");
    reply
}

/// Attempts between two looks at the complaints: fewer than are kept for whoever has not looked yet.
const ATTEMPTS_AT_ONCE: usize = 16;

/// Complaints of the broker about publishes and subscriptions, one for each that it denied.
async fn complaints(bus: &Bus, attempts: &[(bool, String)]) -> Vec<String> {
    let mut heard = Vec::new();
    for some in attempts.chunks(ATTEMPTS_AT_ONCE) {
        heard.extend(complaints_about(bus, some).await);
    }
    heard
}

async fn complaints_about(bus: &Bus, attempts: &[(bool, String)]) -> Vec<String> {
    let mut violations = bus.violations();
    let mut kept = Vec::new();
    for (publish, subject) in attempts {
        if *publish {
            bus.client().publish(subject.clone(), "x".into()).await.unwrap();
        } else {
            kept.push(bus.client().subscribe(subject.clone()).await.unwrap());
        }
    }
    // One more, which is always denied, closes the row.
    bus.client().publish("zzz.last", "x".into()).await.unwrap();
    let mut heard = Vec::new();
    loop {
        let text = tokio::time::timeout(DEADLINE, violations.recv()).await.unwrap().unwrap().to_string();
        if text.contains("\"zzz.last\"") {
            return heard;
        }
        heard.push(text);
    }
}

/// How many *refused* records of the gatekeeper's bear this code.
async fn refusals(system: &TestSystem, code: Code) -> usize {
    let records = records(system).await;
    let is_it = |record: &&Record| matches!(&record.body, Body::Refused(refused) if refused.code == code && refused.service == "marque-gatekeeper");
    records.iter().filter(is_it).count()
}

/// Every valid record in the stream.
async fn records(system: &TestSystem) -> Vec<Record> {
    let mut stream = Stream::of(system).await;
    stream.more().await;
    stream.records
}

/// The valid records in the stream, each read and judged once.
struct Stream<'a> {
    system: &'a TestSystem,
    bus: Bus,
    next: u64,
    records: Vec<Record>,
}

impl<'a> Stream<'a> {
    async fn of(system: &'a TestSystem) -> Self {
        Self { system, bus: system.bus(BusRole::Sink).await.unwrap(), next: 1, records: Vec::new() }
    }

    /// Reads on, to the end of what is there now.
    async fn more(&mut self) {
        loop {
            let batch = self.bus.read(streams::AUDIT, self.next, 256).await.unwrap();
            let Some(last) = batch.messages.last() else { return };
            self.next = last.sequence + 1;
            for stored in &batch.messages {
                let judged = marque_judgement::record::judge(&stored.payload, self.system.bundle());
                self.records.extend(judged.record);
            }
        }
    }

    /// Reads on until there is what is looked for among all records.
    async fn until(&mut self, what: &str, mut is_there: impl FnMut(&[Record]) -> bool) {
        let until = Instant::now() + DEADLINE;
        loop {
            self.more().await;
            if is_there(&self.records) {
                return;
            }
            assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}: {:?}", self.records);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
