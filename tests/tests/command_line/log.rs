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
    assert!(own.code == 0 && own.err.contains("--pin"), "that nothing was compared is said: {own:?}");
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
        assert!(no.code == 1 && no.out.contains("DOES NOT HOLD"), "{file}: {no:?}");
        std::fs::write(file, whole).unwrap();
    }
    stage.yes(&["log", "verify", &copy]);
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
