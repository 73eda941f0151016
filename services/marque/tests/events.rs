//! `marque log events` on a copy of a log: the schemas, where it goes on, and what a kill leaves.
#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::Path;
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
    assert_eq!((usage.status.code(), &said(&usage)["error"]["code"]), (Some(2), &"usage".into()));
    // Lines that can't be written are stdout's fault, and nobody else's.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let log = small.path().to_str().unwrap();
    let lost = Command::new(env!("CARGO_BIN_EXE_marque"))
        .args(["log", "events", "--format", "ocsf", "--log", log])
        .env_remove("MARQUE_DIR")
        .stdout(full)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert_eq!(lost.status.code(), Some(3), "{told}");
    assert!(told.contains("error[output_lost]: stdout can't be written") && !told.contains("stdin"), "{told}");
}

/// Killed as soon as the file has grown so far. Gives whether it was killed before it had ended by itself.
fn killed_at(mut child: Child, out: &Path, bytes: u64) -> bool {
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

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_that_was_not_built_in_names_its_feature() {
    let (log, _) = copy_of(1);
    let out = log.path().join("parquet");
    let refused = events(log.path(), &["-j", "--format", "parquet", "--out", out.to_str().unwrap()]);
    let error = &said(&refused)["error"];
    assert_eq!((refused.status.code(), &error["code"]), (Some(2), &"config_invalid".into()));
    assert!(error["hint"].as_str().unwrap().contains("--features parquet"), "{error}");
    assert!(!out.exists());
}

#[cfg(feature = "parquet")]
mod parquet_files {
    use std::fs::File;

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    /// The files of a folder, by name.
    fn names(folder: &Path) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn name(first: u64, end: u64) -> String {
        format!("{first:020}-{end:020}.parquet")
    }

    /// Every row as an object, read by the crate's own reader, file after file.
    fn rows(folder: &Path) -> Vec<Value> {
        let mut rows = Vec::new();
        for name in names(folder) {
            let reader = SerializedFileReader::new(File::open(folder.join(name)).unwrap()).unwrap();
            for row in reader.get_row_iter(None).unwrap() {
                let cells = row.unwrap().into_columns().into_iter().map(|(name, cell)| {
                    let value = match cell {
                        Field::Null => Value::Null,
                        Field::Long(number) | Field::TimestampMillis(number) => number.into(),
                        Field::Str(text) => text.into(),
                        other => panic!("{name} holds {other}"),
                    };
                    (name, value)
                });
                rows.push(cells.collect::<serde_json::Map<_, _>>().into());
            }
        }
        rows
    }

    /// What the row of a leaf has to be, given its JSON line.
    fn row(line: &str, leaf: u64) -> Value {
        let event: Value = serde_json::from_str(line).unwrap();
        let agent = key(10 + (leaf % 3) as u8).did().to_string();
        let mut row = json!({
            "leaf": leaf, "time": 1_700_000_000_000 + leaf, "kind": "requested", "agent": agent,
            "task": "urn:marque:task:t1", "tool": "nats:tools.mail", "decision": null, "outcome": "Unknown",
            "reason": null, "record_id": event["metadata"]["original_event_uid"], "verdict": "valid", "event": line,
        });
        let none = |row: &mut Value| ["agent", "task", "tool"].map(|name| row[name] = Value::Null);
        match leaf % 7 {
            6 => {
                none(&mut row);
                assert!(event["status_code"] != "valid");
                (row["kind"], row["reason"]) = ("not_valid".into(), event["status_code"].clone());
                row["verdict"] = event["status_code"].clone();
            }
            5 => {
                none(&mut row);
                (row["kind"], row["reason"]) = ("risk".into(), "key_cloned".into());
            }
            _ => assert!(row["record_id"].is_string()),
        }
        row
    }

    /// The rows of leaf `from` on are what the JSON lines tell of the same copy.
    fn assert_tells_the_lines(folder: &Path, log: &Path, from: u64) {
        let lines = events(log, &["--format", "ocsf"]).stdout;
        let lines: Vec<&str> = std::str::from_utf8(&lines).unwrap().lines().collect();
        let rows = rows(folder);
        assert_eq!(rows.len(), lines.len());
        for (leaf, (found, line)) in (0..).zip(rows.iter().zip(lines)).skip(from as usize) {
            assert_eq!(found, &row(line, leaf));
        }
    }

    #[test]
    fn a_directory_goes_on_behind_its_last_whole_file_after_a_kill() {
        let (log, frames) = copy_of(2_100);
        let log = log.path();
        let out = log.join("parquet");
        let told = ["-j", "--format", "parquet", "--out", out.to_str().unwrap()];
        let begun = format!("{}.next", name(0, 2_100));
        // 1. Killed within the first range: what was begun is no whole file.
        let run = command(log, &told).spawn().unwrap();
        assert!(killed_at(run, &out.join(&begun), 0), "nothing was interrupted");
        assert_eq!(names(&out), [begun.as_str()]);
        // 2. Run again: the range, whole.
        let first = events(log, &told);
        let expected = json!({ "written": 2_100, "files": 1, "upto": 2_100, "leaves": 2_100, "unfinished_files": 1 });
        assert_eq!(said(&first), expected, "{first:?}");
        assert_eq!(names(&out), [name(0, 2_100)]);
        assert_tells_the_lines(&out, log, 0);
        let file = SerializedFileReader::new(File::open(out.join(name(0, 2_100))).unwrap()).unwrap();
        let groups: Vec<i64> = file.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(groups, [2_048, 52], "row groups are bounded");
        // 3. Nothing new, nothing written.
        let whole = std::fs::read(out.join(name(0, 2_100))).unwrap();
        assert_eq!((&said(&events(log, &told))["written"], names(&out).len()), (&0.into(), 1));
        // 4. The log grows; a torn beginning of the second range is left.
        let grown: Vec<Vec<u8>> = frames.iter().cloned().chain((2_100..2_200).map(frame)).collect();
        let bundle = std::fs::read_to_string(log.join("marque/bundle.jwt")).unwrap();
        write(log, &grown, &bundle);
        std::fs::write(out.join(format!("{}.next", name(2_100, 2_150))), &whole[..999]).unwrap();
        let more = events(log, &told);
        let expected = json!({ "written": 100, "files": 1, "upto": 2_200, "leaves": 2_200, "unfinished_files": 1 });
        assert_eq!(said(&more), expected, "{more:?}");
        assert_eq!(names(&out), [name(0, 2_100), name(2_100, 2_200)]);
        assert!(std::fs::read(out.join(name(0, 2_100))).unwrap() == whole, "a whole file is not touched");
        assert_tells_the_lines(&out, log, 2_100);
        let leaves: Vec<u64> = rows(&out).iter().map(|row| row["leaf"].as_u64().unwrap()).collect();
        assert_eq!(leaves, (0..2_200).collect::<Vec<u64>>(), "each once, in order");
    }

    #[test]
    fn a_directory_is_of_one_log_and_leaves_nothing_out() {
        let (log, frames) = copy_of(9);
        let log = log.path();
        let out = log.join("parquet");
        let told =
            |rest: &[&'static str]| [&["-j", "--format", "parquet", "--out", out.to_str().unwrap()], rest].concat();
        let first = said(&events(log, &told(&["--after", "3"])));
        assert_eq!((&first["written"], names(&out)), (&5.into(), vec![name(4, 9)]));
        let (other, _) = copy_of(1);
        let bundle = std::fs::read_to_string(log.join("marque/bundle.jwt")).unwrap();
        write(other.path(), &(0..20).map(|leaf| frame(leaf + 1)).collect::<Vec<_>>(), &bundle);
        let (shorter, _) = copy_of(1);
        write(shorter.path(), &frames[..8], &bundle);
        for (log, rest) in [(log, &["--after", "9"][..]), (other.path(), &[]), (shorter.path(), &[])] {
            let refused = events(log, &told(rest));
            let code = said(&refused)["error"]["code"].clone();
            assert_eq!((refused.status.code(), code), (Some(6), "conflict".into()), "{refused:?}");
        }
        let foreign = out.join(name(9, 10));
        std::fs::write(&foreign, "PAR1, it says, PAR1").unwrap();
        assert_eq!(said(&events(log, &told(&[])))["error"]["code"], "conflict");
        assert!(foreign.exists());
        let usage = events(log, &["--format", "parquet"]);
        assert_eq!(usage.status.code(), Some(2), "{usage:?}");
    }
}
