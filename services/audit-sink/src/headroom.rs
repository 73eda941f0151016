//! How much room the audit stream has left, and the alarm before there is none.
//!
//! A full stream refuses its publishers and drops nothing; then nothing is permitted any more. Before that, at a share
//! of its limits that is configured, the sink says so: a *risk* record [`SIGNAL`] in the stream itself, a line of
//! telemetry, a metric, and a warning on `/readyz`. It is said once for each time that the share is crossed; what says
//! so is kept on disk. Killed between the record and that: the record is there twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use marque_bus::Bus;
use marque_bus::streams::{AUDIT, StreamState};
use marque_judgement::record::{Body, Record, Risk};
use marque_runtime::{Clock, Health};
use marque_signing::SigningKey;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::SinkError;
use crate::keep::{forget, keep};
use crate::notices::publish;
use crate::store::LogStore;

/// The signal of the risk record.
pub const SIGNAL: &str = "audit_stream_filling";
/// In the state directory while the alarm is raised.
pub const ALARM_FILE: &str = "stream-alarm";
/// What the warning is called on `/readyz`.
const WARNING: &str = "audit stream";
/// Where nothing is taken in, it is looked again after this: other sinks' streams grow too while we are behind.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks while it grows: 200 MB of room are four looks at the full rate of a disk.
const LOOK_APART: Duration = Duration::from_millis(200);
/// The alarm ends when the share has fallen so far below it, in percent: at the edge it does not flutter.
const CALM_BELOW_PERCENT: u64 = 5;

/// How full a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fullness {
    /// The larger share of its two limits, in percent, rounded down; none without limits.
    pub percent: Option<u64>,
    /// In words, for the operator.
    pub detail: String,
}

impl Fullness {
    /// Of this stream.
    pub fn of(state: &StreamState) -> Self {
        let limits = state.limits();
        let share = |used: u64, limit: Option<u64>| limit.map(|limit| percent(used, limit));
        let shares = [share(state.bytes, limits.bytes), share(state.messages, limits.messages)];
        let of = |used: u64, limit: Option<u64>| match limit {
            Some(limit) => format!("{used} of {limit}"),
            None => used.to_string(),
        };
        let detail =
            format!("{} bytes, {} messages", of(state.bytes, limits.bytes), of(state.messages, limits.messages));
        Self { percent: shares.into_iter().flatten().max(), detail }
    }
}

fn percent(used: u64, limit: u64) -> u64 {
    let percent = u128::from(used) * 100 / u128::from(limit.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// What is counted of the stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoomMetrics {
    bytes: Gauge<u64, AtomicU64>,
    bytes_max: Gauge<u64, AtomicU64>,
    messages: Gauge<u64, AtomicU64>,
    messages_max: Gauge<u64, AtomicU64>,
    behind: Gauge<u64, AtomicU64>,
    alarm: Gauge<u64, AtomicU64>,
}

impl RoomMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("audit_stream_bytes", "Bytes that the audit stream holds", self.bytes.clone());
        registry.register("audit_stream_bytes_max", "Bytes that it takes; 0 without a limit", self.bytes_max.clone());
        registry.register("audit_stream_messages", "Messages that the audit stream holds", self.messages.clone());
        registry.register(
            "audit_stream_messages_max",
            "Messages that it takes; 0 without a limit",
            self.messages_max.clone(),
        );
        registry.register("audit_stream_behind", "Messages that this log has not taken in yet", self.behind.clone());
        registry.register("audit_stream_alarm", "1 while the audit stream is nearly full", self.alarm.clone());
    }

    fn set(&self, state: &StreamState, taken_in: u64) {
        let limits = state.limits();
        self.bytes.set(state.bytes);
        self.bytes_max.set(limits.bytes.unwrap_or(0));
        self.messages.set(state.messages);
        self.messages_max.set(limits.messages.unwrap_or(0));
        self.behind.set(state.last_sequence.saturating_sub(taken_in));
    }
}

