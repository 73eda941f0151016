//! What the gatekeeper states in the audit stream, each statement signed and stored before anything rests on it.

use std::sync::Arc;

use marque_bus::{Bus, Recorded};
use marque_identity::{Code, Did, Refusal};
use marque_judgement::record::{Body, Connected, Connection, Disconnected, Kicked, Record, Refused};
use marque_runtime::Clock;
use marque_signing::SigningKey;

use crate::metrics::Metrics;
use crate::server::End;
use crate::standing::{Ended, Standing};

/// Its name in its records.
pub(crate) const SERVICE: &str = "marque-gatekeeper";
/// Each waits 5 s for its ack: no leader's fall takes so long as three.
const KICKED_TRIES: usize = 3;

/// Signs and stores.
#[derive(Clone)]
pub(crate) struct Records {
    bus: Bus,
    key: Arc<SigningKey>,
    by: Did,
    clock: Clock,
    metrics: Metrics,
}

impl Records {
    /// Signs with the gatekeeper's key.
    pub(crate) fn new(bus: Bus, key: Arc<SigningKey>, clock: Clock, metrics: Metrics) -> Self {
        Self { bus, by: key.did(), key, clock, metrics }
    }

    /// *connected*: where it stands in the stream.
    pub(crate) async fn connected(&self, standing: &Standing, connected: Connected) -> Result<Recorded, Refusal> {
        self.store(&self.about(standing, Body::Connected(Box::new(connected)))).await
    }

    /// *kicked*: the same statement again until it is stored, which outlasts the fall of the stream's leader.
    pub(crate) async fn kicked(&self, standing: &Standing, connection: Connection, ended: Ended) {
        let directive = ended.directive.map(|id| id.to_string());
        let body = Body::Kicked(Kicked { connection, code: ended.code, directive });
        let record = self.about(standing, body);
        // Where it is never stored, whoever looks after it has been told; the connection is closed all the same.
        let Ok(compact) = record.seal(&self.key).map_err(|error| self.not_recorded(&record, error.to_string())) else {
            return;
        };
        for _ in 0..KICKED_TRIES {
            if self.forward(&record, &compact).await.is_ok() {
                return;
            }
        }
    }

    /// *disconnected*.
    pub(crate) async fn disconnected(&self, agent: Did, connection: Connection, end: End) {
        let body =
            Disconnected { connection, messages_sent: end.sent, messages_received: end.received, reason: end.reason };
        let record = Record { agent: Some(agent), ..self.record(Body::Disconnected(body)) };
        let _ = self.store(&record).await;
    }

    /// *refused*. The agent is named where it proved that it holds its key: nobody else's history is written into.
    pub(crate) async fn refused(&self, refusal: &Refusal, agent: Option<Did>, input: &[u8]) {
        let body = Body::Refused(Refused::of(refusal, SERVICE, Some(input)));
        let _ = self.store(&Record { agent, ..self.record(body) }).await;
    }

    /// A record that an agent has signed itself, as it was sent.
    pub(crate) async fn forward(&self, record: &Record, compact: &str) -> Result<Recorded, Refusal> {
        let key = record.agent.unwrap_or(record.by);
        let stored = self.bus.publish_record(record.kind().as_str(), Some(&key), compact).await;
        stored.map_err(|error| self.not_recorded(record, error.to_string()))
    }

    fn record(&self, body: Body) -> Record {
        Record::new(self.clock.unix_millis(), self.by, body)
    }

    fn about(&self, standing: &Standing, body: Body) -> Record {
        Record {
            agent: Some(standing.agent),
            task: standing.task.clone(),
            token: standing.links.last().copied(),
            links: standing.links.clone(),
            ..self.record(body)
        }
    }

    async fn store(&self, record: &Record) -> Result<Recorded, Refusal> {
        let compact = record.seal(&self.key).map_err(|error| self.not_recorded(record, error.to_string()))?;
        self.forward(record, &compact).await
    }

    fn not_recorded(&self, record: &Record, why: String) -> Refusal {
        tracing::error!(id = record.id, kind = record.kind().as_str(), why, "a record was not acknowledged");
        self.metrics.unrecorded();
        Refusal::new(Code::NotRecorded, "the record was not acknowledged, so nothing was done")
    }
}
