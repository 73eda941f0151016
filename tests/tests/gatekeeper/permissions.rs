//! What the command line says an agent gets is what the gatekeeper gives it, out of the log and under the directives.

use std::collections::BTreeSet;

use marque::service_config::Service;
use marque_agent::Commission;
use marque_judgement::record::Body;
use marque_signing::{Compact, nkey};
use marque_test_support::{eventually, until};
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

use super::{BLUEPRINT, HOSTED, blueprint, closed, commission, connect, enrol, pattern, records, revoke};

/// What an agent gets, once the log's inventory knows of so many live chains of it.
async fn told(system: &TestSystem, agent: &str, chains: usize) -> Value {
    eventually("the log knows what it holds", DEADLINE, || async {
        let (code, told) = system.marque(&["nats", "permissions", agent]);
        let known = told["chains"].as_array().is_some_and(|known| known.len() == chains);
        if code == 0 && known { Ok(told) } else { Err(format!("{code}: {told}")) }
    })
    .await
}

/// The subjects that it is given one way.
fn given(chain: &Value, way: &str) -> BTreeSet<String> {
    let lines = chain["given"].as_array().unwrap_or_else(|| panic!("nothing is given: {chain}"));
    let of_way = lines.iter().filter(|line| line["way"] == way);
    of_way.map(|line| line["subject"].as_str().unwrap().to_owned()).collect()
}

/// What the gatekeeper gave it when it came last, as its record says.
async fn got(system: &TestSystem, agent: &Commission) -> (BTreeSet<String>, BTreeSet<String>) {
    let records = records(system).await;
    let of_it = records.iter().rev().filter(|record| record.agent == Some(agent.key().did()));
    let mut connected = of_it.filter_map(|record| match &record.body {
        Body::Connected(connected) => Some(connected),
        _ => None,
    });
    let last = connected.next().unwrap();
    (last.publish.iter().cloned().collect(), last.subscribe.iter().cloned().collect())
}

