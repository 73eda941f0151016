//! The discovery of ADR-32: `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::Message;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::endpoint::{Counters, QUEUE_GROUP};
use crate::{Bus, BusError, subjects};

const VERBS: [&str; 3] = ["PING", "INFO", "STATS"];

/// What a service says of itself.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) id: Arc<str>,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) endpoints: Vec<Arc<Counters>>,
    pub(super) data: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl Card {
    /// Answers the verbs in a task of its own until it is aborted.
    pub(super) async fn answer(self, bus: &Bus) -> Result<AbortHandle, BusError> {
        let mut asked = Vec::new();
        for verb in VERBS {
            for subject in [
                format!("$SRV.{verb}"),
                format!("$SRV.{verb}.{}", self.name),
                format!("$SRV.{verb}.{}.{}", self.name, self.id),
            ] {
                let subscription = bus.client().subscribe(subject).await;
                asked.push(subscription.map_err(|error| BusError::Unavailable(error.to_string()))?);
            }
        }
        let started = jiff::Timestamp::now().to_string();
        let client = bus.client().clone();
        let mut asked = futures::stream::select_all(asked);
        let task = tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                let Message { subject, reply, .. } = message;
                let Some(reply) = reply.filter(|reply| subjects::is_reply(reply.as_str())) else { continue };
                let answer = match subject.as_str().split('.').nth(1) {
                    Some("PING") => self.ping(),
                    Some("INFO") => self.info(),
                    Some(_) | None => self.stats(&started),
                };
                let body = serde_json::to_vec(&answer).unwrap_or_default();
                if client.publish(reply, body.into()).await.is_err() {
                    return;
                }
            }
        });
        Ok(task.abort_handle())
    }

    fn card(&self, kind: &str) -> Value {
        json!({
            "type": format!("io.nats.micro.v1.{kind}_response"),
            "name": self.name,
            "id": &*self.id,
            "version": self.version,
            "metadata": self.metadata,
        })
    }

    fn ping(&self) -> Value {
        self.card("ping")
    }

    fn info(&self) -> Value {
        let mut card = self.card("info");
        card["description"] = json!(self.description);
        card["endpoints"] = self
            .endpoints
            .iter()
            .map(|e| json!({ "name": e.name, "subject": e.subject, "queue_group": QUEUE_GROUP, "metadata": {} }))
            .collect();
        card
    }

    fn stats(&self, started: &str) -> Value {
        let data = (self.data)();
        let mut card = self.card("stats");
        card["started"] = json!(started);
        card["endpoints"] = self
            .endpoints
            .iter()
            .map(|e| {
                let requests = e.requests.load(Ordering::Relaxed);
                let processing = e.processing_ns.load(Ordering::Relaxed);
                let last_error = e.last_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
                let mut stats = json!({
                    "name": e.name,
                    "subject": e.subject,
                    "queue_group": QUEUE_GROUP,
                    "num_requests": requests,
                    "num_errors": e.errors.load(Ordering::Relaxed),
                    "last_error": last_error,
                    "processing_time": processing,
                    "average_processing_time": processing.checked_div(requests).unwrap_or(0),
                });
                if !data.is_null() {
                    stats["data"] = data.clone();
                }
                stats
            })
            .collect();
        card
    }
}
