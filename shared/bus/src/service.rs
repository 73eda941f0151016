//! A NATS micro service (ADR-32) whose handlers answer with a reply or a refusal.

use std::future::Future;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use marque_identity::Refusal;

use crate::{Bus, BusError, Reply};

/// What a caller sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The subject that it was sent to.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most the endpoint's limit.
    pub payload: Bytes,
}

impl Request {
    /// A header's only value; none if it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let _ = name;
        todo!()
    }
}

/// One endpoint of a service.
pub struct Endpoint {
    pub(crate) name: &'static str,
}

impl Endpoint {
    /// `handler` answers what comes on `subject` (wildcards allowed). It runs in a task of its own; its panic is
    /// answered with `internal` and stops nothing.
    pub fn new<H, F, R>(name: &'static str, subject: impl Into<String>, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, Refusal>> + Send + 'static,
        R: Into<Reply>,
    {
        let _ = (name, subject.into(), handler);
        todo!()
    }

    /// A body larger than this is refused unread. Default: the broker's `max_payload`, 64 KiB.
    #[must_use]
    pub fn bytes_max(self, bytes_max: usize) -> Self {
        let _ = bytes_max;
        todo!()
    }

    /// How many requests are handled at once; more wait in the subscription. Default 64.
    #[must_use]
    pub fn concurrency(self, requests_max: usize) -> Self {
        let _ = requests_max;
        todo!()
    }
}

/// A service before it runs.
pub struct Service {
    pub(crate) name: String,
}

impl Service {
    /// A service of this name (`A-Z a-z 0-9 - _`), version (SemVer) and description.
    pub fn new(name: impl Into<String>, version: impl Into<String>, description: impl Into<String>) -> Self {
        let _ = (name.into(), version.into(), description.into());
        todo!()
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn endpoint(self, endpoint: Endpoint) -> Self {
        let _ = endpoint;
        todo!()
    }

    /// What `nats micro stats` shows as each endpoint's data (for example the view's age).
    #[must_use]
    pub fn stats(self, data: impl Fn() -> serde_json::Value + Send + Sync + 'static) -> Self {
        let _ = data;
        todo!()
    }

    /// Subscribes and serves until drained.
    pub async fn start(self, bus: &Bus) -> Result<RunningService, BusError> {
        let _ = bus;
        todo!()
    }
}

/// A service that answers.
pub struct RunningService {
    pub(crate) id: String,
}

impl RunningService {
    /// Its instance id, as `nats micro ls` shows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes no more requests, finishes those it has, at most until `deadline`.
    pub async fn drain(self, deadline: Duration) {
        let _ = deadline;
        todo!()
    }
}
