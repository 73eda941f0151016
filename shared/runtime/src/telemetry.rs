//! Telemetry: what a process tells of itself on stderr, and as traces where a collector is named.

#[cfg(feature = "otlp")]
mod otlp;
pub mod traceparent;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::ConfigError;
use crate::config::{LogConfig, LogFormat};

/// Keeps the exporter alive; flushes it when dropped.
#[must_use]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    _exporter: Option<otlp::Exporter>,
}

/// Starts telemetry for the process: `tracing` to stderr, and OTLP over http where `OTEL_EXPORTER_OTLP_ENDPOINT` is
/// set and the feature `otlp` is built in. Call once, outside any async runtime. A second call keeps the first.
pub fn start(service: &'static str, log: &LogConfig) -> Result<Telemetry, ConfigError> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| ConfigError::Value(format!("`log.level` is no filter: {error}")))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));

    #[cfg(feature = "otlp")]
    let telemetry = {
        let (layer, exporter) = otlp::layer(service)?.unzip();
        let _ = registry.with(layer).try_init();
        Telemetry { _exporter: exporter }
    };
    #[cfg(not(feature = "otlp"))]
    let telemetry = {
        let _ = (registry.try_init(), service);
        Telemetry {}
    };
    Ok(telemetry)
}
