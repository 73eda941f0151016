//! The decision service: a question always gets a decision with its reasons, anything else a refusal.

use std::time::Duration;

use marque_agent::{Actor, AgentKey, Why};
use marque_bus::async_nats::HeaderMap;
use marque_bus::{CallError, subjects};
use marque_identity::Code;
use marque_judgement::record::{Body, Verb};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::stage::{DOMAIN, Stage, TOOL, policy, question};

async fn ask(stage: &Stage, body: impl Into<Vec<u8>>) -> Result<Value, CallError> {
    let body: Vec<u8> = body.into();
    let answer =
        stage.host.request(subjects::VERIFIER_DECIDE, HeaderMap::new(), body, Duration::from_secs(10)).await?;
    Ok(serde_json::from_slice(&answer.payload).unwrap())
}

fn proof(actor: &Actor, tool: &str, args: &Value, audience: Option<String>, nonce: Option<&str>) -> String {
    let nonce = nonce.map(str::to_owned);
    actor.prove(tool, args.to_string().as_bytes(), audience, nonce, Why::because("asked")).unwrap().proof
}

fn audience() -> Option<String> {
    Some(format!("nats://{DOMAIN}/{TOOL}"))
}

#[tokio::test]
async fn answers_yes_and_no_with_reasons_and_a_record() {
    let stage = Stage::set().await;
    let _verifier = stage.verifier(1, policy()).await;
    let (actor, tool) = (stage.actor(), format!("nats:{TOOL}"));
    let args = json!({"region": "eu"});
    let asked = question(&actor, &tool, &args, &proof(&actor, &tool, &args, audience(), None));
    let yes = ask(&stage, asked.to_string()).await.unwrap();
    assert_eq!(yes["decision"], json!(true));
    assert!(yes["context"]["epoch"].as_u64().unwrap() > 0 && yes["context"]["view_age_ms"].is_u64());
    let decided = stage.decided(yes["context"]["record"].as_str().unwrap()).await;
    assert_eq!((decided.decision, decided.why.as_deref()), (Verb::Permit, Some("asked")));

    let again = ask(&stage, asked.to_string()).await.unwrap();
    assert_eq!((&again["decision"], &again["context"]["code"]), (&json!(false), &json!("proof_replayed")));
    let args = json!({"region": "cn"});
    let asked = question(&actor, &tool, &args, &proof(&actor, &tool, &args, audience(), None));
    let no = ask(&stage, asked.to_string()).await.unwrap();
    let context = &no["context"];
    assert_eq!(
        (&no["decision"], &context["code"], &context["step"]),
        (&json!(false), &json!("argument_refused"), &json!("6b"))
    );
    assert_eq!(context["blame"], json!("caller"));
    assert!(!context["message"].as_str().unwrap().is_empty() && !context["hint"].as_str().unwrap().is_empty());
    assert_eq!(stage.decided(context["record"].as_str().unwrap()).await.decision, Verb::Deny);
}

#[tokio::test]
async fn judges_for_hosts_whose_tools_are_not_on_the_bus() {
    let stage = Stage::set().await;
    let _verifier = stage.verifier(1, policy()).await;
    let actor = stage.actor();
    let place = "https://files.acme.example";
    let answer = async |path: &str, nonce: Option<&str>, demanded: Option<&str>| {
        let args = json!({ "path": path });
        let proof = proof(&actor, "read_file", &args, Some(place.into()), nonce);
        let mut asked = question(&actor, "read_file", &args, &proof);
        asked["context"]["audience"] = json!(place);
        if let Some(demanded) = demanded {
            asked["context"]["nonce"] = json!(demanded);
        }
        ask(&stage, asked.to_string()).await.unwrap()
    };
    assert_eq!(answer("/data/q3.csv", None, None).await["decision"], json!(true));
    assert_eq!(answer("/data/../etc/passwd", None, None).await["context"]["code"], json!("argument_refused"));
    assert_eq!(answer("/data/q3.csv", Some("n-1"), Some("n-1")).await["decision"], json!(true));
    assert_eq!(answer("/data/q3.csv", Some("n-0"), Some("n-1")).await["context"]["code"], json!("nonce_mismatch"));
    assert_eq!(answer("/data/q3.csv", None, Some("n-1")).await["context"]["code"], json!("nonce_mismatch"));
}

#[tokio::test]
async fn the_agent_asked_about_must_be_the_one_that_acts() {
    let stage = Stage::set().await;
    let _verifier = stage.verifier(1, policy()).await;
    let (actor, tool) = (stage.actor(), format!("nats:{TOOL}"));
    let args = json!({"region": "eu"});
    let mut asked = question(&actor, &tool, &args, &proof(&actor, &tool, &args, audience(), None));
    asked["subject"]["id"] = json!(AgentKey::generate().unwrap().did());
    let no = ask(&stage, asked.to_string()).await.unwrap();
    assert_eq!((&no["decision"], &no["context"]["code"]), (&json!(false), &json!("possession_unproven")));
    asked["subject"]["id"] = json!("alice");
    let no = ask(&stage, asked.to_string()).await.unwrap();
    assert_eq!((&no["decision"], &no["context"]["code"]), (&json!(false), &json!("malformed")));
    // The proof was not used up by either.
    asked["subject"]["id"] = json!(actor.commission().key().did());
    assert_eq!(ask(&stage, asked.to_string()).await.unwrap()["decision"], json!(true));
}

#[tokio::test]
async fn what_is_no_question_is_refused_and_recorded() {
    let stage = Stage::set().await;
    let _verifier = stage.verifier(1, policy()).await;
    let deep = "[".repeat(60_000);
    for (body, code) in [
        (&b""[..], Code::Malformed),
        (b"\xff", Code::Malformed),
        (b"{}", Code::Malformed),
        (br#"{"a":1,"a":2}"#, Code::DuplicateMember),
        (deep.as_bytes(), Code::TooDeep),
    ] {
        let Err(CallError::Refused(refusal)) = ask(&stage, body).await else { panic!() };
        assert_eq!(refusal.code, code);
        let Body::Refused(refused) = stage.record(&refusal.record.unwrap()).await.body else { panic!() };
        assert_eq!((refused.code, refused.input.unwrap().bytes), (code, body.len() as u64));
        assert_eq!(refused.service, "marque-verifier");
    }
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let noise = prop::collection::vec(any::<u8>(), 0..200).new_tree(&mut runner).unwrap().current();
        let Err(CallError::Refused(refusal)) = ask(&stage, noise).await else { panic!() };
        assert_ne!(refusal.code, Code::Internal);
    }
}
