//! `call`: one signed action, and what became of it.

use futures::StreamExt as _;
use marque::service_config::Service;
use marque_bus::permissions::BusRole;
use marque_judgement::record::Body;
use marque_test_support::eventually;
use marque_tests::cast::{self, GATED, HOSTED};
use marque_tests::system::DEADLINE;
use serde_json::{Value, json};

use super::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_yes_a_no_or_neither() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    let call = |args: &'static str| Stage::call(&home, &chain, args);
    let signed = || stage.yes(&["agent", "info", "--home", &home])["actions_signed"].clone();
    // 1. Unreadable arguments are usage; nothing is signed.
    for (bad, code) in
        [("{", "malformed"), ("[1]", "malformed"), ("7", "malformed"), (r#"{"a":1,"a":2}"#, "duplicate_member")]
    {
        assert_eq!(stage.refused(2, &call(bad))["code"], code, "{bad}");
        let dry = [call(bad), vec!["--dry-run"]].concat();
        assert_eq!(stage.refused(2, &dry)["code"], code, "{bad}");
    }
    let dry = stage.yes(&[call(r#"{"account":1}"#), vec!["--dry-run"]].concat());
    assert_eq!((&dry["dry_run"], signed()), (&json!(true), json!(0)), "nothing was signed");
    // 2. A yes: the tool's own bytes on stdout, talk on stderr.
    let told = stage.yes(&call(r#"{"account":1}"#));
    assert_eq!((&told["reply"], told["record"].is_string()), (&json!({ "account": 1 }), true));
    let human = stage.said("human", &call(r#"{"account":2}"#));
    assert_eq!((human.code, human.out.trim()), (0, r#"{"account":2}"#));
    assert!(human.err.contains("marque audit explain"), "{human:?}");
    assert_eq!(stage.said("ndjson", &call(r#"{"account":3}"#)).lines()[0]["reply"]["account"], 3);
    assert_eq!(signed(), json!(3));
    // 3. A no: the record that tells why is named.
    let sub = stage.enrolled("sub");
    let grant = json!({ format!("nats:{HOSTED}"): { "account": { "constraint_type": "exact", "value": 1 } } });
    let to = stage.did(&sub);
    let handed = stage.yes(&[
        "token",
        "delegate",
        "--home",
        &home,
        "--chain",
        &chain,
        "--to",
        &to,
        "--tools",
        &grant.to_string(),
    ]);
    let narrow = stage.file("narrow", handed["chain"].as_str().unwrap());
    stage.yes(&Stage::call(&sub, &narrow, r#"{"account":1}"#));
    let ran = stage.runs();
    let no = stage.refused(1, &Stage::call(&sub, &narrow, r#"{"account":2}"#));
    assert_eq!((&no["code"], &no["step"]), (&json!("argument_refused"), &json!("6b")));
    assert!(no["hint"].as_str().unwrap().contains("marque audit explain"), "{no}");
    let human = stage.said("human", &Stage::call(&sub, &narrow, r#"{"account":2}"#));
    assert!(human.code == 1 && human.out.is_empty() && human.err.contains("error[argument_refused]"), "{human:?}");
    assert_eq!(stage.runs(), ran, "the tool did not run");
    // 4. No permission: the broker does not carry what the chain does not grant.
    let beyond = ["call", "--home", &sub, "--chain", &narrow, "tools.mail.send", "{}"];
    assert_eq!(stage.refused(5, &beyond)["code"], "not_authorized");
    let strangers = Stage::call(&sub, &chain, "{}");
    assert_eq!(stage.refused(5, &strangers)["code"], "possession_unproven");
    stage.refused(6, &Stage::call("/nonexistent", &chain, "{}"));
    stage.refused(6, &Stage::call(&home, "/nonexistent", "{}"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_tool_does_not_answer_is_neither_a_yes_nor_a_no() {
    let mut stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    let gated = ["call", "--gate", "--home", &home, "--chain", &chain, GATED, r#"{"account":1}"#];
    // 1. Permitted and recorded; there is no tool behind the gate, so that nothing ran.
    let unserved = stage.refused(3, &gated);
    assert_eq!(unserved["code"], "tool_unserved");
    assert_eq!(unserved["message"], format!("no tool host serves `{GATED}`"));
    assert!(unserved["hint"].as_str().unwrap().contains("marque audit explain"), "{unserved}");
    let outcomes = async |status: &str| {
        stage.recorded(|record| matches!(&record.body, Body::Completed(c) if c.status.as_deref() == Some(status))).await
    };
    assert_eq!(outcomes("tool_unserved").await, 1);
    // 2. A tool that never answers.
    let mute = stage.system.bus(BusRole::Host).await.unwrap();
    let mut requests = mute.client().subscribe(GATED).await.unwrap();
    mute.client().flush().await.unwrap();
    let unknown = stage.refused(4, &[&gated[..], &["--timeout", "1s"]].concat());
    assert_eq!(unknown["code"], "outcome_unknown");
    assert!(requests.next().await.is_some(), "it was asked");
    drop(requests);
    mute.drain().await.unwrap();
    // 3. One that does.
    let _tool = cast::plain_tool(&stage.system).await;
    let answered: Value = stage.yes(&gated);
    assert_eq!(answered["reply"], json!({ "account": 1 }));
    // 4. Nobody serves it: nothing happened.
    stage.host = None;
    eventually("the host is gone", DEADLINE, || async {
        let said = stage.said("json", &Stage::call(&home, &chain, r#"{"account":1}"#));
        if said.code == 3 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    let unserved = stage.refused(3, &Stage::call(&home, &chain, r#"{"account":1}"#));
    assert_eq!(unserved["code"], "tool_unserved");
    assert_eq!(unserved["message"], format!("no tool host serves `{HOSTED}`"));
    assert!(unserved["hint"].as_str().unwrap().contains("marque blueprint info"), "{unserved}");
    // 5. Nobody stands at the gate.
    stage.system.kill(Service::Verifier);
    eventually("the verifier is gone", DEADLINE, || async {
        let said = stage.said("json", &gated).document()["error"]["message"].to_string();
        if said.contains("no verifier serves the gate") { Ok(()) } else { Err(said) }
    })
    .await;
    assert_eq!(stage.refused(3, &gated)["code"], "unavailable");
    stage.stop().await;
}

/// Whom the broker asks about an agent is away: that is neither a refusal, nor a broker that is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_on_whom_nobody_decides_is_told_so() {
    let mut stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    let call = [&Stage::call(&home, &chain, r#"{"account":1}"#)[..], &["--timeout", "1s"]].concat();
    stage.yes(&call);
    let undecided = |stage: &Stage| {
        let error = stage.refused(3, &call);
        assert_eq!(error["code"], "unavailable");
        assert!(error["message"].as_str().unwrap().contains("does not decide whether to let us in"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("gatekeeper"), "{error}");
    };
    stage.system.freeze(Service::Gatekeeper, true);
    undecided(&stage);
    stage.system.kill(Service::Gatekeeper);
    undecided(&stage);
    // Its twin: a broker that is not there.
    stage.system.kill_broker();
    let error = stage.refused(3, &call);
    assert!(error["hint"].as_str().unwrap().contains("is a broker at"), "{error}");
    stage.stop().await;
}
