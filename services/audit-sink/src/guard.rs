//! Is this the stream that the log is drawn from? Asked at each start and whenever reading begins anew (LOG.md rule 5).
//!
//! A stream that was recreated, rolled back, emptied or edited passes every check of sequences that comes later, so
//! that it is compared here: its identity, its reach, and stored messages byte for byte with their leaves.

use std::ops::Range;

use marque_bus::streams::{AUDIT, StreamState, differences};
use marque_bus::{Bus, Stored};
use serde::{Deserialize, Serialize};

use crate::store::{LogStore, frame};
use crate::{Hole, SinkError};

/// Older messages that are read again beside the last: enough that a refilled stream is found, few enough to be quick.
const SAMPLES: u64 = 4;

/// What the log remembers of its stream.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    name: String,
    created_ns: i64,
    settings: serde_json::Value,
}

/// Compares the stream with the log; every difference is final.
pub(crate) async fn examine(bus: &Bus, store: &LogStore) -> Result<(), SinkError> {
    let state = bus.stream_state(AUDIT).await?;
    same_stream(&state, store)?;
    reaches(&state, store.last_sequence())?;
    let again = samples(store.begins_at(), store.last_sequence(), seed());
    for sequence in again.into_iter().chain(before_a_hole(store)?) {
        let message = bus.read(AUDIT, sequence, 1).await?.messages.into_iter().next();
        same_message(store, sequence, message.as_ref())?;
    }
    Ok(())
}

/// 1. The stream's creation and settings are those that the log began with.
fn same_stream(state: &StreamState, store: &LogStore) -> Result<(), SinkError> {
    let Some(known) = store.stream()? else {
        let identity = Identity { name: AUDIT.into(), created_ns: state.created_ns, settings: state.settings.clone() };
        let text = serde_json::to_string(&identity).map_err(|error| SinkError::ForeignStore(error.to_string()))?;
        return store.set_stream(&text);
    };
    let known: Identity = serde_json::from_str(&known)
        .map_err(|error| SinkError::ForeignStore(format!("what it remembers of the stream: {error}")))?;
    if known.created_ns != state.created_ns {
        return Err(SinkError::Halted(format!(
            "stream {AUDIT} was created at {} ns, the log's at {} ns: it was recreated, and needs a new epoch",
            state.created_ns, known.created_ns
        )));
    }
    let changed = differences(&known.settings, &state.settings);
    if changed.is_empty() {
        return Ok(());
    }
    Err(SinkError::Halted(format!("stream {AUDIT} was edited: {}", changed.join("; "))))
}

/// 2. It still begins at or before the next leaf, and reaches at least as far as the log.
fn reaches(state: &StreamState, last: u64) -> Result<(), SinkError> {
    if state.first_sequence > last + 1 {
        return Err(SinkError::Hole(Hole::before(last + 1, state.first_sequence)));
    }
    if state.last_sequence < last {
        let why = format!("stream {AUDIT} ends at {}, the log at {last}: it was rolled back", state.last_sequence);
        return Err(SinkError::Halted(why));
    }
    Ok(())
}

/// 3. The last message of the log and a few older ones are their leaves, byte for byte. One that the stream no longer
///    holds can't be compared; the last must be there, but where it was taken from another sink's log for that very
///    reason.
fn same_message(store: &LogStore, sequence: u64, message: Option<&Stored>) -> Result<(), SinkError> {
    let Some(message) = message.filter(|message| message.sequence == sequence) else {
        if sequence == store.last_sequence() && mended_last(store)?.is_none() {
            return Err(SinkError::Halted(format!("stream {AUDIT} no longer holds message {sequence}")));
        }
        return Ok(());
    };
    if is_leaf(store, message)? {
        return Ok(());
    }
    let leaf = message.sequence - store.first_sequence();
    Err(SinkError::Halted(format!("message {sequence} of stream {AUDIT} is not leaf {leaf}")))
}

/// The log's newest leaves, where the stream lacked them.
fn mended_last(store: &LogStore) -> Result<Option<Range<u64>>, SinkError> {
    Ok(store.mended()?.filter(|mended| mended.end == store.head().size))
}

/// The last message before those: the newest by which the stream can be known again.
fn before_a_hole(store: &LogStore) -> Result<Option<u64>, SinkError> {
    let before = mended_last(store)?.map(|mended| (store.first_sequence() + mended.start).saturating_sub(1));
    Ok(before.filter(|before| *before >= store.begins_at()))
}

/// Whether a message is the leaf of its sequence, byte for byte.
pub(crate) fn is_leaf(store: &LogStore, message: &Stored) -> Result<bool, SinkError> {
    Ok(frame(message)? == store.view()?.entry(message.sequence - store.first_sequence())?)
}

/// The last sequence of those that are leaves, and some before it.
fn samples(begin: u64, last: u64, seed: u64) -> Vec<u64> {
    let Some(count) = (last + 1).checked_sub(begin).filter(|count| *count > 0) else { return Vec::new() };
    let mut state = seed | 1;
    let mut older = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        begin + state % count
    };
    std::iter::once(last).chain((0..SAMPLES.min(count - 1)).map(|_| older())).collect()
}