/// A token's name in directives.
fn digest_of(token: &str) -> String {
    Compact::split(token).unwrap().signing_digest().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_what_the_gatekeeper_gives() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    let less = json!({ "nats:publish": pattern("team.open.>"), "nats:subscribe": pattern("team.>") });
    let child = cast::delegate(&root, tools(less), 0);
    root.record_delegation(&bus, child.chain()).await.unwrap();
    let child_bus = connect(&system, &child).await.unwrap();
    let root_did = root.key().did().to_string();
    let child_name = nkey::user_public(&child.key().public());

    // 1. The issued agent, and the sub-agent that nobody has enrolled: what the broker was told, and by which tokens.
    let of_root = told(&system, &root_did, 1).await;
    let chain = &of_root["chains"][0];
    assert_eq!((given(chain, "publish"), given(chain, "subscribe")), got(&system, &root).await);
    assert_eq!((&chain["token"], chain["links"].as_array().unwrap().len()), (&json!(root.root_digest()), 1));
    let lines = chain["given"].as_array().unwrap();
    let tool = format!("nats:{HOSTED}");
    assert!(lines.iter().any(|line| line["subject"] == HOSTED && line["why"] == tool.as_str()), "{chain}");
    let of_child = told(&system, &child_name, 1).await;
    let chain = &of_child["chains"][0];
    assert_eq!((given(chain, "publish"), given(chain, "subscribe")), got(&system, &child).await);
    let links: Vec<&Value> = chain["links"].as_array().unwrap().iter().map(|link| &link["token"]).collect();
    assert_eq!(links, [&json!(root.root_digest()), &json!(child.leaf_digest())]);

    // 2. Narrowed: withheld, and why; the sub-agent has no more than that anyway.
    let narrow = json!({ "nats:publish": pattern("team.open.>") }).to_string();
    let token = root.root_digest().to_string();
    let (code, reply) = system.marque(&["narrow", "token", &token, "--tools", &narrow, "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    let narrowed = &told(&system, &root_did, 1).await["chains"][0];
    assert!(!given(narrowed, "publish").contains("team.>") && given(narrowed, "subscribe").contains("team.>"));
    let withheld = &narrowed["withheld"][0];
    assert_eq!((&withheld["subject"], &withheld["way"]), (&json!("team.>"), &json!("publish")), "{narrowed}");
    assert!(withheld["why"].as_str().unwrap().contains("narrowing"), "{withheld}");
    assert!(given(&told(&system, &child_name, 1).await["chains"][0], "publish").contains("team.open.>"));
    // A chain out of a file is told the same.
    let file = |name: &str, chain: &str| {
        let path = system.directory().path().join(name);
        std::fs::write(&path, chain).unwrap();
        path.display().to_string()
    };
    let (root_file, child_file) = (file("root", root.chain()), file("child", child.chain()));
    let (code, filed) = system.marque(&["nats", "permissions", &root_file]);
    assert_eq!((code, &filed["given"], &filed["withheld"]), (0, &narrowed["given"], &narrowed["withheld"]));

    // 3. Revoked: it gets nothing by that chain, its parent does.
    revoke(&system, &["token", &child.leaf_digest().to_string()]);
    let of_child = told(&system, &child_name, 1).await;
    assert_eq!(of_child["chains"][0]["refused"]["code"], "revoked", "{of_child}");
    assert!(of_child["chains"][0]["given"].is_null(), "{of_child}");
    assert!(!given(&told(&system, &root_did, 1).await["chains"][0], "publish").is_empty());
    let (code, refused) = system.marque(&["nats", "permissions", &child_file]);
    assert_eq!((code, &refused["error"]["code"]), (1, &json!("revoked")), "{refused}");
    let (code, signed) = system.marque(&["nats", "permissions", &child_file, "--offline"]);
    assert!(code == 0 && given(&signed, "publish").contains("team.open.>"), "{signed}");

    // 4. By its identity credential it gets what its record says, until a directive ends it.
    let credential_file = file("credential", agent.credential());
    let (code, filed) = system.marque(&["nats", "permissions", &credential_file]);
    assert!(code == 0 && given(&filed, "publish").contains("marque.issuer.issue"), "{filed}");
    for target in [&["token", &digest_of(agent.credential())][..], &["blueprint", BLUEPRINT]] {
        let suspended = [&["suspend"], target, &["--reason", "test"]].concat();
        let (code, reply) = system.marque(&suspended);
        assert_eq!(code, 0, "{reply}");
        let (code, refused) = system.marque(&["nats", "permissions", &credential_file]);
        assert_eq!((code, &refused["error"]["code"]), (1, &json!("suspended")), "{target:?}: {refused}");
        assert!(refused["error"]["hint"].as_str().unwrap().contains(reply["id"].as_str().unwrap()), "{refused}");
        // Nobody gets in by it either, and whoever was in is out.
        closed(agent.bus()).await;
        let (code, signed) = system.marque(&["nats", "permissions", &credential_file, "--offline"]);
        assert!(code == 0 && !given(&signed, "publish").is_empty(), "{signed}");
        let (code, reply) = system.marque(&["lift", reply["id"].as_str().unwrap(), "--reason", "test"]);
        assert_eq!(code, 0, "{reply}");
        let (code, again) = system.marque(&["nats", "permissions", &credential_file]);
        assert_eq!((code, &again["given"]), (0, &filed["given"]), "{again}");
        until("it comes back", || agent.bus().is_connected()).await;
    }

    // 5. Nobody the log knows; and what nobody can tell.
    let (code, nobody) =
        system.marque(&["nats", "permissions", "did:key:z6MkgeAYjgfXDoaxMou4TKNEtGJ8cYHARPASB12ehQ8b13ie"]);
    assert_eq!((code, &nobody["error"]["code"]), (6, &json!("not_found")), "{nobody}");
    let (code, usage) = system.marque(&["nats", "permissions", &root_did, "--offline"]);
    assert_eq!(code, 2, "{usage}");
    system.kill(Service::Broadcaster);
    let (code, stale) = system.marque(&["nats", "permissions", &root_file]);
    assert_eq!((code, &stale["error"]["code"]), (3, &json!("view_stale")), "{stale}");
    drop((bus, child_bus));
    system.stop().await;
}
