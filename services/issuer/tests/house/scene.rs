//! A broker, a broadcaster that beats, and the issuer's process between them.

use std::sync::Arc;
use std::time::Duration;

use marque_agent::{Agent, AgentKey, RuntimeClaim};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, CallError, streams, subjects};
use marque_revocation::{Op, Target};
use marque_test_support::{Broker, ChildGuard, DEADLINE, TestBroadcaster, eventually};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::{House, domain};

const BEAT_EVERY: Duration = Duration::from_millis(100);
pub(crate) const ASK: Duration = Duration::from_secs(10);

/// A broadcaster that beats until it is dropped.
pub(crate) struct Beating {
    /// Who holds it keeps it from beating.
    pub(crate) broadcaster: Arc<Mutex<TestBroadcaster>>,
    task: AbortHandle,
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Beating {
    pub(crate) fn start(broadcaster: Arc<Mutex<TestBroadcaster>>) -> Self {
        let beating = broadcaster.clone();
        let task = tokio::spawn(async move {
            let mut every = tokio::time::interval(BEAT_EVERY);
            loop {
                every.tick().await;
                beating.lock().await.beat().await;
            }
        });
        Self { broadcaster, task: task.abort_handle() }
    }

    pub(crate) async fn publish(&self, op: Op, target: Target) {
        let mut broadcaster = self.broadcaster.lock().await;
        let signed = broadcaster.sign(op, target, None);
        broadcaster.publish(&signed).await;
    }
}

pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) house: House,
    pub(crate) config: std::path::PathBuf,
    pub(crate) beating: Beating,
    pub(crate) bus: Bus,
    pub(crate) sink: Bus,
}

impl Scene {
    pub(crate) async fn new(section: &str) -> Self {
        Self::with("", section).await
    }

    pub(crate) async fn with(top: &str, section: &str) -> Self {
        let broker = Broker::start().await;
        let broadcaster = TestBroadcaster::new(broker.connect(BusRole::Broadcaster).await);
        let house = House::new(&broadcaster.public());
        let config = house.configure(&broker.url(), top, section);
        let bus = broker.connect(BusRole::Agent).await;
        let sink = broker.connect(BusRole::Sink).await;
        let beating = Beating::start(Arc::new(Mutex::new(broadcaster)));
        Self { broker, house, config, beating, bus, sink }
    }

    /// The process, once it answers.
    pub(crate) async fn issuer(&self) -> ChildGuard {
        let child = self.house.start(&self.config);
        // A request may still be handed to a process that was just killed: ask again soon.
        let look = Duration::from_millis(250);
        eventually("the issuer answers", DEADLINE, async || {
            self.bus.request(subjects::issuer::JWKS, Default::default(), Vec::new(), look).await
        })
        .await;
        child
    }

    pub(crate) async fn ask(&self, subject: &str, body: &str) -> Result<Value, CallError> {
        let reply = self.bus.request(subject, Default::default(), body.as_bytes().to_vec(), ASK).await?;
        Ok(serde_json::from_slice(&reply.payload).unwrap())
    }

    pub(crate) async fn enrol(&self) -> Agent {
        let key = AgentKey::generate().unwrap();
        let runtime = RuntimeClaim { model_id: "example-large-1".into(), manifest_hash: None };
        let join = self.house.join();
        // Until its view is fresh the issuer refuses, and the join token stays good.
        eventually("an agent enrols", DEADLINE, async || {
            Agent::enrol(&self.bus, &domain(), key.clone(), &join, &runtime).await
        })
        .await
    }

    /// Records of a kind in the audit stream.
    pub(crate) async fn records(&self, kind: &str) -> usize {
        let prefix = format!("marque.record.{kind}.");
        let (mut from, mut count) = (1, 0);
        loop {
            let batch = self.sink.read(streams::AUDIT, from, 1_000).await.unwrap();
            let Some(last) = batch.messages.last() else { return count };
            from = last.sequence + 1;
            count += batch.messages.iter().filter(|message| message.subject.starts_with(&prefix)).count();
        }
    }
}
