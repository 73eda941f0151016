//! What the verifier counts and measures. No agent, token or subject is a label.

use std::time::Duration;

use marque_agent::enforce::Observer;
use marque_bus::Feed;
use marque_identity::Code;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Decisions by outcome and reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    decision: &'static str,
    code: &'static str,
}

/// The verifier's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    decisions: Family<Outcome, Counter>,
    seconds: Histogram,
    unrecorded: Counter,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        // 50 µs (a cached chain without its record) to about 13 s (a record that waits for a new leader).
        let seconds = Histogram::new(exponential_buckets(50e-6, 2.0, 19));
        Self { decisions: Family::default(), seconds, unrecorded: Counter::default() }
    }

    /// Registers them; the view's age is asked of `feed` at each scrape.
    pub(crate) fn register(&self, registry: &mut Registry, feed: Feed) {
        registry.register("decisions", "Decisions by outcome and reason", self.decisions.clone());
        registry.register("decision_seconds", "Time from a request to its stored decision", self.seconds.clone());
        let help = "Records that the audit stream did not acknowledge";
        registry.register("records_unacknowledged", help, self.unrecorded.clone());
        registry.register_collector(Box::new(ViewState(feed)));
    }
}

impl Observer for Metrics {
    fn decided(&self, denied: Option<Code>, took: Duration) {
        let outcome = match denied {
            None => Outcome { decision: "permit", code: "" },
            Some(code) => Outcome { decision: "deny", code: code.as_str() },
        };
        self.decisions.get_or_create(&outcome).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    fn unrecorded(&self) {
        self.unrecorded.inc();
    }
}

/// The view of the directives, looked at when it is asked for.
struct ViewState(Feed);

impl std::fmt::Debug for ViewState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ViewState")
    }
}

impl Collector for ViewState {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (age, epoch, active) = {
            let view = self.0.view();
            (view.age(self.0.now()), view.epoch(), view.active_count())
        };
        let mut gauge = |name, help, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
        gauge("state_age_seconds", "Time since the view was last proven to be at the head of the feed", age)?;
        gauge("state_epoch", "The directive stream's sequence up to which everything is held", epoch.0 as f64)?;
        gauge("directives_active", "Directives in force", active as f64)
    }
}
