//! What every service tells a collector: what it was asked, under whose span, and of nobody in particular.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use marque::service_config::Service;
use marque_bus::async_nats::HeaderMap;
use marque_bus::permissions::BusRole;
use marque_bus::{header, subjects};
use marque_test_support::TestCollector;
use marque_tests::cast::{self, Carrier, call_gated, denied, tools};
use marque_tests::system::{DEADLINE, TestSystem};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;
use serde_json::json;

/// A digit of the caller's ids, who asks, on which subject, what; and who answers.
const ASKED: [(char, BusRole, &str, &str, &str); 5] = [
    ('1', BusRole::Host, subjects::issuer::ENROL, "x.y.z", "marque-issuer"),
    ('2', BusRole::Operator, subjects::REVOCATION_STATUS, "{}", "marque-revocation-broadcaster"),
    ('3', BusRole::Host, subjects::VERIFIER_DECIDE, "{}", "marque-verifier"),
    ('4', BusRole::Operator, subjects::AUDIT_CHECKPOINT, "", "marque-audit-sink"),
    ('5', BusRole::Operator, subjects::GATEKEEPER_CONNECTIONS, "", "marque-gatekeeper"),
];

/// Every span, with the name of the service that sent it.
fn spans(collector: &TestCollector) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for body in collector.bodies() {
        for of_resource in ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
            let attributes = of_resource.resource.unwrap().attributes;
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
            let Some(Value::StringValue(name)) = name.value.unwrap().value else { panic!("no name") };
            let found = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(found.map(|span| (name.clone(), span)));
        }
    }
    spans
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_tells_what_it_was_asked_and_of_nobody_in_particular() {
    let collector = TestCollector::default();
    let endpoint = collector.listen().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let system = TestSystem::start_in(&[cast::blueprint()], &[], &environment).await.unwrap();
    for (digit, role, subject, body, _) in ASKED {
        let mut headers = HeaderMap::new();
        let id = |length| digit.to_string().repeat(length);
        headers.insert(header::TRACEPARENT, format!("00-{}-{}-01", id(32), id(16)));
        // Some of them are refused, and are spans all the same.
        let _ = system.bus(role).await.unwrap().request(subject, headers, body, DEADLINE).await;
    }
    // A life: enrolled, commissioned, delegated, permitted, denied, revoked, asked about.
    let carrier = Carrier::of_cast(&system).await;
    let _plain = cast::plain_tool(&system).await;
    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;
    let only =
        tools(json!({ format!("nats:{}", cast::GATED): { "account": { "constraint_type": "range", "max": 9 } } }));
    let child = cast::delegate(&root, only, 0);
    call_gated(&child, &carrier.bus, 1).await.unwrap();
    denied(call_gated(&child, &carrier.bus, 10).await);
    let digest = root.root_digest().to_string();
    assert_eq!(system.marque(&["revoke", "token", &digest, "--reason", "the auditor asked"]).0, 0);
    denied(call_gated(&child, &carrier.bus, 1).await);
    assert_eq!(system.marque(&["audit", "query", "--decision", "deny"]).0, 0);
    let private = [
        agent.did().multibase(),
        child.key().did().multibase(),
        carrier.seed.did().multibase(),
        digest,
        child.leaf_digest().to_string(),
        child.chain()[..64].to_owned(),
        agent.credential()[..64].to_owned(),
        cast::GATED.to_owned(),
        "urn:task:".to_owned(),
        "the auditor asked".to_owned(),
        "to be tested".to_owned(),
    ];
    let mut exported = Vec::new();
    for service in Service::ALL {
        let (status, page) = system.page(service, "/metrics").await;
        assert!(status == 200 && page.contains("marque_"), "{}: {page}", service.name());
        exported.push(page);
    }
    system.stop().await;

    let spans = spans(&collector);
    for (digit, .., service) in ASKED {
        let nibble = u8::try_from(digit.to_digit(16).unwrap()).unwrap() * 0x11;
        let children: Vec<_> = spans.iter().filter(|(_, span)| span.trace_id == [nibble; 16]).collect();
        assert_eq!(children.len(), 1, "{service}: {children:?}");
        let (by, span) = children[0];
        assert_eq!((by.as_str(), span.parent_span_id.as_slice()), (service, &[nibble; 8][..]));
    }
    let failed = |(_, span): &&(String, Span)| span.status.clone().unwrap_or_default().code() == StatusCode::Error;
    assert_eq!(spans.iter().find(failed), None, "a denial, a refusal is no error");
    let decisions = spans.iter().filter(|(by, span)| {
        by == "marque-verifier" && span.attributes.iter().any(|attribute| attribute.key == "decision")
    });
    assert_eq!(decisions.count(), 3);
    exported.extend(collector.bodies().iter().map(|body| String::from_utf8_lossy(body).into_owned()));
    for text in exported {
        for word in &private {
            assert!(!text.contains(word.as_str()), "`{word}` is exported: {text}");
        }
    }
}
