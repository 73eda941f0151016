//! A trust domain on disk, and the broadcaster's real process in it.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use marque_bus::permissions::BusRole;
use marque_bus::{Bus, CallError, Feed, FeedOptions, streams, subjects};
use marque_credential::{RootRequest, mint_root};
use marque_identity::{Digest, TokenId, TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_revocation::{DirectiveReply, DirectiveRequest, Item, Op, Opener, StatusReply, Target, Wait};
use marque_runtime::keys;
use marque_signing::{Anchor, Operator, Role, ServiceKey, SigningKey, TrustBundle, bundle};
use marque_test_support::{Broker, ChildGuard, DEADLINE, eventually};

pub(crate) const DRAINED: Duration = Duration::from_secs(20);
/// The standard bound: a view whose staleness is not the subject.
pub(crate) const BOUND: Duration = Duration::from_secs(15);
/// Short enough to wait for a view to become stale.
pub(crate) const SHORT: Duration = Duration::from_secs(2);
/// One look at the service: within [`DEADLINE`] there is time for another, should this one be lost with a process.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) broadcaster: SigningKey,
    pub(crate) issuer: SigningKey,
    pub(crate) operator: SigningKey,
    pub(crate) verifiers: Vec<Arc<SigningKey>>,
    pub(crate) gatekeepers: Vec<Arc<SigningKey>>,
    pub(crate) bundle: String,
}

pub(crate) fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

