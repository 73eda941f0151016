//! What is told of the past out of a copy of the log, once the system that wrote it is gone.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use marque_agent::Why;
use marque_agent::enforce::Policy;
use marque_identity::Code;
use marque_test_support::eventually;
use marque_tests::cast::{self, HOSTED, call, call_gated, denied, tools};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

/// What the story left, and who was in it.
struct Past {
    log: tempfile::TempDir,
    task: String,
    root: String,
    left: String,
    left_key: String,
    grandchild: String,
    /// The leaf after which everything about the narrowing came.
    narrowed_after: u64,
}

/// Root; left with only small accounts, and its child; right. A narrowing, a lift, a revocation of left.
async fn past() -> Past {
    let system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let bus = cast::carrier(&system).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let _gated = cast::plain_tool(&system).await;
    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;
    let small = |max: u64| {
        let account = json!({ "constraint_type": "range", "max": max });
        tools(json!({ format!("nats:{HOSTED}"): { "account": account } }))
    };
    let (left, right) = (cast::delegate(&root, small(9), 1), cast::delegate(&root, cast::both_tools(), 0));
    let grandchild = cast::delegate(&left, small(5), 0);
    // Three permits of left and below, two of right, one denial by a constraint.
    call(&left, &bus, 3).await.unwrap();
    call(&left, &bus, 8).await.unwrap();
    call(&grandchild, &bus, 4).await.unwrap();
    call(&right, &bus, 20).await.unwrap();
    call_gated(&right, &bus, 1).await.unwrap();
    assert_eq!(denied(call(&grandchild, &bus, 6).await), Code::ArgumentRefused);
    let narrowed_after = system.stream_size().await.unwrap() - 1;
    // Under a narrowing: one permit, one denial; lifted: one permit.
    let narrow = json!({ format!("nats:{HOSTED}"): { "account": { "constraint_type": "exact", "value": 3 } } });
    let target = root.root_digest().to_string();
    let (code, said) = system.marque(&["narrow", "token", &target, "--tools", &narrow.to_string(), "--reason", "test"]);
    assert_eq!(code, 0, "{said}");
    call(&left, &bus, 3).await.unwrap();
    assert_eq!(denied(call(&left, &bus, 8).await), Code::Narrowed);
    let (code, lifted) = system.marque(&["lift", said["id"].as_str().unwrap(), "--reason", "test"]);
    assert_eq!(code, 0, "{lifted}");
    call(&left, &bus, 8).await.unwrap();
    // Left is revoked: it and its child are denied.
    let (code, said) = system.marque(&["revoke", "token", &left.leaf_digest().to_string(), "--reason", "test"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(denied(call(&left, &bus, 3).await), Code::Revoked);
    assert_eq!(denied(call(&grandchild, &bus, 3).await), Code::Revoked);
    call(&right, &bus, 20).await.unwrap();
    // The copy outlives the system.
    let log = tempfile::tempdir().unwrap();
    let wanted = system.stream_size().await.unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (_, said) = system.marque(&["log", "export", &log.path().display().to_string()]);
        if said["leaves"].as_u64().is_some_and(|leaves| leaves >= wanted) {
            break;
        }
        assert!(Instant::now() < deadline, "{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let past = Past {
        log,
        task: "urn:task:end-to-end".into(),
        root: root.root_digest().to_string(),
        left: left.leaf_digest().to_string(),
        left_key: left.key().did().to_string(),
        grandchild: grandchild.leaf_digest().to_string(),
        narrowed_after,
    };
    system.stop().await;
    past
}

/// Asks the command line about a copy, without any system or directory.
fn ask(log: &Path, args: &[&str]) -> (i32, Value) {
    let output = said(log, &[&["-j"], args].concat());
    let document = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), document.unwrap_or_else(|error| panic!("{args:?}: {error}: {output:?}")))
}

fn said(log: &Path, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(marque_tests::binaries::path("marque"));
    command.args(args).arg("--log").arg(log).env_remove("MARQUE_DIR").env_remove("NATS_URL");
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_told_from_a_copy() {
    let past = past().await;
    let log = past.log.path();
    the_log_bears_its_decisions_out(log);
    what_if(&past);
    the_tree_shows_who_handed_what_to_whom(&past);
    what_rested_on_a_token_or_a_key(&past);
    a_timeline_is_in_leaf_order(&past);
}

fn the_log_bears_its_decisions_out(log: &Path) {
    let (code, said) = ask(log, &["audit", "replay"]);
    assert_eq!((code, &said["otherwise"]), (0, &json!([])), "{said}");
    assert_eq!((said["judged"].as_u64(), &said["not_judged"]), (Some(12), &json!({})), "{said}");
    assert_eq!(said["same"], said["judged"]);
}

/// The decisions that would be others, as `leaf's words → what would be`.
fn others(said: &Value) -> Vec<(&str, &str, &str)> {
    let rows = said["otherwise"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or("-");
            (text("was"), text("would_be"), text("code"))
        })
        .collect()
}

