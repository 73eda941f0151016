//! What a real system's processes say to each other, to agents and to operators.

use std::collections::BTreeMap;
use std::path::Path;

use marque_agent::enforce::Policy;
use marque_agent::{AgentKey, Commission, Why};
use marque_bus::permissions::BusRole;
use marque_bus::{CallError, async_nats::HeaderMap, subjects};
use marque_signing::{Role, SigningKey};
use marque_test_support::{eventually, until};
use marque_tests::cast::{self, Carrier, GATED, call, call_gated};
use marque_tests::system::{DEADLINE, TestSystem};
use marque_tests::tap::{self, Tap};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

type Instances = Vec<(&'static str, Value)>;

/// Everything that was heard while a system lived a whole story.
pub(crate) async fn instances() -> Instances {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let tap = Tap::on(&mut system).await.unwrap();
    let mut instances = attested(&mut system).await;
    acted(&system).await;
    asked(&system).await;
    instances.extend(tap.instances());
    instances.extend(carried(&instances));
    system.stop().await;
    instances
}

/// A process asks its machine's attestor, with us in between; then somebody asks badly.
async fn attested(system: &mut TestSystem) -> Instances {
    let attestor = system.start_attestor().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let between = folder.path().join("between.sock");
    let listener = UnixListener::bind(&between).unwrap();
    let passed = tokio::spawn(async move {
        let (mut asking, _) = listener.accept().await.unwrap();
        let line = read_line(&mut asking).await;
        let answer = exchange(&attestor, &line).await;
        asking.write_all(&answer).await.unwrap();
        drop(asking);
        (line, answer, exchange(&attestor, b"{\"request\":\"x\"}\n").await)
    });
    let key = AgentKey::generate().unwrap();
    marque_agent::attest(&between, &key, system.domain()).await.unwrap();
    let (line, answer, refusal) = passed.await.unwrap();
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    vec![("attest-line", json(&line)), ("attest-answer", json(&answer)), ("attest-answer", json(&refusal))]
}

async fn read_line(stream: &mut UnixStream) -> Vec<u8> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(stream.read_u8().await.unwrap());
    }
    line
}

