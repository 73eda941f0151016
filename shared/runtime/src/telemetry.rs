//! Telemetry: what a process tells of itself on stderr, and as traces where a collector is named.

pub mod traceparent;

use crate::ConfigError;
use crate::config::LogConfig;

/// Keeps the exporter alive; flushes it when dropped.
#[must_use]
pub struct Telemetry(());

/// Starts telemetry for the process: `tracing` to stderr, and OTLP over http where `OTEL_EXPORTER_OTLP_ENDPOINT` is
/// set and the feature `otlp` is built in. Call once, outside any async runtime.
pub fn start(service: &'static str, log: &LogConfig) -> Result<Telemetry, ConfigError> {
    let _ = (service, log);
    todo!()
}