pub(crate) fn now() -> UnixSeconds {
    UnixSeconds(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

pub(crate) fn token(n: u8) -> Target {
    Target::Token(Digest([n; 32]))
}

pub(crate) fn request(op: Op, target: Option<Target>) -> DirectiveRequest {
    DirectiveRequest {
        iat: now(),
        jti: uuid::Uuid::now_v7().to_string(),
        aud: domain(),
        op,
        target,
        until: None,
        narrow: None,
        lifts: None,
        reason: "test".into(),
        chain: None,
        wait: Wait::Durable,
    }
}

impl House {
    /// A root token of this holder's.
    pub(crate) fn root(&self, holder: &SigningKey) -> String {
        let marque = serde_json::json!({
            "task": "urn:task:one", "purpose": "p",
            "agent": { "did": holder.did(), "blueprint": "reader", "sponsor": "team", "vc_hash": Digest([0; 32]) },
        });
        let request = RootRequest {
            iss: domain().issuer_uri(),
            jti: TokenId::generate(),
            iat: now(),
            exp: now().plus(900),
            del_max_depth: 0,
            holder: holder.public(),
            aud: None,
            tools: serde_json::from_value(serde_json::json!({ "nats:tools.a": {} })).unwrap(),
            marque: serde_json::from_value(marque).unwrap(),
        };
        mint_root(&self.issuer, &request).unwrap()
    }

    /// Keys and bundle; with this many verifiers.
    pub(crate) fn new(verifiers: u8) -> Self {
        Self::with(verifiers, 0)
    }

    /// With gatekeepers too.
    pub(crate) fn with(verifiers: u8, gatekeepers: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broadcaster = keys::create_signing_key(&dir.path().join("broadcaster.key")).unwrap();
        let issuer = SigningKey::from_seed(&[0x15; 32]);
        let operator = SigningKey::from_seed(&[0x0e; 32]);
        let verifiers: Vec<_> = (0..verifiers).map(|n| Arc::new(SigningKey::from_seed(&[0x80 + n; 32]))).collect();
        let gatekeepers: Vec<_> = (0..gatekeepers).map(|n| Arc::new(SigningKey::from_seed(&[0xc0 + n; 32]))).collect();
        let mut services =
            vec![ServiceKey { role: Role::Broadcaster, name: "broadcaster".into(), did: broadcaster.did() }];
        services.extend(verifiers.iter().map(|key| ServiceKey {
            role: Role::Verifier,
            name: "verifier".into(),
            did: key.did(),
        }));
        services.extend(gatekeepers.iter().map(|key| ServiceKey {
            role: Role::Gatekeeper,
            name: "gatekeeper".into(),
            did: key.did(),
        }));
        let bundle = TrustBundle {
            trust_domain: domain(),
            version: 1,
            issued_at: now(),
            issuers: vec![Anchor { iss: domain().issuer_uri(), did: issuer.did() }],
            services,
            operators: vec![Operator { name: "ada".into(), did: operator.did() }],
        };
        let bundle = bundle.sign(&issuer).unwrap();
        std::fs::write(dir.path().join("bundle.jwt"), &bundle).unwrap();
        Self { dir, broadcaster, issuer, operator, verifiers, gatekeepers, bundle }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a configuration that is right but for `top` and `section`.
    pub(crate) fn configure(&self, url: &str, top: &str, section: &str) -> PathBuf {
        let nats_key = self.path("nats.key");
        if !nats_key.exists() {
            let seed = Broker::key(BusRole::Broadcaster).seed();
            keys::create_secret(&nats_key, &marque_signing::base64url(seed.as_slice())).unwrap();
        }
        let toml = format!(
            "key_file = {key:?}\nstate_dir = {state:?}\n{top}\n\
             [nats]\nurl = {url:?}\nkey_file = {nats_key:?}\n\
             [bundle]\nfile = {bundle:?}\npin = \"{pin}\"\n\
             [broadcaster]\n{section}\n",
            key = self.path("broadcaster.key"),
            state = self.path("state"),
            bundle = self.path("bundle.jwt"),
            pin = bundle::fingerprint(&self.bundle),
        );
        let path = self.path("broadcaster.toml");
        std::fs::write(&path, toml).unwrap();
        path
    }

    /// The real process, told where its configuration is and nothing else.
    pub(crate) fn command(&self, config: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-revocation-broadcaster"));
        command.env_clear().arg("--config").arg(config);
        command
    }

    pub(crate) fn start(&self, config: &Path) -> ChildGuard {
        ChildGuard::spawn(&mut self.command(config), &self.path("broadcaster.log"))
    }

    /// A verifier's feed, that acks.
    pub(crate) async fn feed(&self, broker: &Broker, verifier: usize) -> Feed {
        let bus = broker.connect(BusRole::Verifier).await;
        let options = FeedOptions { ack_key: Some(self.verifiers[verifier].clone()), ..FeedOptions::default() };
        Feed::start(&bus, vec![self.broadcaster.public()], options).await.unwrap()
    }

    /// Asks as the operator, until the service is there.
    pub(crate) async fn ask(&self, bus: &Bus, request: &DirectiveRequest) -> Result<DirectiveReply, CallError> {
        ask(bus, &self.operator, request).await
    }
}

/// Asks once.
pub(crate) async fn ask(
    bus: &Bus,
    requester: &SigningKey,
    request: &DirectiveRequest,
) -> Result<DirectiveReply, CallError> {
    let signed = request.sign(requester).unwrap();
    ask_raw(bus, signed.into_bytes()).await
}

pub(crate) async fn ask_raw(bus: &Bus, payload: Vec<u8>) -> Result<DirectiveReply, CallError> {
    let reply = bus.request(subjects::REVOCATION_REQUEST, Default::default(), payload, DEADLINE).await?;
    Ok(marque_json::from_slice(&reply.payload, Limits::DEFAULT).unwrap())
}

/// Waits until the service answers; gives its status.
pub(crate) async fn serving(bus: &Bus) -> StatusReply {
    eventually("the broadcaster serves", DEADLINE, || status(bus)).await
}

pub(crate) async fn status(bus: &Bus) -> Result<StatusReply, CallError> {
    let reply = bus.request(subjects::REVOCATION_STATUS, Default::default(), Vec::new(), LOOK).await?;
    Ok(marque_json::from_slice(&reply.payload, Limits::DEFAULT).unwrap())
}

/// Every directive in the stream, with its sequence.
pub(crate) async fn stored(bus: &Bus, house: &House) -> Vec<(u64, String)> {
    let mut opener = Opener::new(vec![house.broadcaster.public()]);
    let mut from = 1;
    let mut found = Vec::new();
    loop {
        let batch = bus.read(streams::DIRECTIVES, from, 1000).await.unwrap();
        let Some(last) = batch.messages.last() else { return found };
        from = last.sequence + 1;
        for message in batch.messages {
            if let (Item::Directive(signed), _) = opener.item(&message.payload) {
                found.push((message.sequence, signed.compact().to_owned()));
            }
        }
    }
}

/// The kinds of all records in the audit stream.
pub(crate) async fn recorded(bus: &Bus) -> Vec<String> {
    let batch = bus.read(streams::AUDIT, 1, 1000).await.unwrap();
    batch.messages.iter().map(|message| message.subject.split('.').nth(2).unwrap().to_owned()).collect()
}
