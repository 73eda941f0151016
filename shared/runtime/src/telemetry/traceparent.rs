//! W3C Trace Context in one header: `00-<trace id>-<span id>-<flags>`.

/// Whether a text is a valid `traceparent` of version 00 (W3C Trace Context §3.2.2): lower-case hex, ids not zero.
pub fn is_valid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts.as_slice() else { return false };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let not_zero = |part: &str| part.bytes().any(|c| c != b'0');
    *version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && not_zero(trace) && not_zero(span)
}

/// The current span's `traceparent`, where traces are on.
#[cfg(feature = "otlp")]
pub fn current() -> Option<String> {
    use opentelemetry::trace::TraceContextExt;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let context = tracing::Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

/// The current span's `traceparent`, where traces are on.
#[cfg(not(feature = "otlp"))]
pub fn current() -> Option<String> {
    None
}

/// Makes `span` a child of what the `traceparent` names; does nothing where traces are off or the text is not valid.
#[cfg(feature = "otlp")]
pub fn adopt(span: &tracing::Span, traceparent: &str) {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    if !is_valid(traceparent) {
        return;
    }
    let mut parts = traceparent.split('-').skip(1);
    let (Some(trace), Some(id), Some(flags)) = (parts.next(), parts.next(), parts.next()) else { return };
    let (Ok(trace), Ok(id), Ok(flags)) =
        (TraceId::from_hex(trace), SpanId::from_hex(id), u8::from_str_radix(flags, 16))
    else {
        return;
    };
    let parent = SpanContext::new(trace, id, TraceFlags::new(flags), true, TraceState::NONE);
    // An error says that the span is not traced.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
}

/// Makes `span` a child of what the `traceparent` names; does nothing where traces are off or the text is not valid.
#[cfg(not(feature = "otlp"))]
pub fn adopt(span: &tracing::Span, traceparent: &str) {
    let _ = (span, traceparent);
}

/// The span, as a child of what a request's `traceparent` names, if it has one that is valid.
pub fn under(span: tracing::Span, traceparent: Option<&str>) -> tracing::Span {
    if let Some(traceparent) = traceparent {
        adopt(&span, traceparent);
    }
    span
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn accepts_the_standards_example() {
        assert!(is_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    }

    #[test]
    fn rejects_other_versions_cases_lengths_and_zeros() {
        for text in [
            "",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_valid(text), "{text}");
        }
    }
}
