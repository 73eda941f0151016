//! A leaf's content: the stored message, framed. Nothing of ours is in it, so order and root follow from the stream alone.
//!
//! `0x01 | u64 stream_seq | i64 broker_ts_ns | u16 len | bus subject | payload`, integers big-endian.

use crate::LedgerError;

/// The most an entry may have: a bundle writes its length in 16 bits (C2SP `tlog-tiles`).
pub const ENTRY_BYTES_MAX: usize = 65_535;
const VERSION: u8 = 0x01;
const HEAD_BYTES: usize = 1 + 8 + 8 + 2;

/// One stored message, as the stream holds it: no header, no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The message's sequence in the stream; the leaf's index is this less one; in a later epoch, less what its
    /// genesis says.
    pub stream_seq: u64,
    /// When the broker stored it: nanoseconds since 1970-01-01T00:00:00Z.
    pub broker_ts_ns: i64,
    /// The bus subject it was published on.
    pub bus_subject: &'a str,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl<'a> Entry<'a> {
    /// When the broker stored it, in milliseconds since 1970.
    pub fn broker_ms(&self) -> i64 {
        self.broker_ts_ns.div_euclid(1_000_000)
    }

    /// The frame. Refuses what would be longer than [`ENTRY_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LedgerError> {
        let bytes = HEAD_BYTES.saturating_add(self.bus_subject.len()).saturating_add(self.payload.len());
        let subject_len = u16::try_from(self.bus_subject.len()).map_err(|_| LedgerError::EntryOversize(bytes))?;
        if bytes > ENTRY_BYTES_MAX {
            return Err(LedgerError::EntryOversize(bytes));
        }
        let mut out = Vec::with_capacity(bytes);
        out.push(VERSION);
        out.extend_from_slice(&self.stream_seq.to_be_bytes());
        out.extend_from_slice(&self.broker_ts_ns.to_be_bytes());
        out.extend_from_slice(&subject_len.to_be_bytes());
        out.extend_from_slice(self.bus_subject.as_bytes());
        out.extend_from_slice(self.payload);
        Ok(out)
    }

    /// The message in a frame. `encode` gives back exactly the same bytes.
    pub fn decode(frame: &'a [u8]) -> Result<Self, LedgerError> {
        const SHORT: LedgerError = LedgerError::EntryMalformed("cut short");
        if frame.len() > ENTRY_BYTES_MAX {
            return Err(LedgerError::EntryOversize(frame.len()));
        }
        let (version, rest) = frame.split_first().ok_or(SHORT)?;
        if *version != VERSION {
            return Err(LedgerError::EntryMalformed("unknown version"));
        }
        let (stream_seq, rest) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
        let (broker_ts_ns, rest) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
        let (subject_len, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        let (subject, payload) = rest.split_at_checked(u16::from_be_bytes(*subject_len).into()).ok_or(SHORT)?;
        Ok(Self {
            stream_seq: u64::from_be_bytes(*stream_seq),
            broker_ts_ns: i64::from_be_bytes(*broker_ts_ns),
            bus_subject: std::str::from_utf8(subject)
                .map_err(|_| LedgerError::EntryMalformed("the bus subject is not UTF-8"))?,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(stream_seq: u64, broker_ts_ns: i64, bus_subject in "[ -~]{0,40}", payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let entry = Entry { stream_seq, broker_ts_ns, bus_subject: &bus_subject, payload: &payload };
            let frame = entry.encode().unwrap();
            prop_assert_eq!(Entry::decode(&frame), Ok(entry));
        }

        #[test]
        fn noise_is_refused_or_round_trips(mut frame in proptest::collection::vec(any::<u8>(), 0..80), versioned: bool) {
            if versioned && !frame.is_empty() { frame[0] = VERSION; if frame.len() > 17 { frame[17] = 0; } }
            if let Ok(entry) = Entry::decode(&frame) { prop_assert_eq!(entry.encode().unwrap(), frame); }
        }
    }

    #[test]
    fn holds_the_limit_and_refuses_one_more() {
        let payload = vec![7; ENTRY_BYTES_MAX - HEAD_BYTES];
        let entry = Entry { stream_seq: 1, broker_ts_ns: 1, bus_subject: "", payload: &payload };
        assert_eq!(entry.encode().unwrap().len(), ENTRY_BYTES_MAX);
        let over = Entry { bus_subject: "a", ..entry };
        assert_eq!(over.encode(), Err(LedgerError::EntryOversize(ENTRY_BYTES_MAX + 1)));
        assert_eq!(
            Entry::decode(&vec![VERSION; ENTRY_BYTES_MAX + 1]),
            Err(LedgerError::EntryOversize(ENTRY_BYTES_MAX + 1))
        );
    }

    #[test]
    fn refuses_every_cut_of_the_head() {
        let frame = Entry { stream_seq: 9, broker_ts_ns: 8, bus_subject: "a.b", payload: b"" }.encode().unwrap();
        for cut in 0..frame.len() {
            assert!(Entry::decode(&frame[..cut]).is_err(), "{cut}");
        }
    }
}
