//! `marque log events` on a copy of a log: the schemas, where it goes on, and what a kill leaves.
#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use marque_identity::{UnixMillis, UnixSeconds};
use marque_judgement::record::{Body, Record, Requested, Risk};
use marque_ledger::{Checkpoint, Edge, Entry, Hash, TileId, TileKind, encode_bundle};
use marque_signing::{Anchor, Role, ServiceKey, SigningKey, TrustBundle, jws, sha256};
use serde_json::{Value, json};
use tempfile::TempDir;

const ORIGIN: &str = "acme.example/audit";
/// What needs longer has failed.
const DEADLINE: Duration = Duration::from_secs(120);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// A copy of a log of `size` leaves, as `marque log export` makes one: each seventh holds no valid record.
fn copy_of(size: u64) -> (TempDir, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: UnixSeconds(1_700_000_000),
        issuers: vec![Anchor { iss: "https://acme.example".into(), did: key(1).did() }],
        services: vec![ServiceKey { role: Role::Sink, name: "sink".into(), did: key(3).did() }],
        operators: vec![],
    };
    let frames: Vec<Vec<u8>> = (0..size).map(frame).collect();
    write(folder.path(), &frames, &bundle.sign(&key(1)).unwrap());
    (folder, frames)
}

fn write(folder: &Path, frames: &[Vec<u8>], bundle: &str) {
    let put = |path: &str, bytes: &[u8]| {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    };
    let mut edge = Edge::default();
    frames.iter().for_each(|frame| edge.append(Hash::leaf(frame), &mut Vec::new()));
    for (index, share) in (0..).zip(frames.chunks(256)) {
        let id = TileId::covering(TileKind::Entries, index, frames.len() as u64).unwrap();
        put(&id.path(), &encode_bundle(share.iter().map(Vec::as_slice)).unwrap());
    }
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: edge.size(), root: edge.root() };
    put("checkpoint", checkpoint.sign(&key(3)).unwrap().as_bytes());
    put("marque/bundle.jwt", bundle.as_bytes());
}

fn frame(leaf: u64) -> Vec<u8> {
    let seed = 10 + (leaf % 3) as u8;
    let signed = match leaf % 7 {
        6 => "no record".to_owned(),
        5 => {
            let risk = Risk { signal: "key_cloned".into(), message: "two actions, one number".into() };
            Record::new(UnixMillis(1_700_000_000_000), key(3).did(), Body::Risk(risk)).seal(&key(3)).unwrap()
        }
        _ => {
            let proof = jws::sign_json(&key(seed), "aat-pop+jwt", None, &json!({ "seq": leaf })).unwrap();
            let body = Body::Requested(Requested { proof: marque_judgement::record::Carried::of(&proof) });
            let record = Record::new(UnixMillis(1_700_000_000_000), key(seed).did(), body);
            let (token, parent) = (sha256(b"leaf"), sha256(b"root"));
            let record = Record {
                agent: Some(key(seed).did()),
                task: Some("urn:marque:task:t1".parse().unwrap()),
                tool: Some("nats:tools.mail".into()),
                token: Some(token),
                links: vec![parent, token],
                ..record
            };
            record.seal(&key(seed)).unwrap()
        }
    };
    let entry = Entry {
        stream_seq: leaf + 1,
        broker_ts_ns: 1_700_000_000_000_000_000 + leaf as i64 * 1_000_000,
        bus_subject: "marque.record.requested.x",
        payload: signed.as_bytes(),
    };
    entry.encode().unwrap()
}