fn what_if(past: &Past) {
    let log = past.log.path();
    // Without left, what it and its child were permitted would be denied: five before it was revoked.
    let (code, said) = ask(log, &["audit", "replay", "--without", &past.left]);
    assert_eq!((code, others(&said)), (1, vec![("permit", "deny", "revoked"); 5]), "{said}");
    let (_, said) = ask(log, &["audit", "replay", "--without", &past.grandchild]);
    assert_eq!(others(&said).len(), 1, "{said}");
    // Under a policy that allows accounts up to 10 alone: what right did with 20.
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.json");
    let small =
        json!({ "tools": { format!("nats:{HOSTED}"): { "account": { "constraint_type": "range", "max": 10 } } } });
    std::fs::write(&policy, small.to_string()).unwrap();
    let (code, said) = ask(log, &["audit", "replay", "--with-policy", &policy.display().to_string()]);
    assert_eq!((code, others(&said)), (1, vec![("permit", "deny", "narrowed"); 2]), "{said}");
    // Decided after everything: left is revoked in all that it ever did.
    let end = time_of(log, u64::MAX);
    let (code, said) = ask(log, &["audit", "replay", "--at", &end.to_string()]);
    assert_eq!((code, others(&said)), (1, vec![("permit", "deny", "revoked"); 5]), "{said}");
    // Decided before any directive: what directives denied would be permitted, what constraints denied would not.
    let begin = time_of(log, past.narrowed_after) - 1;
    let (code, said) = ask(log, &["audit", "replay", "--at", &begin.to_string()]);
    assert_eq!((code, others(&said)), (1, vec![("deny", "permit", "-"); 3]), "{said}");
    // What is no policy is a usage error.
    for none in [r#"{"tools": {"x": 3}}"#, r#"{"tools": {"x": {}}, "tools": {"x": {}}}"#] {
        std::fs::write(&policy, none).unwrap();
        let (code, _) = ask(log, &["audit", "replay", "--with-policy", &policy.display().to_string()]);
        assert_eq!(code, 2, "{none}");
    }
}

/// The second in which the broker stored the last record at or before a leaf, and one more.
fn time_of(log: &Path, leaf: u64) -> i64 {
    let (_, said) = ask(log, &["audit", "timeline", "--task", "urn:task:end-to-end"]);
    let rows = said.as_array().unwrap().iter().filter(|row| row["leaf"].as_u64() <= Some(leaf));
    rows.map(|row| row["stored_ms"].as_i64().unwrap()).max().unwrap() / 1000 + 1
}

fn the_tree_shows_who_handed_what_to_whom(past: &Past) {
    let log = past.log.path();
    let (code, roots) = ask(log, &["audit", "tree", "--task", &past.task]);
    assert_eq!((code, roots.as_array().unwrap().len()), (0, 1), "{roots}");
    let root = &roots[0];
    assert_eq!((root["token"].as_str(), root["sponsor"].as_str()), (Some(past.root.as_str()), Some("tests")));
    let children = root["children"].as_array().unwrap();
    let left = children.iter().find(|child| child["token"] == past.left.as_str()).unwrap();
    assert_eq!(children.len(), 2, "{roots}");
    // Permitted: 3, 8, under the narrowing 3, after the lift 8. Denied: narrowed, revoked.
    assert_eq!((&left["permitted"], &left["denied"], &left["completed"]), (&json!(4), &json!(2), &json!(4)));
    assert_eq!(left["dropped"], json!([format!("nats:{}", cast::GATED)]));
    assert_eq!(left["children"][0]["token"], past.grandchild.as_str());
    for (form, begins) in [("text", "tests → "), ("dot", "digraph"), ("svg", "<svg ")] {
        let drawn = said(log, &["audit", "tree", "--task", &past.task, "--format", form]);
        let drawn = String::from_utf8(drawn.stdout).unwrap();
        assert!(drawn.starts_with(begins) && drawn.contains("without nats:gated"), "{drawn}");
    }
}

fn what_rested_on_a_token_or_a_key(past: &Past) {
    let log = past.log.path();
    let after = past.narrowed_after.to_string();
    for (kind, value) in [("token", &past.left), ("key", &past.left_key)] {
        let (code, whole) = ask(log, &["audit", "blast-radius", kind, value]);
        let sums = &whole["sums"];
        assert_eq!(code, 0);
        assert_eq!(
            (&sums["permitted"], &sums["denied"], &sums["delegated"]),
            (&json!(5), &json!(4), &json!(2)),
            "{kind}: {whole}"
        );
        assert_eq!(whole["tainted_tokens"].as_array().unwrap().len(), 2, "left and its child");
        let (_, later) = ask(log, &["audit", "blast-radius", kind, value, "--after", &after]);
        assert_eq!((&later["sums"]["permitted"], &later["sums"]["denied"]), (&json!(2), &json!(3)), "{kind}: {later}");
        let first = later["records"][0]["leaf"].as_u64().unwrap();
        assert!(first > past.narrowed_after);
    }
    // All that the agent's key held: the whole task. A manifest that nobody ran: nothing.
    for (kind, value) in [("manifest", "00".repeat(32)), ("token", "00".repeat(32))] {
        let (code, nothing) = ask(log, &["audit", "blast-radius", kind, &value]);
        assert_eq!((code, &nothing["error"]["code"]), (6, &"not_found".into()), "{nothing}");
    }
    let (code, _) = ask(log, &["audit", "blast-radius", "key", "did:key:nonsense"]);
    assert_eq!(code, 2);
}

