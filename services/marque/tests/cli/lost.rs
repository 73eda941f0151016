//! An answer that does not arrive: a full disk, a descriptor that takes no writes, a reader that went away.

use std::process::Stdio;

use super::{exit, marque, run};

/// What a command says on a stdout that is opened in this way.
fn on(args: &[&str], stdout: impl Into<Stdio>, input: &[u8]) -> (i32, String) {
    let output = run(args, stdout, input);
    (exit(&output), String::from_utf8(output.stderr).unwrap())
}

/// Commands with an answer on stdout, in a bootstrap directory.
fn answers(dir: &str) -> Vec<(Vec<&str>, &'static [u8])> {
    let lines: &[u8] = b"{}\n{}\n";
    let mut all: Vec<(Vec<&str>, &[u8])> = vec![
        (vec!["verify", "--stdin"], lines),
        (vec!["log", "verify-proof", "--stdin"], lines),
        (vec!["--help"], b""),
        (vec!["--version"], b""),
    ];
    for form in ["human", "json", "ndjson"] {
        for args in [
            &["explain", "revoked"][..],
            &["explain", "--all"],
            &["completions", "bash"],
            &["nats", "streams", "--dry-run"],
            &["check", "page", "127.0.0.1:1/"],
            &["agent", "invite", "--blueprint", "summarizer", "--dir", dir],
            &["token", "inspect", "-"],
        ] {
            all.push(([&["-o", form], args].concat(), b"x"));
        }
    }
    all
}

#[test]
fn an_answer_that_can_not_be_written_is_an_error_whatever_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("acme").display().to_string();
    assert_eq!(exit(&marque(&["nats", "bootstrap", &dir])), 0);
    for (args, input) in answers(&dir) {
        // A full disk; and a descriptor that takes no writes at all.
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        for stdout in [full, std::fs::File::open("/dev/null").unwrap()] {
            let (code, said) = on(&args, stdout, input);
            assert_eq!(code, 3, "{args:?}: {said}");
            assert!(said.contains("error[output_lost]: stdout can't be written: "), "{args:?}: {said}");
            assert!(said.contains("hint:") && !said.contains("stdin"), "{args:?}: {said}");
        }
    }
    // In JSON mode the failure is the document: lost, it is told on stderr, and keeps its exit code.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, said) = on(&["-j", "explain", "nope"], full, b"");
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("error[not_found]: ") && said.contains("error[output_lost]: "), "{said}");
}

#[test]
fn what_was_changed_before_the_answer_was_lost_may_have_happened() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("agent").display().to_string();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, said) = on(&["agent", "key", "--home", &home], full(), b"");
    assert_eq!(code, 4, "{said}");
    assert!(said.contains(&home) && said.contains("error[output_lost]"), "{said}");
    // Run again it makes none.
    assert_eq!(on(&["agent", "key", "--home", &home], full(), b"").0, 3);
}

#[test]
fn a_reader_that_went_away_ends_a_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("acme").display().to_string();
    assert_eq!(exit(&marque(&["nats", "bootstrap", &dir])), 0);
    for (args, input) in answers(&dir) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, said) = on(&args, writer, input);
        // The answer's own exit code: `verify` on no question is a no.
        assert!([0, 1].contains(&code) && !said.contains("error"), "{args:?}: {code} {said}");
    }
}
