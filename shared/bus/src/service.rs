//! A NATS micro service (ADR-32) whose handlers answer with a reply or a refusal.
//!
//! Why not the client library's own: its errors carry no body, it answers on any reply subject, and it neither
//! bounds nor drains.

mod endpoint;
mod verbs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Bus, BusError};
pub use endpoint::Endpoint;

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
    /// A header's only value; none if it is absent or stands there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value.as_str()),
            (None | Some(_), _) => None,
        }
    }
}

/// A service before it runs.
pub struct Service {
    name: String,
    version: String,
    description: String,
    endpoints: Vec<Endpoint>,
    stats: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

impl Service {
    /// A service of this name (`A-Z a-z 0-9 - _`), version (SemVer) and description.
    pub fn new(name: impl Into<String>, version: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            description: description.into(),
            endpoints: Vec::new(),
            stats: Arc::new(|| serde_json::Value::Null),
        }
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// What `nats micro stats` shows as each endpoint's data (for example the view's age).
    #[must_use]
    pub fn stats(mut self, data: impl Fn() -> serde_json::Value + Send + Sync + 'static) -> Self {
        self.stats = Arc::new(data);
        self
    }

    /// Subscribes and serves until drained. Waits for the broker: every subscription stands when this returns.
    pub async fn start(self, bus: &Bus) -> Result<RunningService, BusError> {
        let name_is_valid =
            !self.name.is_empty() && self.name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
        if !name_is_valid {
            return Err(BusError::SubjectInvalid(self.name));
        }
        let id: Arc<str> = bus.instance().into();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut counted = Vec::new();
        for endpoint in self.endpoints {
            counted.push(endpoint.counters());
            endpoint.serve(bus, stopped.clone(), &mut tasks).await?;
        }
        let card = verbs::Card {
            name: self.name,
            id: id.clone(),
            version: self.version,
            description: self.description,
            metadata: BTreeMap::new(),
            endpoints: counted,
            data: self.stats,
        };
        let verbs = card.answer(bus).await?;
        bus.settle().await?;
        Ok(RunningService { id, stop, tasks, verbs })
    }
}

/// A service that answers. Dropped without [`drain`](Self::drain), it stops at once.
pub struct RunningService {
    id: Arc<str>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    verbs: tokio::task::AbortHandle,
}

impl RunningService {
    /// Its instance id, as `nats micro ls` shows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes no more requests, finishes those it has, at most until `deadline`.
    pub async fn drain(mut self, deadline: Duration) {
        self.stop.send_replace(true);
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, finish).await.is_err() {
            tracing::warn!(?deadline, "requests were still being handled at the deadline");
        }
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        self.verbs.abort();
    }
}
