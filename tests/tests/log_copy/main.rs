//! Copies of the log in other hands: tampered with, proven from, served.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod copying;
mod epoch;
mod live;
mod proofs;
mod rate;
mod served;
mod tampering;
mod verifying;

use std::process::{Command, Output};

use serde_json::Value;

/// The command line, offline: nothing of this machine's tells it where a broker is.
fn marque(args: &[&str]) -> Command {
    let mut command = Command::new(marque_tests::binaries::path("marque"));
    command.args(args).env("XDG_CONFIG_HOME", "/nonexistent").env("NATS_URL", "nats://127.0.0.1:1");
    for name in ["MARQUE_DIR", "NATS_CONTEXT", "NATS_CREDS", "NATS_NKEY"] {
        command.env_remove(name);
    }
    command
}

fn ran(args: &[&str]) -> Output {
    marque(args).output().unwrap()
}

/// Exit code and document of a command in JSON mode.
fn answered(args: &[&str]) -> (i32, Value) {
    let output = ran(&[&["-j"], args].concat());
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&output.stdout)));
    (output.status.code().unwrap(), document)
}
