//! A broker, a broadcaster that beats, an issuer's key, a verifier, agents.

use std::sync::Arc;
use std::time::Duration;

use marque_agent::enforce::{Policy, ToolRule};
use marque_agent::{Actor, AgentKey, Commission};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, streams};
use marque_credential::{AgentClaim, MarqueClaims, RootRequest, Tools, mint_root};
use marque_identity::{Digest, TokenId, UnixSeconds};
use marque_judgement::record::{Body, Completed, Decided, Record};
use marque_runtime::{Clock, Health};
use marque_signing::{Anchor, PublicKey, Role, ServiceKey, SigningKey, TrustBundle};
use marque_test_support::{Broker, TestBroadcaster, fresh};
use marque_verifier::{Parts, Verifier};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

pub(crate) const DOMAIN: &str = "acme.example";
/// A tool that knows nothing of us.
pub(crate) const TOOL: &str = "gated.crm.query";
pub(crate) const BOUND: Duration = Duration::from_secs(15);
const TOOL_TIMEOUT: Duration = Duration::from_secs(10);
const BEAT_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) bundle: TrustBundle,
    pub(crate) agent: Bus,
    pub(crate) host: Bus,
    pub(crate) sink: Bus,
    issuer: SigningKey,
    beating: AbortHandle,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

pub(crate) fn verifier_key(n: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[0x40 + n; 32]))
}

pub(crate) fn policy() -> Policy {
    Policy::new(DOMAIN.parse().unwrap())
}

pub(crate) fn side_effecting(tool: &str) -> ToolRule {
    ToolRule { pattern: tool.to_owned(), tier: None, side_effecting: true }
}

/// The gated tool with `region` pinned, a tool of the agents' own kind, and one that no gate may reach.
pub(crate) fn grant() -> Tools {
    let region = json!({ "region": { "constraint_type": "one_of", "values": ["eu", "us"] } });
    let tools = json!({
        "nats:gated.crm.query": region,
        "nats:tools.crm.query": {},
        "nats:marque.record.decided.none": {},
        "read_file": { "path": { "constraint_type": "subpath", "root": "/data" } },
    });
    serde_json::from_value(tools).unwrap()
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let broker = Broker::start().await;
        let issuer = SigningKey::from_seed(&[1; 32]);
        let mut broadcaster = TestBroadcaster::new(broker.connect(BusRole::Broadcaster).await);
        let service = |role, did| ServiceKey { role, name: format!("{role:?}"), did };
        let bundle = TrustBundle {
            trust_domain: DOMAIN.parse().unwrap(),
            version: 1,
            issued_at: UnixSeconds(0),
            issuers: vec![Anchor { iss: format!("https://{DOMAIN}"), did: issuer.did() }],
            services: vec![
                service(Role::Broadcaster, broadcaster.public().did()),
                service(Role::Verifier, verifier_key(1).did()),
                service(Role::Verifier, verifier_key(2).did()),
            ],
            operators: vec![],
        };
        let beating = tokio::spawn(async move {
            let mut tick = tokio::time::interval(BEAT_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                broadcaster.beat().await;
            }
        });
        let agent = broker.connect(BusRole::Agent).await;
        let host = broker.connect(BusRole::Host).await;
        let sink = broker.connect(BusRole::Sink).await;
        Self { broker, bundle, agent, host, sink, issuer, beating: beating.abort_handle() }
    }

    /// The bundle as an operator has it.
    pub(crate) fn bundle_text(&self) -> String {
        self.bundle.sign(&self.issuer).unwrap()
    }

    /// A verifier that is fresh.
    pub(crate) async fn verifier(&self, n: u8, policy: Policy) -> Verifier {
        self.verifier_of(self.parts(n, policy)).await
    }

    pub(crate) async fn verifier_of(&self, parts: Parts) -> Verifier {
        let bus = self.broker.connect(BusRole::Verifier).await;
        let verifier = Verifier::build(&bus, parts, &Health::new()).await.unwrap();
        fresh(verifier.feed(), BOUND).await;
        verifier
    }

    pub(crate) fn parts(&self, n: u8, policy: Policy) -> Parts {
        Parts {
            key: verifier_key(n),
            bundle: self.bundle.clone(),
            policy,
            tool_timeout: TOOL_TIMEOUT,
            requests_max: 64,
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        let key = AgentKey::generate().unwrap();
        let root = self.root(&key.public());
        Commission::adopt(key, root).unwrap().on(&self.agent)
    }

    fn root(&self, holder: &PublicKey) -> String {
        let now = Clock::new().unix();
        let agent = AgentClaim {
            did: holder.did(),
            blueprint: "web-reader".parse().unwrap(),
            sponsor: "finance".parse().unwrap(),
            manifest_hash: None,
            vc_hash: Digest([7; 32]),
        };
        let marque = MarqueClaims { task: "urn:task:q3".parse().unwrap(), purpose: "report".into(), agent };
        let request = RootRequest {
            iss: format!("https://{DOMAIN}"),
            jti: TokenId::generate(),
            iat: now,
            exp: now.plus(600),
            del_max_depth: 0,
            holder: *holder,
            aud: None,
            tools: grant(),
            marque,
        };
        mint_root(&self.issuer, &request).unwrap()
    }

    /// Every record in the stream, in its order; each is signed by a verifier.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let batch = self.sink.read(streams::AUDIT, 1, 1000).await.unwrap();
        let ours = [verifier_key(1).did(), verifier_key(2).did()];
        let open =
            |payload: &[u8]| Record::open(std::str::from_utf8(payload).unwrap(), |by, _| ours.contains(by)).unwrap();
        batch.messages.iter().map(|stored| open(&stored.payload)).collect()
    }

    pub(crate) async fn record(&self, id: &str) -> Record {
        self.records().await.into_iter().find(|record| record.id == id).expect("the record is stored")
    }

    pub(crate) async fn decided(&self, id: &str) -> Decided {
        match self.record(id).await.body {
            Body::Decided(decided) => *decided,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn completed(&self, decided: &str) -> Option<Completed> {
        self.records().await.into_iter().find_map(|record| match record.body {
            Body::Completed(completed) if completed.decided == decided => Some(completed),
            _ => None,
        })
    }
}

/// A question in AuthZEN's shape.
pub(crate) fn question(actor: &Actor, tool: &str, args: &Value, proof: &str) -> Value {
    json!({
        "subject": { "type": "agent", "id": actor.commission().key().did() },
        "action": { "name": "call" },
        "resource": { "type": "tool", "id": tool },
        "context": { "chain": [actor.commission().chain()], "proof": proof, "args": args },
    })
}
