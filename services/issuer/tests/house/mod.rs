//! A trust domain on disk, and the issuer's real process in it.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test fails by panicking")]

pub(crate) mod scene;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use marque_bus::permissions::BusRole;
use marque_identity::{TokenId, TrustDomain, UnixSeconds};
use marque_runtime::keys;
use marque_signing::{Anchor, Operator, PublicKey, Role, ServiceKey, SigningKey, TrustBundle, bundle, jws};
use marque_test_support::{Broker, ChildGuard};
use serde_json::json;

pub(crate) const DRAINED: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) issuer: SigningKey,
    pub(crate) operator: SigningKey,
    pub(crate) attestor: SigningKey,
    pub(crate) bundle: String,
}

pub(crate) fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

pub(crate) fn now() -> UnixSeconds {
    UnixSeconds(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

impl House {
    /// Keys, bundle and the shipped blueprints; `broadcaster` is trusted for directives.
    pub(crate) fn new(broadcaster: &PublicKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let issuer = keys::create_signing_key(&dir.path().join("issuer.key")).unwrap();
        let operator = SigningKey::from_seed(&[0x0e; 32]);
        let attestor = SigningKey::from_seed(&[0xa7; 32]);
        let bundle = TrustBundle {
            trust_domain: domain(),
            version: 1,
            issued_at: now(),
            issuers: vec![Anchor { iss: domain().issuer_uri(), did: issuer.did() }],
            services: vec![
                ServiceKey { role: Role::Broadcaster, name: "broadcaster".into(), did: broadcaster.did() },
                ServiceKey { role: Role::Attestor, name: "node-1".into(), did: attestor.did() },
            ],
            operators: vec![Operator { name: "ada".into(), did: operator.did() }],
        };
        let bundle = bundle.sign(&issuer).unwrap();
        std::fs::write(dir.path().join("bundle.jwt"), &bundle).unwrap();
        Self { dir, issuer, operator, attestor, bundle }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a configuration that is right but for `change`, `key = value` lines of TOML at the top.
    pub(crate) fn configure(&self, url: &str, top: &str, section: &str) -> PathBuf {
        let blueprints = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/blueprints");
        let nats_key = self.path("nats.key");
        if !nats_key.exists() {
            let seed = Broker::key(BusRole::Issuer).seed();
            keys::create_secret(&nats_key, &marque_signing::base64url(seed.as_slice())).unwrap();
        }
        let toml = format!(
            "key_file = {key:?}\nstate_dir = {state:?}\n{top}\n\
             [nats]\nurl = {url:?}\nkey_file = {nats_key:?}\n\
             [bundle]\nfile = {bundle:?}\npin = \"{pin}\"\n\
             [issuer]\n{blueprints}\n{section}\n",
            key = self.path("issuer.key"),
            state = self.path("state"),
            bundle = self.path("bundle.jwt"),
            pin = bundle::fingerprint(&self.bundle),
            blueprints =
                if section.contains("blueprints") { String::new() } else { format!("blueprints = {blueprints:?}") },
        );
        let path = self.path("issuer.toml");
        std::fs::write(&path, toml).unwrap();
        path
    }

    /// The real process, told where its configuration is and nothing else.
    pub(crate) fn command(&self, config: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-issuer"));
        command.env_clear().arg("--config").arg(config);
        command
    }

    pub(crate) fn start(&self, config: &Path) -> ChildGuard {
        ChildGuard::spawn(&mut self.command(config), &self.path("issuer.log"))
    }

    /// A join token for the shipped orchestrator.
    pub(crate) fn join(&self) -> String {
        self.join_as("research-orchestrator")
    }

    /// A join token for a blueprint.
    pub(crate) fn join_as(&self, blueprint: &str) -> String {
        let claims = json!({
            "jti": TokenId::generate(), "aud": domain(), "blueprint": blueprint,
            "iat": now(), "exp": now().plus(600),
        });
        jws::sign_as_did(&self.operator, "marque-join+jwt", &claims).unwrap()
    }

    /// An enrolment's bytes.
    pub(crate) fn enrolment(&self, agent: &SigningKey, join: &str) -> String {
        let claims = json!({
            "iat": now(), "jti": TokenId::generate(), "aud": domain(), "join_token": join,
            "jwk": agent.public().jwk(), "runtime": {"model_id": "example-large-1"},
        });
        jws::sign_as_did(agent, "marque-enrol+jwt", &claims).unwrap()
    }
}
