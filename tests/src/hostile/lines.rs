//! What the command line and its sidecar read line by line, and what stands in a header.

use marque_json::Limits;
use marque_judgement::hindsight::Policy;
use marque_runtime::telemetry::traceparent;

use super::text;

/// A line on the sidecar's socket, from the command that it holds the key for.
pub fn sidecar_line(data: &[u8]) {
    let _ = marque::agent_run::takes(data);
}

/// A page of a log's index, from a sink.
pub fn index_lines(data: &[u8]) {
    for leaf in [0, 7, u64::MAX] {
        if let Some(lines) = marque::log::lines_from(leaf, data) {
            assert_eq!(data.iter().filter(|byte| **byte == b'\n').count() as u64, lines);
        }
    }
}

/// A policy that past decisions are held against.
pub fn policy(data: &[u8]) {
    if let Ok(value) = marque_json::from_slice::<serde_json::Value>(data, Limits::DEFAULT) {
        let _ = Policy::parse(&value);
    }
}

/// A caller's trace context.
pub fn trace_context(data: &[u8]) {
    let text = text(data);
    if traceparent::is_valid(&text) {
        assert!(text.is_ascii() && text.len() == 55);
    }
}

/// A valid sample for each target of this module.
pub(super) fn sample(target: &str) -> Vec<u8> {
    let sample: &[u8] = match target {
        "sidecar_line" => br#"{"call":"tools.crm.query","args":{"customer":"acme"},"why":"asked for","gate":true}"#,
        "index_lines" => {
            b"{\"leaf\":7,\"record\":\"0190\",\"verdict\":\"valid\"}\n{\"leaf\":8,\"verdict\":\"malformed\"}\n"
        }
        "policy" => br#"{"tools":{"*":{"account":{"constraint_type":"range","max":10}}}}"#,
        _ => b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    };
    sample.to_vec()
}
