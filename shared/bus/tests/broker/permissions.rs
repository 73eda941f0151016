//! What the table does not allow, the server refuses.

use async_nats::HeaderMap;
use futures::StreamExt;
use marque_bus::permissions::{BusRole, allowed};
use marque_bus::subjects::{SUBJECTS, Subject, SubjectKind, matches};
use marque_bus::{Bus, BusError, streams, subjects};
use marque_identity::Code;
use marque_test_support::{Broker, DEADLINE};

/// A subject that fits a row's pattern.
fn example(subject: &Subject) -> String {
    subject.wildcard().replace(['*', '>'], "x")
}

fn may_publish(role: BusRole, subject: &str) -> bool {
    allowed(role).publish.iter().any(|pattern| matches(pattern, subject))
}

/// Publishes what must be complained of, and gives the complaint.
async fn complaint(bus: &Bus, subject: &str) -> Option<String> {
    let mut violations = bus.violations();
    bus.client().publish(subject.to_owned(), "x".into()).await.unwrap();
    bus.flush().await.unwrap();
    let text = tokio::time::timeout(DEADLINE, violations.recv()).await.ok()?.ok()?;
    Some(text.to_string())
}

#[tokio::test]
async fn each_role_publishes_what_the_table_says_and_nothing_else() {
    let broker = Broker::start().await;
    for role in BusRole::ALL {
        let bus = broker.connect(*role).await;
        let mut expected = Vec::new();
        let mut violations = bus.violations();
        for subject in SUBJECTS.iter().map(example) {
            bus.client().publish(subject.clone(), "x".into()).await.unwrap();
            if !may_publish(*role, &subject) {
                expected.push(subject);
            }
        }
        bus.flush().await.unwrap();
        // Exactly the expected complaints, in order.
        for subject in expected {
            let text = tokio::time::timeout(DEADLINE, violations.recv()).await.unwrap().unwrap();
            assert!(text.contains(&format!("\"{subject}\"")), "{role:?}: {text}, expected {subject}");
        }
        assert!(violations.try_recv().is_err(), "{role:?}: one complaint too many");
    }
}

#[tokio::test]
async fn each_role_subscribes_to_what_the_table_says_and_nothing_else() {
    let broker = Broker::start_empty(false);
    for role in BusRole::ALL {
        let bus = broker.connect(*role).await;
        let mut violations = bus.violations();
        let mut kept = Vec::new();
        let mut expected = Vec::new();
        for subject in SUBJECTS {
            kept.push(bus.client().subscribe(subject.wildcard()).await.unwrap());
            // Of a stream that another role reads, an agent has no part; the table is the whole truth.
            if !subject.readers.contains(role) {
                expected.push(subject.wildcard());
            }
        }
        bus.flush().await.unwrap();
        for subject in expected {
            let text = tokio::time::timeout(DEADLINE, violations.recv()).await.unwrap().unwrap();
            assert!(text.contains(&format!("\"{subject}\"")), "{role:?}: {text}, expected {subject}");
        }
        assert!(violations.try_recv().is_err(), "{role:?}: one complaint too many");
    }
}

#[tokio::test]
async fn nobody_but_the_bootstrap_touches_a_stream() {
    let broker = Broker::start().await;
    for role in BusRole::ALL.iter().filter(|role| **role != BusRole::Bootstrap) {
        let bus = broker.connect(*role).await;
        for subject in [
            "$JS.API.STREAM.DELETE.MARQUE_AUDIT",
            "$JS.API.STREAM.UPDATE.MARQUE_AUDIT",
            "$JS.API.STREAM.PURGE.MARQUE_AUDIT",
            "$JS.API.STREAM.MSG.DELETE.MARQUE_AUDIT",
            "$JS.API.STREAM.CREATE.OTHER",
            "$SYS.REQ.SERVER.PING",
        ] {
            let said = complaint(&bus, subject).await;
            assert!(said.is_some_and(|text| text.contains("Permissions Violation")), "{role:?} {subject}");
        }
    }
    assert_eq!(broker.connect(BusRole::Sink).await.stream_state(streams::AUDIT).await.unwrap().messages, 0);
}

#[tokio::test]
async fn a_denied_publish_is_told_apart_from_silence() {
    let broker = Broker::start().await;
    let host = broker.connect(BusRole::Host).await;
    let outcome = host.publish_record("issued", None, "forged").await;
    assert!(matches!(outcome, Err(BusError::Forbidden(_))), "{outcome:?}");
    let outcome = host.request("$JS.API.STREAM.DELETE.MARQUE_AUDIT", HeaderMap::new(), "", DEADLINE).await;
    assert_eq!(outcome.unwrap_err().code(), Code::NotAuthorized);
    let operator = broker.connect(BusRole::Operator).await;
    let outcome = operator.read(streams::AUDIT, 1, 1).await;
    assert!(matches!(outcome, Err(BusError::Forbidden(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_agent_writes_into_no_stream_directly_or_by_its_reply_subject() {
    let broker = Broker::start().await;
    let agent = broker.connect(BusRole::Agent).await;
    for row in SUBJECTS.iter().filter(|row| row.stream.is_some()) {
        let subject = example(row);
        if matches(subjects::AGENT_RECORDS, &subject) {
            // In the agents' account this is a question to the gatekeeper, not the stream's subject.
            agent.client().publish(subject, "x".into()).await.unwrap();
            continue;
        }
        let said = complaint(&agent, &subject).await;
        assert!(said.is_some_and(|text| text.contains("Permissions Violation")), "{}", row.name);
    }
    // What a service answers goes to the reply subject: here into the directive stream, if it could.
    let host = broker.connect(BusRole::Host).await;
    let mut calls = host.client().subscribe("tools.echo").await.unwrap();
    host.settle().await.unwrap();
    agent.client().publish_with_reply("tools.echo", "marque.directive.key.forged", "x".into()).await.unwrap();
    agent.flush().await.unwrap();
    let call = calls.next().await.unwrap();
    assert!(subjects::is_reply(call.reply.as_deref().unwrap()), "the server rewrites it: {:?}", call.reply);
    host.client().publish(call.reply.unwrap(), "x".into()).await.unwrap();
    host.settle().await.unwrap();
    let sink = broker.connect(BusRole::Sink).await;
    for stream in [streams::DIRECTIVES, streams::AUDIT, streams::CHECKPOINTS] {
        assert_eq!(sink.stream_state(stream).await.unwrap().messages, 0, "{stream}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once() {
    let broker = Broker::start_empty(false);
    let options = broker.options(BusRole::Sink).credentials("sink", "wrong");
    let outcome = Bus::connect_now(options, DEADLINE).await;
    assert!(matches!(outcome, Err(BusError::Forbidden(_))), "{:?}", outcome.err());
}

#[test]
fn only_services_of_the_table_are_offered_to_agents() {
    for subject in SUBJECTS.iter().filter(|subject| subject.publishers.contains(&BusRole::Agent)) {
        assert!(matches!(subject.kind, SubjectKind::Service), "{}", subject.name);
    }
}
