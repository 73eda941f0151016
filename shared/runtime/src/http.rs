//! The health page: `/livez` (the process turns), `/readyz` (what is pending), `/metrics`.

mod bounded;
mod files;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;

use crate::Shutdown;
use bounded::{Bounded, Patience};
pub use bounded::{CONNECTIONS_MAX, IDLE_MAX, LIFE_MAX};
use files::Files;
pub use files::{PATH_BYTES_MAX, Showing, Shown, ShownFile, serve_files};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a service waits for before it is ready, and its metrics. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

/// What is pending until the service is [`serving`](Health::serving).
const SERVICE: &str = "service";

struct Inner {
    pending: Mutex<BTreeMap<String, String>>,
    warnings: Mutex<BTreeMap<String, String>>,
    checks: Mutex<Vec<Check>>,
    registry: Mutex<Registry>,
    files: Mutex<Option<Files>>,
}

struct Check {
    what: String,
    pending: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Nothing pending, no metrics.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                pending: Mutex::default(),
                warnings: Mutex::default(),
                checks: Mutex::default(),
                registry: Mutex::new(Registry::with_prefix("marque")),
                files: Mutex::default(),
            }),
        }
    }

    /// Of a process that has just begun: not ready before it says that it is [`serving`](Self::serving). Its page
    /// answers before the service has had a chance to name what it waits for.
    pub fn starting() -> Self {
        let health = Self::new();
        health.pending(SERVICE, "starting");
        health
    }

    /// The service answers, and has named everything that it may wait for.
    pub fn serving(&self) {
        self.ready(SERVICE);
    }

    /// Names something that is waited for; not ready until it is [`ready`](Self::ready).
    pub fn pending(&self, what: &str, why: &str) {
        locked(&self.inner.pending).insert(what.to_owned(), why.to_owned());
    }

    /// It has come.
    pub fn ready(&self, what: &str) {
        locked(&self.inner.pending).remove(what);
    }

    /// Says something that an operator has to know while the service still does its duty: `/readyz` shows it, and
    /// stays ready. Until it is [`calm`](Self::calm).
    pub fn warn(&self, what: &str, why: &str) {
        locked(&self.inner.warnings).insert(what.to_owned(), why.to_owned());
    }

    /// It is over.
    pub fn calm(&self, what: &str) {
        locked(&self.inner.warnings).remove(what);
    }

    /// What is warned of now: name and why.
    pub fn warnings(&self) -> Vec<(String, String)> {
        locked(&self.inner.warnings).clone().into_iter().collect()
    }

    /// Something that is asked at each `/readyz`: `Some(why)` while it is pending (a stale view, for example).
    pub fn check(&self, what: &str, pending: impl Fn() -> Option<String> + Send + Sync + 'static) {
        locked(&self.inner.checks).push(Check { what: what.to_owned(), pending: Box::new(pending) });
    }

    /// What is pending now: name and why.
    pub fn what_is_pending(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = locked(&self.inner.pending).clone().into_iter().collect();
        let checks = locked(&self.inner.checks);
        out.extend(checks.iter().filter_map(|check| Some((check.what.clone(), (check.pending)()?))));
        out
    }

    /// Registers metrics; their names get the prefix `marque_`.
    pub fn metrics(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut locked(&self.inner.registry));
    }

    /// Shows files beside the health page, read-only: `show` is given the path behind `prefix` (such as `/log/`) and
    /// the query.
    pub fn files<F>(&self, prefix: &'static str, show: impl Fn(String, Option<String>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Shown> + Send + 'static,
    {
        *locked(&self.inner.files) = Some(Files::new(prefix, show));
    }

    /// The metrics as `/metrics` shows them (OpenMetrics text).
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail; what was written is shown in any case.
        let _ = prometheus_client::encoding::text::encode(&mut text, &locked(&self.inner.registry));
        text
    }
}

/// A panic while it was held leaves names and metrics, nothing that could be half-made.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Serves the page until shut down, to [`CONNECTIONS_MAX`] connections at once, none of them silent for longer than
/// 5 s or held beyond 10 s. Binds before it returns; the address tells the port where 0 was asked for.
pub async fn serve(listen: &str, health: Health, shutdown: Shutdown) -> std::io::Result<std::net::SocketAddr> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let pages = axum::Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(files)
        .with_state(health);
    tokio::spawn(async move {
        // Answers while draining too: an orchestrator asks until the end.
        let served = axum::serve(Bounded::new(listener, Patience::PROBES), pages);
        if let Err(error) = served.with_graceful_shutdown(async move { shutdown.forced().await }).await {
            tracing::error!(%error, "the health page ended");
        }
    });
    Ok(address)
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let pending = health.what_is_pending();
    let warned: String = health.warnings().iter().map(|(what, why)| format!("warning: {what}: {why}\n")).collect();
    if pending.is_empty() {
        return (StatusCode::OK, format!("ready\n{warned}"));
    }
    let lines: String = pending.iter().map(|(what, why)| format!("{what}: {why}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("{lines}{warned}"))
}

async fn files(State(health): State<Health>, method: Method, headers: HeaderMap, uri: Uri) -> Response {
    let files = locked(&health.inner.files).clone();
    let answer = match &files {
        Some(files) => files.answer(&method, &headers, &uri).await,
        None => None,
    };
    answer.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], health.metrics_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    /// As many silent connections as there may be keep the next one waiting until the first of them has been silent for
    /// too long, and no longer.
    #[tokio::test(start_paused = true)]
    async fn the_page_holds_so_many_connections_and_ends_the_silent_ones() {
        let (_trigger, shutdown) = Shutdown::manual();
        let page = serve("127.0.0.1:0", Health::new(), shutdown).await.unwrap();
        let begun = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(page).await.unwrap());
        }
        let mut next = TcpStream::connect(page).await.unwrap();
        next.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        assert!(begun.elapsed() >= Patience::PROBES.idle, "one more than there may be was answered");
        for mut held in silent {
            assert!(matches!(held.read(&mut [0]).await, Ok(0) | Err(_)), "a silent connection was answered");
        }
    }

    #[test]
    fn a_process_is_not_ready_before_it_serves() {
        let health = Health::starting();
        health.pending("nats", "not connected");
        health.ready("nats");
        assert_eq!(health.what_is_pending(), [("service".to_owned(), "starting".to_owned())]);
        health.serving();
        assert!(health.what_is_pending().is_empty());
    }

    #[tokio::test]
    async fn a_warning_is_shown_and_leaves_it_ready() {
        let health = Health::new();
        health.warn("stream", "nearly full");
        let said = readyz(State(health.clone())).await.into_response();
        assert_eq!(said.status(), StatusCode::OK);
        let body = axum::body::to_bytes(said.into_body(), 1000).await.unwrap();
        assert_eq!(&body[..], b"ready\nwarning: stream: nearly full\n");
        health.calm("stream");
        assert!(health.warnings().is_empty());
    }

    #[test]
    fn names_what_is_pending() {
        let health = Health::new();
        health.pending("nats", "not connected");
        health.check("view", || Some("cold".into()));
        assert_eq!(
            health.what_is_pending(),
            [("nats".to_owned(), "not connected".to_owned()), ("view".to_owned(), "cold".to_owned())]
        );
        health.ready("nats");
        assert_eq!(health.what_is_pending().len(), 1);
    }
}