fn command(log: &Path, rest: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marque"));
    command.args(["log", "events", "--log"]).arg(log).args(rest).env_remove("MARQUE_DIR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn events(log: &Path, rest: &[&str]) -> Output {
    command(log, rest).output().unwrap()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn said(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn ocsf_has_one_event_per_leaf_bad_ones_too() {
    let (log, frames) = copy_of(300);
    let written = events(log.path(), &["--format", "ocsf"]);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let lines = lines(&written.stdout);
    assert_eq!(lines.len(), 300);
    for (leaf, event) in (0_u64..).zip(&lines) {
        assert_eq!((&event["class_uid"], &event["type_uid"]), (&6003.into(), &600_399.into()));
        assert_eq!((&event["metadata"]["version"], &event["metadata"]["sequence"]), (&"1.9.0".into(), &leaf.into()));
        let ours = &event["unmapped"]["marque"];
        let hash = Hash::leaf(&frames[leaf as usize]).to_base64();
        assert_eq!((&ours["leaf"], &ours["tree_size"], &ours["leaf_hash"]), (&leaf.into(), &300.into(), &hash.into()));
        // Required by the class, whatever the leaf holds.
        assert!(event["api"]["operation"].is_string() && event["src_endpoint"]["uid"].is_string(), "{event}");
        assert!(event["actor"]["user"]["uid"].is_string() && event["time"].is_u64() && event["severity_id"].is_u64());
        // The fingerprint is the event's own.
        let mut without = event.clone();
        let fingerprint = without["attestation"].as_object_mut().unwrap().remove("fingerprint").unwrap();
        let digest = sha256(&marque_json::to_canonical(&without).unwrap()).to_string();
        assert_eq!(fingerprint["value"], digest);
        match leaf % 7 {
            6 => {
                assert!(ours["verdict"] != "valid" && ours["payload_base64"].is_string() && ours["record"].is_null());
                assert_eq!((&event["status_code"], &event["severity_id"]), (&ours["verdict"], &3.into()));
            }
            5 => assert_eq!((&event["status_code"], &event["severity_id"]), (&"key_cloned".into(), &4.into())),
            _ => {
                assert_eq!((&ours["verdict"], &event["activity_name"]), (&"valid".into(), &"requested".into()));
                let agent = key(10 + (leaf % 3) as u8).did().to_string();
                assert_eq!(
                    (&event["ai_agent"]["uid"], &event["actor"]["user"]["type"]),
                    (&agent.into(), &"AI Agent".into())
                );
                assert_eq!(event["api"]["operation"], "nats:tools.mail");
                assert_eq!(event["delegation"]["uid"], sha256(b"leaf").to_string());
                assert_eq!(event["delegation"]["parent_uid"], sha256(b"root").to_string());
                let signed = ours["signed"].as_str().unwrap();
                assert_eq!(json!(Record::open_any(signed).unwrap().0), ours["record"], "the original is kept");
            }
        }
    }
}

#[test]
fn cloudevents_have_their_attributes_and_one_name_each() {
    let (log, frames) = copy_of(300);
    let written = events(log.path(), &["--format", "cloudevents", "--after", "9"]);
    let lines = lines(&written.stdout);
    assert_eq!(lines.len(), 290);
    for (leaf, event) in (10_u64..).zip(&lines) {
        assert_eq!((&event["specversion"], &event["source"]), (&"1.0".into(), &ORIGIN.into()));
        assert_eq!((&event["id"], &event["sequence"]), (&leaf.to_string().into(), &format!("{leaf:020}").into()));
        assert_eq!(event["leafhash"], Hash::leaf(&frames[leaf as usize]).to_base64());
        // Names of attributes: lower-case letters and digits (CloudEvents 1.0, Naming Conventions); one `data` only.
        let names: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert!(names.iter().all(|name| *name == "data_base64" || name.chars().all(|c| c.is_ascii_lowercase())));
        assert_ne!(event["data"].is_null(), event["data_base64"].is_null());
        let kind = ["requested", "requested", "requested", "requested", "requested", "risk", "not_valid"];
        assert_eq!(event["type"], format!("marque.record.{}", kind[leaf as usize % 7]));
        assert_eq!(event["data"].is_null(), leaf % 7 == 6);
    }
}

#[test]
fn a_file_goes_on_where_it_ends_and_only_for_its_own_log() {
    let (small, frames) = copy_of(5);
    let (large, _) = copy_of(1);
    let out = small.path().join("events.jsonl");
    let out = out.to_str().unwrap();
    let first = events(small.path(), &["-j", "--format", "ocsf", "--out", out]);
    assert_eq!(said(&first), json!({ "written": 5, "upto": 5, "leaves": 5, "cut_bytes": 0 }));
    let again = events(small.path(), &["-j", "--format", "ocsf", "--out", out]);
    assert_eq!((&said(&again)["written"], &said(&again)["upto"]), (&0.into(), &5.into()));
    // The same log, grown.
    let grown: Vec<Vec<u8>> = frames.iter().cloned().chain((5..260).map(frame)).collect();
    let bundle = std::fs::read_to_string(small.path().join("marque/bundle.jwt")).unwrap();
    write(small.path(), &grown, &bundle);
    let more = events(small.path(), &["-j", "--format", "ocsf", "--out", out, "--after", "2"]);
    assert_eq!((&said(&more)["written"], &said(&more)["upto"]), (&255.into(), &260.into()));
    let leaves: Vec<u64> =
        lines(&std::fs::read(out).unwrap()).iter().map(|line| line["metadata"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(leaves, (0..260).collect::<Vec<u64>>());
    // What would leave out, change the schema, or go on with another log is refused, and the file stays.
    let whole = std::fs::read(out).unwrap();
    let other: Vec<Vec<u8>> = (0..300).map(|leaf| frame(leaf + 1)).collect();
    write(large.path(), &other, &bundle);
    for (log, rest) in [
        (small.path(), &["-j", "--format", "ocsf", "--out", out, "--after", "400"][..]),
        (small.path(), &["-j", "--format", "cloudevents", "--out", out]),
        (large.path(), &["-j", "--format", "ocsf", "--out", out]),
    ] {
        let refused = events(log, rest);
        assert_eq!(
            (refused.status.code(), &said(&refused)["error"]["code"]),
            (Some(6), &"conflict".into()),
            "{rest:?}"
        );
        assert_eq!(std::fs::read(out).unwrap(), whole);
    }
    let usage = events(small.path(), &["-j", "--format", "ocsf"]);
    assert_eq!((usage.status.code(), &said(&usage)["error"]["code"]), (Some(2), &"config_invalid".into()));
}

/// Killed as soon as the file has grown so far. Gives whether it was killed before it had ended by itself.
fn killed_at(mut child: Child, out: &PathBuf, bytes: u64) -> bool {
    let until = Instant::now() + DEADLINE;
    loop {
        if std::fs::metadata(out).is_ok_and(|file| file.len() >= bytes) {
            child.kill().unwrap();
            return !child.wait().unwrap().success();
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < until, "nothing is written");
        std::thread::yield_now();
    }
}

#[test]
fn a_kill_anywhere_neither_doubles_nor_leaves_out_a_leaf() {
    let (log, _) = copy_of(3_000);
    for schema in ["ocsf", "cloudevents"] {
        let straight = events(log.path(), &["--format", schema]).stdout;
        let out = log.path().join(format!("{schema}.jsonl"));
        let name = out.display().to_string();
        let mut kills = 0;
        for round in 1..=6 {
            let run = command(log.path(), &["--format", schema, "--out", &name]).spawn().unwrap();
            kills += u64::from(killed_at(run, &out, straight.len() as u64 * round / 8));
            let so_far = std::fs::read(&out).unwrap();
            assert!(straight.starts_with(&so_far), "{schema}: what is there is the beginning of the whole");
        }
        assert!(kills >= 2, "{schema}: nothing was interrupted");
        let last = events(log.path(), &["--format", schema, "--out", &name]);
        assert_eq!(last.status.code(), Some(0), "{last:?}");
        assert!(std::fs::read(&out).unwrap() == straight, "{schema}: the same bytes as without a kill");
    }
}
