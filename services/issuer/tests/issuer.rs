//! The issuer's real process over a real nats-server: what an agent gets, and what survives a kill.
#![allow(clippy::unwrap_used)]

mod house;

use std::io::{Read, Write};

use house::scene::{ASK, Scene};
use house::{DRAINED, domain, now};
use marque_agent::{AgentError, CommissionRequest};
use marque_bus::{CallError, subjects};
use marque_credential::Tools;
use marque_identity::{Code, TokenId};
use marque_json::Json;
use marque_revocation::{Op, Target};
use marque_signing::{SigningKey, jws};
use marque_test_support::{DEADLINE, eventually, free_port};
use serde_json::{Value, json};

/// The body of a page.
fn get(page: std::net::SocketAddr, path: &str) -> String {
    let mut connection = std::net::TcpStream::connect(page).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn tools(json: Value) -> Tools {
    Tools::parse(&Json::from_serde(&json).unwrap()).unwrap()
}

fn query(customers: &[&str]) -> Tools {
    tools(json!({"nats:tools.crm.query": {"customer": {"constraint_type": "one_of", "values": customers}}}))
}

fn request(tools: Tools) -> CommissionRequest {
    CommissionRequest::new("urn:task:q3".parse().unwrap(), "quarter report", tools)
}

fn refused<T>(outcome: Result<T, AgentError>) -> Code {
    match outcome.err().expect("refused") {
        AgentError::Refused(denial) => denial.code,
        other => panic!("{other}"),
    }
}

fn code<T>(outcome: Result<T, CallError>) -> Code {
    outcome.map(drop).unwrap_err().code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrols_and_commissions_within_the_ceiling() {
    let page = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let scene = Scene::with(&format!("http_listen = \"{page}\""), "").await;
    let mut issuer = scene.issuer().await;
    let mut agent = scene.enrol().await;

    // Within, and with delegation; the chain verifies as any enforcement point would verify it.
    let commission = agent.commission(&request(query(&["acme"])).depth_max(4).ttl_seconds(60)).await.unwrap();
    let anchor = marque_judgement::TrustAnchor { iss: domain().issuer_uri(), key: scene.house.issuer.public() };
    let chain: Vec<&str> = commission.chain().split('~').collect();
    let verified = marque_judgement::verify_chain(&chain, &[anchor], now(), &Default::default()).unwrap();
    assert_eq!(verified.root_claims().unwrap().agent.did, agent.did());

    // Beyond: refused whole, with tool and argument named.
    let Err(AgentError::Refused(denial)) = agent.commission(&request(query(&["acme", "umbrella"]))).await else {
        panic!("the ceiling was exceeded")
    };
    assert_eq!((denial.code, denial.step.as_deref()), (Code::CeilingExceeded, Some("4p4")));
    assert!(denial.message.contains("`nats:tools.crm.query`") && denial.message.contains("`customer`"), "{denial}");
    assert_eq!(refused(agent.commission(&request(query(&["acme"])).depth_max(5)).await), Code::CeilingExceeded);
    assert_eq!(refused(agent.commission(&request(query(&["acme"])).ttl_seconds(3_601)).await), Code::CeilingExceeded);
    let shell = tools(json!({"nats:tools.shell.run": {}}));
    assert_eq!(refused(agent.commission(&request(shell)).await), Code::CeilingExceeded);

    let before = agent.credential().to_owned();
    agent.renew().await.unwrap();
    assert_ne!(agent.credential(), before);

    // A join token enrols once, and a request is answered once, with the same bytes.
    let (join, key) = (scene.house.join(), SigningKey::generate().unwrap());
    let body = scene.house.enrolment(&key, &join);
    let first = scene.ask(subjects::issuer::ENROL, &body).await.unwrap();
    assert_eq!(scene.ask(subjects::issuer::ENROL, &body).await.unwrap(), first);
    let again = scene.house.enrolment(&key, &join);
    assert_eq!(code(scene.ask(subjects::issuer::ENROL, &again).await), Code::JoinTokenUsed);

    // What anyone may read.
    let bundle = scene.bus.request(subjects::issuer::BUNDLE, Default::default(), Vec::new(), ASK).await.unwrap();
    assert_eq!(bundle.payload, scene.house.bundle.as_bytes());
    let did = scene.ask(subjects::issuer::DID, "").await.unwrap();
    assert_eq!(did["id"], scene.house.issuer.did().to_string());
    let list = scene.ask(subjects::issuer::BLUEPRINTS, "").await.unwrap();
    assert_eq!(list["blueprints"].as_array().unwrap().len(), 2);
    assert_eq!(code(scene.ask(subjects::issuer::BLUEPRINTS, r#"{"name":"none"}"#).await), Code::BlueprintUnknown);

    // Hostile bytes are refused, recorded, and stop nothing.
    let refusals = scene.records("refused").await;
    let duties = [subjects::issuer::ENROL, subjects::issuer::ISSUE, subjects::issuer::RENEW];
    let oversize = "a".repeat(marque_issuer::request::REQUEST_BYTES_MAX + 1);
    for (subject, body) in duties.into_iter().zip(["", "a.b.c", "{\"iat\":1}"]) {
        assert_eq!(code(scene.ask(subject, body).await), Code::Malformed);
        assert_eq!(code(scene.ask(subject, &oversize).await), Code::Oversize);
    }
    assert!(scene.records("refused").await >= refusals + 6);
    assert_eq!(scene.records("issued").await, 4, "two enrolments, a root, a renewal; refusals and retries add none");

    // What its operator sees.
    let healthy = scene.house.command(&scene.config).args(["healthcheck", "--ready"]).output().unwrap();
    assert!(healthy.status.success(), "{}", String::from_utf8_lossy(&healthy.stderr));
    let metrics = get(page, "/metrics");
    for line in [
        "marque_issuer_requests_total{duty=\"enrol\",code=\"ok\"} 3",
        "marque_issuer_requests_total{duty=\"issue\",code=\"ceiling_exceeded\"} 4",
        "marque_issuer_refusals_unrecorded_total 0",
        "marque_issuer_request_seconds_count ",
        "marque_state_age_seconds ",
    ] {
        assert!(metrics.contains(line), "`{line}` is not in:\n{metrics}");
    }

    issuer.terminate();
    assert_eq!(issuer.wait(DRAINED).code(), Some(0), "{}", issuer.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_and_doubles_nothing() {
    let scene = Scene::new("").await;
    let mut issuer = scene.issuer().await;
    scene.enrol().await;
    for _ in 0..3 {
        let before = scene.records("issued").await;
        let (join, key) = (scene.house.join(), SigningKey::generate().unwrap());
        let body = scene.house.enrolment(&key, &join);
        // Killed as soon as its record can be seen in the stream: the answer may or may not be on its way.
        let (bus, asked) = (scene.bus.clone(), body.clone().into_bytes());
        let asked = async move { bus.request(subjects::issuer::ENROL, Default::default(), asked, ASK).await };
        let answer = tokio::spawn(asked);
        eventually("the record is stored", DEADLINE, async || {
            if scene.records("issued").await > before { Ok(()) } else { Err("not yet") }
        })
        .await;
        issuer.kill();
        answer.abort();

        issuer = scene.issuer().await;
        let again = eventually("the same request is answered", DEADLINE, async || {
            scene.ask(subjects::issuer::ENROL, &body).await
        })
        .await;
        if let Ok(Ok(reply)) = answer.await {
            assert_eq!(serde_json::from_slice::<Value>(&reply.payload).unwrap(), again);
        }
        assert_eq!(scene.records("issued").await, before + 1, "one credential, one record");
        let other = scene.house.enrolment(&SigningKey::generate().unwrap(), &join);
        assert_eq!(code(scene.ask(subjects::issuer::ENROL, &other).await), Code::JoinTokenUsed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directives_and_staleness_refuse() {
    let scene = Scene::new("").await;
    let mut issuer = scene.issuer().await;
    let (revoked, mut standing) = (scene.enrol().await, scene.enrol().await);
    let asked = || request(query(&["acme"]));
    revoked.commission(&asked()).await.unwrap();

    scene.beating.publish(Op::Revoke, Target::Key(revoked.did())).await;
    eventually("the revocation is followed", DEADLINE, async || match revoked.commission(&asked()).await {
        Err(AgentError::Refused(denial)) if denial.code == Code::Revoked => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    standing.commission(&asked()).await.unwrap();
    scene.beating.publish(Op::Suspend, Target::Task("urn:task:q3".parse().unwrap())).await;
    eventually("the suspension is followed", DEADLINE, async || match standing.commission(&asked()).await {
        Err(AgentError::Refused(denial)) if denial.code == Code::Suspended => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    standing.renew().await.unwrap();

    let other_task = || CommissionRequest::new("urn:task:q4".parse().unwrap(), "next quarter", query(&["acme"]));
    standing.commission(&other_task()).await.unwrap();

    // No heartbeat, no proof that nothing was revoked: nothing is granted, then granted again. By a bound that can be
    // waited for.
    issuer.kill();
    scene.house.configure(&scene.broker.url(), "", "staleness_bound_ms = 1000");
    let _issuer = scene.issuer().await;
    let silence = scene.beating.broadcaster.lock().await;
    eventually("a stale view refuses", DEADLINE, async || match standing.commission(&other_task()).await {
        Err(AgentError::Refused(denial)) if denial.code == Code::ViewStale => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    drop(silence);
    scene.enrol().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_the_directives_before_it_grants() {
    let scene = Scene::new("").await;
    let silence = scene.beating.broadcaster.lock().await;
    let _issuer = scene.issuer().await;
    let body = scene.house.enrolment(&SigningKey::generate().unwrap(), &scene.house.join());
    assert_eq!(code(scene.ask(subjects::issuer::ENROL, &body).await), Code::ViewStale, "cold");
    drop(silence);
    eventually("it warms up", DEADLINE, async || scene.ask(subjects::issuer::ENROL, &body).await).await;
    let forged = jws::sign_as_did(
        &SigningKey::generate().unwrap(),
        "marque-renew+jwt",
        &json!({
            "iat": now(), "jti": TokenId::generate(), "aud": domain(), "credential": "a.b.c",
        }),
    );
    assert_eq!(code(scene.ask(subjects::issuer::RENEW, &forged.unwrap()).await), Code::CredentialInvalid);
}
