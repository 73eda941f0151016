//! What the gatekeeper states in the audit stream, each statement signed and stored before anything rests on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marque_bus::{Bus, BusError, Recorded};
use marque_identity::{Code, Did, Refusal, UnixMillis};
use marque_judgement::record::{Body, Connected, Connection, Disconnected, Kicked, Record, Refused};
use marque_runtime::Clock;
use marque_signing::SigningKey;

use crate::metrics::Metrics;
use crate::server::End;
use crate::standing::{Ended, Standing};

/// Its name in its records.
pub(crate) const SERVICE: &str = "marque-gatekeeper";
/// So long a *kicked* record is tried again: a leader's fall takes seconds, making room in a stream that is full takes
/// whoever looks after it a while. What waits is bounded: while nothing is stored nobody is let in.
const KICKED_FOR: Duration = Duration::from_secs(3600);
/// Between two tries: a stream that is full says so at once.
const KICKED_PAUSE: Duration = Duration::from_secs(1);

/// When connections were closed, and until when that is tried to be recorded.
#[derive(Clone, Copy)]
pub(crate) struct ClosedAt {
    iat_ms: UnixMillis,
    until: Instant,
}

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

    /// For what is closed now: a record that waits for its turn tells the time of the closing.
    pub(crate) fn closed_now(&self) -> ClosedAt {
        ClosedAt { iat_ms: self.clock.unix_millis(), until: Instant::now() + KICKED_FOR }
    }

    /// *kicked*: the same statement again until it is stored, which outlasts the fall of the stream's leader, and a stream
    /// that is full. It may take long: nothing that must go on waits for it. It is lost where the process ends before.
    pub(crate) async fn kicked(&self, standing: &Standing, connection: Connection, ended: Ended, at: ClosedAt) {
        let directive = ended.directive.map(|id| id.to_string());
        let body = Body::Kicked(Kicked { connection, code: ended.code, directive });
        let record = Record { iat_ms: at.iat_ms, ..self.about(standing, body) };
        let Ok(compact) = record.seal(&self.key).map_err(|error| self.not_recorded(&record, error.to_string())) else {
            return;
        };
        // The first failure is told of; the connection is closed all the same.
        if self.forward(&record, &compact).await.is_ok() {
            return;
        }
        while Instant::now() < at.until {
            tokio::time::sleep(KICKED_PAUSE).await;
            if self.publish(&record, &compact).await.is_ok() {
                tracing::info!(id = record.id, "a record that was not acknowledged is stored now");
                return;
            }
        }
        tracing::error!(id = record.id, "a record was not stored, and is not tried again");
    }

    /// *disconnected*.
    pub(crate) async fn disconnected(&self, agent: Did, connection: Connection, end: End) {
        let body =
            Disconnected { connection, messages_sent: end.sent, messages_received: end.received, reason: end.reason };
        let record = Record { agent: Some(agent), ..self.record(Body::Disconnected(body)) };
        let _ = self.store(&record).await;
    }

    /// *refused*. The agent is named where it proved that it holds its key: nobody else's history is written into. The
    /// input is what was presented, if that came to us.
    pub(crate) async fn refused(&self, refusal: &Refusal, agent: Option<Did>, input: Option<&[u8]>) {
        let body = Body::Refused(Refused::of(refusal, SERVICE, input));
        let _ = self.store(&Record { agent, ..self.record(body) }).await;
    }

    /// A record that an agent has signed itself, as it was sent.
    pub(crate) async fn forward(&self, record: &Record, compact: &str) -> Result<Recorded, Refusal> {
        self.publish(record, compact).await.map_err(|error| self.not_recorded(record, error.to_string()))
    }

    async fn publish(&self, record: &Record, compact: &str) -> Result<Recorded, BusError> {
        let key = record.agent.unwrap_or(record.by);
        self.bus.publish_record(record.kind().as_str(), Some(&key), compact).await
    }

    fn record(&self, body: Body) -> Record {
        Record::new(self.clock.unix_millis(), self.by, body)
    }

    fn about(&self, standing: &Standing, body: Body) -> Record {
        Record {
            agent: Some(standing.agent),
            task: standing.task.clone(),
            token: standing.links.last().copied().or(standing.credential),
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
