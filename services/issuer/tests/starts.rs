//! The binary as an operator meets it: bad configuration is told apart from everything else, at once.

mod house;

use std::process::{Command, Output};

use house::{DRAINED, House};
use marque_signing::SigningKey;
use marque_test_support::until;

/// Nobody listens there: port 1 is reserved.
const NOBODY: &str = "nats://127.0.0.1:1";

fn house() -> House {
    House::new(&SigningKey::from_seed(&[0xb0; 32]).public())
}

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
    refuses(&run(&house(), "", "blueprint = \"x\""), &["issuer.blueprint", "issuer.blueprints"]);
    let bare = Command::new(env!("CARGO_BIN_EXE_marque-issuer")).env_clear().output().unwrap();
    refuses(&bare, &["key_file"]);
}

#[test]
fn refuses_blueprints_that_cannot_be_used() {
    let house = house();
    refuses(&run(&house, "", "blueprints = \"/nonexistent\""), &["/nonexistent"]);
    let dir = house.path("blueprints");
    std::fs::create_dir(&dir).unwrap();
    let section = format!("blueprints = {dir:?}");
    refuses(&run(&house, "", &section), &["holds 0 blueprints"]);
    std::fs::write(dir.join("reader.toml"), "name = \"reader\"\nmodel = [\"m\"]\n").unwrap();
    refuses(&run(&house, "", &section), &["reader.toml", "`model`", "did you mean `models`?"]);
}

#[test]
fn refuses_issuers_of_tokens_that_cannot_be_used() {
    let house = house();
    let oidc = |rest: &str| format!("[[issuer.oidc]]\nname = \"ci\"\niss = \"https://ci.example\"\n{rest}");
    refuses(&run(&house, "", &oidc("")), &["name `ci`", "`jwks_file` or `jwks_url`"]);
    refuses(&run(&house, "", &oidc("jwks_url = \"http://ci.example/keys\"")), &["name `ci`", "use `https`"]);
    refuses(&run(&house, "", &oidc("jwks_file = \"/nonexistent\"")), &["name `ci`", "/nonexistent"]);
    refuses(&run(&house, "", &oidc("jwks = \"/keys\"")), &["jwks"]);
    let keys = house.path("keys.json");
    std::fs::write(&keys, r#"{"keys":[]}"#).unwrap();
    refuses(&run(&house, "", &oidc(&format!("jwks_file = {keys:?}"))), &["no key that can be used"]);

    let dir = house.path("blueprints");
    std::fs::create_dir(&dir).unwrap();
    let blueprint = "name = \"ci\"\ndescription = \"d\"\nsponsor = \"team\"\nmodels = [\"m\"]\nmax_life_seconds = 60\n\
                     max_depth = 0\n[attest]\nrequire = [\"oidc\"]\n[attest.oidc]\nissuers = [\"github\"]\n\
                     audience = \"marque\"\nclaims = { sub = \"repo:acme/*\" }\n[tools.\"nats:a\"]\n";
    std::fs::write(dir.join("ci.toml"), blueprint).unwrap();
    refuses(&run(&house, "", &format!("blueprints = {dir:?}")), &["blueprint `ci`", "`github`", "[[issuer.oidc]]"]);
}

#[test]
fn refuses_a_bound_that_is_none() {
    refuses(&run(&house(), "", "staleness_bound_ms = 0"), &["issuer.staleness_bound_ms"]);
    refuses(&run(&house(), "", "staleness_bound_ms = 60001"), &["issuer.staleness_bound_ms"]);
}

#[test]
fn refuses_a_key_that_is_no_issuers_and_a_bundle_that_is_not_pinned() {
    let house = house();
    let config = house.configure(NOBODY, "", "");
    std::fs::remove_file(house.path("issuer.key")).unwrap();
    marque_runtime::keys::create_signing_key(&house.path("issuer.key")).unwrap();
    refuses(&house.command(&config).output().unwrap(), &["is no issuer of trust domain `acme.example`"]);

    let pin = "00".repeat(32);
    let output = house.command(&config).args(["--set", &format!("bundle.pin={pin}")]).output().unwrap();
    refuses(&output, &["bundle", &pin]);
}

#[test]
fn refuses_the_state_of_another_issuer() {
    let house = house();
    std::fs::create_dir(house.path("state")).unwrap();
    let other = SigningKey::from_seed(&[9; 32]);
    let store = house.path("state").join("issuer.redb");
    drop(marque_issuer::store::Store::open(&store, &house::domain(), &other.did()).unwrap());
    refuses(&run(&house, "", ""), &["the issuer's store was made with issuer", &other.did().to_string()]);
}

#[tokio::test]
async fn waits_for_a_broker_and_drains() {
    let house = house();
    let config = house.configure(NOBODY, "", "");
    let mut issuer = house.start(&config);
    until("the store is there", || house.path("state").join("issuer.redb").exists()).await;
    assert!(issuer.is_running(), "{}", issuer.said());
    issuer.terminate();
    let status = issuer.wait(DRAINED);
    assert_eq!(status.code(), Some(0), "{}", issuer.said());
}

#[test]
fn tells_its_version_and_configuration() {
    let house = house();
    let config = house.configure(NOBODY, "", "");
    let output = house.command(&config).arg("--version").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    let output = house.command(&config).args(["config", "show", "--origin"]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("issuer.staleness_bound_ms = 15000"), "{shown}");
}
