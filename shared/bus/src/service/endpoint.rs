//! One endpoint: takes requests, a bounded number at once, and answers each exactly once.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, Subscriber};
use futures::{FutureExt, StreamExt};
use marque_identity::{Code, Refusal, refusal::quoted};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::Request;
use crate::{Bus, BusError, Reply, WireRefusal, header, subjects};

/// The broker's `max_payload` (see `permissions`).
const BODY_BYTES_MAX: usize = 64 * 1024;
const REQUESTS_AT_ONCE: usize = 64;
/// The queue group of ADR-32: one instance of the service gets each request.
pub(super) const QUEUE_GROUP: &str = "q";

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;
type Handler = dyn Fn(Request) -> Answer + Send + Sync;

/// One endpoint of a service.
pub struct Endpoint {
    handler: Arc<Handler>,
    counters: Arc<Counters>,
    bytes_max: usize,
    requests_max: usize,
}

/// What `nats micro stats` shows.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) name: &'static str,
    pub(super) subject: String,
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) processing_ns: AtomicU64,
    pub(super) last_error: Mutex<String>,
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
        Self {
            handler: Arc::new(move |request| {
                let answer = handler(request);
                Box::pin(async move { answer.await.map(Into::into) })
            }),
            counters: Arc::new(Counters { name, subject: subject.into(), ..Counters::default() }),
            bytes_max: BODY_BYTES_MAX,
            requests_max: REQUESTS_AT_ONCE,
        }
    }

    /// A body larger than this is refused unread. Default: the broker's `max_payload`, 64 KiB.
    #[must_use]
    pub fn bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// How many requests are handled at once; more wait in the subscription. Default 64.
    #[must_use]
    pub fn concurrency(mut self, requests_max: usize) -> Self {
        self.requests_max = requests_max.max(1);
        self
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Subscribes, and takes requests in a task until `stopped`.
    pub(super) async fn serve(
        self,
        bus: &Bus,
        stopped: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), BusError> {
        let requests = bus
            .client()
            .queue_subscribe(self.counters.subject.clone(), QUEUE_GROUP.to_owned())
            .await
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        tasks.spawn(Arc::new(self).take(bus.clone(), requests, stopped));
        Ok(())
    }

    async fn take(self: Arc<Self>, bus: Bus, mut requests: Subscriber, mut stopped: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.requests_max));
        let handle = |place: OwnedSemaphorePermit, message: Message| {
            let (endpoint, bus) = (self.clone(), bus.clone());
            tokio::spawn(async move {
                endpoint.handle(&bus, message).await;
                drop(place);
            });
        };
        // 1. A place first, then a request: what can't be handled waits in the subscription, which is bounded.
        let taking = async {
            while let (Ok(place), Some(message)) = (places.clone().acquire_owned().await, requests.next().await) {
                handle(place, message);
            }
        };
        let stopping = tokio::select! {
            biased;
            // An error says that the service was dropped.
            _ = stopped.wait_for(|stop| *stop) => true,
            () = taking => false,
        };
        // 2. Unsubscribes at once; what has been delivered is still handled, or comes until the server has heard.
        if stopping {
            if let Err(error) = bus.retire(&mut requests).await {
                tracing::warn!(endpoint = self.counters.name, %error, "requests may be lost at the end");
            }
            while let Some(message) = bus.rest(&mut requests).await {
                if let Ok(place) = places.clone().acquire_owned().await {
                    handle(place, message);
                }
            }
        }
        // 3. Every place free again: every request answered.
        let all = u32::try_from(self.requests_max).unwrap_or(u32::MAX);
        let _ = places.acquire_many(all).await;
        tokio::select! {
            _ = bus.flush() => {}
            () = bus.cut_off() => {}
        }
    }

    async fn handle(&self, bus: &Bus, message: Message) {
        let began = Instant::now();
        let reply_to = message.reply.clone().filter(|reply| subjects::is_reply(reply.as_str()));
        let Some(reply_to) = reply_to else {
            // SPEC: never answer elsewhere than in an inbox; see `subjects::is_reply`.
            let refusal = Refusal::new(
                Code::ReplySubjectRefused,
                format!("reply subject {}", quoted(message.reply.as_deref().unwrap_or_default())),
            );
            tracing::warn!(subject = %message.subject, %refusal, "request dropped");
            return self.count(began, Some(&refusal));
        };
        let outcome = self.judge(message).await;
        self.count(began, outcome.as_ref().err());
        let sent = match outcome {
            Ok(reply) if reply.headers.is_empty() => bus.client().publish(reply_to, reply.payload).await,
            Ok(reply) => bus.client().publish_with_headers(reply_to, reply.headers, reply.payload).await,
            Err(refusal) => {
                let (headers, body) = refused(&refusal);
                bus.client().publish_with_headers(reply_to, headers, body.into()).await
            }
        };
        if let Err(error) = sent {
            // The caller times out, and reads that as an unknown outcome.
            tracing::warn!(endpoint = self.counters.name, %error, "the answer could not be sent");
        }
    }

    async fn judge(&self, message: Message) -> Result<Reply, Refusal> {
        if message.payload.len() > self.bytes_max {
            return Err(Refusal::new(
                Code::Oversize,
                format!("a body of {} bytes, the limit is {}", message.payload.len(), self.bytes_max),
            ));
        }
        let request = Request {
            subject: message.subject.as_str().to_owned(),
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
        };
        let handler = self.handler.clone();
        let answer = AssertUnwindSafe(async move { handler(request).await }).catch_unwind().await;
        answer.unwrap_or_else(|_| {
            tracing::error!(endpoint = self.counters.name, "a handler panicked");
            Err(Refusal::new(Code::Internal, "the handler failed"))
        })
    }

    fn count(&self, began: Instant, refusal: Option<&Refusal>) {
        let counters = &self.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.processing_ns.fetch_add(nanoseconds(began.elapsed()), Ordering::Relaxed);
        if let Some(refusal) = refusal {
            counters.errors.fetch_add(1, Ordering::Relaxed);
            let mut last = counters.last_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *last = refusal.to_string();
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A refusal as it leaves: headers for `nats` tools, a JSON body for ours.
fn refused(refusal: &Refusal) -> (HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    headers.insert(header::SERVICE_ERROR_CODE, refusal.code.as_str());
    // A header is one line.
    let line: String = refusal.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    headers.insert(header::SERVICE_ERROR, line);
    let body = serde_json::to_vec(&WireRefusal::from(refusal)).unwrap_or_default();
    (headers, body)
}
