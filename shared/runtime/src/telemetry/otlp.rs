//! Traces to a collector, by OTLP over plain http: a collector beside the process, which does TLS where it is wanted.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::ConfigError;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Sends what is left when dropped.
pub(super) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        // A collector that does not answer must not keep the process from ending: the exporter has its own timeout.
        let _ = self.0.shutdown();
    }
}

/// A layer over a subscriber `S`.
type Traces<S> = Box<dyn Layer<S> + Send + Sync>;

/// The layer and what keeps it alive; nothing where no endpoint is named.
pub(super) fn layer<S>(service: &'static str) -> Result<Option<(Traces<S>, Exporter)>, ConfigError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let Some(endpoint) = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty()) else { return Ok(None) };
    let wrong = |reason: String| ConfigError::Value(format!("{ENDPOINT}: {reason}"));
    if !endpoint.starts_with("http://") {
        return Err(wrong("plain http only: name a collector beside this process".into()));
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build();
    // Our own spans alone: an exporter that traced its own requests would never end.
    let filter = EnvFilter::new("off,marque=info");
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(filter);
    Ok(Some((Box::new(layer), Exporter(provider))))
}
