//! What the attestor counts and measures. No key, user or process is a label.

use std::time::Duration;

use marque_identity::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Requests by what came of them; no code where evidence was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    code: &'static str,
}

/// The attestor's metrics. Clones share the counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<Outcome, Counter>,
    seconds: Histogram,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        // 1 ms to about 33 s, which is beyond the time of a look.
        Self { requests: Family::default(), seconds: Histogram::new(exponential_buckets(1e-3, 2.0, 16)) }
    }

    /// Registers them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("requests", "Requests for evidence by reason of refusal", self.requests.clone());
        registry.register("answer_seconds", "Time from a connection to its answer", self.seconds.clone());
    }

    pub(crate) fn answered(&self, refused: Option<Code>, took: Duration) {
        self.requests.get_or_create(&Outcome { code: refused.map_or("", Code::as_str) }).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
