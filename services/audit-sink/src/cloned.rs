//! `key_cloned`: two proofs of one key with one number. Two processes hold the key, or its holder forks its own history;
//! either way what it says of its actions can't be relied on (PROTOCOL §4).
//!
//! The record's bytes are a function of the sink's key, the agent, the number and the leaves: made again after a kill it
//! is the same record, which the stream refuses as a duplicate or the index knows as one.

use marque_identity::{Did, UnixMillis};
use marque_judgement::record::{Body, Record, Risk};
use marque_signing::sha256;

use crate::inventory::Fork;

/// What the record calls it.
pub const SIGNAL: &str = "key_cloned";

/// The record of a fork, by this sink.
pub fn risk(by: &Did, agent: &Did, seq: u64, fork: &Fork) -> Record {
    let message = format!(
        "two proofs of this key have the number {seq}: leaf {} and leaf {}; the key is in two hands, or its holder forks its own history",
        fork.first, fork.second.leaf
    );
    let body = Body::Risk(Risk { signal: SIGNAL.to_owned(), message });
    let record = Record { agent: Some(*agent), ..Record::new(UnixMillis(fork.second.ms), *by, body) };
    Record { id: id(by, agent, seq, fork.second.ms), ..record }
}

/// Whether a record's id is that of this sink's word on this fork.
pub(crate) fn is_id(text: &str, by: &Did, agent: &Did, seq: u64) -> bool {
    let tail = tail(by, agent, seq);
    text.len() == 36 && text.get(14..).is_some_and(|rest| rest == tail)
}

/// A UUIDv7 whose random part is the digest of what it is about.
fn id(by: &Did, agent: &Did, seq: u64, ms: i64) -> String {
    let time = u64::try_from(ms).unwrap_or(0) & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-{}", time >> 16, time & 0xffff, tail(by, agent, seq))
}

/// What follows the time: version 7, variant 10, and 74 bits of the digest.
fn tail(by: &Did, agent: &Did, seq: u64) -> String {
    let about = [SIGNAL.as_bytes(), by.key_bytes(), agent.key_bytes(), &seq.to_be_bytes()].concat();
    let digest = sha256(&about).to_string();
    let variant = match digest.as_bytes().get(3).map(|nibble| nibble & 3) {
        Some(0) => '8',
        Some(1) => '9',
        Some(2) => 'a',
        Some(_) | None => 'b',
    };
    format!("7{}-{variant}{}-{}", &digest[..3], &digest[4..7], &digest[7..19])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Mark;

    fn did(seed: u8) -> Did {
        Did::from_key_bytes([seed; 32])
    }

    #[test]
    fn the_same_fork_has_the_same_record_and_no_other_has() {
        let fork = Fork { first: 3, second: Mark { leaf: 9, ms: 1_700_000_000_123 } };
        let one = risk(&did(1), &did(2), 7, &fork);
        assert_eq!(one, risk(&did(1), &did(2), 7, &fork));
        assert!(is_id(&one.id, &did(1), &did(2), 7), "{}", one.id);
        for (by, agent, seq) in [(did(3), did(2), 7), (did(1), did(3), 7), (did(1), did(2), 8)] {
            assert!(!is_id(&one.id, &by, &agent, seq));
        }
        assert!(!is_id("", &did(1), &did(2), 7) && !is_id("é", &did(1), &did(2), 7));
        // The form of a UUIDv7, with the time in front.
        let shape: Vec<usize> = one.id.split('-').map(str::len).collect();
        assert_eq!((shape.as_slice(), one.id.as_bytes()[14]), (&[8, 4, 4, 4, 12][..], b'7'));
        assert_eq!(one.id.replace('-', "")[..12], format!("{:012x}", 1_700_000_000_123_u64));
    }
}
