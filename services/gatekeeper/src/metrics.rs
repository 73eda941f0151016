//! What the gatekeeper counts and measures. No agent, token or subject is a label.

use std::time::Duration;

use marque_identity::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Questions by what came of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    decision: &'static str,
    code: &'static str,
}

/// The gatekeeper's metrics. Clones share the counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    questions: Family<Outcome, Counter>,
    unreadable: Counter,
    overlong: Counter,
    seconds: Histogram,
    kicks: Counter,
    kick_seconds: Histogram,
    connections: Gauge,
    statements: Family<Outcome, Counter>,
    unrecorded: Counter,
    refusals_unrecorded: Counter,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        Self {
            questions: Family::default(),
            unreadable: Counter::default(),
            overlong: Counter::default(),
            // 200 µs to about 13 s, which is beyond what the server waits.
            seconds: Histogram::new(exponential_buckets(200e-6, 2.0, 17)),
            kicks: Counter::default(),
            kick_seconds: Histogram::new(exponential_buckets(200e-6, 2.0, 17)),
            connections: Gauge::default(),
            statements: Family::default(),
            unrecorded: Counter::default(),
            refusals_unrecorded: Counter::default(),
        }
    }

    /// Registers them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("questions", "The broker's questions by answer and reason", self.questions.clone());
        registry.register("questions_unreadable", "Questions that no server of ours asked", self.unreadable.clone());
        let help = "Clients that the broker closed for a line that was too long, without a question";
        registry.register("clients_overlong", help, self.overlong.clone());
        registry.register("answer_seconds", "Time from a question to its answer", self.seconds.clone());
        registry.register("kicks", "Connections closed", self.kicks.clone());
        registry.register(
            "kick_seconds",
            "Time from a directive to the last connection closed",
            self.kick_seconds.clone(),
        );
        registry.register("connections", "Agents' connections", self.connections.clone());
        registry.register("statements", "Agents' own records by outcome and reason", self.statements.clone());
        let help = "Records that the audit stream did not acknowledge";
        registry.register("records_unacknowledged", help, self.unrecorded.clone());
        let help = "Refusals that came faster than they are recorded";
        registry.register("refusals_unrecorded", help, self.refusals_unrecorded.clone());
    }

    pub(crate) fn answered(&self, refused: Option<Code>, took: Duration) {
        self.questions.get_or_create(&outcome(refused)).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.inc();
    }

    pub(crate) fn overlong(&self) {
        self.overlong.inc();
    }

    pub(crate) fn kicked(&self, count: usize, took: Duration) {
        self.kicks.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        self.kick_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn connections(&self, count: usize) {
        self.connections.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn stated(&self, refused: Option<Code>) {
        self.statements.get_or_create(&outcome(refused)).inc();
    }

    pub(crate) fn unrecorded(&self) {
        self.unrecorded.inc();
    }

    pub(crate) fn refusal_unrecorded(&self) {
        self.refusals_unrecorded.inc();
    }
}

fn outcome(refused: Option<Code>) -> Outcome {
    match refused {
        None => Outcome { decision: "permit", code: "" },
        Some(code) => Outcome { decision: "deny", code: code.as_str() },
    }
}
