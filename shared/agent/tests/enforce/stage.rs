//! What every test here plays on: a broker, a broadcaster that beats, an issuer's key, a host, agents.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use marque_agent::enforce::{EnforcementPoint, Enforcer, Policy, STALENESS_STANDARD, ServedTool, ToolError, ToolRule};
use marque_agent::{Actor, AgentKey, Commission};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, Feed, FeedOptions, streams};
use marque_credential::{AgentClaim, MarqueClaims, RootRequest, Tools, mint_root};
use marque_identity::{Digest, TokenId, UnixSeconds};
use marque_judgement::record::{Body, Completed, Decided, Record, RecordKind};
use marque_runtime::Clock;
use marque_signing::{Anchor, PublicKey, Role, ServiceKey, SigningKey, TrustBundle};
use marque_test_support::{Broker, TestBroadcaster, fresh};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

pub(crate) const DOMAIN: &str = "acme.example";
pub(crate) const TOOL: &str = "tools.crm.query";
const BEAT_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) broadcaster: Arc<Mutex<TestBroadcaster>>,
    pub(crate) bundle: TrustBundle,
    pub(crate) host: Bus,
    pub(crate) agent: Bus,
    pub(crate) sink: Bus,
    pub(crate) feed: Feed,
    issuer: SigningKey,
    beating: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

pub(crate) fn host_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[4; 32]))
}

pub(crate) fn policy() -> Policy {
    Policy::new(DOMAIN.parse().unwrap())
}

pub(crate) fn tools(json: Value) -> Tools {
    serde_json::from_value(json).unwrap()
}

