//! The binary as an operator meets it: bad configuration is told apart from everything else, at once.

mod house;

use std::process::{Command, Output};

use house::{DRAINED, House};
use marque_signing::SigningKey;
use marque_test_support::until;

/// Nobody listens there: port 1 is reserved.
const NOBODY: &str = "nats://127.0.0.1:1";

/// Exit code 78 and a sentence that holds each of `told`.
fn refuses(output: &Output, told: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    for words in told {
        assert!(stderr.contains(words), "`{words}` is not in: {stderr}");
    }
}

fn run(house: &House, top: &str, section: &str) -> Output {
    house.command(&house.configure(NOBODY, top, section)).output().expect("the binary runs")
}

#[test]
fn refuses_unknown_keys_and_names_the_nearest() {
    refuses(&run(&House::new(0), "", "reach_wait = 1"), &["broadcaster.reach_wait", "broadcaster.reach_wait_ms"]);
    let bare = Command::new(env!("CARGO_BIN_EXE_marque-revocation-broadcaster")).env_clear().output().unwrap();
    refuses(&bare, &["key_file"]);
}

#[test]
fn refuses_a_wait_that_is_none() {
    refuses(&run(&House::new(0), "", "reach_wait_ms = 0"), &["broadcaster.reach_wait_ms"]);
    refuses(&run(&House::new(0), "", "reach_wait_ms = 15001"), &["broadcaster.reach_wait_ms"]);
}

#[test]
fn refuses_a_key_that_is_no_broadcasters_and_a_bundle_that_is_not_pinned() {
    let house = House::new(0);
    let config = house.configure(NOBODY, "", "");
    std::fs::remove_file(house.path("broadcaster.key")).unwrap();
    marque_runtime::keys::create_signing_key(&house.path("broadcaster.key")).unwrap();
    refuses(&house.command(&config).output().unwrap(), &["is no broadcaster of trust domain `acme.example`"]);
    let pin = "00".repeat(32);
    let output = house.command(&config).args(["--set", &format!("bundle.pin={pin}")]).output().unwrap();
    refuses(&output, &["bundle", &pin]);
}

#[test]
fn refuses_the_outbox_of_another_broadcaster() {
    use marque_revocation_broadcaster::outbox::Outbox;
    let house = House::new(0);
    std::fs::create_dir(house.path("state")).unwrap();
    let other = SigningKey::from_seed(&[9; 32]);
    drop(Outbox::open(&house.path("state").join("outbox.redb"), &house::domain(), &other.did()).unwrap());
    refuses(&run(&house, "", ""), &["the outbox was made with broadcaster", &other.did().to_string()]);
}

#[tokio::test]
async fn waits_for_a_broker_and_drains() {
    let house = House::new(0);
    let mut process = house.start(&house.configure(NOBODY, "", ""));
    until("the process has started", || process.said().contains("starts")).await;
    process.terminate();
    assert!(process.wait(DRAINED).success(), "{}", process.said());
}
