//! Noise on every subject that a client may publish to, with the real broker and the real services: one refusal for
//! each request, no service falls, nothing is lost from the log, and the work goes on (PROTOCOL §9).

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use marque::service_config::Service;
use marque_agent::AgentKey;
use marque_agent::enforce::Policy;
use marque_bus::async_nats::{HeaderMap, Message};
use marque_bus::permissions::{Account, BusRole};
use marque_bus::request::WireRefusal;
use marque_bus::subjects::{self, SUBJECTS, SubjectKind};
use marque_bus::{Bus, Presented, header};
use marque_identity::{Code, Digest};
use marque_judgement::record::Body;
use marque_signing::Role;
use marque_test_support::{eventually, until};
use marque_tests::cast::{self, Carrier, call, call_gated, denied};
use marque_tests::noise::{PAYLOAD_BYTES_MAX, RawClient, bodies};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::Value;

/// Requests under way at once.
const AT_ONCE: usize = 16;
/// A stored message with its headers, of the audit stream.
const RECORD_MESSAGE_BYTES_MAX: usize = 60_000;
/// Headers that the broker passes on, and that a client library takes for a broken connection.
const RAW_HEADERS: [&[u8]; 6] = [
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nx: \xff\xfe\r\n\r\n",
    b"garbage\r\n\r\n",
    b"NATS/1.0 999999 x\r\n\r\n",
    b"NATS/1.0\r\n: x\r\n\r\n",
    b"",
];
const RAW_RECORDS: [&[u8]; 3] =
    [b"marque.record.requested.\xff\xfe", b"marque.record.delegated.x", b"marque.record.requested.x"];

async fn ask(bus: &Bus, subject: &str, headers: HeaderMap, body: Vec<u8>) -> Message {
    let request = marque_bus::async_nats::Request::new().payload(body.into()).headers(headers).timeout(None);
    let asked = bus.client().send_request(subject.to_owned(), request);
    let answer = tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|_| panic!("silence on {subject}"));
    answer.unwrap_or_else(|error| panic!("{subject}: {error}"))
}

/// The refusal in an answer, whole; none where it is no refusal.
fn refusal(subject: &str, answer: &Message) -> Option<WireRefusal> {
    if subject == subjects::VERIFIER_DECIDE
        && answer.headers.as_ref().is_none_or(|h| h.get(header::SERVICE_ERROR_CODE).is_none())
    {
        let decided: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(decided["decision"], false, "{decided}");
        return Some(serde_json::from_value(decided["context"].clone()).unwrap());
    }
    let headers = answer.headers.as_ref()?;
    let code = headers.get(header::SERVICE_ERROR_CODE)?.as_str().to_owned();
    assert!(headers.get(header::SERVICE_ERROR).is_some(), "{subject}: no {}", header::SERVICE_ERROR);
    let refusal: WireRefusal = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(refusal.code.as_str(), code);
    assert!(!refusal.message.is_empty() && !refusal.hint.is_empty(), "{subject}: {refusal:?}");
    assert!(!matches!(refusal.code, Code::Internal | Code::NotRecorded), "{subject}: {refusal:?}");
    Some(refusal)
}

/// Of a service's row, a subject that one can ask on.
fn concrete(name: &str, pattern: &str) -> String {
    match name {
        "verifier.gate" => subjects::gate(cast::GATED),
        "tool" => cast::HOSTED.to_owned(),
        _ => pattern.to_owned(),
    }
}

/// Documents that are served whatever the question says, or to an empty one.
fn may_answer(name: &str) -> bool {
    matches!(
        name,
        "issuer.bundle"
            | "issuer.jwks"
            | "issuer.did"
            | "audit.checkpoint"
            | "revocation.status"
            | "gatekeeper.connections"
    )
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    pairs.iter().for_each(|(name, value)| headers.append(*name, *value));
    headers
}

