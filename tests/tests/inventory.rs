//! What an operator learns of agents and of what is missing, with the real processes; and that it comes back.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use marque::service_config::Service;
use marque_agent::enforce::Policy;
use marque_agent::{Commission, Why};
use marque_identity::Code;
use marque_judgement::record::{Body, Record};
use marque_test_support::eventually;
use marque_tests::cast::{self, Carrier, call, denied};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

/// What a command tells once the inventory has come as far as the log.
async fn told(system: &TestSystem, args: &[&str]) -> (i32, Value) {
    eventually("the inventory", DEADLINE, || async {
        let (code, document) = system.marque(args);
        let whole = document["tree_size"].is_u64() && document["tree_size"] == document["inventory_upto"];
        if whole { Ok((code, document)) } else { Err(document.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_learns_who_holds_what_and_what_no_record_tells() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let carrier = Carrier::of_cast(&system).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;
    let child = cast::delegate(&root, cast::both_tools(), 0);
    call(&child, &carrier.bus, 1).await.unwrap();
    call(&child, &carrier.bus, 2).await.unwrap();

    // Three keys: the carrier, the agent, and the sub-agent that no service has enrolled.
    let (code, listed) = told(&system, &["agent", "ls"]).await;
    let rows = listed["agents"].as_array().unwrap();
    assert_eq!((code, rows.len()), (0, 3), "{listed}");
    let of = |did: marque_identity::Did| rows.iter().find(|row| row["agent"] == json!(did)).unwrap();
    let sub = of(child.key().did());
    assert_eq!((&sub["delegated_by"], &sub["permitted"]), (&json!([agent.did()]), &json!(2)));
    assert_eq!((&sub["sponsor"], &sub["tasks"]), (&of(agent.did())["sponsor"], &json!(["urn:task:end-to-end"])));
    assert_eq!((&sub["connected"], &of(carrier.seed.did())["connected"]), (&json!(0), &json!(1)));
    let (_, carriers) = told(&system, &["agent", "ls", "--task", "urn:task:carrier"]).await;
    assert_eq!(carriers["agents"].as_array().unwrap().len(), 1);

    let name = marque_signing::nkey::user_public(&child.key().public());
    let (code, known) = told(&system, &["agent", "info", &name]).await;
    assert_eq!((code, &known["credentials"][0]["delegated_by"]), (0, &json!(agent.did())), "{known}");
    assert_eq!((&known["agents"][0]["head"]["seq"], &known["credentials"][0]["permits"]), (&json!(2), &json!(2)));

    let (code, tree) = told(&system, &["agent", "tree", "--task", "urn:task:end-to-end"]).await;
    assert_eq!((code, tree["credentials"].as_array().unwrap().len()), (0, 2));
    let directory = system.directory().path().display().to_string();
    let human = |args: &[&str]| {
        let mut command = std::process::Command::new(marque_tests::binaries::path("marque"));
        let output = command.args(["--dir", &directory]).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let drawn = human(&["agent", "tree", "--task", "urn:task:end-to-end"]);
    let lines: Vec<&str> = drawn.lines().collect();
    assert!(lines.len() == 2 && lines[1].starts_with("└─ z6Mk") && lines[1].contains("2 tools"), "{drawn}");

    // Nothing is missing, until the carrier leaves: what it sent was signed by another.
    let (code, report) = told(&system, &["audit", "completeness"]).await;
    assert_eq!((code, &report["findings"]), (0, &json!([])), "{report}");
    let (code, nobody) = system.marque(&["agent", "info", "did:key:z6MkgeAYjgfXDoaxMou4TKNEtGJ8cYHARPASB12ehQ8b13ie"]);
    assert_eq!((code, &nobody["error"]["code"]), (6, &json!("not_found")));
    let since = carrier.seed.did();
    carrier.bus.drain().await.unwrap();
    let report = eventually("the end of the carrier's connection", DEADLINE, || async {
        let (code, report) = system.marque(&["audit", "completeness", "--agent", &since.to_string()]);
        if report["findings"][0].is_object() { Ok((code, report)) } else { Err(report.to_string()) }
    })
    .await;
    let kinds: Vec<&str> =
        report.1["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
    assert!(
        report.0 == 1 && kinds.contains(&"connected_silent") && kinds.contains(&"published_unsigned"),
        "{report:?}"
    );

    // Deleted, it comes back.
    let (_, before) = told(&system, &["agent", "tree", "--all"]).await;
    system.kill(Service::Sink);
    let state = system.directory().path().join("state").join(Service::Sink.name());
    std::fs::remove_file(state.join("inventory.redb")).unwrap();
    system.start_service(Service::Sink);
    system.until_ready(Service::Sink).await.unwrap();
    let (_, after) = told(&system, &["agent", "tree", "--all"]).await;
    assert_eq!(before["credentials"], after["credentials"]);
    system.stop().await;
}

/// What nobody serves, what the broker forbids and what is denied before the chain is verified uses up a number each; the
/// agent's own word keeps its chain of actions whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_reached_nobody_leaves_no_gap() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;
    let bus = root.connect(system.url(), "test-agent", DEADLINE).await.unwrap();
    // 1. Nobody serves it yet.
    let unserved = call(&root, &bus, 1).await.unwrap_err();
    assert_eq!(unserved.code(), Code::ToolUnserved, "{unserved:?}");
    // 2. Not granted, so that the broker does not carry it.
    let forbidden = root.on(&bus).call("tools.ledger.write", &json!({}), Why::default()).await.unwrap_err();
    assert_eq!(forbidden.code(), Code::NotAuthorized);
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    // 3. A chain that is nobody's: the enforcement point reads no further, and knows no number.
    let (head, rest) = root.chain().split_once('.').unwrap();
    let (claims, signature) = rest.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{claims}.{other}{}", &signature[1..]);
    let forged = Commission::adopt(root.key().clone(), forged).unwrap();
    assert_eq!(denied(call(&forged, &bus, 3).await), Code::SignatureInvalid);
    // 4. The gatekeeper is away: what was not carried is stated with the next one.
    system.terminate(Service::Gatekeeper);
    system.until_ended(Service::Gatekeeper);
    let away = root.on(&bus).call("tools.ledger.write", &json!({}), Why::default()).await.unwrap_err();
    assert_eq!(away.code(), Code::NotAuthorized);
    system.start_service(Service::Gatekeeper);
    system.until_ready(Service::Gatekeeper).await.unwrap();
    call(&root, &bus, 5).await.unwrap();

    let stated = |record: &&Record| matches!(record.body, Body::Requested(_));
    let copy = eventually("all is stated", DEADLINE, || async {
        let copy = system.copy_log().await?;
        let count = copy.records.iter().flatten().filter(stated).count();
        if count == 4 { Ok(copy) } else { Err(format!("{count} of 4")) }
    })
    .await;
    assert!(copy.verified, "{}", copy.report);
    let chains = &copy.report["chains"];
    assert_eq!((&chains["unsettled"], &chains["findings"]), (&json!(0), &json!([])), "{chains}");
    assert_eq!(root.key().history().signed, 5);
    let (_, known) = told(&system, &["agent", "info", &agent.did().to_string()]).await;
    assert_eq!(known["agents"][0]["head"]["seq"], 5, "{known}");
    assert!(known["agents"][0]["findings"].as_array().unwrap().iter().all(|kind| kind != "sequence_gap"), "{known}");
    // What was signed to be carried in another way, and had no answer, is stated by hand.
    let (actor, tool) = (root.on(&bus), format!("nats:{}", cast::HOSTED));
    let signed = actor.prove(&tool, b"{}", None, None, Why::default()).unwrap();
    actor.state(&tool, &signed).await;
    let did = agent.did().to_string();
    eventually("its last word", DEADLINE, || async {
        let (_, known) = system.marque(&["agent", "info", &did]);
        if known["agents"][0]["head"]["seq"] == json!(6) { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    system.stop().await;
}
