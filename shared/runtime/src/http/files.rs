//! Files over HTTP, read-only: beside a health page, or alone.

use std::fs::File;
use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::stream;

use super::bounded::{Bounded, Patience};
use crate::Shutdown;

/// A longer path, with its query, is no file's: refused before anybody looks at it.
pub const PATH_BYTES_MAX: usize = 256;

/// What a connection holds of a file that is sent in pieces.
const PIECE_BYTES: usize = 64 * 1024;

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

/// A file of any size, sent in pieces as it was when it was opened.
#[derive(Debug)]
pub struct ShownFile {
    /// Content-Type.
    pub content_type: &'static str,
    /// Cache-Control.
    pub cache_control: &'static str,
    /// From where it stands on.
    pub file: File,
    /// So many bytes. Where it has fewer, the connection ends before its length is reached.
    pub bytes: u64,
}

/// What is shown, held or sent in pieces.
#[derive(Debug)]
pub enum Showing {
    /// Held.
    Held(Shown),
    /// In pieces.
    File(ShownFile),
}

impl From<Shown> for Showing {
    fn from(shown: Shown) -> Self {
        Self::Held(shown)
    }
}

impl From<ShownFile> for Showing {
    fn from(file: ShownFile) -> Self {
        Self::File(file)
    }
}

/// Path and query, to what is shown.
type Show = dyn Fn(String, Option<String>) -> Pin<Box<dyn Future<Output = Showing> + Send>> + Send + Sync;

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
        F: Future<Output: Into<Showing>> + Send + 'static,
    {
        let show = move |path, query| {
            let shown = show(path, query);
            Box::pin(async move { shown.await.into() }) as Pin<Box<dyn Future<Output = Showing> + Send>>
        };
        Self { prefix, show: Arc::new(show) }
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
        let showing = (self.show)(path.to_owned(), uri.query().map(str::to_owned)).await;
        let (status, content_type, cache_control, length, body) = match showing {
            Showing::Held(Shown { status, content_type, cache_control, body }) => {
                (status, content_type, cache_control, body.len() as u64, Body::from(body))
            }
            Showing::File(ShownFile { content_type, cache_control, file, bytes }) => {
                (200, content_type, cache_control, bytes, in_pieces(file, bytes))
            }
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let head = [
            (header::CONTENT_TYPE, content_type.to_owned()),
            (header::CACHE_CONTROL, cache_control.to_owned()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            // A part of a file that grows, and a part of what it was before, make no file.
            (header::ACCEPT_RANGES, "none".to_owned()),
            (header::CONTENT_LENGTH, length.to_string()),
        ];
        let body = if method == Method::HEAD { Body::empty() } else { body };
        Some((status, head, body).into_response())
    }
}

/// So many bytes of a file, each piece read when the one before it is on its way: a client that dawdles holds one.
fn in_pieces(file: File, bytes: u64) -> Body {
    Body::from_stream(stream::try_unfold((file, bytes), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let piece_bytes = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; piece_bytes];
            file.read_exact(&mut piece).map(|()| (piece, file))
        });
        let (piece, file) = read.await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>(Some((piece, (file, left - piece_bytes as u64))))
    }))
}

/// Serves files alone, from the root on, until shut down; requests in hand are answered. Binds before it returns.
pub async fn serve_files<F>(
    listen: &str,
    show: impl Fn(String, Option<String>) -> F + Send + Sync + 'static,
    shutdown: Shutdown,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>)>
where
    F: Future<Output: Into<Showing>> + Send + 'static,
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
