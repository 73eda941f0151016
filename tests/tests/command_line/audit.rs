//! `audit`: what the log knows, asked by hand.

use marque_agent::{AgentKey, Commission};
use marque_bus::subjects;
use marque_runtime::keys::read_signing_key;
use marque_test_support::eventually;
use marque_tests::cast::HOSTED;
use marque_tests::system::DEADLINE;
use serde_json::{Value, json};

use super::{Stage, TASK, said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_asked_explained_and_proven_by_hand() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    let call = |args: &'static str| Stage::call(&home, &chain, args);
    let mut made = Vec::new();
    for args in [r#"{"account":1}"#, r#"{"account":2}"#, r#"{"account":3}"#] {
        let why = [call(args), vec!["--why", "the test says so"]].concat();
        made.push(stage.yes(&why)["record"].as_str().unwrap().to_owned());
    }
    let did = stage.did(&home);
    // 1. Queries: each condition finds what it names, and nothing else.
    eventually("the log has the outcomes", DEADLINE, || async {
        let found = stage.yes(&["audit", "query", "--task", TASK, "--kind", "completed"]);
        if found.as_array().unwrap().len() == 3 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let tool = format!("nats:{HOSTED}");
    let chain_text = std::fs::read_to_string(&chain).unwrap();
    for conditions in [
        &["--agent", &did, "--kind", "decided"][..],
        &["--task", TASK, "--kind", "decided"],
        &["--tool", &tool, "--decision", "permit"],
        &["--token", chain_text.trim(), "--decision", "permit"],
        &["--since", "1970-01-02T00:00:00Z", "--until", "+1h", "--decision", "permit"],
    ] {
        let asked = [&["audit", "query"], conditions].concat();
        let newest = stage.yes(&asked);
        let ids = |found: &Value| {
            let rows = found.as_array().unwrap().iter();
            rows.map(|row| row["record"]["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&newest), made.iter().rev().cloned().collect::<Vec<_>>(), "{conditions:?}");
        let oldest = stage.yes(&[&asked[..], &["--oldest-first", "--limit", "2"]].concat());
        assert_eq!(ids(&oldest), made[..2], "{conditions:?}");
        assert_eq!(stage.said("ndjson", &asked).lines().len(), 3, "{conditions:?}");
        assert_eq!(stage.human(&asked).lines().count(), 4, "{conditions:?}");
    }
    assert_eq!(stage.yes(&["audit", "query", "--decision", "deny"]), json!([]));
    assert_eq!(stage.yes(&["audit", "query", "--until", "1970-01-02T00:00:00Z"]), json!([]));
    for usage in [&["--kind", "decide"][..], &["--decision", "maybe"], &["--agent", "me"], &["--token", "x"]] {
        stage.refused(2, &[&["audit", "query"], usage].concat());
    }
    // 2. One action, explained: from its outcome too.
    let explained = stage.yes(&["audit", "explain", &made[0]]);
    assert_eq!((&explained["decided"]["decision"], &explained["path"][0]["holder"]), (&json!("permit"), &json!(did)));
    let completed = explained["completed"][0]["record"]["id"].as_str().unwrap();
    assert_eq!(stage.yes(&["audit", "explain", completed])["record"], explained["record"]);
    let full = stage.human(&["audit", "explain", &made[0]]);
    for word in ["delegation", "the test says so", "outcome    ok", "permit"] {
        assert!(full.contains(word), "{word}: {full}");
    }
    assert!(!full.contains("directive"), "none decided: {full}");
    // 3. A record's place, proven: by the checkpoint over it.
    let proof = eventually("a checkpoint over the record", DEADLINE, || async {
        let said = stage.said("json", &["audit", "proof", &made[0]]);
        if said.code == 0 { Ok(said.document()) } else { Err(format!("{said:?}")) }
    })
    .await;
    let question = |leaf: &Value| {
        json!({ "kind": "inclusion", "leafIdx": leaf, "treeSize": proof["tree_size"], "leafHash": proof["leaf_hash"],
                "root": proof["root"], "proof": proof["proof"] })
        .to_string()
    };
    let yes = said(&["log", "verify-proof", "--stdin"], question(&proof["leaf"]).as_bytes());
    assert_eq!((yes.code, yes.out.as_str()), (0, "{\"valid\":true}\n"));
    let other = json!(proof["leaf"].as_u64().unwrap() - 1);
    let no = said(&["log", "verify-proof", "--stdin"], question(&other).as_bytes());
    assert_eq!((no.code, no.out.as_str()), (1, "{\"valid\":false}\n"));
    for verb in ["explain", "proof"] {
        assert_eq!(stage.refused(6, &["audit", verb, "01900000-0000-7000-8000-000000000000"])["code"], "not_found");
        stage.refused(2, &["audit", verb]);
    }
    stage.stop().await;
}

/// A no where anything is found that is graver than information.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completeness_is_a_yes_or_a_no_in_every_form() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    stage.yes(&Stage::call(&home, &chain, r#"{"account":1}"#));
    let did = stage.did(&home);
    let report = ["audit", "completeness", "--agent", &did];
    let whole = eventually("all leaves are looked at", DEADLINE, || async {
        let said = stage.said("json", &report);
        let document = said.document();
        let whole = document["tree_size"].is_u64() && document["tree_size"] == document["inventory_upto"];
        if whole { Ok((said.code, document)) } else { Err(format!("{said:?}")) }
    })
    .await;
    let grave = |report: &Value| report["findings"].as_array().unwrap().iter().any(|one| one["severity"] != "info");
    assert_eq!(whole.0, i32::from(grave(&whole.1)), "{}", whole.1);
    // A connection that asks, and of which no record tells, is one.
    let key = read_signing_key(format!("{home}/agent.key").as_ref()).unwrap();
    let text = std::fs::read_to_string(&chain).unwrap();
    let commission = Commission::adopt(AgentKey::new(key), text.trim().to_owned()).unwrap();
    let silent = commission.connect(stage.system.url(), "test-silent", DEADLINE).await.unwrap();
    for _ in 0..2 {
        silent.request(subjects::issuer::BUNDLE, Default::default(), Vec::new(), DEADLINE).await.unwrap();
    }
    silent.drain().await.unwrap();
    let found = eventually("the silent connection is found", DEADLINE, || async {
        let said = stage.said("json", &report);
        if said.code == 1 && grave(&said.document()) { Ok(said.document()) } else { Err(format!("{said:?}")) }
    })
    .await;
    let kinds: Vec<&Value> = found["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
    assert!(kinds.contains(&&json!("connected_silent")), "{found}");
    let human = stage.said("human", &report);
    assert!(human.code == 1 && human.out.contains("connected_silent"), "{human:?}");
    let lines = stage.said("ndjson", &report);
    assert!(lines.code == 1 && lines.lines().iter().any(|one| one["kind"] == "connected_silent"), "{lines:?}");
    stage.stop().await;
}
