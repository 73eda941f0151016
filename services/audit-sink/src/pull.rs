//! The audit stream through an ephemeral pull consumer (LOG.md rule 4): the cheapest way to read in bulk.
//!
//! It acknowledges nothing and is never trusted: a message that a delivery left out is looked up in the stream itself.
//! There: the consumer is begun anew. Not there: it is a hole, and the intake's to judge.

use std::future::Future;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use marque_bus::async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use marque_bus::streams::AUDIT;
use marque_bus::{Bus, BusError, Stored};
use tokio::sync::watch;

use crate::intake::Source;

/// Messages under way at once: below what the client's subscription buffers (8,192).
const MESSAGES_ASKED_MAX: usize = 4000;
/// Silence is noticed after two of these.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// One request's life at the broker.
const REQUEST_LIFE: Duration = Duration::from_secs(30);
/// The broker forgets a consumer that nobody asks any more.
const INACTIVE_MAX: Duration = Duration::from_secs(30);

/// A consumer of the audit stream.
pub struct Pull {
    bus: Bus,
    messages: pull::Stream,
    disturbed: watch::Receiver<u64>,
    next: u64,
    gap: bool,
}

impl Pull {
    /// A consumer from this sequence on.
    pub async fn begin(bus: &Bus, next: u64) -> Result<Self, BusError> {
        let unavailable = |error: &dyn std::fmt::Display| BusError::Unavailable(format!("{AUDIT}: {error}"));
        let config = pull::Config {
            name: Some(format!("sink-{}-{next}", bus.instance())),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE_MAX,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let stream = jetstream::new(bus.client().clone()).get_stream_no_info(AUDIT).await;
        let consumer = stream.map_err(|error| unavailable(&error))?.create_consumer(config).await;
        let consumer = consumer.map_err(|error| unavailable(&error))?;
        let messages =
            consumer.stream().max_messages_per_batch(MESSAGES_ASKED_MAX).heartbeat(HEARTBEAT).expires(REQUEST_LIFE);
        // Looked at from here on: what a new connection still reports about itself is over by now. A reconnect that
        // slips through shows as missing heartbeats.
        let disturbed = bus.disturbances();
        let messages = messages.messages().await.map_err(|error| unavailable(&error))?;
        Ok(Self { bus: bus.clone(), messages, disturbed, next, gap: false })
    }

    async fn deliveries(&mut self, messages_max: usize) -> Result<Vec<Stored>, BusError> {
        let closed = || BusError::Unavailable("the consumer is gone".into());
        let mut stored: Vec<Stored> = Vec::new();
        while stored.is_empty() {
            if self.gap {
                return self.look_up().await;
            }
            let mut delivery = tokio::select! {
                biased;
                delivery = self.messages.next() => Some(delivery.ok_or_else(closed)?),
                _ = self.disturbed.changed() => {
                    return Err(BusError::Unavailable("the connection was disturbed".into()));
                }
            };
            while let Some(message) = delivery.take() {
                let message = read(&message.map_err(|error| BusError::Unavailable(error.to_string()))?)?;
                if message.sequence > self.next {
                    self.gap = true;
                    break;
                }
                if message.sequence == self.next {
                    self.next += 1;
                    stored.push(message);
                }
                if stored.len() < messages_max {
                    delivery = self.messages.next().now_or_never().flatten();
                }
            }
        }
        Ok(stored)
    }

    /// What the stream itself holds where a delivery left something out.
    async fn look_up(&self) -> Result<Vec<Stored>, BusError> {
        let held = self.bus.read(AUDIT, self.next, 1).await?.messages;
        match held.first() {
            Some(message) if message.sequence > self.next => Ok(held),
            Some(_) | None => Err(BusError::Unavailable(format!("the delivery left out message {}", self.next))),
        }
    }
}

impl Source for Pull {
    fn next(&mut self, messages_max: usize) -> impl Future<Output = Result<Vec<Stored>, BusError>> + Send {
        self.deliveries(messages_max)
    }
}

fn read(message: &jetstream::Message) -> Result<Stored, BusError> {
    let info = message.info().map_err(|error| BusError::Malformed(error.to_string()))?;
    let time_ns = i64::try_from(info.published.unix_timestamp_nanos())
        .map_err(|_| BusError::Malformed("a time of storing out of range".into()))?;
    Ok(Stored {
        sequence: info.stream_sequence,
        time_ns,
        subject: message.subject.to_string(),
        payload: message.payload.clone(),
    })
}
