//! `revoke`, `suspend`, `narrow`, `lift`, `resume`: what stops working, by whom it was applied, and what is not known.

use marque::service_config::Service;
use marque_judgement::record::{Body, Record};
use marque_test_support::eventually;
use marque_tests::system::DEADLINE;
use serde_json::{Value, json};

use super::{BLUEPRINT, Stage, TASK};

/// Accounts up to 1, for whatever tool.
const NARROWED: &str = r#"{"*":{"account":{"constraint_type":"range","max":1}}}"#;

/// The ids of the directives in force.
fn in_force(stage: &Stage) -> Vec<String> {
    let listed = stage.yes(&["revoke", "ls"]);
    listed.as_array().unwrap().iter().map(|directive| directive["id"].as_str().unwrap().to_owned()).collect()
}

/// Narrowed, denied, explained, lifted by the id that the explanation names, permitted again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directive_that_an_explanation_names_is_the_one_to_lift() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    let call = Stage::call(&home, &chain, r#"{"account":2}"#);
    stage.yes(&call);
    stage.system.until_heard().await.unwrap();

    let narrowed = asked(&stage, &["narrow", "task", TASK, "--tools", NARROWED, "--reason", "a test"]);
    let denied = stage.refused(1, &call);
    assert_eq!(denied["code"], "narrowed");
    stage.yes(&Stage::call(&home, &chain, r#"{"account":1}"#));

    // By the record that the denial names.
    let hint = denied["hint"].as_str().unwrap();
    let record = hint.split("marque audit explain ").nth(1).unwrap().split('`').next().unwrap();
    let explained = stage.yes(&["audit", "explain", record]);
    assert_eq!(explained["decided"]["directive"], narrowed["id"], "{explained}");
    let full = stage.human(&["audit", "explain", record]);
    let named = full.lines().find_map(|line| line.strip_prefix("directive")).unwrap().trim();
    let id = named.split(',').next().unwrap();
    assert_eq!(id, narrowed["id"], "{full}");
    assert_eq!(in_force(&stage), [id]);

    // A dry run lifts nothing.
    assert_eq!(stage.yes(&["lift", id, "--dry-run"])["lifts"], id);
    assert_eq!(stage.refused(1, &call)["code"], "narrowed");
    asked(&stage, &["lift", id]);
    stage.yes(&call);
    assert_eq!(in_force(&stage), [""; 0]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspension_is_resumed_and_a_revocation_is_not() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    let call = Stage::call(&home, &chain, r#"{"account":1}"#);
    let key = stage.did(&home);
    let operator = stage.system.directory().key_file("operator").display().to_string();
    // 1. A dry run asks for nothing.
    for verb in ["revoke", "suspend"] {
        let told = stage.said("json", &[verb, "key", &key, "--dry-run"]);
        assert_eq!((told.code, &told.document()["op"]), (0, &json!(verb)));
        assert!(told.err.contains(&key), "what would stop working is said: {told:?}");
    }
    let told = stage.yes(&["narrow", "task", TASK, "--tools", NARROWED, "--until", "+15m", "--dry-run"]);
    assert!(told["until"].is_i64() && told["narrow"]["tools"]["*"].is_object(), "{told}");
    let ordered = |record: &Record| matches!(record.body, Body::Directive(_));
    assert_eq!((in_force(&stage), stage.recorded(ordered).await), (vec![], 0));
    // 2. Suspended: the door is closed, too; resumed.
    let suspended = asked(&stage, &["suspend", "key", &key, "--until", "+15m", "--key", &operator]);
    let id = suspended["id"].as_str().unwrap();
    assert!([1, 5].contains(&stage.said("json", &call).code));
    let listed = stage.human(&["revoke", "ls"]);
    assert!(listed.lines().count() == 2 && listed.contains(id) && listed.contains("suspend"), "{listed}");
    assert_eq!(stage.said("ndjson", &["revoke", "ls"]).lines()[0]["id"], id);
    asked(&stage, &["resume", id]);
    stage.yes(&call);
    // 3. Revoked, by the chain in a file's content; for good.
    let chain_text = std::fs::read_to_string(&chain).unwrap();
    let revoked = asked(&stage, &["revoke", "token", chain_text.trim()]);
    let id = revoked["id"].as_str().unwrap();
    assert!([1, 5].contains(&stage.said("json", &call).code));
    stage.refused(6, &["resume", "01900000-0000-7000-8000-000000000000"]);
    for verb in ["resume", "lift"] {
        let refused = stage.refused(6, &[verb, id]);
        assert_eq!(refused["code"], "conflict", "what is revoked stays revoked");
        assert!(refused["message"].as_str().unwrap().ends_with("a revoke is final"), "{refused}");
        assert!(refused["hint"].as_str().unwrap().contains("`marque revoke ls`"), "{refused}");
        let said = stage.said("human", &[verb, id]);
        assert!(!said.err.contains("works again"), "nothing is promised before it is refused: {said:?}");
    }
    assert_eq!(in_force(&stage), [id]);
    let status = stage.yes(&["revoke", "status"]);
    assert_eq!((&status["active"], &status["pending"]), (&json!(1), &json!(0)));
    assert!(stage.human(&["revoke", "status"]).contains("gatekeeper"));
    // 4. Who may not ask, and what can't be asked for.
    let stranger = format!("{home}/agent.key");
    assert_eq!(stage.refused(5, &["suspend", "task", TASK, "--key", &stranger])["code"], "not_authorized");
    for usage in [
        &["lift", "no-id"][..],
        &["revoke", "key", "did:web:x"],
        &["revoke", "token", "short"],
        &["suspend", "task"],
        &["suspend", "task", TASK, "--until", "tomorrow"],
    ] {
        stage.refused(2, usage);
    }
    stage.refused(6, &["suspend", "task", TASK, "--key", "/nonexistent"]);
    assert_eq!(in_force(&stage), [id]);
    stage.stop().await;
}

/// A kill switch that would stop nothing is refused, and one that hits nobody yet says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directive_says_whom_it_hits() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    let key = stage.did(&home);
    stage.yes(&Stage::call(&home, &chain, r#"{"account":1}"#));
    stage.system.until_heard().await.unwrap();
    // 1. Misspelt: refused before it is asked for, in a dry run too.
    for (kind, value) in [("domain", "acme.exampel"), ("issuer", "https://acme.exampel")] {
        for args in [&["suspend", kind, value][..], &["revoke", kind, value, "--dry-run"]] {
            let error = stage.refused(2, args);
            assert_eq!(error["code"], "target_invalid", "{error}");
            assert!(error["message"].as_str().unwrap().contains(stage.system.domain().as_str()), "{error}");
        }
    }
    assert_eq!(in_force(&stage), [""; 0]);
    // 2. A dry run counts.
    eventually("the inventory", DEADLINE, || async {
        let known = stage.yes(&["agent", "ls"]);
        if known["tree_size"] == known["inventory_upto"] { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    let hits = |args: &[&str]| stage.yes(&[args, &["--dry-run"]].concat())["hits"].clone();
    let one = json!({ "agents": 1, "tokens": 1 });
    for target in [["key", &key], ["blueprint", BLUEPRINT], ["task", TASK]] {
        assert_eq!(hits(&["suspend", target[0], target[1]]), one, "{target:?}");
    }
    assert_eq!(hits(&["suspend", "domain"]), one);
    let chain_text = std::fs::read_to_string(&chain).unwrap();
    assert_eq!(hits(&["revoke", "token", chain_text.trim()]), one);
    assert_eq!(hits(&["revoke", "blueprint", "nosuch"]), json!({ "agents": 0, "tokens": 0 }));
    assert_eq!(hits(&["revoke", "manifest", &"ab".repeat(32)]), Value::Null, "the inventory does not tell");
    // 3. Asked for, it holds for whoever comes; that nobody is known is said.
    let said = stage.said("json", &["suspend", "blueprint", "nosuch"]);
    assert_eq!((said.code, &said.document()["seen"]), (0, &json!(false)), "{said:?}");
    assert!(said.err.contains("misspelt"), "{said:?}");
    assert_eq!(stage.yes(&["suspend", "blueprint", BLUEPRINT])["seen"], true);
    stage.stop().await;
}

/// A directive, asked for. Right after the system's start it is not known who is there: then it is durable, and its
/// reach unknown (exit 4), with the key to ask again by.
fn asked(stage: &Stage, args: &[&str]) -> Value {
    let said = stage.said("json", args);
    let document = said.document();
    assert!(document["id"].is_string(), "{args:?}: {document}");
    assert!(said.code == 0 || (said.code == 4 && document["retry_key"].is_string()), "{args:?}: {said:?}");
    document
}

/// A directive of which it is not known whether it was asked for, or whom it reached, is asked for again with the key
/// that is printed: nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_directive_is_asked_again_by_its_key() {
    let stage = Stage::start().await;
    stage.system.until_heard().await.unwrap();
    // 1. A broadcaster that does not answer.
    stage.system.freeze(Service::Broadcaster, true);
    let ask = ["suspend", "task", TASK, "--no-wait", "--timeout", "1s"];
    let unknown = stage.refused(4, &ask);
    assert_eq!(unknown["code"], "outcome_unknown");
    let key = unknown["retry_key"].as_str().unwrap().to_owned();
    let human = stage.said("human", &[&ask[..], &["--retry-key", &key]].concat());
    assert!(human.code == 4 && human.err.contains(&format!("--retry-key {key}")), "{human:?}");
    // A question alone changes nothing: it is undecided.
    assert_eq!(stage.refused(3, &["revoke", "status", "--timeout", "1s"])["code"], "unavailable");
    stage.system.freeze(Service::Broadcaster, false);
    let done = stage.yes(&["suspend", "task", TASK, "--no-wait", "--retry-key", &key]);
    assert_eq!(in_force(&stage), [done["id"].as_str().unwrap()], "asked three times, done once");
    // 2. A verifier that has not confirmed it is named; its reach is asked again.
    stage.system.freeze(Service::Verifier, true);
    let silent = stage.said("json", &["suspend", "task", "urn:task:other"]);
    let told = silent.document();
    assert_eq!(silent.code, 4, "{silent:?}");
    assert_eq!(told["receipt"]["silent"].as_array().unwrap().len(), 1, "{told}");
    assert!(silent.err.contains(told["receipt"]["silent"][0].as_str().unwrap()), "the silent one is named: {silent:?}");
    stage.system.freeze(Service::Verifier, false);
    stage.system.until_heard().await.unwrap();
    let key = told["retry_key"].as_str().unwrap();
    let again = stage.said("json", &["suspend", "task", "urn:task:other", "--retry-key", key]);
    assert_eq!((&again.document()["id"], &again.document()["duplicate"]), (&told["id"], &json!(true)), "{again:?}");
    assert_eq!(in_force(&stage).len(), 2);
    assert_eq!(stage.refused(6, &["revoke", "task", THIRD, "--retry-key", key])["code"], "conflict");
    stage.stop().await;
}

/// Another target than the key was used for.
const THIRD: &str = "urn:task:third";