/// The ways to present a chain and a proof that do not hold.
fn presentations() -> Vec<HeaderMap> {
    let sample = String::from_utf8(marque_tests::hostile::sample("chain")).unwrap();
    let proof = String::from_utf8(marque_tests::hostile::sample("proof")).unwrap();
    let unknown = format!("sha-256:{}", "0".repeat(64));
    let (huge, links) = ("A".repeat(50_000), "a.b.c~".repeat(500));
    let (chain, by_ref, by) = (header::CHAIN, header::CHAIN_REF, header::PROOF);
    vec![
        headers(&[]),
        headers(&[(chain, "x")]),
        headers(&[(chain, "x"), (by, "y")]),
        headers(&[(chain, "~~~"), (by, "..")]),
        headers(&[(chain, &sample), (by, &proof)]),
        headers(&[(chain, &sample), (chain, &sample), (by, &proof)]),
        headers(&[(chain, &sample), (by_ref, &unknown), (by, &proof)]),
        headers(&[(by_ref, &unknown), (by, &proof)]),
        headers(&[(by_ref, "sha-256:zz"), (by, "y")]),
        headers(&[(by_ref, ""), (by, "")]),
        headers(&[(chain, &huge), (by, "y")]),
        headers(&[(chain, &links), (by, "y")]),
        headers(&[(chain, "x"), (by, &huge)]),
        headers(&[("x", "\u{fffd}\u{202e}"), (header::TRACEPARENT, "00-zz")]),
    ]
}

/// Questions, which change nothing and whose refusals are not recorded.
fn is_question(name: &str) -> bool {
    name.starts_with("audit.")
        || matches!(name, "issuer.blueprints" | "revocation.status" | "gatekeeper.connections" | "statement")
}