fn a_timeline_is_in_leaf_order(past: &Past) {
    let (code, rows) = ask(past.log.path(), &["audit", "timeline", "--task", &past.task]);
    let rows = rows.as_array().unwrap();
    let leaves: Vec<u64> = rows.iter().map(|row| row["leaf"].as_u64().unwrap()).collect();
    assert!(code == 0 && leaves.is_sorted(), "{leaves:?}");
    let decided = rows.iter().filter(|row| row["kind"] == "decided");
    assert_eq!(decided.clone().count(), 12);
    assert!(decided.clone().all(|row| row["why"] == "the test says so"));
    assert_eq!(decided.filter(|row| row["outcome"] == "deny (revoked)").count(), 2);
    let (_, own) = ask(past.log.path(), &["audit", "timeline", "--agent", &past.left_key]);
    assert!(own.as_array().unwrap().len() < rows.len());
    // Neither task nor agent is no question.
    assert_eq!(said(past.log.path(), &["audit", "timeline"]).status.code(), Some(2));
}

/// One action by each of three, each led to by the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_tells_what_was_narrowed_what_led_to_it_and_what_followed() {
    let system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let bus = cast::carrier(&system).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let root = cast::commission(&cast::enrol(&system).await).await;
    let account = json!({ "constraint_type": "range", "max": 9 });
    let left = cast::delegate(&root, tools(json!({ format!("nats:{HOSTED}"): { "account": account } })), 1);
    let child = cast::delegate(&left, tools(json!({ format!("nats:{HOSTED}"): { "account": account } })), 0);
    let mut cause = "message-from-outside".to_owned();
    for (commission, account) in [(&root, 1), (&left, 2), (&child, 3)] {
        let why = Why::because(format!("step {account}")).caused_by(&cause);
        let answer = commission.on(&bus).call(HOSTED, &json!({ "account": account }), why).await.unwrap();
        cause = answer.action;
    }
    let rows = eventually("the log holds all three", DEADLINE, || async {
        let (_, rows) = system.marque(&["audit", "query", "--kind", "decided", "--oldest-first"]);
        if rows.as_array().is_some_and(|rows| rows.len() == 3) { Ok(rows) } else { Err(rows.to_string()) }
    })
    .await;
    let ids: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["record"]["id"].as_str().unwrap()).collect();
    // The index follows the log: what follows is there as soon as it reaches the last of them.
    let deadline = Instant::now() + DEADLINE;
    let explained = loop {
        let (code, explained) = system.marque(&["audit", "explain", ids[1]]);
        assert_eq!(code, 0, "{explained}");
        if explained["followed"].is_array() {
            break explained;
        }
        assert!(Instant::now() < deadline, "{explained}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let whys = |name: &str| -> Vec<String> {
        let beside = explained[name].as_array().unwrap();
        beside.iter().map(|action| action["why"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((whys("causes"), whys("followed")), (vec!["step 1".to_owned()], vec!["step 3".to_owned()]));
    assert_eq!(explained["causes"][0]["cause"], "message-from-outside", "the chain goes back to the first message");
    assert_eq!(explained["arguments"], json!({ "account": 2 }));
    let path = explained["path"].as_array().unwrap();
    assert_eq!(path[0]["sponsor"], "tests");
    assert_eq!(path[1]["narrowed"]["dropped"], json!([format!("nats:{}", cast::GATED)]));
    assert_eq!(path[1]["narrowed"]["constrained"][format!("nats:{HOSTED}")]["account"]["max"], 9);
    assert!(path[0].get("narrowed").is_none());
    let (_, last) = system.marque(&["audit", "explain", ids[2]]);
    let causes = last["causes"].as_array().unwrap();
    assert_eq!((&causes[0]["why"], &causes[1]["why"]), (&json!("step 2"), &json!("step 1")));
    // For a person.
    let mut command = Command::new(marque_tests::binaries::path("marque"));
    command.arg("--dir").arg(system.directory().path()).args(["audit", "explain", ids[1]]);
    let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
    for words in ["less  not nats:gated", "arguments  {\"account\":2}", "led to it", "followed"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    system.stop().await;
}
