//! The span of one request: a child of the caller's, which says what was decided and by which reason. Not who asked for
//! what: that stands in the record.

use marque_agent::enforce::Ruling;
use marque_bus::{header, service::Request};
use marque_identity::Refusal;
use marque_runtime::telemetry::traceparent;
use tracing::{Span, field::Empty};

/// The span of a request to this duty.
pub(crate) fn of(duty: &'static str, request: &Request) -> Span {
    let span = tracing::info_span!("verifier", duty, decision = Empty, code = Empty, step = Empty);
    traceparent::under(span, request.header(header::TRACEPARENT))
}

/// Tells the current span what was decided. A denial is an answer, no error of the span.
pub(crate) fn decided(ruling: &Ruling) {
    match ruling {
        Ruling::Permitted(_) => drop(Span::current().record("decision", "permit")),
        Ruling::Denied(denied) => {
            Span::current().record("decision", "deny");
            refused(&denied.refusal);
        }
    }
}

/// Tells the current span why.
pub(crate) fn refused(refusal: &Refusal) {
    let span = Span::current();
    span.record("code", refusal.code.as_str());
    if let Some(step) = refusal.step {
        span.record("step", step);
    }
}