/// Watches the stream's room.
pub(crate) struct Headroom {
    pub(crate) store: Arc<LogStore>,
    pub(crate) key: SigningKey,
    pub(crate) clock: Clock,
    pub(crate) health: Health,
    pub(crate) metrics: RoomMetrics,
    /// The share at which the alarm is raised.
    pub(crate) alarm_percent: u64,
    pub(crate) state_dir: PathBuf,
}

impl Headroom {
    /// Looks until `stopped`: at once, whenever the log has grown, and now and then. A log that has halted is no reason
    /// to stop looking.
    pub(crate) async fn run(&self, bus: &Bus, mut stopped: watch::Receiver<bool>) {
        let mut grown = self.store.grown();
        let mut raised = self.state_dir.join(ALARM_FILE).exists();
        loop {
            if let Err(error) = self.look(bus, &mut raised).await {
                tracing::warn!(%error, "the audit stream's room is not known");
            }
            let due = async {
                tokio::time::sleep(LOOK_APART).await;
                tokio::select! {
                    // The store outlives this: its sender can't be gone.
                    _ = grown.changed() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = due => {}
            }
        }
    }

    async fn look(&self, bus: &Bus, raised: &mut bool) -> Result<(), SinkError> {
        let state = bus.stream_state(AUDIT).await?;
        self.metrics.set(&state, self.store.last_sequence());
        let fullness = Fullness::of(&state);
        let percent = fullness.percent.unwrap_or(0);
        let nearly_full = percent >= self.alarm_percent;
        if nearly_full || *raised && percent + CALM_BELOW_PERCENT > self.alarm_percent {
            let behind = state.last_sequence.saturating_sub(self.store.last_sequence());
            let why = format!(
                "{percent} % full ({}; {behind} messages not in this log yet): publishers are refused when it is full",
                fullness.detail
            );
            self.health.warn(WARNING, &why);
            self.metrics.alarm.set(1);
            if !*raised {
                tracing::error!(percent, detail = %fullness.detail, "THE AUDIT STREAM FILLS");
                self.say(bus, &why).await?;
                // Whatever becomes of the file: it is not said again by this run.
                *raised = true;
                keep(&self.state_dir.join(ALARM_FILE), &why)?;
            }
            return Ok(());
        }
        if *raised {
            forget(&self.state_dir.join(ALARM_FILE))?;
            tracing::info!(percent, "the audit stream has room again");
            *raised = false;
        }
        self.health.calm(WARNING);
        self.metrics.alarm.set(0);
        Ok(())
    }

    async fn say(&self, bus: &Bus, why: &str) -> Result<(), SinkError> {
        let by = self.key.did();
        let body = Body::Risk(Risk { signal: SIGNAL.to_owned(), message: format!("the audit stream is {why}") });
        let record = Record::new(self.clock.unix_millis(), by, body);
        publish(bus, &self.key, &record, &by).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(bytes: u64, messages: u64, settings: serde_json::Value) -> StreamState {
        StreamState { first_sequence: 1, last_sequence: messages, messages, bytes, created_ns: 7, settings }
    }

    #[test]
    fn the_fuller_limit_counts_and_none_is_never_full() {
        let both = json!({ "max_bytes": 1000, "max_msgs": 10 });
        assert_eq!(Fullness::of(&state(799, 7, both.clone())).percent, Some(79));
        assert_eq!(Fullness::of(&state(10, 8, both)).percent, Some(80));
        assert_eq!(Fullness::of(&state(u64::MAX, 1, json!({ "max_bytes": 1 }))).percent, Some(u64::MAX));
        let unlimited = Fullness::of(&state(u64::MAX, u64::MAX, json!({ "max_bytes": -1, "max_msgs": -1 })));
        assert_eq!(unlimited.percent, None);
        assert_eq!(Fullness::of(&state(5, 2, json!({ "max_msgs": 10 }))).detail, "5 bytes, 2 of 10 messages");
    }
}
