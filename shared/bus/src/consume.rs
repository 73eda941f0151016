//! Reading a stream by Direct Get: stateless, from any sequence, no consumer that could fall silent.

use bytes::Bytes;

use crate::{Bus, BusError};

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

/// What a stream says of itself.
#[derive(Debug, Clone)]
pub struct StreamState {
    /// Sequence of the first message still held; 0 if there never was one.
    pub first_sequence: u64,
    /// Sequence of the last message stored.
    pub last_sequence: u64,
    /// How many are held.
    pub messages: u64,
    /// When the stream was created, nanoseconds since 1970: its identity together with the name.
    pub created_ns: i64,
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
        let _ = (stream, from_sequence, messages_max);
        todo!()
    }

    /// What the stream says of itself (its leader's word).
    pub async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        let _ = stream;
        todo!()
    }

    /// A reader of `stream` from `next_sequence` on, woken by publishes on `subjects` (what the stream captures).
    pub async fn reader(&self, stream: &str, subjects: &str, next_sequence: u64) -> Result<StreamReader, BusError> {
        let _ = (stream, subjects, next_sequence);
        todo!()
    }
}

/// Follows a stream.
pub struct StreamReader {
    next_sequence: u64,
}

impl StreamReader {
    /// The next messages, at least one, in order; waits for them. Cancel-safe: nothing is skipped.
    pub async fn next(&mut self, messages_max: usize) -> Result<Vec<Stored>, BusError> {
        let _ = messages_max;
        todo!()
    }

    /// The sequence that the next message has, or is beyond.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }
}
