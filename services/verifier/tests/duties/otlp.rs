//! Traces, as a real process sends them to a real collector: whose child a span is, what it says, and what it must not.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use marque_agent::{Actor, Why};
use marque_bus::async_nats::HeaderMap;
use marque_bus::permissions::BusRole;
use marque_bus::{header, subjects};
use marque_signing::{SigningKey, base64url};
use marque_test_support::{Broker, ChildGuard, DEADLINE, TestCollector, eventually, free_port};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gate::{Reply, plain_tool};
use crate::stage::{DOMAIN, Stage, TOOL, question, verifier_key};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// What a span may say: what was decided, and where in our own code.
const ATTRIBUTES: [&str; 12] = [
    "duty",
    "decision",
    "code",
    "step",
    "target",
    "busy_ns",
    "idle_ns",
    "thread.id",
    "thread.name",
    "code.file.path",
    "code.line.number",
    "code.module.name",
];

/// What the collector was sent, read.
struct Exported(TestCollector);

impl Exported {
    /// Every span, each from a resource that bears our name.
    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for body in self.0.bodies() {
            for of_resource in ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
                let resource = of_resource.resource.unwrap();
                let named = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
                let name = named.value.clone().unwrap().value.unwrap();
                assert!(matches!(name, Attribute::StringValue(name) if name == "marque-verifier"));
                spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        spans
    }

    /// The one span of the trace that this `traceparent` names, which must be its child.
    fn child_of(&self, traceparent: &str) -> Span {
        let (_, trace, parent) = parts(traceparent);
        let mut spans = self.spans();
        spans.retain(|span| hex(&span.trace_id) == trace);
        assert_eq!(spans.len(), 1, "{traceparent}: {spans:?}");
        assert_eq!(hex(&spans[0].parent_span_id), parent);
        spans.remove(0)
    }
}

fn parts(traceparent: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = traceparent.split('-').collect();
    (parts[0], parts[1], parts[2])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Attribute::StringValue(text) => Some(text),
        other => panic!("{key}: {other:?}"),
    }
}

/// The `traceparent` of a caller, its ids made of this digit.
fn caller(digit: char) -> String {
    format!("00-{}-{}-01", digit.to_string().repeat(32), digit.to_string().repeat(16))
}

/// The verifier as an operator starts it.
struct Process {
    child: ChildGuard,
    page: String,
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts one with this environment alone, and waits until it is ready.
    async fn start(stage: &Stage, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (page, bundle) = (format!("127.0.0.1:{}", free_port()), dir.path().join("bundle.jwt"));
        std::fs::write(&bundle, stage.bundle_text()).unwrap();
        let (own, nats) = (dir.path().join("verifier.key"), dir.path().join("nats.key"));
        write_key(&own, &verifier_key(1));
        write_key(&nats, &Broker::key(BusRole::Verifier));
        let config = format!(
            "key_file = {own:?}\nhttp_listen = {page:?}\n[nats]\nurl = {:?}\nkey_file = {nats:?}\n\
             [bundle]\nfile = {bundle:?}\n",
            stage.broker.url()
        );
        std::fs::write(dir.path().join("verifier.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-verifier"));
        command.arg("--config").arg(dir.path().join("verifier.toml"));
        command.env_clear().envs(environment.iter().copied());
        let process = Self { child: ChildGuard::spawn(&mut command, &dir.path().join("log")), page, _dir: dir };
        let ready = || async {
            let said = process.page("/readyz").await?;
            if said.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(std::io::Error::other(said)) }
        };
        eventually("the verifier is ready", DEADLINE, ready).await;
        process
    }

    async fn page(&self, path: &str) -> std::io::Result<String> {
        let mut stream = tokio::net::TcpStream::connect(&self.page).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Drains it: what it has to send, it has sent when this returns.
    async fn end(mut self) {
        let ended = tokio::task::spawn_blocking(move || {
            self.child.terminate();
            self.child.wait(DEADLINE)
        });
        assert!(ended.await.unwrap().success());
    }
}

fn write_key(path: &Path, key: &SigningKey) {
    marque_runtime::keys::create_secret(path, &base64url(&key.seed()[..])).unwrap();
}

/// A question about the gated tool, and its proof.
fn asked(actor: &Actor, region: &str) -> (Value, String) {
    let (tool, args) = (format!("nats:{TOOL}"), json!({ "region": region }));
    let audience = Some(format!("nats://{DOMAIN}/{TOOL}"));
    let why = Why::because("the quarter's report");
    let proof = actor.prove(&tool, args.to_string().as_bytes(), audience, None, why).unwrap().proof;
    (question(actor, &tool, &args, &proof), proof)
}

async fn ask(stage: &Stage, traceparent: &str, body: String) -> Value {
    let mut headers = HeaderMap::new();
    headers.insert(header::TRACEPARENT, traceparent);
    match stage.host.request(subjects::VERIFIER_DECIDE, headers, body, DEADLINE).await {
        Ok(answer) => serde_json::from_slice(&answer.payload).unwrap(),
        Err(error) => json!({ "refused": error.to_string() }),
    }
}

