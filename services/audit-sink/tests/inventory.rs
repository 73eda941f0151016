//! The inventory: what the log tells of agents and of what they hold, and that it is a function of the log alone.
#![allow(clippy::unwrap_used)]

mod house;

use house::{
    House, acted, agents_rows, completed, connected, delegated, directive, disconnected, granting, issued, key, kicked,
    missing, mixed, sealed, stream, told,
};
use marque_audit_sink::agents::ALIKE_HOLDERS_MIN;
use marque_audit_sink::inventory::FORKS_RAISED_MAX;
use marque_audit_sink::{SinkError, files};
use marque_bus::Stored;
use marque_identity::{Did, Digest};
use marque_judgement::record::{Record, Verb};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::tempdir;

const BASE_MS: i64 = 1_700_000_000_000;
/// All of what is issued until 1,700,000,900 is past half of its life, and lives.
const LATE_MS: i64 = BASE_MS + 600_000;

async fn house_of(messages: &[Stored]) -> (tempfile::TempDir, House) {
    let directory = tempdir().unwrap();
    let house = House::open(directory.path());
    house.take_in(messages).await.unwrap();
    assert_eq!(house.intake.inventory.upto(), messages.len() as u64);
    (directory, house)
}

/// Boss 20 has three tools and hands two of them to helper 21, who uses one of them.
fn family() -> (Vec<(Record, u8)>, Digest, Digest) {
    let (boss, helper) = (key(20).did(), key(21).did());
    let (root, root_digest) = granting("root", &["nats:a", "nats:b", "nats:publish"], 1_700_000_900, 1);
    let (link, link_digest) = granting("link", &["nats:a", "nats:b"], 1_700_000_800, 20);
    let action = acted(helper, &[root_digest, link_digest], "nats:a", Verb::Permit, 1, "proof-1");
    let records = vec![
        (issued(boss, &root, root_digest), 1),
        (connected(boss, 1, &[root_digest], &[boss]), 4),
        (delegated(helper, &link, link_digest, root_digest), 2),
        (action.clone(), 2),
        (completed(&action), 2),
        (acted(helper, &[root_digest, link_digest], "nats:c", Verb::Deny, 2, "proof-2"), 2),
    ];
    (records, root_digest, link_digest)
}

fn of(records: &[(Record, u8)]) -> Vec<Stored> {
    told(records.iter().map(|(record, seed)| (record, *seed)))
}

