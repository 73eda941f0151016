//! The binary as an operator meets it: bad configuration is told apart from everything else, at once.

use std::process::{Command, Output};

fn verifier(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marque-verifier"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("the binary runs")
}

/// Exit code 78 and a sentence that holds each of `told`.
fn refuses(output: &Output, told: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    for words in told {
        assert!(stderr.contains(words), "`{words}` is not in: {stderr}");
    }
}

#[test]
fn refuses_an_unknown_key_and_names_the_nearest() {
    let output = verifier(&["run", "--set", "verifier.stalenes_critical_ms=2000"], &[]);
    refuses(&output, &["stalenes_critical_ms", "staleness_critical_ms"]);
}

#[test]
fn refuses_to_run_without_a_bundle_or_key() {
    refuses(&verifier(&["run"], &[]), &["bundle.file"]);
}

#[test]
fn refuses_a_value_of_another_kind() {
    refuses(&verifier(&["run"], &[("MARQUE_VERIFIER__REQUESTS_MAX", "many")]), &["requests_max"]);
}

#[test]
fn tells_its_version() {
    let output = verifier(&["--version"], &[]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}