async fn exchange(socket: &Path, line: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(line).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

/// Enrolled, commissioned, delegated; permitted and denied in both ways; cloned; narrowed, and ended.
async fn acted(system: &TestSystem) {
    let carrier = Carrier::of_cast(system).await;
    let host = cast::host(system, Policy::new(system.domain().clone())).await;
    let _plain = cast::plain_tool(system).await;
    system.until_heard().await.unwrap();
    let mut agent = cast::enrol(system).await;
    agent.renew().await.unwrap();
    let root = cast::commission(&agent).await;
    let child = cast::delegate(&root, cast::both_tools(), 0);
    call(&child, &carrier.bus, 1).await.unwrap();
    call_gated(&child, &carrier.bus, 1).await.unwrap();
    let narrow = json!({ format!("nats:{GATED}"): { "account": { "constraint_type": "exact", "value": 5 } } });
    let digest = root.root_digest().to_string();
    let narrowed = ["narrow", "token", &digest, "--tools", &narrow.to_string(), "--reason", "for now"];
    assert_eq!(system.marque(&narrowed).0, 0);
    cast::denied(call_gated(&child, &carrier.bus, 2).await);
    decided(system, &root).await;
    // The same key, its count begun anew: a clone.
    for _ in 0..2 {
        let key = AgentKey::new(SigningKey::from_seed(&carrier.seed.seed()));
        let clone = Commission::adopt(key, carrier.commission.chain()).unwrap();
        call(&clone, &carrier.bus, 3).await.unwrap();
    }
    let ended = carrier.commission.root_digest().to_string();
    assert_eq!(system.marque(&["revoke", "token", &ended, "--reason", "test"]).0, 0);
    until("the broker closes the carrier's connection", || !carrier.bus.is_connected()).await;
    assert_eq!(system.marque(&["revoke", "status"]).0, 0);
    // A join token that is none.
    assert!(cast::enrol_with(system, "x.y.z").await.is_err());
    host.served.drain(DEADLINE).await;
}

/// A host that is not on the bus asks, well and badly.
async fn decided(system: &TestSystem, commission: &Commission) {
    let bus = system.bus(BusRole::Host).await.unwrap();
    let actor = commission.on(&bus);
    let tool = format!("nats:{GATED}");
    let audience = Some(format!("nats://{}/{GATED}", system.domain()));
    for (account, permitted) in [(5, true), (6, false)] {
        let args = json!({ "account": account });
        let proof = actor.prove(&tool, args.to_string().as_bytes(), audience.clone(), None, Why::default());
        let answer = cast::decide(&bus, commission, &tool, &args, &proof.unwrap().proof).await;
        assert_eq!(answer["decision"], json!(permitted), "{answer}");
    }
    let refused = bus.request(subjects::VERIFIER_DECIDE, HeaderMap::new(), "{}", DEADLINE).await;
    assert!(matches!(refused, Err(CallError::Refused(_))));
    let bundle = bus.request(subjects::issuer::BUNDLE, HeaderMap::new(), "", DEADLINE).await;
    assert!(bundle.is_ok());
}

/// What an operator asks afterwards, once the sink has seen all of it.
async fn asked(system: &TestSystem) {
    let findings = eventually("the cloned key is found", DEADLINE, || async {
        let (_, report) = system.marque(&["audit", "completeness"]);
        let found = report["findings"].as_array().is_some_and(|all| all.iter().any(|one| one["kind"] == "key_forked"));
        if found { Ok(report) } else { Err(report.to_string()) }
    });
    let findings = findings.await;
    let (code, query) = system.marque(&["audit", "query", "--kind", "decided", "--limit", "50"]);
    assert_eq!(code, 0, "{query}");
    let denied = system.marque(&["audit", "query", "--decision", "deny"]).1;
    let ids = [&query, &denied].into_iter().flat_map(|found| found.as_array().unwrap());
    for id in ids.filter_map(|record| record["record"]["id"].as_str()) {
        assert_eq!(system.marque(&["audit", "explain", id]).0, 0, "{id}");
        eventually("a checkpoint over the record", DEADLINE, || async {
            let (code, proof) = system.marque(&["audit", "proof", id]);
            if code == 0 { Ok(()) } else { Err(proof.to_string()) }
        })
        .await;
    }
    // Not last: what is listened to may end before the last answer has been heard.
    let bus = system.bus(BusRole::Operator).await.unwrap();
    bus.request(subjects::AUDIT_CHECKPOINT, HeaderMap::new(), "", DEADLINE).await.unwrap();
    // As another sink would, which finds that two logs part, or that the stream lacks a message.
    let bus = system.bus(BusRole::Sink).await.unwrap();
    let sink = system.bundle().keys(Role::Sink)[0].did();
    for asked in [json!({ "path": "tile/0/000.p/1" }), json!({ "path": "tile/entries/000.p/1", "entry": 0, "byte": 2 })]
    {
        let asked = asked.to_string();
        bus.request(&subjects::audit_tile(&sink), HeaderMap::new(), asked, DEADLINE).await.unwrap();
    }
    let agent = findings["findings"].as_array().unwrap().iter().find_map(|finding| finding["agent"].as_str()).unwrap();
    for ask in [&["agent", "ls"][..], &["agent", "tree", "--all"], &["agent", "info", agent]] {
        let (code, said) = system.marque(ask);
        assert_eq!(code, 0, "{said}");
    }
}

/// What the messages carry: credentials, tokens, evidence, receipts.
fn carried(instances: &Instances) -> Instances {
    let mut carried = Instances::new();
    let mut from = |schema, value: &Value| {
        if let Some(text) = value.as_str() {
            carried.push((schema, tap::value(text.as_bytes()).unwrap()));
        } else if value.is_object() {
            carried.push((schema, value.clone()));
        }
    };
    for (schema, instance) in instances {
        match *schema {
            "attest-line" => from("attest-request", &instance["request"]),
            "attest-answer" => from("process-evidence", &instance["evidence"]),
            "enrol-reply" => from("identity-credential", &instance["credential"]),
            "issue-reply" => from("root-token", &instance["token"]),
            "enrol-request" => from("join-token", &instance["join_token"]),
            "directive-reply" => from("receipt", &instance["receipt"]),
            "record" => {
                from("proof", &instance["proof"]);
                from("derived-token", &instance["link"]);
            }
            _ => {}
        }
    }
    carried
}

/// By their schema.
pub(crate) fn by_schema(instances: Instances) -> BTreeMap<&'static str, Vec<Value>> {
    let mut by_schema: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
    for (schema, instance) in instances {
        by_schema.entry(schema).or_default().push(instance);
    }
    by_schema
}