/// One tool whose `region` is pinned to two values.
pub(crate) fn crm() -> Tools {
    tools(json!({ "nats:tools.crm.query": { "region": { "constraint_type": "one_of", "values": ["eu", "us"] } } }))
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::on(Broker::start().await).await
    }

    /// On a broker that lacks this stream.
    pub(crate) async fn set_without(stream: &str) -> Self {
        let broker = Broker::start_empty(false);
        let bootstrap = broker.connect(BusRole::Bootstrap).await;
        for spec in streams::specs(1).into_iter().filter(|spec| spec.name != stream) {
            let create = format!("$JS.API.STREAM.CREATE.{}", spec.name);
            bootstrap.request(&create, Default::default(), spec.settings.to_string(), BEAT_EVERY * 100).await.unwrap();
        }
        Self::on(broker).await
    }

    async fn on(broker: Broker) -> Self {
        let issuer = SigningKey::from_seed(&[1; 32]);
        let broadcaster = TestBroadcaster::new(broker.connect(BusRole::Broadcaster).await);
        let service = |role, did| ServiceKey { role, name: format!("{role:?}"), did };
        let bundle = TrustBundle {
            trust_domain: DOMAIN.parse().unwrap(),
            version: 1,
            issued_at: UnixSeconds(0),
            issuers: vec![Anchor { iss: format!("https://{DOMAIN}"), did: issuer.did() }],
            services: vec![
                service(Role::Broadcaster, broadcaster.public().did()),
                service(Role::Host, host_key().did()),
            ],
            operators: vec![],
        };
        let host = broker.connect(BusRole::Host).await;
        let feed = Feed::start(&host, bundle.keys(Role::Broadcaster), FeedOptions::default()).await.unwrap();
        let broadcaster = Arc::new(Mutex::new(broadcaster));
        let beating = beat(broadcaster.clone());
        let (agent, sink) = (broker.connect(BusRole::Agent).await, broker.connect(BusRole::Sink).await);
        fresh(&feed, STALENESS_STANDARD).await;
        Self { broker, broadcaster, bundle, host, agent, sink, feed, issuer, beating }
    }

    /// The broadcaster falls silent. Between two beats: one cut off after it was stored would leave the broadcaster
    /// behind its own stream.
    pub(crate) async fn silence(&mut self) {
        let _between_beats = self.broadcaster.lock().await;
        self.beating.abort();
        assert!((&mut self.beating).await.unwrap_err().is_cancelled());
    }

    /// It beats again.
    pub(crate) fn sound(&mut self) {
        self.beating = beat(self.broadcaster.clone());
    }

    pub(crate) fn root(&self, holder: &PublicKey, tools: Tools, depth_max: u64) -> String {
        self.root_of_manifest(holder, tools, depth_max, None)
    }

    pub(crate) fn root_of_manifest(
        &self,
        holder: &PublicKey,
        tools: Tools,
        depth_max: u64,
        manifest_hash: Option<Digest>,
    ) -> String {
        let now = Clock::new().unix();
        let agent = AgentClaim {
            did: holder.did(),
            blueprint: "web-reader".parse().unwrap(),
            sponsor: "finance".parse().unwrap(),
            manifest_hash,
            vc_hash: Digest([7; 32]),
        };
        let marque = MarqueClaims { task: "urn:task:q3".parse().unwrap(), purpose: "report".into(), agent };
        let request = RootRequest {
            iss: format!("https://{DOMAIN}"),
            jti: TokenId::generate(),
            iat: now,
            exp: now.plus(600),
            del_max_depth: depth_max,
            holder: *holder,
            aud: None,
            tools,
            marque,
        };
        mint_root(&self.issuer, &request).unwrap()
    }

    pub(crate) fn commission(&self, tools: Tools, depth_max: u64) -> Commission {
        let key = AgentKey::generate().unwrap();
        let root = self.root(&key.public(), tools, depth_max);
        Commission::adopt(key, root).unwrap()
    }

    pub(crate) fn actor(&self, tools: Tools) -> Actor {
        self.commission(tools, 0).on(&self.agent)
    }

    pub(crate) fn point(&self, policy: Policy) -> EnforcementPoint {
        EnforcementPoint::new(&self.host, host_key(), "host", &self.bundle, self.feed.clone(), policy)
    }

    pub(crate) fn enforcer(&self) -> Enforcer {
        self.enforcer_with(policy())
    }

    pub(crate) fn enforcer_with(&self, policy: Policy) -> Enforcer {
        Enforcer::new(&self.host, host_key(), &self.bundle, self.feed.clone(), policy)
    }

    /// Serves [`TOOL`], which counts how often it ran.
    pub(crate) async fn serve_counting(&self) -> (ServedTool, Arc<AtomicUsize>) {
        self.serve_counting_with(policy()).await
    }

    pub(crate) async fn serve_counting_with(&self, policy: Policy) -> (ServedTool, Arc<AtomicUsize>) {
        let ran = Arc::new(AtomicUsize::new(0));
        let counter = ran.clone();
        let handler = move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, ToolError>(Bytes::from_static(b"[]")) }
        };
        (self.enforcer_with(policy).serve_tool(TOOL, handler).await.unwrap(), ran)
    }

    /// Every record in the stream, in its order; each is signed by the host.
    pub(crate) async fn records(&self) -> Vec<Record> {
        records(&self.sink).await
    }

    pub(crate) async fn of_kind(&self, kind: RecordKind) -> Vec<Record> {
        self.records().await.into_iter().filter(|record| record.kind() == kind).collect()
    }

    /// The *decided* record of this id.
    pub(crate) async fn decided(&self, id: &str) -> (Record, Decided) {
        let record = self.records().await.into_iter().find(|record| record.id == id).expect("the record is stored");
        let Body::Decided(decided) = record.body.clone() else { panic!("{record:?} is no decided") };
        (record, *decided)
    }

    /// The *completed* record of the decision of this id.
    pub(crate) async fn completed(&self, decided: &str) -> Option<Completed> {
        self.records().await.into_iter().find_map(|record| match record.body {
            Body::Completed(completed) if completed.decided == decided => Some(completed),
            _ => None,
        })
    }
}

pub(crate) async fn records(sink: &Bus) -> Vec<Record> {
    let batch = sink.read(streams::AUDIT, 1, 1000).await.unwrap();
    let open = |payload: &[u8]| {
        let compact = std::str::from_utf8(payload).unwrap();
        Record::open(compact, |by, _| *by == host_key().did()).unwrap()
    };
    batch.messages.iter().map(|stored| open(&stored.payload)).collect()
}

/// A rule for [`TOOL`] that marks it side-effecting.
pub(crate) fn side_effecting() -> ToolRule {
    ToolRule { pattern: format!("nats:{TOOL}"), tier: None, side_effecting: true }
}

fn beat(broadcaster: Arc<Mutex<TestBroadcaster>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(BEAT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            broadcaster.lock().await.beat().await;
        }
    })
}