/// Every service endpoint, as every client role of its row: one refusal for each request. Gives how many of them must
/// stand in the log.
async fn noise_at_services(system: &TestSystem) -> usize {
    let mut refused = 0;
    let (carrier, visitor) = (Carrier::of_cast(system).await, visitor(system).await);
    for role in [BusRole::Agent, BusRole::Operator, BusRole::Host] {
        let own = if role == BusRole::Agent { carrier.bus.clone() } else { system.bus(role).await.unwrap() };
        let rows = SUBJECTS.iter().filter(|row| row.kind == SubjectKind::Service && row.publishers.contains(&role));
        let mut requests = Vec::new();
        for row in rows {
            // An agent has two doors: what it may ask before it is enrolled, and what its chain grants.
            let bus = if role == BusRole::Agent && TO_ENROL.contains(&row.name) { &visitor } else { &own };
            let subject = match row.name {
                "statement" => subjects::record("delegated", Some(&carrier.commission.key().did())),
                name => concrete(name, row.pattern),
            };
            let full = vec![b'A'; PAYLOAD_BYTES_MAX - 64];
            requests.extend(
                bodies()
                    .into_iter()
                    .chain([full])
                    .map(|body| (bus.clone(), row, subject.clone(), HeaderMap::new(), body)),
            );
            if matches!(row.name, "tool" | "verifier.gate") {
                let args = br#"{"account":1}"#.to_vec();
                requests.extend(
                    presentations()
                        .into_iter()
                        .map(|headers| (bus.clone(), row, subject.clone(), headers, args.clone())),
                );
            }
        }
        let mut answers = futures::stream::iter(requests)
            .map(|(bus, row, subject, headers, body)| async move {
                let answer = ask(&bus, &subject, headers, body).await;
                (row, subject, answer)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((row, subject, answer)) = answers.next().await {
            match refusal(&subject, &answer) {
                Some(refusal) => {
                    refused += usize::from(!is_question(row.name));
                    // No chain is refused at the first step of the algorithm.
                    assert!(refusal.code != Code::ChainEmpty || refusal.step.is_some(), "{refusal:?}");
                }
                None => assert!(may_answer(row.name), "{}: {:?}", row.name, answer.payload),
            }
        }
    }
    refused
}

/// The rows that are for whoever is not enrolled yet.
const TO_ENROL: [&str; 4] = ["issuer.enrol", "issuer.jwks", "issuer.did", "issuer.blueprints"];

/// A key that nobody has enrolled, let in to do so.
async fn visitor(system: &TestSystem) -> Bus {
    let key = AgentKey::generate().unwrap();
    let options = key.connect_options(system.url(), "test-visitor", Presented::new(Presented::ENROL));
    Bus::connect_now(options, DEADLINE).await.unwrap()
}

/// Garbage with JetStream's acknowledgement. Gives whether it was stored.
async fn store(bus: &Bus, subject: &str, body: Vec<u8>) -> bool {
    let ack = ask(bus, subject, HeaderMap::new(), body).await;
    let ack: Value = serde_json::from_slice(&ack.payload).unwrap();
    ack.get("error").is_none()
}

/// Garbage on every record subject as every role that may publish there. Gives how many were stored.
async fn noise_at_records(system: &TestSystem) -> usize {
    let mut stored = 0;
    for role in BusRole::ALL.iter().filter(|role| role.account() == Account::Marque) {
        let rows = SUBJECTS.iter().filter(|row| row.name.starts_with("record.") && row.publishers.contains(role));
        let bus = system.bus(*role).await.unwrap();
        for row in rows {
            let subject = row.wildcard().replace('*', "z6MkNoise");
            for body in bodies() {
                stored += usize::from(store(&bus, &subject, body).await);
            }
            assert!(store(&bus, &subject, vec![b'x'; RECORD_MESSAGE_BYTES_MAX - 200]).await, "{subject}");
            stored += 1;
            assert!(!store(&bus, &subject, vec![b'x'; RECORD_MESSAGE_BYTES_MAX + 1]).await, "{subject}");
        }
    }
    stored
}

/// Garbage in the directive stream under the broadcaster's own user; acks, checkpoints and claims by those who may.
async fn noise_at_streams(system: &TestSystem) {
    let broadcaster = system.bus(BusRole::Broadcaster).await.unwrap();
    for body in bodies().into_iter().filter(|body| body.len() < 8 * 1024) {
        assert!(store(&broadcaster, &subjects::directive("token", "noise"), body.clone()).await);
        assert!(store(&broadcaster, subjects::HEARTBEAT, body.clone()).await);
        broadcaster.client().publish(subjects::raw("token", "noise"), body.into()).await.unwrap();
    }
    broadcaster.flush().await.unwrap();
    let own = |role: Role| system.bundle().keys(role)[0].did();
    for role in [BusRole::Verifier, BusRole::Host] {
        let bus = system.bus(role).await.unwrap();
        for body in bodies() {
            for subject in [subjects::ack(&own(Role::Verifier)), "marque.ack.noise".to_owned()] {
                bus.client().publish(subject, body.clone().into()).await.unwrap();
            }
            store(&bus, "marque.proof.noise", body.clone()).await;
            store(&bus, &subjects::sealed(&Digest([7; 32]), "noise"), body.clone()).await;
            store(&bus, &subjects::sealing_public(&Digest([7; 32])), body.clone()).await;
            store(&bus, &subjects::sealing_private(&Digest([7; 32]), "XNOISE"), body).await;
        }
        bus.flush().await.unwrap();
    }
    let sink = system.bus(BusRole::Sink).await.unwrap();
    for body in bodies() {
        for subject in [subjects::witness(&own(Role::Sink)), "marque.witness.noise".to_owned()] {
            sink.client().publish(subject, body.clone().into()).await.unwrap();
        }
        store(&sink, "marque.checkpoint.noise", body.clone()).await;
        store(&sink, &subjects::checkpoint(&own(Role::Sink)), body.clone()).await;
        let tiles = subjects::audit_tile(&own(Role::Sink));
        let answer = ask(&sink, &tiles, HeaderMap::new(), body).await;
        assert!(refusal(&tiles, &answer).is_some(), "{:?}", answer.payload);
    }
}

/// Every service runs, lives and is ready.
async fn all_stand(system: &mut TestSystem) {
    for service in Service::ALL {
        assert!(system.is_running(service), "{} ended", service.name());
        assert_eq!(system.page(service, "/livez").await.0, 200, "{}", service.name());
        system.until_ready(service).await.unwrap();
    }
}

/// Enrols, commissions, calls both tools, revokes, and is denied. The first may have to wait for a service that is on
/// its way back to the broker.
async fn the_work_goes_on(system: &TestSystem) {
    let agent = eventually("an agent is enrolled", DEADLINE, async || {
        let join = system.join_token("tester")?;
        cast::enrol_with(system, &join).await.map_err(|error| error.to_string())
    })
    .await;
    let bus = cast::carrier(system).await;
    let root = cast::commission(&agent).await;
    eventually("the hosted tool is called", DEADLINE, || call(&root, &bus, 1)).await;
    eventually("the gated tool is called", DEADLINE, || call_gated(&root, &bus, 1)).await;
    system.until_heard().await.unwrap();
    let (code, reply) = system.marque(&["revoke", "token", &root.root_digest().to_string(), "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    assert_eq!(denied(call(&root, &bus, 2).await), Code::Revoked);
    assert_eq!(denied(call_gated(&root, &bus, 2).await), Code::Revoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_every_subject_is_refused_recorded_and_outlived() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let gated_runs = cast::plain_tool(&system).await;

    let refused = noise_at_services(&system).await;
    let stored = noise_at_records(&system).await;
    noise_at_streams(&system).await;
    assert_eq!((host.runs.load(Ordering::SeqCst), gated_runs.load(Ordering::SeqCst)), (0, 0), "a tool ran");

    all_stand(&mut system).await;
    the_work_goes_on(&system).await;
    host.served.drain(Duration::from_secs(5)).await;

    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert_eq!(copy.records.len() as u64, system.stream_size().await.unwrap(), "a leaf for each message");
    assert_eq!(copy.records.iter().filter(|record| record.is_none()).count(), stored, "garbage is a leaf, not valid");
    let refusals = copy.records.iter().flatten().filter(|record| match &record.body {
        Body::Refused(_) => true,
        Body::Decided(decided) => decided.code.is_some(),
        _ => false,
    });
    // Two more: what was denied after the revocation.
    assert_eq!(refusals.count(), refused + 2, "each refusal is one record");
    system.stop().await;
}

/// An agent that speaks to the broker below any client library.
async fn raw_agent(system: &TestSystem, carrier: &Carrier) -> RawClient {
    RawClient::connect_by(system, &carrier.seed, Some(carrier.commission.chain())).await.unwrap()
}

/// What no client library sends: the broker passes it on, and the reader's library must not fall over it for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_below_the_client_library_end_nothing() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let _gated = cast::plain_tool(&system).await;
    let carrier = Carrier::of_cast(&system).await;
    for subject in RAW_RECORDS {
        // Nobody who speaks to the broker directly may put such a thing where it stays.
        let mut raw = raw_agent(&system, &carrier).await;
        let before = system.stream_size().await.unwrap();
        for headers in RAW_HEADERS {
            raw.publish(subject, b"_INBOX.raw.1", headers, b"{}").await.unwrap();
            let said = raw.settle().await.unwrap();
            assert!(said.contains("Permissions Violation"), "{said}");
        }
        assert_eq!(system.stream_size().await.unwrap(), before);
    }
    // A service that is reading one loses its connection, and comes back.
    let mut raw = raw_agent(&system, &Carrier::of_cast(&system).await).await;
    for row in SUBJECTS.iter().filter(|row| row.publishers.contains(&BusRole::Agent)) {
        let subject = concrete(row.name, row.pattern);
        for headers in RAW_HEADERS {
            raw.publish(subject.as_bytes(), b"_INBOX.raw.1", headers, b"{}").await.unwrap();
        }
    }
    let long = [b"marque.gate.gated.".as_slice(), &b"a".repeat(20_000)].concat();
    for subject in [&b"marque.gate.\xff\xfe"[..], b"tools.\xff", &long] {
        raw.publish(subject, b"_INBOX.raw.1", b"", b"{}").await.unwrap();
    }
    raw.settle().await.unwrap();
    // Larger than the broker takes: it says so and closes the connection.
    let oversize = vec![b'x'; PAYLOAD_BYTES_MAX + 1];
    let _ = raw.publish(b"marque.issuer.enrol", b"_INBOX.raw.1", b"", &oversize).await;
    assert!(raw.settle().await.is_err(), "a body over the broker's limit was taken");
    all_stand(&mut system).await;
    the_work_goes_on(&system).await;
    host.served.drain(Duration::from_secs(5)).await;
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert_eq!(copy.records.len() as u64, system.stream_size().await.unwrap(), "a leaf for each message");
    system.stop().await;
}

/// A bare carriage return in a header ends the client library's own task. The service ends with it, so that its
/// supervisor starts it again, instead of standing there deaf.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_client_has_died_ends_and_comes_back() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let _gated = cast::plain_tool(&system).await;
    let mut raw = raw_agent(&system, &Carrier::of_cast(&system).await).await;
    let subject = subjects::REVOCATION_REQUEST.as_bytes();
    raw.publish(subject, b"_INBOX.raw.1", b"NATS/1.0\r\nx: a\rb\r\n\r\n", b"{}").await.unwrap();
    raw.settle().await.unwrap();
    until("the broadcaster ends", || !system.is_running(Service::Broadcaster)).await;
    system.start_service(Service::Broadcaster);
    system.until_ready(Service::Broadcaster).await.unwrap();
    all_stand(&mut system).await;
    the_work_goes_on(&system).await;
    system.stop().await;
}
