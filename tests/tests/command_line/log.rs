//! `log`: a copy of the log is taken home, and verified there.

use super::{Stage, exists, said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_holds_or_does_not_or_is_not_there() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    stage.yes(&Stage::call(&home, &chain, r#"{"account":1}"#));
    let copy = stage.path("log");
    // 1. Exported; a dry run writes nothing.
    let told = stage.yes(&["log", "export", &copy, "--dry-run"]);
    assert!(told["leaves"].as_u64().unwrap() > 0 && !exists(&copy), "{told}");
    let exported = stage.yes(&["log", "export", &copy]);
    assert!(exported["leaves"].as_u64() >= told["leaves"].as_u64(), "{exported}");
    stage.refused(3, &["log", "export", &stage.path("none"), "--from", "127.0.0.1:1"]);
    // 2. It holds: under the directory's bundle, a pinned one, or its own.
    let pin = stage.system.directory().fingerprint().unwrap().to_string();
    let bundle = stage.system.directory().bundle_file().display().to_string();
    for trust in [&[][..], &["--pin", &pin], &["--bundle", &bundle, "--pin", &pin]] {
        let verified = stage.yes(&[&["log", "verify", &copy], trust].concat());
        assert_eq!(verified["report"]["leaves_checked"], exported["leaves"], "{trust:?}");
    }
    let own = said(&["-j", "log", "verify", &copy], b"");
    assert!(own.code == 0 && own.out.contains("--pin"), "that nothing was compared is said: {own:?}");
    assert!(stage.human(&["log", "verify", &copy]).contains("holds"));
    assert_eq!(stage.said("ndjson", &["log", "verify", &copy]).lines()[0]["valid"], true);
    let info = stage.yes(&["log", "info", &copy]);
    assert_eq!((&info["leaves"], &info["verified"]), (&exported["leaves"], &false.into()));
    let other = "00".repeat(32);
    assert_eq!(stage.refused(1, &["log", "verify", &copy, "--pin", &other])["code"], "bundle_untrusted");
    // 3. One that is not there is not one that does not hold.
    for absent in [
        &["log", "verify", "/nonexistent"][..],
        &["log", "verify", "/nonexistent", "--pin", &pin],
        &["log", "info", "/nonexistent"],
    ] {
        assert_eq!(stage.refused(6, absent)["code"], "not_found", "{absent:?}");
    }
    // 4. Each file of it, touched, is found; and so is a copy that lacks one.
    let files = files_below(&copy);
    let entries = files.iter().find(|file| file.contains("tile/entries/")).unwrap();
    let checkpoint = format!("{copy}/checkpoint");
    for file in [entries, &checkpoint] {
        let whole = std::fs::read(file).unwrap();
        let mut touched = whole.clone();
        let middle = touched.len() / 2;
        touched[middle] ^= 1;
        std::fs::write(file, touched).unwrap();
        let no = stage.said("json", &["log", "verify", &copy]);
        assert_eq!((no.code, &no.document()["valid"]), (1, &false.into()), "{file}: {no:?}");
        std::fs::remove_file(file).unwrap();
        let no = stage.said("human", &["log", "verify", &copy]);
        // Without its checkpoint it states nothing, so that there is nothing that does not hold.
        let nothing_stated = *file == checkpoint && no.code == 6;
        assert!(nothing_stated || (no.code == 1 && no.out.contains("DOES NOT HOLD")), "{file}: {no:?}");
        std::fs::write(file, whole).unwrap();
    }
    // 5. What lies beside the log's files is named, and is no fault of the log.
    assert!(!stage.human(&["log", "verify", &copy]).contains("that no log has"));
    std::fs::write(format!("{copy}/marque/notes.txt"), "mine").unwrap();
    let beside = stage.human(&["log", "verify", &copy]);
    assert!(beside.contains("1 file that no log has: `marque/notes.txt`"), "{beside}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_written_as_events_and_goes_on_with_the_log() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    // 1. From the running sink; what came meanwhile is appended, and each leaf stands there once.
    let (ocsf, cloud) = (stage.path("ocsf.jsonl"), stage.path("cloud.jsonl"));
    let mut upto = 0;
    for account in 1..=3 {
        stage.yes(&Stage::call(&home, &chain, &format!(r#"{{"account":{account}}}"#)));
        for (format, file) in [("ocsf", &ocsf), ("cloudevents", &cloud)] {
            upto = stage.yes(&["log", "events", "--format", format, "--out", file])["upto"].as_u64().unwrap();
        }
    }
    let read = |file: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let events = read(&ocsf);
    let leaves: Vec<u64> = events.iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
    assert!(!leaves.is_empty() && leaves == (0..leaves.len() as u64).collect::<Vec<_>>(), "{leaves:?}");
    assert_eq!(read(&cloud).len() as u64, upto);
    // 2. A permit is one: who, under what, and that it was let through.
    let permit = events.iter().find(|event| event["activity_name"] == "decided").unwrap();
    assert_eq!(permit["actor"]["authorizations"][0]["decision"], "permit", "{permit}");
    assert_eq!((&permit["status_id"], &permit["unmapped"]["marque"]["verdict"]), (&1.into(), &"valid".into()));
    assert_eq!(permit["ai_agent"]["uid"], stage.did(&home));
    assert!(permit["delegation"]["uid"].is_string());
    // 3. Lines go to stdout where no file is named; a sink that is not there is said.
    let lines = stage.said("human", &["log", "events", "--format", "ocsf", "--after", "1"]).lines();
    assert_eq!(lines[0]["metadata"]["sequence"], 2);
    stage.refused(3, &["log", "events", "--format", "ocsf", "--out", &ocsf, "--from", "127.0.0.1:1"]);
    stage.stop().await;
}

fn files_below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path.display().to_string())),
            false => found.push(path.display().to_string()),
        }
    }
    found
}
