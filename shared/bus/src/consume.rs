//! Reading a stream by Direct Get: stateless, from any sequence, no consumer that could fall silent.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};

use crate::{Bus, BusError};

/// One read's wait for its next message.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// The most that one Direct Get is asked for.
pub const BATCH_MESSAGES_MAX: usize = 1000;
/// And the most bytes: below the server's `max_pending` by a margin.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A wake-up can be lost: the stream is looked at again after this long.
const RECHECK: Duration = Duration::from_millis(500);

/// A message as a stream holds it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its sequence.
    pub sequence: u64,
    /// The broker's time of it, nanoseconds since 1970.
    pub time_ns: i64,
    /// The subject that it was published on.
    pub subject: String,
    /// Its payload.
    pub payload: Bytes,
}

/// One answer to a read: messages in order, and how far the stream reached at that moment.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The messages held from the asked sequence on, ascending. Sequences that are missing are not held any more.
    pub messages: Vec<Stored>,
    /// How many more the answering replica holds behind the last of these.
    pub pending: u64,
}

impl Bus {
    /// At most `messages_max` messages of `stream` from `from_sequence` on. The answering replica may lag: what lies
    /// behind the last message returned is not known from it.
    pub async fn read(&self, stream: &str, from_sequence: u64, messages_max: usize) -> Result<Batch, BusError> {
        self.read_matching(stream, ">", from_sequence, messages_max).await
    }

    /// The same of the messages on subjects that `pattern` matches.
    pub async fn read_matching(
        &self,
        stream: &str,
        pattern: &str,
        from_sequence: u64,
        messages_max: usize,
    ) -> Result<Batch, BusError> {
        let batch = messages_max.clamp(1, BATCH_MESSAGES_MAX);
        let pattern = serde_json::Value::from(pattern);
        // `next_by_subj` makes a message at the sequence optional: the next one held is the answer.
        let request = format!(
            r#"{{"seq":{},"next_by_subj":{pattern},"batch":{batch},"max_bytes":{BATCH_BYTES_MAX}}}"#,
            from_sequence.max(1)
        );
        self.direct_get(&format!("$JS.API.DIRECT.GET.{stream}"), request).await
    }

