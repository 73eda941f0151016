//! What the broker saw against what agents signed: each finding with its twin that finds nothing.
#![allow(clippy::unwrap_used)]

mod house;

use house::{
    House, acted, completed, connected, disconnected, granting, issued, key, missing, requested, sealed, stream, told,
};
use marque_audit_sink::completeness::{GAP_SETTLED_MS, OUTCOME_DUE_MS, SILENT_MS};
use marque_audit_sink::notices::due_heads;
use marque_bus::Stored;
use marque_identity::{Digest, UnixMillis};
use marque_judgement::record::{Body, HEADS_MAX, Record, Verb};
use serde_json::{Value, json};
use tempfile::tempdir;

/// The stream's first message is stored a second later.
const BASE_MS: i64 = 1_700_000_000_000;
const LATE_MS: i64 = BASE_MS + 8_000_000;

async fn house_of(messages: &[Stored]) -> (tempfile::TempDir, House) {
    let directory = tempdir().unwrap();
    let house = House::open(directory.path());
    house.take_in(messages).await.unwrap();
    (directory, house)
}

async fn found_at(records: &[(Record, u8)], now_ms: i64) -> Vec<Value> {
    let (_directory, house) = house_of(&told(records.iter().map(|(record, seed)| (record, *seed)))).await;
    missing(&house, &json!({}), now_ms)
}

