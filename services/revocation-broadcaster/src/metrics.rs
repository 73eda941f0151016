//! The broadcaster's numbers. No agent, token or verifier is a label.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use marque_identity::Refusal;
use marque_revocation::Receipt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    code: &'static str,
}

/// The broadcaster's numbers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    request_seconds: Histogram,
    heartbeats: Counter,
    resynchronised: Counter,
    active: Gauge,
    unpublished: Gauge,
    unrecorded_waiting: Gauge,
    verifiers: Gauge,
    silent: Gauge,
    ack_seconds: Histogram,
    acks_refused: Counter,
    refusals_unrecorded: Counter,
    last_beat: Arc<Mutex<Option<Instant>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.1 ms to 6.5 s.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 17));
        Self {
            requests: Family::default(),
            request_seconds: seconds(),
            heartbeats: Counter::default(),
            resynchronised: Counter::default(),
            active: Gauge::default(),
            unpublished: Gauge::default(),
            unrecorded_waiting: Gauge::default(),
            verifiers: Gauge::default(),
            silent: Gauge::default(),
            ack_seconds: seconds(),
            acks_refused: Counter::default(),
            refusals_unrecorded: Counter::default(),
            last_beat: Arc::default(),
        }
    }
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "revocation_requests",
            "Requests answered, by reason; `ok` if granted",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "revocation_request",
            "From a request's arrival to its answer",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register("heartbeats", "Heartbeats stored", self.heartbeats.clone());
        registry.register(
            "directive_stream_resynchronised",
            "Publishes whose outcome only the stream could tell",
            self.resynchronised.clone(),
        );
        registry.register("directives_active", "Directives in force", self.active.clone());
        registry.register("directives_unpublished", "Accepted, not yet in the stream", self.unpublished.clone());
        registry.register("records_waiting", "Records not yet in the audit stream", self.unrecorded_waiting.clone());
        registry.register("verifiers_present", "Verifiers heard of in the last 15 s", self.verifiers.clone());
        registry.register("verifiers_silent", "Verifiers silent on the last directive", self.silent.clone());
        registry.register_with_unit(
            "directive_ack",
            "From a directive's publish to a verifier's ack, on the broadcaster's clock",
            Unit::Seconds,
            self.ack_seconds.clone(),
        );
        registry.register("acks_refused", "Acks that did not verify", self.acks_refused.clone());
        registry.register(
            "refusals_unrecorded",
            "Refusals that the audit stream did not take; must stay 0",
            self.refusals_unrecorded.clone(),
        );
    }

    pub(crate) fn answered(&self, refusal: Option<&Refusal>, took: Duration) {
        let code = refusal.map_or("ok", |refusal| refusal.code.as_str());
        self.requests.get_or_create(&Outcome { code }).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn beat(&self, active: u64) {
        self.heartbeats.inc();
        self.active.set(i64::try_from(active).unwrap_or(i64::MAX));
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago the last heartbeat was stored.
    pub fn beat_age(&self) -> Option<Duration> {
        self.last_beat.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    pub(crate) fn lost_step(&self) {
        self.resynchronised.inc();
    }

    pub(crate) fn acked(&self, took: Duration) {
        self.ack_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn ack_refused(&self) {
        self.acks_refused.inc();
    }

    pub(crate) fn reached(&self, receipt: &Receipt) {
        self.silent.set(i64::try_from(receipt.of.saturating_sub(receipt.acked)).unwrap_or(i64::MAX));
    }

    pub(crate) fn unrecorded(&self) {
        self.refusals_unrecorded.inc();
    }

    pub(crate) fn waiting(&self, unpublished: u64, unrecorded: u64, verifiers: usize) {
        self.unpublished.set(i64::try_from(unpublished).unwrap_or(i64::MAX));
        self.unrecorded_waiting.set(i64::try_from(unrecorded).unwrap_or(i64::MAX));
        self.verifiers.set(i64::try_from(verifiers).unwrap_or(i64::MAX));
    }
}
