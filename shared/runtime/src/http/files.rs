//! Files over HTTP, read-only: beside a health page, or alone.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::bounded::{Bounded, Patience};
use crate::Shutdown;

/// A longer path, with its query, is no file's: refused before anybody looks at it.
pub const PATH_BYTES_MAX: usize = 256;

/// What is shown of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// HTTP status.
    pub status: u16,
    /// Content-Type.
    pub content_type: &'static str,
    /// Cache-Control.
    pub cache_control: &'static str,
    /// The body; with a HEAD only its length is told.
    pub body: Vec<u8>,
}

impl Shown {
    /// Something else than a file: a sentence for people, which nobody keeps.
    pub fn refused(status: u16, sentence: impl std::fmt::Display) -> Self {
        let body = format!("{sentence}\n").into_bytes();
        Self { status, content_type: "text/plain; charset=utf-8", cache_control: "no-store", body }
    }
}

/// Path and query, to what is shown.
type Show = dyn Fn(String, Option<String>) -> Pin<Box<dyn Future<Output = Shown> + Send>> + Send + Sync;

#[derive(Clone)]
pub(super) struct Files {
    pub(super) prefix: &'static str,
    show: Arc<Show>,
}

impl Files {
    pub(super) fn new<F>(
        prefix: &'static str,
        show: impl Fn(String, Option<String>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Shown> + Send + 'static,
    {
        Self { prefix, show: Arc::new(move |path, query| Box::pin(show(path, query))) }
    }

    /// Answers a request whose path stands below the prefix; none where it does not.
    pub(super) async fn answer(&self, method: &Method, headers: &HeaderMap, uri: &Uri) -> Option<Response> {
        let path = uri.path().strip_prefix(self.prefix)?;
        if method != Method::GET && method != Method::HEAD {
            return Some((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response());
        }
        if uri.path_and_query().is_some_and(|whole| whole.as_str().len() > PATH_BYTES_MAX) {
            return Some(StatusCode::URI_TOO_LONG.into_response());
        }
        // Nobody reads a body, so the connection can't go on behind it.
        let empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        if !empty || headers.contains_key(header::TRANSFER_ENCODING) {
            return Some((StatusCode::PAYLOAD_TOO_LARGE, [(header::CONNECTION, "close")]).into_response());
        }
        let shown = (self.show)(path.to_owned(), uri.query().map(str::to_owned)).await;
        let status = StatusCode::from_u16(shown.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let head = [
            (header::CONTENT_TYPE, shown.content_type.to_owned()),
            (header::CACHE_CONTROL, shown.cache_control.to_owned()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::CONTENT_LENGTH, shown.body.len().to_string()),
        ];
        let body = if method == Method::HEAD { Vec::new() } else { shown.body };
        Some((status, head, body).into_response())
    }
}

/// Serves files alone, from the root on, until shut down; requests in hand are answered. Binds before it returns.
pub async fn serve_files<F>(
    listen: &str,
    show: impl Fn(String, Option<String>) -> F + Send + Sync + 'static,
    shutdown: Shutdown,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>)>
where
    F: Future<Output = Shown> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let files = Files::new("/", show);
    let pages = axum::Router::new().fallback(move |method: Method, headers: HeaderMap, uri: Uri| {
        let files = files.clone();
        async move { files.answer(&method, &headers, &uri).await.unwrap_or(StatusCode::NOT_FOUND.into_response()) }
    });
    let served = axum::serve(Bounded::new(listener, Patience::FILES), pages)
        .with_graceful_shutdown(async move { shutdown.requested().await });
    Ok((address, tokio::spawn(served.into_future())))
}