fn kinds(found: &[Value]) -> Vec<&str> {
    found.iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

/// An action and its outcome.
fn done(seed: u8, seq: u64) -> [(Record, u8); 2] {
    let action = acted(key(seed).did(), &[], "nats:a", Verb::Permit, seq, &format!("proof {seq}"));
    let outcome = completed(&action);
    [(action, 2), (outcome, 2)]
}

#[tokio::test]
async fn nothing_is_missing_where_everything_is_there() {
    let agent = key(20).did();
    let (root, digest) = granting("root", &["nats:a"], 1_700_000_900, 1);
    let mut records = vec![(connected(agent, 1, &[], &[]), 4), (issued(agent, &root, digest), 1)];
    records.extend((1..4).flat_map(|seq| done(20, seq)));
    records.push((requested(20, 4), 20));
    // Three actions, one commission, one statement, and the word to itself that it was let in.
    records.push((disconnected(agent, 1, 6), 4));
    assert_eq!(found_at(&records, LATE_MS).await, [] as [Value; 0]);
}

#[tokio::test]
async fn counts_messages_beyond_those_that_records_tell_of() {
    let agent = key(20).did();
    let mut records = vec![(connected(agent, 1, &[], &[]), 4)];
    records.extend(done(20, 1));
    // The same proof again, at another enforcement point: still one message that is known.
    records.push((acted(agent, &[], "nats:a", Verb::Deny, 1, "proof 1"), 2));
    records.push((disconnected(agent, 1, 5), 4));
    let found = found_at(&records, LATE_MS).await;
    assert_eq!(kinds(&found), ["published_unsigned"]);
    let counts = &found[0]["counts"];
    assert_eq!(
        counts,
        &json!({ "messages_sent": 5, "known": 1, "settling": 1, "unsigned_at_least": 3, "unsigned_at_most": 5 })
    );
    assert_eq!((&found[0]["severity"], &found[0]["evidence"]["leaves"]), (&json!("info"), &json!([0, 4])));
    assert_eq!(found[0]["evidence"]["records"], json!([records[0].0.id, records[4].0.id]));
    // A record that is stored a moment after the connection's end counts; one that comes long after does not.
    records.push((acted(agent, &[], "nats:a", Verb::Deny, 2, "proof 2"), 2));
    assert_eq!(found_at(&records, LATE_MS).await[0]["counts"]["known"], 2);
    let late: Vec<Stored> = told(records.iter().map(|(record, seed)| (record, *seed)))
        .into_iter()
        .map(|stored| Stored {
            time_ns: stored.time_ns + if stored.sequence == 6 { 60_000_000_000 } else { 0 },
            ..stored
        })
        .collect();
    let (_directory, house) = house_of(&late).await;
    assert_eq!(missing(&house, &json!({}), LATE_MS)[0]["counts"]["known"], 1);
}

#[tokio::test]
async fn many_that_end_at_once_are_not_accused() {
    let agent = key(20).did();
    let mut records: Vec<(Record, u8)> = (0..12).map(|cid| (connected(agent, cid, &[], &[]), 4)).collect();
    records.extend(done(20, 1));
    records.extend((0..12).map(|cid| (disconnected(agent, cid, 3), 4)));
    let messages: Vec<Stored> = told(records.iter().map(|(record, seed)| (record, *seed)))
        .into_iter()
        .map(|stored| Stored { time_ns: 1_700_000_000_000_000_000 + stored.sequence as i64, ..stored })
        .collect();
    let (_directory, house) = house_of(&messages).await;
    // Of the first four it can't be told any more which late records would have been theirs.
    assert_eq!(missing(&house, &json!({}), LATE_MS).len(), 8);
}

#[tokio::test]
async fn a_connection_that_no_record_tells_of_is_silent() {
    let agent = key(20).did();
    let on = (connected(agent, 1, &[], &[]), 4);
    let since = BASE_MS + 1000;
    assert!(found_at(std::slice::from_ref(&on), since + SILENT_MS - 1).await.is_empty());
    let found = found_at(std::slice::from_ref(&on), since + SILENT_MS).await;
    assert_eq!((kinds(&found), &found[0]["severity"]), (vec!["connected_silent"], &json!("warning")));
    // Ended: at once, if it sent something; a short visit without a word is nothing.
    let left = |sent: u64| [on.clone(), (disconnected(agent, 1, sent), 4)];
    assert_eq!(kinds(&found_at(&left(2), since + 2000).await), ["connected_silent", "published_unsigned"]);
    for nothing in [0, 1] {
        assert!(found_at(&left(nothing), LATE_MS).await.is_empty());
    }
    // Whoever acts is not silent.
    let mut records = vec![on.clone()];
    records.extend(done(20, 1));
    assert!(found_at(&records, LATE_MS).await.is_empty());
}

#[tokio::test]
async fn names_numbers_that_no_record_has_once_they_have_had_time_to_come() {
    let records: Vec<(Record, u8)> = [2, 3, 6].into_iter().flat_map(|seq| done(20, seq)).collect();
    let shown = BASE_MS + 5000;
    assert_eq!(kinds(&found_at(&records, shown + GAP_SETTLED_MS - 1).await), ["sequence_gap"], "the first gap alone");
    let found = found_at(&records, shown + GAP_SETTLED_MS).await;
    assert_eq!(found[0]["message"], "of 6 actions of this key 3 are in no record: 4 to 5, 1");
    assert_eq!(found[0]["counts"], json!({ "missing": 3, "newest_from": 4 }));
    // They come late, in whatever order, by an agent's own statement too.
    let mut whole = records.clone();
    whole.extend([5, 1].into_iter().flat_map(|seq| done(20, seq)));
    whole.push((requested(20, 4), 20));
    assert!(found_at(&whole, LATE_MS).await.is_empty());
    // A number that cannot be is no panic.
    let most = (1 << 53) - 1;
    let huge = acted(key(20).did(), &[], "nats:a", Verb::Deny, most, "p");
    let zero = acted(key(20).did(), &[], "nats:a", Verb::Deny, 0, "q");
    assert_eq!(found_at(&[(zero, 2), (huge, 2)], LATE_MS).await[0]["counts"]["missing"], most - 1);
}

#[tokio::test]
async fn one_number_with_two_proofs_is_a_fork_and_twice_the_same_is_none() {
    let agent = key(20).did();
    let denied = |seq: u64, proof: &str| (acted(agent, &[], "nats:a", Verb::Deny, seq, proof), 2);
    assert!(found_at(&[denied(1, "p"), denied(1, "p")], LATE_MS).await.is_empty());
    let records = [denied(1, "p"), denied(1, "q"), denied(1, "r"), denied(2, "p2")];
    let found = found_at(&records, LATE_MS).await;
    assert_eq!((kinds(&found), &found[0]["severity"]), (vec!["key_forked"], &json!("critical")));
    assert_eq!(found[0]["evidence"], json!({ "leaves": [0, 1], "records": [records[0].0.id, records[1].0.id] }));
    // Another key's numbers are its own; and what nothing vouches for accuses nobody.
    let other = (acted(key(21).did(), &[], "nats:a", Verb::Deny, 1, "x"), 2);
    let nameless = (Record { agent: None, ..denied(1, "y").0 }, 2);
    assert!(found_at(&[denied(1, "p"), other, nameless], LATE_MS).await.is_empty());
}

#[tokio::test]
async fn a_forged_or_doubled_record_accuses_nobody() {
    let agent = key(20).did();
    let first = acted(agent, &[], "nats:a", Verb::Deny, 1, "p");
    let forged = Record { by: key(9).did(), ..acted(agent, &[], "nats:a", Verb::Deny, 1, "q") };
    let mut payloads = vec![sealed(&first, 2), sealed(&forged, 9), sealed(&first, 2)];
    // Another record under the first one's id.
    payloads.push(sealed(&Record { id: first.id.clone(), ..acted(agent, &[], "nats:a", Verb::Deny, 1, "r") }, 2));
    let (_directory, house) = house_of(&stream(payloads)).await;
    let verdicts: Vec<String> = (0..4).map(|leaf| house.read().row(leaf).unwrap().0.verdict).collect();
    assert_eq!(verdicts, ["valid", "not_authorized", "duplicate", "conflict"]);
    assert!(missing(&house, &json!({}), LATE_MS).is_empty());
}

#[tokio::test]
async fn a_permit_has_an_outcome_in_time() {
    let [action, outcome] = done(20, 1);
    let stored = BASE_MS + 1000;
    assert!(found_at(std::slice::from_ref(&action), stored + OUTCOME_DUE_MS - 1).await.is_empty());
    let found = found_at(std::slice::from_ref(&action), stored + OUTCOME_DUE_MS).await;
    assert_eq!((kinds(&found), &found[0]["evidence"]["leaves"]), (vec!["permit_without_outcome"], &json!([0])));
    assert!(found_at(&[action.clone(), outcome.clone()], LATE_MS).await.is_empty());
    // The outcome comes in another batch than the permit.
    let directory = tempdir().unwrap();
    let messages = told([(&action.0, 2), (&outcome.0, 2)]);
    let house = House::open(directory.path());
    house.take_in(&messages[..1]).await.unwrap();
    assert_eq!(missing(&house, &json!({}), LATE_MS).len(), 1);
    house.take_in(&messages).await.unwrap();
    assert!(missing(&house, &json!({}), LATE_MS).is_empty());
}

#[tokio::test]
async fn asks_of_one_agent_since_a_time_and_page_by_page() {
    let mut records: Vec<(Record, u8)> = Vec::new();
    for seed in 20..60 {
        let agent = key(seed).did();
        records.push((acted(agent, &[], "nats:a", Verb::Permit, 5, "p"), 2));
        records.push((acted(agent, &[], "nats:a", Verb::Permit, 5, "q"), 2));
    }
    let (_directory, house) = house_of(&told(records.iter().map(|(record, seed)| (record, *seed)))).await;
    let all = missing(&house, &json!({}), LATE_MS);
    // A gap, a fork and two permits each.
    assert_eq!(all.len(), 160);
    for limit in [1, 3, 7] {
        assert_eq!(missing(&house, &json!({ "limit": limit }), LATE_MS), all, "{limit}");
    }
    let of = key(30).did();
    assert_eq!(missing(&house, &json!({ "agent": of, "limit": 1 }), LATE_MS).len(), 4);
    // The last agent's records are the last two.
    assert_eq!(missing(&house, &json!({ "since_ms": BASE_MS + 79_000 }), LATE_MS).len(), 4);
    let reading = house.read();
    let stock = house.intake.inventory.view().unwrap();
    for bad in [
        json!({ "cursor": "x" }),
        json!({ "cursor": "tokens 00" }),
        json!({ "agent": key(99).did() }),
        json!({ "agent": 3 }),
        json!({ "since_ms": "now" }),
        json!({ "other": 1 }),
    ] {
        let asked = serde_json::from_value(bad.clone());
        let refused = asked.map_or(true, |asked| {
            marque_audit_sink::completeness::completeness(&stock, &reading.index, 80, 0, &asked).is_err()
        });
        assert!(refused, "{bad}");
    }
    let far = serde_json::from_value(json!({ "since_ms": i64::MIN, "limit": u64::MAX })).unwrap();
    marque_audit_sink::completeness::completeness(&stock, &reading.index, 80, i64::MAX, &far).unwrap();
}

#[tokio::test]
async fn heads_are_stated_once_and_again_when_they_grow() {
    let directory = tempdir().unwrap();
    let house = House::open(directory.path());
    let mut payloads: Vec<(String, Vec<u8>)> = Vec::new();
    for at in 0..150_u64 {
        let agent = marque_identity::Did::from_key_bytes(marque_signing::sha256(&at.to_be_bytes()).0);
        payloads.push(sealed(&acted(agent, &[], "nats:a", Verb::Deny, 1 + at, "p"), 2));
    }
    house.take_in(&stream(payloads.clone())).await.unwrap();
    let due = |house: &House| {
        let view = house.intake.inventory.view().unwrap();
        due_heads(&view, &key(3).did(), UnixMillis(BASE_MS)).unwrap()
    };
    let stated = due(&house);
    let sizes: Vec<usize> = stated
        .iter()
        .map(|record| match &record.body {
            Body::Heads(heads) => heads.heads.len(),
            body => panic!("{body:?}"),
        })
        .collect();
    assert_eq!(sizes, [HEADS_MAX, 50]);
    // Found in the log, by whichever sink: nothing is due until a chain grows.
    payloads.extend(stated.iter().map(|record| sealed(record, 3)));
    house.take_in(&stream(payloads.clone())).await.unwrap();
    assert_eq!(house.read().row(151).unwrap().0.verdict, "valid");
    assert!(due(&house).is_empty());
    let agent = marque_identity::Did::from_key_bytes(marque_signing::sha256(&7_u64.to_be_bytes()).0);
    payloads.push(sealed(&acted(agent, &[], "nats:a", Verb::Deny, 9, "next"), 2));
    house.take_in(&stream(payloads.clone())).await.unwrap();
    let [again] = due(&house).try_into().unwrap();
    let Body::Heads(heads) = again.body else { panic!() };
    let expected: Digest = marque_signing::sha256(b"next");
    assert_eq!((heads.heads.len(), heads.heads[0].seq, heads.heads[0].proof), (1, 9, expected));
    assert_eq!((heads.heads[0].leaf, heads.tree_size), (152, 153));
    // Nobody but a sink states heads.
    let foreign = Record { by: key(2).did(), ..stated[0].clone() };
    payloads.push(sealed(&foreign, 2));
    house.take_in(&stream(payloads)).await.unwrap();
    assert_eq!(house.read().row(153).unwrap().0.verdict, "not_authorized");
}
