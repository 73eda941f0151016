//! The issuer's numbers. No agent, token or task is a label.

use std::time::Duration;

use marque_identity::Refusal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::request::Duty;
use crate::standing::LiveDirectives;
use crate::store::{GrantKind, Totals};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    duty: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The issuer's numbers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    issued: Family<Kind, Gauge>,
    remembered: Family<Kind, Gauge>,
    pending: Gauge,
    unrecorded: Counter,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            issued: Family::default(),
            remembered: Family::default(),
            pending: Gauge::default(),
            unrecorded: Counter::default(),
            // 0.5 ms to 4 s: a commit, an ack, and a leader election.
            seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
        }
    }
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "issuer_requests",
            "Requests answered, by duty and code (ok, or why not)",
            self.requests.clone(),
        );
        registry.register(
            "issuer_issued",
            "Credentials and roots issued since the store was made",
            self.issued.clone(),
        );
        registry.register(
            "issuer_remembered",
            "Used evidence and granted requests in the store",
            self.remembered.clone(),
        );
        registry.register(
            "issuer_grants_pending",
            "Grants whose record is not known to be stored",
            self.pending.clone(),
        );
        registry.register(
            "issuer_refusals_unrecorded",
            "Refusals whose record could not be stored",
            self.unrecorded.clone(),
        );
        registry.register_with_unit("issuer_request", "Time to answer a request", Unit::Seconds, self.seconds.clone());
    }

    pub(crate) fn answered<T>(&self, duty: Duty, outcome: &Result<T, Refusal>, took: Duration) {
        let code = outcome.as_ref().err().map_or("ok", |refusal| refusal.code.as_str());
        self.requests.get_or_create(&Outcome { duty: duty.as_str(), code }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn refusal_unrecorded(&self) {
        self.unrecorded.inc();
    }

    pub(crate) fn totals(&self, totals: &Totals) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for (kind, issued) in [(GrantKind::Credential, totals.credentials), (GrantKind::Root, totals.roots)] {
            self.issued.get_or_create(&Kind { kind: kind.as_str() }).set(gauge(issued));
        }
        let evidence = Kind { kind: "evidence" };
        self.remembered.get_or_create(&evidence).set(gauge(totals.evidence_remembered));
        self.remembered.get_or_create(&Kind { kind: "request" }).set(gauge(totals.grants_remembered));
        self.pending.set(gauge(totals.grants_pending));
    }
}

/// The view of the directives, looked at when it is asked for.
pub(crate) struct ViewAge(pub(crate) LiveDirectives);

impl std::fmt::Debug for ViewAge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ViewAge")
    }
}

impl Collector for ViewAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(self.0.age().map_or(f64::INFINITY, |age| age.as_secs_f64()));
        let help = "Time since the view was last proven to be at the head of the feed";
        gauge.encode(encoder.encode_descriptor("state_age_seconds", help, None, gauge.metric_type())?)
    }
}
