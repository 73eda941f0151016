//! The span of one request: a child of the caller's. Who asked, and what, stands in the records.

use marque_bus::{header, service::Request};
use marque_runtime::telemetry::traceparent;
use tracing::Span;

/// The span of a request to this duty.
pub(crate) fn of(duty: &'static str, request: &Request) -> Span {
    let span = tracing::info_span!("gatekeeper", duty);
    traceparent::under(span, request.header(header::TRACEPARENT))
}