fn kinds(row: &Value) -> Vec<&str> {
    row["findings"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect()
}

#[tokio::test]
async fn tells_who_holds_what_from_whom_and_what_of_it_is_used() {
    let (records, root, link) = family();
    let (_directory, house) = house_of(&of(&records)).await;
    let mut agents = agents_rows(&house, &json!({}), "agents", BASE_MS + 10_000);
    agents.sort_by_key(|row| row["agent"] != json!(key(20).did()));
    let [boss, helper] = agents.as_slice() else { panic!("{agents:?}") };
    assert_eq!((&boss["blueprint"], &boss["sponsor"]), (&json!("mailer"), &json!("team@acme.example")));
    assert_eq!((&boss["connected"], &boss["live"], &boss["tools"]), (&json!(1), &json!(1), &json!(3)));
    assert_eq!(helper["delegated_by"], json!([key(20).did()]));
    assert_eq!((&helper["blueprint"], &helper["tasks"]), (&json!("mailer"), &json!(["urn:marque:task:t1"])));
    assert_eq!((&helper["permitted"], &helper["denied"], &helper["connected"]), (&json!(1), &json!(1), &json!(0)));
    // Used by its permit; the denial came later, and the tree has the same.
    assert_eq!((&helper["expires_at"], &helper["last_used_ms"]), (&json!(1_700_000_800), &json!(BASE_MS + 4_000)));
    assert_eq!(helper["head"]["seq"], 2);
    assert!(kinds(boss).is_empty() && kinds(helper).is_empty(), "{agents:?}");
    // A tree: the root first or last, each with its parent.
    let tokens = agents_rows(&house, &json!({ "view": "tree", "limit": 1 }), "credentials", BASE_MS + 10_000);
    let by = |digest: Digest| tokens.iter().find(|row| row["token"] == json!(digest)).unwrap();
    assert_eq!(tokens.len(), 2);
    assert_eq!((&by(link)["parent"], &by(link)["delegated_by"]), (&json!(root), &json!(key(20).did())));
    assert_eq!(by(link)["last_used_ms"], helper["last_used_ms"]);
    assert_eq!((&by(root)["permits"], &by(root)["connects"], &by(link)["denials"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((&by(link)["unused"], &by(root)["unused"]), (&json!(["nats:b"]), &json!(["nats:b"])));
    assert_eq!(
        (&by(root)["kind"], &by(link)["kind"], &by(link)["depth"]),
        (&json!("root"), &json!("derived"), &json!(1))
    );
    // What is asked for and what is not.
    let count = |ask: Value, rows: &str, now: i64| agents_rows(&house, &ask, rows, now).len();
    assert_eq!(count(json!({ "task": "urn:marque:task:t1" }), "agents", LATE_MS), 2);
    assert_eq!(count(json!({ "task": "urn:marque:task:none" }), "agents", LATE_MS), 0);
    assert_eq!(count(json!({ "blueprint": "mailer", "sponsor": "team@acme.example" }), "agents", LATE_MS), 2);
    assert_eq!(count(json!({ "blueprint": "reader" }), "agents", LATE_MS), 0);
    assert_eq!(count(json!({ "live": true }), "agents", BASE_MS + 850_000), 1);
    assert_eq!(count(json!({ "view": "tree", "task": "urn:marque:task:none" }), "credentials", LATE_MS), 0);
    assert_eq!(count(json!({ "view": "tree", "live": true }), "credentials", BASE_MS + 850_000), 1);
    assert_eq!(count(json!({ "agent": key(21).did() }), "agents", LATE_MS), 1);
    let info = json!({ "view": "info", "agent": key(20).did() });
    assert_eq!(agents_rows(&house, &info, "connections", LATE_MS)[0]["connection"], "NSERVER/1");
    assert_eq!(count(info, "credentials", LATE_MS), 1);
}

#[tokio::test]
async fn finds_what_was_granted_and_never_used() {
    let (mut records, _, _) = family();
    let (idle, idle_digest) = granting("idle", &["nats:x"], 1_700_000_900, 1);
    records.push((issued(key(22).did(), &idle, idle_digest), 1));
    let (_directory, house) = house_of(&of(&records)).await;
    // Young: nothing to say yet.
    assert!(agents_rows(&house, &json!({ "findings": true }), "agents", BASE_MS + 10_000).is_empty());
    let found = agents_rows(&house, &json!({ "findings": true }), "agents", LATE_MS);
    let of = |seed: u8| found.iter().find(|row| row["agent"] == json!(key(seed).did())).unwrap();
    assert_eq!(kinds(of(22)), ["never_used"]);
    assert_eq!((kinds(of(20)), kinds(of(21))), (vec!["wider_than_used"], vec!["wider_than_used"]));
    let info = json!({ "view": "info", "agent": key(20).did() });
    let finding = &agents_rows(&house, &info, "findings", LATE_MS)[0];
    // What the broker alone enforces is not called unused.
    assert!(finding["message"].as_str().unwrap().contains("1 of its 3 tools were never used: nats:b"), "{finding}");
    assert_eq!((&finding["severity"], &finding["counts"]["unused"]), (&json!("info"), &json!(1)));
    assert_eq!(finding["evidence"]["records"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn finds_one_grant_in_many_hands_and_not_in_few() {
    let fleet = |count: u8| {
        let records: Vec<(Record, u8)> = (0..count)
            .map(|at| {
                let (root, digest) = granting(&format!("root-{at}"), &["nats:a", "nats:b"], 1_700_000_900, 1);
                (issued(key(100 + at).did(), &root, digest), 1)
            })
            .collect();
        of(&records)
    };
    let many = u8::try_from(ALIKE_HOLDERS_MIN).unwrap();
    let now = BASE_MS + 60_000;
    let (_one, house) = house_of(&fleet(many - 1)).await;
    assert!(agents_rows(&house, &json!({ "findings": true }), "agents", now).is_empty());
    let (_two, house) = house_of(&fleet(many)).await;
    let found = agents_rows(&house, &json!({ "findings": true, "limit": 3 }), "agents", now);
    assert_eq!(found.len(), ALIKE_HOLDERS_MIN);
    assert!(found.iter().all(|row| kinds(row) == ["alike_in_many_hands"]));
    // Expired grants are in nobody's hands.
    let later = agents_rows(&house, &json!({ "findings": true }), "agents", BASE_MS + 901_000);
    assert!(later.iter().all(|row| kinds(row) == ["never_used"]), "{later:?}");
}

#[tokio::test]
async fn finds_links_that_no_record_brought() {
    let (boss, middle, helper) = (key(20).did(), key(21).did(), key(22).did());
    let links: Vec<Digest> = (0..3).map(|n| marque_signing::sha256(&[n])).collect();
    let action = acted(helper, &links, "nats:a", Verb::Permit, 1, "p");
    let records =
        [(action.clone(), 2), (completed(&action), 2), (connected(helper, 1, &links, &[boss, middle, helper]), 4)];
    let (_directory, house) = house_of(&of(&records)).await;
    let found = missing(&house, &json!({}), LATE_MS);
    let kinds: Vec<&str> = found.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "delegation_unpublished").count(), 2, "{found:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "root_unissued").count(), 1, "{found:?}");
    let of = |link: Digest| found.iter().find(|finding| finding["token"] == json!(link)).unwrap();
    // The connection told who holds the links in the middle.
    assert_eq!((&of(links[0])["agent"], &of(links[1])["agent"]), (&json!(boss), &json!(middle)));
    assert_eq!((&of(links[2])["counts"]["uses"], &of(links[0])["severity"]), (&json!(2), &json!("critical")));
    // One by one, the same; of one agent, its own.
    assert_eq!(missing(&house, &json!({ "limit": 1 }), LATE_MS), found);
    assert_eq!(missing(&house, &json!({ "agent": middle }), LATE_MS).len(), 1);
    assert!(missing(&house, &json!({ "since_ms": LATE_MS + 1 }), LATE_MS).is_empty());
}

#[tokio::test]
async fn a_parents_own_word_is_marked_and_a_strangers_is_nothing() {
    let (boss, helper) = (key(20).did(), key(21).did());
    let (root, root_digest) = granting("root", &["nats:a"], 1_700_000_900, 1);
    let claims = |seed: u8| {
        json!({ "jti": "link", "par_hash": marque_signing::base64url(&root_digest.0), "del_depth": 1, "exp": 1_700_000_800,
                "cnf": { "jwk": key(seed).public().jwk() },
                "authorization_details": [{ "type": "attenuating_agent_token", "tools": { "nats:a": {} } }] })
    };
    let (link, link_digest) = house::token(&claims(21), 20);
    let (stolen, stolen_digest) = house::token(&claims(23), 22);
    let own = Record { by: boss, task: None, ..delegated(helper, &link, link_digest, root_digest) };
    let foreign =
        Record { by: key(22).did(), task: None, ..delegated(key(23).did(), &stolen, stolen_digest, root_digest) };
    let mut records = vec![(issued(boss, &root, root_digest), 1), (own, 20), (foreign, 22)];
    let (_directory, house) = house_of(&of(&records)).await;
    assert_eq!(house.read().row(1).unwrap().0.verdict, "valid");
    assert_eq!(house.read().row(2).unwrap().0.verdict, "valid", "it is the signer's word, whatever it is worth");
    let tokens = agents_rows(&house, &json!({ "view": "tree" }), "credentials", BASE_MS);
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    let linked = |tokens: &[Value]| tokens.iter().find(|row| row["token"] == json!(link_digest)).unwrap().clone();
    assert_eq!((&linked(&tokens)["claimed"], &linked(&tokens)["task"]), (&json!(true), &json!("urn:marque:task:t1")));
    assert_eq!(agents_rows(&house, &json!({}), "agents", BASE_MS).len(), 2, "the stranger's helper is nobody");
    // Once an enforcement point has verified a chain with it, it holds.
    records.push((acted(helper, &[root_digest, link_digest], "nats:a", Verb::Permit, 1, "p"), 2));
    let (_directory, house) = house_of(&of(&records)).await;
    assert!(linked(&agents_rows(&house, &json!({ "view": "tree" }), "credentials", BASE_MS)).get("claimed").is_none());
}

#[tokio::test]
async fn directives_stand_on_what_they_hit_until_they_are_lifted() {
    let (records, root, link) = family();
    let standing = |extra: Vec<Record>| {
        let mut records = records.clone();
        records.extend(extra.into_iter().map(|record| (record, 5)));
        async move {
            let (_directory, house) = house_of(&of(&records)).await;
            let rows = agents_rows(&house, &json!({ "view": "tree" }), "credentials", LATE_MS);
            let of =
                |digest: Digest| rows.iter().find(|row| row["token"] == json!(digest)).unwrap()["standing"].clone();
            let findings = agents_rows(&house, &json!({ "view": "info", "agent": key(20).did() }), "findings", LATE_MS);
            let cut = findings.iter().any(|finding| finding["kind"] == "revoked_but_connected");
            (of(root), of(link), cut)
        }
    };
    let (revoke, suspend) = (json!("revoke"), json!("suspend"));
    let on = |op: &str, kind: &str, value: String| directive(op, kind, &value, "d1", None);
    // What hits a link hits what descends from it, and nothing above.
    assert_eq!(standing(vec![on("revoke", "token", link.to_string())]).await, (Value::Null, revoke.clone(), false));
    assert_eq!(standing(vec![on("revoke", "token", root.to_string())]).await, (revoke.clone(), revoke.clone(), true));
    assert_eq!(
        standing(vec![on("suspend", "key", key(20).did().to_string())]).await,
        (suspend.clone(), suspend.clone(), true)
    );
    assert_eq!(
        standing(vec![on("revoke", "key", key(21).did().to_string())]).await,
        (Value::Null, revoke.clone(), false)
    );
    for (kind, value) in [("task", "urn:marque:task:t1"), ("blueprint", "mailer"), ("domain", "acme.example")] {
        assert_eq!(
            standing(vec![on("revoke", kind, value.into())]).await,
            (revoke.clone(), revoke.clone(), true),
            "{kind}"
        );
    }
    // A longer name is another, and another domain's kill switch is not ours.
    assert_eq!(standing(vec![on("revoke", "domain", "acme.exampel".into())]).await.0, Value::Null);
    assert_eq!(standing(vec![on("revoke", "task", "urn:marque:task:t12".into())]).await.0, Value::Null);
    let lifted = directive("resume", "key", &key(20).did().to_string(), "d2", Some("d1"));
    assert_eq!(
        standing(vec![on("suspend", "key", key(20).did().to_string()), lifted]).await,
        (Value::Null, Value::Null, false)
    );
}

/// A list says of an agent what the tree says of its tokens.
#[tokio::test]
async fn a_revoked_token_is_not_live_and_a_commission_that_was_asked_for_is_not_used() {
    let (records, root, link) = family();
    let row = |extra: Vec<(Record, u8)>, asked: Value, seed: u8| {
        let records: Vec<(Record, u8)> = records.iter().cloned().chain(extra).collect();
        async move {
            let (_directory, house) = house_of(&of(&records)).await;
            let rows = agents_rows(&house, &asked, "agents", LATE_MS);
            rows.into_iter().find(|row| row["agent"] == json!(key(seed).did()))
        }
    };
    let on = |op: &str, token: Digest| vec![(directive(op, "token", &token.to_string(), "d1", None), 5)];
    // Its own token, and one that it descends from.
    for token in [link, root] {
        let told = row(on("revoke", token), json!({}), 21).await.unwrap();
        assert_eq!((&told["live"], &told["revoked"], &told["credentials"]), (&json!(0), &json!(1), &json!(1)));
        assert!(row(on("revoke", token), json!({ "live": true }), 21).await.is_none());
    }
    // The parent's is untouched by that; what is suspended may be resumed.
    let boss = row(on("revoke", link), json!({ "live": true }), 20).await.unwrap();
    assert_eq!((&boss["live"], boss.get("revoked")), (&json!(1), None));
    assert_eq!(row(on("suspend", link), json!({ "live": true }), 21).await.unwrap()["live"], 1);
    // Asked for, and not used.
    let (idle, digest) = granting("idle", &["nats:x"], 1_700_000_900, 1);
    let idle = row(vec![(issued(key(22).did(), &idle, digest), 1)], json!({}), 22).await.unwrap();
    assert_eq!((&idle["live"], idle.get("last_used_ms")), (&json!(1), None));
    assert!(row(vec![], json!({}), 20).await.unwrap()["last_used_ms"].is_i64());
}

#[tokio::test]
async fn connections_open_end_and_are_closed() {
    let agent = key(20).did();
    let links = [marque_signing::sha256(b"l")];
    let open = |records: Vec<Record>, now: i64| async move {
        let records: Vec<(Record, u8)> = records.into_iter().map(|record| (record, 4)).collect();
        let (_directory, house) = house_of(&of(&records)).await;
        agents_rows(&house, &json!({}), "agents", now)[0]["connected"].clone()
    };
    let on = |cid: u64| connected(agent, cid, &links, &[agent]);
    assert_eq!(open(vec![on(1), on(2)], LATE_MS).await, 2);
    assert_eq!(open(vec![on(1), on(2), kicked(agent, 1)], LATE_MS).await, 1);
    assert_eq!(
        open(vec![on(1), on(2), kicked(agent, 1), disconnected(agent, 1, 0), disconnected(agent, 2, 0)], LATE_MS).await,
        0
    );
    // The word of its end is lost: what it showed expires all the same.
    assert_eq!(open(vec![on(1)], BASE_MS + 9_001_000).await, 0);
    // An end of what never began says nothing, and the same number again is the same connection.
    assert_eq!(open(vec![on(1), disconnected(agent, 7, 3), kicked(agent, 8), on(1)], LATE_MS).await, 1);
}

/// What is shown over a link that stands is what counts from then on, and it is whoever's showed it.
#[tokio::test]
async fn a_link_is_what_it_showed_last() {
    let [agent, other] = [20, 21].map(|seed| key(seed).did());
    let [first, second] = [1, 2].map(|n| Digest([n; 32]));
    let records = vec![
        (connected(agent, 1, &[first], &[agent]), 4),
        (connected(agent, 1, &[second], &[agent]), 4),
        (connected(agent, 2, &[], &[]), 4),
    ];
    let (_directory, house) = house_of(&of(&records)).await;
    let shown = |house: &House, agent: Did| {
        let view = house.intake.inventory.view().unwrap();
        let rows = view.connections(&agent, 9).unwrap();
        rows.into_iter()
            .map(|(_, row)| (row.since.leaf, row.credential, row.ended.map(|end| end.leaf)))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&house, agent), [(2, None, None), (0, Some(second), None)]);
    // Another key's from then on, and the first one's once more.
    let again = vec![(connected(other, 1, &[first], &[other]), 4), (connected(agent, 1, &[first], &[agent]), 4)];
    let taken = [records, again].concat();
    let (_directory, house) = house_of(&of(&taken)).await;
    assert_eq!(shown(&house, agent), [(4, Some(first), None), (2, None, None), (0, Some(second), Some(3))]);
    assert_eq!(shown(&house, other), [(3, Some(first), Some(4))]);
}

/// Everything that can be asked, as one text.
fn everything(house: &House) -> String {
    let now = BASE_MS + 700_000;
    let mut text = String::new();
    let listed = agents_rows(house, &json!({}), "agents", now);
    for row in &listed {
        let info = json!({ "view": "info", "agent": row["agent"] });
        for rows in ["credentials", "connections", "findings"] {
            text.push_str(&json!(agents_rows(house, &info, rows, now)).to_string());
        }
    }
    text.push_str(&json!(listed).to_string());
    text.push_str(&json!(agents_rows(house, &json!({ "view": "tree" }), "credentials", now)).to_string());
    text.push_str(&json!(missing(house, &json!({}), now)).to_string());
    let view = house.intake.inventory.view().unwrap();
    let forks = view.forks_due(1000).unwrap();
    let heads = view.heads_due(None, 1000).unwrap();
    text.push_str(&format!("{forks:?}{heads:?}"));
    text
}

/// Good, bad and doubled records, agents that connect, fork, delegate and leave.
fn lively(count: usize) -> Vec<Stored> {
    let mut payloads: Vec<(String, Vec<u8>)> =
        mixed(count / 2).into_iter().map(|stored| (stored.subject, stored.payload.to_vec())).collect();
    let (records, root, link) = family();
    payloads.extend(records.iter().map(|(record, seed)| sealed(record, *seed)));
    for at in 0..count / 2 {
        let seed = 20 + u8::try_from(at % 3).unwrap();
        let agent = key(seed).did();
        let number = u64::try_from(at / 3).unwrap();
        let record = match at % 7 {
            0 => (connected(agent, number, &[root, link], &[key(20).did(), agent]), 4),
            1 => (disconnected(agent, number, 5), 4),
            2 => (house::requested(seed, number), seed),
            3 => (directive("suspend", "key", &agent.to_string(), &format!("d{at}"), None), 5),
            // Every number twice, with two proofs; and one is left out now and then.
            _ => (acted(agent, &[root, link], "nats:a", Verb::Permit, number / 2 * 3 + 1, &format!("p{at}")), 2),
        };
        payloads.push(sealed(&record.0, record.1));
        if at % 9 == 4 {
            payloads.push(payloads[payloads.len() - 3].clone());
        }
    }
    stream(payloads)
}

#[tokio::test]
async fn deleted_damaged_or_foreign_it_comes_back_the_same() {
    let messages = lively(240);
    let state = tempdir().unwrap();
    let before = {
        let house = House::open(state.path());
        house.take_in(&messages).await.unwrap();
        everything(&house)
    };
    let path = state.path().join(files::INVENTORY_FILE);
    let foreign = {
        let other = tempdir().unwrap();
        let house = House::open(other.path());
        house.take_in(&lively(900)).await.unwrap();
        drop(house);
        std::fs::read(other.path().join(files::INVENTORY_FILE)).unwrap()
    };
    for damage in [None, Some(&b"not a database"[..]), Some(&foreign)] {
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        let house = House::open(state.path());
        assert_eq!(house.intake.inventory.upto(), 0);
        house.take_in(&messages).await.unwrap();
        assert_eq!(everything(&house), before);
        drop(house);
    }
    // Without the index, too, and without the index alone.
    for lost in [vec![files::INDEX_FILE], vec![files::INDEX_FILE, files::INVENTORY_FILE]] {
        lost.iter().for_each(|file| std::fs::remove_file(state.path().join(file)).unwrap());
        let house = House::open(state.path());
        house.take_in(&messages).await.unwrap();
        assert_eq!(everything(&house), before, "{lost:?}");
    }
}

#[tokio::test]
async fn a_leaf_out_of_turn_is_refused() {
    let (records, _, _) = family();
    let (_directory, house) = house_of(&of(&records)).await;
    let entry = marque_audit_sink::index::Indexed { leaf: 7, broker_ts_ns: 0, verdict: house.intake.judge.judge(b"") };
    let refused = house.intake.inventory.apply(std::slice::from_ref(&entry), &[]);
    assert!(matches!(refused, Err(SinkError::NotNext { next: 6, got: 7 })));
}

#[tokio::test]
async fn pages_over_many_agents_are_bounded_and_lose_nobody() {
    // A chain of 60 links of 60 holders each time: 2,400 agents out of 40 records.
    let mut records = Vec::new();
    for at in 0..40_u64 {
        let holders: Vec<_> = (0..60_u64)
            .map(|n| {
                let seed = marque_signing::sha256(&[at.to_be_bytes(), n.to_be_bytes()].concat()).0;
                marque_identity::Did::from_key_bytes(seed)
            })
            .collect();
        let links: Vec<Digest> = holders.iter().map(|did| marque_signing::sha256(did.key_bytes())).collect();
        records.push((connected(holders[59], at, &links, &holders), 4));
    }
    let (_directory, house) = house_of(&of(&records)).await;
    let list = |ask: Value| agents_rows(&house, &ask, "agents", LATE_MS);
    let all = list(json!({}));
    let names: std::collections::BTreeSet<String> = all.iter().map(|row| row["agent"].to_string()).collect();
    assert_eq!((all.len(), names.len()), (2400, 2400));
    assert_eq!(list(json!({ "limit": 7 })).len(), 2400);
    // Nobody is asked for: every page does bounded work, says so, and goes on.
    assert!(list(json!({ "blueprint": "none" })).is_empty());
    assert_eq!(agents_rows(&house, &json!({ "view": "tree" }), "credentials", LATE_MS).len(), 2400);
    assert_eq!(missing(&house, &json!({}), LATE_MS).iter().filter(|f| f["kind"] == "root_unissued").count(), 40);
}

#[tokio::test]
async fn hostile_questions_are_refused() {
    let (records, _, _) = family();
    let (_directory, house) = house_of(&of(&records)).await;
    let reading = house.read();
    let stock = house.intake.inventory.view().unwrap();
    let ask = |ask: Value| -> Result<_, String> {
        let asked = serde_json::from_value(ask).map_err(|error| error.to_string())?;
        marque_audit_sink::agents::agents(&stock, &reading.index, 6, 0, &asked).map_err(|error| error.to_string())
    };
    for bad in [
        json!({ "view": "info" }),
        json!({ "view": "all" }),
        json!({ "view": "info", "agent": key(99).did() }),
        json!({ "agent": "did:key:z6Mk" }),
        json!({ "cursor": "" }),
        json!({ "cursor": "did:key:x" }),
        json!({ "cursor": 3 }),
        json!({ "view": "tree", "cursor": "00" }),
        json!({ "view": "info", "agent": key(20).did(), "cursor": "-1" }),
        json!({ "limit": -1 }),
        json!({ "unknown": true }),
    ] {
        assert!(ask(bad.clone()).is_err(), "{bad}");
    }
    for good in [
        json!({ "limit": u64::MAX }),
        json!({ "limit": 0 }),
        json!({ "view": "info", "agent": key(20).did(), "cursor": u64::MAX.to_string() }),
        json!({ "view": "tree", "cursor": "f".repeat(64) }),
        json!({ "cursor": key(99).did() }),
    ] {
        ask(good).unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_forks_on_purpose_is_told_of_a_bounded_number_of_times() {
    let agent = key(20).did();
    let records: Vec<(Record, u8)> = (1..60)
        .flat_map(|seq| {
            ["p", "q"].map(|proof| (acted(agent, &[], "nats:a", Verb::Permit, seq, &format!("{proof}{seq}")), 2))
        })
        .collect();
    let (_directory, house) = house_of(&of(&records)).await;
    let due = house.intake.inventory.view().unwrap().forks_due(1000).unwrap();
    assert_eq!(due.len() as u64, FORKS_RAISED_MAX);
    let found = missing(&house, &json!({}), BASE_MS);
    assert_eq!(found.iter().filter(|finding| finding["kind"] == "key_forked").count(), 59);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the batches and wherever it is killed, it tells the same.
    #[test]
    fn batches_and_kills_leave_no_trace(cuts in proptest::collection::vec((1_usize..50, 1_usize..20, 0_u8..3, any::<bool>()), 1..7)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let messages = lively(120);
        let state = tempdir().unwrap();
        for (more, share, how, lost) in cuts {
            let house = House::open(state.path());
            prop_assert!(house.intake.inventory.upto() <= house.intake.store.head().size);
            let from = house.intake.store.head().size as usize;
            let until = (from + more).min(messages.len());
            let run = house.take_in_as(&messages[..until], from, share);
            match how {
                0 => drop(run),
                1 => { let _ = runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_micros(2500), run).await }); }
                _ => runtime.block_on(run).unwrap(),
            }
            house::wait_for_the_last(house);
            if lost {
                std::fs::remove_file(state.path().join(files::INVENTORY_FILE)).unwrap();
            }
        }
        let house = House::open(state.path());
        runtime.block_on(house.take_in(&messages)).unwrap();
        let fresh = tempdir().unwrap();
        let other = House::open(fresh.path());
        runtime.block_on(other.take_in_as(&messages, 0, 1000)).unwrap();
        prop_assert_eq!(everything(&house), everything(&other));
    }
}