/// Which older ones: another choice at each start. Not a secret.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn store() -> (tempfile::TempDir, LogStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(&directory.path().join("audit.redb"), "acme.example/audit").unwrap();
        (directory, store)
    }

    fn state(first: u64, last: u64, created_ns: i64) -> StreamState {
        let settings = json!({ "name": AUDIT, "max_age": 0, "num_replicas": 1 });
        StreamState { first_sequence: first, last_sequence: last, messages: 0, bytes: 0, created_ns, settings }
    }

    fn message(sequence: u64, payload: &str) -> Stored {
        let payload = payload.as_bytes().to_vec().into();
        Stored { sequence, time_ns: 5, subject: "marque.record.decided.none".into(), payload }
    }

    #[test]
    fn knows_its_stream_again_and_refuses_another() {
        let (_directory, store) = store();
        same_stream(&state(0, 0, 7), &store).unwrap();
        same_stream(&state(1, 9, 7), &store).unwrap();
        let mut moved = state(1, 9, 7);
        moved.settings["num_replicas"] = json!(3);
        same_stream(&moved, &store).unwrap();
        assert!(
            matches!(same_stream(&state(1, 9, 8), &store), Err(SinkError::Halted(why)) if why.contains("recreated"))
        );
        // Raising a limit that pushes publishers back is what an operator does; that it drops the old instead is not.
        let pushing = |discard: &str, limit: u64| {
            let mut state = state(1, 9, 7);
            (state.settings["discard"], state.settings["max_bytes"]) = (json!(discard), json!(limit));
            state
        };
        let (_other, limited) = self::store();
        for limit in [1000, 2000, 500] {
            same_stream(&pushing("new", limit), &limited).unwrap();
        }
        let dropping = same_stream(&pushing("old", 1000), &limited);
        assert!(matches!(dropping, Err(SinkError::Halted(why)) if why.contains("discard")));
        let mut edited = state(1, 9, 7);
        edited.settings["max_age"] = json!(1_000_000);
        assert!(matches!(same_stream(&edited, &store), Err(SinkError::Halted(why)) if why.contains("max_age")));
    }

    #[test]
    fn refuses_a_stream_that_lost_its_start_or_its_end() {
        for (first, last, size) in [(0, 0, 0), (1, 5, 5), (1, 9, 5), (6, 9, 5), (6, 5, 5)] {
            reaches(&state(first, last, 7), size).unwrap();
        }
        for (first, last, size) in [(1, 4, 5), (0, 0, 1)] {
            assert!(
                matches!(reaches(&state(first, last, 7), size), Err(SinkError::Halted(_))),
                "{first} {last} {size}"
            );
        }
        for (first, last, size) in [(2, 9, 0), (7, 9, 5), (10, 9, 5)] {
            let Err(SinkError::Hole(hole)) = reaches(&state(first, last, 7), size) else { panic!("{first} {size}") };
            assert_eq!((hole.from, hole.to), (size + 1, first - 1));
        }
    }

    #[test]
    fn refuses_a_refilled_stream() {
        let (_directory, store) = store();
        let entries: Vec<_> = (1..=3).map(|at| frame(&message(at, "good")).unwrap()).collect();
        store.append(0, &entries).unwrap();
        same_message(&store, 3, Some(&message(3, "good"))).unwrap();
        same_message(&store, 2, None).unwrap();
        assert!(same_message(&store, 3, None).is_err());
        assert!(same_message(&store, 3, Some(&message(4, "good"))).is_err());
        assert!(same_message(&store, 2, Some(&message(2, "other"))).is_err());
        let late = Stored { time_ns: 6, ..message(2, "good") };
        assert!(same_message(&store, 2, Some(&late)).is_err());
    }

    #[test]
    fn only_what_was_mended_need_not_be_there() {
        let (_directory, store) = store();
        let entries: Vec<_> = (1..=6).map(|at| frame(&message(at, "good")).unwrap()).collect();
        store.append(0, &entries[..3]).unwrap();
        assert_eq!(before_a_hole(&store).unwrap(), None);
        store.append_mended(3, &entries[3..5]).unwrap();
        same_message(&store, 5, None).unwrap();
        assert_eq!(before_a_hole(&store).unwrap(), Some(3));
        assert!(same_message(&store, 5, Some(&message(5, "other"))).is_err());
        // What came out of the stream since is to be there again.
        store.append(5, &entries[5..]).unwrap();
        assert!(same_message(&store, 6, None).is_err());
        assert_eq!(before_a_hole(&store).unwrap(), None);
        // A log that was taken over whole.
        let (_directory, whole) = self::store();
        whole.append_mended(0, &entries).unwrap();
        assert_eq!(before_a_hole(&whole).unwrap(), None);
    }

    #[test]
    fn samples_are_of_the_log() {
        assert!(samples(1, 0, 9).is_empty() && samples(8, 7, 9).is_empty());
        assert_eq!(samples(1, 1, 9), [1]);
        assert!(samples(8, 20, 9).iter().all(|sequence| (8..=20).contains(sequence)));
        assert!(samples(1, 1000, 9).iter().all(|sequence| (1..=1000).contains(sequence)));
    }
}