    /// The last message that `stream` holds on `subject`, by a request whose own subject names it: for whoever may
    /// read some of a stream's subjects alone.
    pub(crate) async fn read_last_by_subject(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BusError> {
        let api = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
        self.last(stream, &api, String::new()).await
    }

    /// The last message that `stream` holds on `subject`.
    pub async fn read_last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BusError> {
        let request = format!(r#"{{"last_by_subj":{}}}"#, serde_json::Value::from(subject));
        self.last(stream, &format!("$JS.API.DIRECT.GET.{stream}"), request).await
    }

    async fn last(&self, stream: &str, api: &str, request: String) -> Result<Option<Stored>, BusError> {
        let message = self.ask(api, HeaderMap::new(), request.into(), READ_TIMEOUT).await?;
        match status(&message) {
            None => stored(message).map(Some),
            Some(404) => Ok(None),
            Some(code) => Err(refused(stream, code, &message)),
        }
    }

    /// A Direct Get of several messages: they come one by one, then the end of the batch as a status.
    async fn direct_get(&self, subject: &str, request: String) -> Result<Batch, BusError> {
        if !self.is_connected() && tokio::time::timeout(READ_TIMEOUT, self.connected()).await.is_err() {
            return Err(BusError::Unavailable("not connected".into()));
        }
        let mut violations = self.violations();
        let inbox = self.client().new_inbox();
        let mut answers =
            self.client().subscribe(inbox.clone()).await.map_err(|error| BusError::Unavailable(error.to_string()))?;
        self.client()
            .publish_with_reply(subject.to_owned(), inbox, request.into())
            .await
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        let mut batch = Batch::default();
        loop {
            let message = tokio::select! {
                message = answers.next() => message.ok_or_else(|| BusError::Unavailable("closed".into()))?,
                violation = violations.recv() => match violation {
                    Ok(text) if crate::connect::is_about(&text, subject) => {
                        return Err(BusError::Forbidden(text.to_string()));
                    }
                    Ok(_) | Err(_) => continue,
                },
                () = tokio::time::sleep(READ_TIMEOUT) => {
                    return Err(BusError::Unavailable(format!("{subject}: no answer within {READ_TIMEOUT:?}")));
                }
            };
            match status(&message) {
                None => {
                    let single = message.headers.as_ref().and_then(|h| h.get("Nats-Num-Pending")).is_none();
                    batch.messages.push(stored(message)?);
                    if single {
                        return Ok(batch);
                    }
                }
                // 204: end of batch; 404: nothing at or behind the sequence.
                Some(204) => {
                    batch.pending = number(message.headers.as_ref(), "Nats-Num-Pending").unwrap_or(0);
                    return Ok(batch);
                }
                Some(404) => return Ok(batch),
                Some(503) => return Err(BusError::Unavailable(format!("{subject}: nobody serves it"))),
                Some(code) => return Err(refused(subject, code, &message)),
            }
        }
    }

    /// A reader of `stream` from `next_sequence` on, woken by publishes on `subjects` (what the stream captures).
    pub async fn reader(&self, stream: &str, subjects: &str, next_sequence: u64) -> Result<StreamReader, BusError> {
        let wake = self
            .client()
            .subscribe(subjects.to_owned())
            .await
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        Ok(StreamReader { bus: self.clone(), stream: stream.to_owned(), wake, next_sequence: next_sequence.max(1) })
    }
}

/// Follows a stream.
pub struct StreamReader {
    bus: Bus,
    stream: String,
    wake: Subscriber,
    next_sequence: u64,
}

impl StreamReader {
    /// The next messages, at least one, in order; waits for them. Cancel-safe: nothing is skipped. An error leaves
    /// the reader where it was; ask again.
    pub async fn next(&mut self, messages_max: usize) -> Result<Vec<Stored>, BusError> {
        loop {
            // What has been captured until now is in the read that follows: those wake-ups are spent.
            while self.wake.next().now_or_never().flatten().is_some() {}
            let messages = self.bus.read(&self.stream, self.next_sequence, messages_max).await?.messages;
            if let Some(last) = messages.last() {
                self.next_sequence = last.sequence + 1;
                return Ok(messages);
            }
            let _ = tokio::time::timeout(RECHECK, self.wake.next()).await;
        }
    }

    /// The sequence that the next message has, or is beyond.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }
}

fn status(message: &Message) -> Option<u16> {
    message.status.map(|status| status.as_u16()).filter(|status| *status != 200)
}

fn number(headers: Option<&HeaderMap>, name: &str) -> Option<u64> {
    headers?.get(name)?.as_str().parse().ok()
}

fn stored(message: Message) -> Result<Stored, BusError> {
    let headers = message.headers.as_ref();
    let text = |name: &str| headers.and_then(|h| h.get(name)).map(|value| value.as_str());
    let absent = |name: &str| BusError::Malformed(format!("a stored message without {name}"));
    Ok(Stored {
        sequence: number(headers, "Nats-Sequence").ok_or_else(|| absent("Nats-Sequence"))?,
        time_ns: text("Nats-Time-Stamp").and_then(unix_nanoseconds).ok_or_else(|| absent("Nats-Time-Stamp"))?,
        subject: text("Nats-Subject").ok_or_else(|| absent("Nats-Subject"))?.to_owned(),
        payload: message.payload,
    })
}

fn refused(what: &str, code: u16, message: &Message) -> BusError {
    let description = message.description.as_deref().unwrap_or_default();
    BusError::Refused(format!("{what}: {code} {description}"))
}

/// RFC 3339 as the server writes it.
pub(crate) fn unix_nanoseconds(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}
