//! The process: a configuration that can't be used ends it with 78 and says which key.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn sink(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_marque-audit-sink")).args(arguments).env_clear().output().unwrap()
}

#[test]
fn bad_configuration_ends_with_78_and_names_the_key() {
    let missing = sink(&[]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("key_file"), "{missing:?}");
    let unknown = sink(&["--set", "audit_sink.checkpoint_intervall_ms=5"]);
    assert_eq!(unknown.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("checkpoint_interval_ms"), "{unknown:?}");
}

#[test]
fn exporting_what_is_no_state_directory_fails_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let failed = sink(&["export", &path, &path]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("checkpoint"), "{failed:?}");
}