#[tokio::test]
async fn a_decision_is_a_child_of_the_callers_span_and_a_denial_no_error() {
    let stage = Stage::set().await;
    let collector = TestCollector::default();
    let process = Process::start(&stage, &[(ENDPOINT, &collector.listen().await)]).await;
    let actor = stage.actor();
    let (permitted, denied, refused, gated) = (caller('a'), caller('b'), caller('c'), caller('d'));

    let (yes, proof) = asked(&actor, "eu");
    assert_eq!(ask(&stage, &permitted, yes.to_string()).await["decision"], json!(true));
    let (no, _) = asked(&actor, "cn");
    assert_eq!(ask(&stage, &denied, no.to_string()).await["decision"], json!(false));
    assert!(ask(&stage, &refused, "{}".into()).await["refused"].is_string());
    // Through the gate: what the tool is told of is the gate's span.
    let mut tool = plain_tool(&stage.host, TOOL, |_| Reply::Body("[7]")).await;
    let why = Why { traceparent: Some(gated.clone()), ..Why::because("the quarter's report") };
    actor.call_via_gate(TOOL, &json!({ "region": "eu" }), why).await.unwrap();
    let seen = tool.seen.recv().await.unwrap().headers.unwrap();
    let told = seen.get(header::TRACEPARENT).unwrap().as_str().to_owned();
    let metrics = process.page("/metrics").await.unwrap();
    process.end().await;

    let exported = Exported(collector);
    let said = |traceparent: &str| {
        let span = exported.child_of(traceparent);
        assert_ne!(span.status.clone().unwrap_or_default().code(), StatusCode::Error, "{span:?}");
        ["duty", "decision", "code", "step"].map(|key| attribute(&span, key))
    };
    let texts = |texts: [Option<&str>; 4]| texts.map(|text| text.map(str::to_owned));
    assert_eq!(said(&permitted), texts([Some("decide"), Some("permit"), None, None]));
    assert_eq!(said(&denied), texts([Some("decide"), Some("deny"), Some("argument_refused"), Some("6b")]));
    assert_eq!(said(&refused), texts([Some("decide"), None, Some("malformed"), None]));
    assert_eq!(said(&gated), texts([Some("gate"), Some("permit"), None, None]));
    assert_eq!(told, format!("00-{}-{}-01", parts(&gated).1, hex(&exported.child_of(&gated).span_id)));
    says_no_more_than_it_may(&exported, &metrics, &actor, &proof);
}

/// No agent, tool, token, argument, reason or key in what is exported, and no attribute that is not known.
fn says_no_more_than_it_may(exported: &Exported, metrics: &str, actor: &Actor, proof: &str) {
    let known = BTreeSet::from(ATTRIBUTES);
    for span in exported.spans() {
        for attribute in &span.attributes {
            assert!(known.contains(attribute.key.as_str()), "{attribute:?}");
        }
        assert!(span.events.is_empty() && span.links.is_empty(), "{span:?}");
    }
    let mut texts: Vec<String> =
        exported.0.bodies().iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect();
    assert!(metrics.contains("marque_verifier_decisions"), "{metrics}");
    texts.push(metrics.to_owned());
    let agent = actor.commission().key().did().to_string();
    let secret = base64url(&verifier_key(1).seed()[..]);
    let own = verifier_key(1).did().to_string();
    let signature = proof.rsplit('.').next().unwrap();
    let private = [
        agent.trim_start_matches("did:key:"),
        own.trim_start_matches("did:key:"),
        TOOL,
        "urn:task:q3",
        "web-reader",
        "the quarter's report",
        "region",
        &actor.commission().chain()[..32],
        signature,
        &secret,
    ];
    for text in texts {
        for word in private {
            assert!(!text.contains(word), "`{word}` is exported: {text}");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_where_no_endpoint_is_named() {
    let stage = Stage::set().await;
    let collector = TestCollector::default();
    let url = format!("{}/v1/traces", collector.listen().await);
    for unnamed in [&[][..], &[(ENDPOINT, "")]] {
        // The exporter's own way to be told an address: it turns nothing on.
        let environment = [unnamed, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url.as_str())]].concat();
        let process = Process::start(&stage, &environment).await;
        let actor = stage.actor();
        let (yes, _) = asked(&actor, "eu");
        assert_eq!(ask(&stage, &caller('a'), yes.to_string()).await["decision"], json!(true));
        process.end().await;
        assert!(collector.bodies().is_empty());
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_keeps_nobody_waiting() {
    let stage = Stage::set().await;
    let process = Process::start(&stage, &[(ENDPOINT, &format!("http://127.0.0.1:{}", free_port()))]).await;
    let actor = stage.actor();
    let (yes, _) = asked(&actor, "eu");
    assert_eq!(ask(&stage, &caller('a'), yes.to_string()).await["decision"], json!(true));
    process.end().await;
}
