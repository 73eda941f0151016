//! An epoch of a log: begun anew by its operator where the stream no longer is the log's (LOG.md rule 6).
//!
//! Its name is the first one's with a number, `<domain>/audit/e2`, and its first leaf says what it goes on from: the
//! epoch before, that one's last checkpoint, why, and which records neither of the two has. TRUST: that leaf is the word
//! of whoever signs the epoch's checkpoints; [`Genesis::previous`] is signed by the epoch before.

use marque_json::Limits;
use serde::{Deserialize, Serialize};

use crate::{Checkpoint, Entry, KeyKind, LedgerError, VerifierKey};

/// Epochs that a log may have: one that broke so often is no log.
pub const EPOCHS_MAX: u64 = 64;
/// The most that the operator's reason may have.
pub const REASON_BYTES_MAX: usize = 1024;
/// The bus subject of the first leaf: no subject of the stream begins like it.
pub const SUBJECT: &str = "epoch";
const KIND: &str = "marque-epoch";
/// The largest number that canonical JSON (RFC 8785) writes as it is.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The epoch of a log's name, from 1; none where the name has no epoch of this log.
pub fn epoch_of(first: &str, name: &str) -> Option<u64> {
    match name.strip_prefix(first)? {
        "" => Some(1),
        rest => {
            let epoch = crate::lines::decimal(rest.strip_prefix("/e")?)?;
            (2..=EPOCHS_MAX).contains(&epoch).then_some(epoch)
        }
    }
}

/// The name of an epoch of a log.
pub fn epoch_origin(first: &str, epoch: u64) -> String {
    if epoch <= 1 { first.to_owned() } else { format!("{first}/e{epoch}") }
}

/// The name of the first epoch of a log, by that of any of its epochs.
pub fn first_origin(name: &str) -> &str {
    match later_epoch(name) {
        Some(_) => name.rsplit_once("/e").map_or(name, |(first, _)| first),
        None => name,
    }
}

/// Whether a log of this name begins with a genesis; its epoch then.
pub fn later_epoch(name: &str) -> Option<u64> {
    let (first, _) = name.rsplit_once("/e")?;
    epoch_of(first, name).filter(|epoch| *epoch > 1)
}

/// Sequences of the stream, both ends among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// What the first leaf of a later epoch says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    kind: String,
    /// The epoch's own name.
    pub origin: String,
    /// The last checkpoint of the epoch before, as it was signed.
    pub previous: String,
    /// Why there is another, in the operator's words.
    pub reason: String,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: i64,
    /// The first message of the stream that is a leaf of this epoch: the second leaf.
    pub first_sequence: u64,
    /// Records that neither this epoch nor the one before has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
}

impl Genesis {
    /// The epoch after the one of this checkpoint.
    pub fn after(
        previous: String,
        reason: String,
        at_ms: i64,
        first_sequence: u64,
        lost: Option<Lost>,
    ) -> Result<Self, LedgerError> {
        let before = Checkpoint::stated(previous.as_bytes())?.origin;
        let epoch = later_epoch(&before).unwrap_or(1);
        let (kind, origin) = (KIND.to_owned(), epoch_origin(first_origin(&before), epoch + 1));
        Self { kind, origin, previous, reason, at_ms, first_sequence, lost }.checked()
    }

    /// Reads it, strictly.
    pub fn parse(payload: &[u8]) -> Result<Self, LedgerError> {
        let read = marque_json::from_slice::<Self>(payload, Limits::DEFAULT);
        read.map_err(|_| LedgerError::GenesisMalformed("not of its form"))?.checked()
    }

    /// The genesis in a log's first leaf.
    pub fn of(entry: &Entry<'_>) -> Result<Self, LedgerError> {
        let genesis = Self::parse(entry.payload)?;
        if entry.bus_subject != SUBJECT
            || (entry.stream_seq, entry.broker_ts_ns) != (genesis.first_sequence - 1, genesis.at_ns())
        {
            return Err(LedgerError::GenesisMalformed("its leaf is not framed as a genesis"));
        }
        Ok(genesis)
    }

    /// The first leaf's entry. The messages of the stream follow it, each one sequence on.
    pub fn entry(&self) -> Result<Vec<u8>, LedgerError> {
        let payload =
            marque_json::to_canonical(self).map_err(|_| LedgerError::GenesisMalformed("it can't be written"))?;
        let stream_seq = self.first_sequence - 1;
        Entry { stream_seq, broker_ts_ns: self.at_ns(), bus_subject: SUBJECT, payload: &payload }.encode()
    }

    /// What the last checkpoint of the epoch before states. TRUST: none; nobody's signature is looked at.
    pub fn before(&self) -> Result<Checkpoint, LedgerError> {
        Checkpoint::stated(self.previous.as_bytes())
    }

    /// The last checkpoint of the epoch before, signed by one of these logs' keys. A key of this log, in whatever epoch, is
    /// one of the epoch before.
    pub fn previous(&self, logs: &[VerifierKey]) -> Result<Checkpoint, LedgerError> {
        let before = self.before()?.origin;
        let of_this_log = |log: &&VerifierKey| first_origin(log.name()) == first_origin(&before);
        let logs = logs.iter().filter(|log| log.kind() == KeyKind::Ed25519).filter(of_this_log);
        let keys = logs.map(|log| VerifierKey::new(&before, KeyKind::Ed25519, *log.key()));
        Checkpoint::open(self.previous.as_bytes(), &keys.collect::<Result<Vec<_>, _>>()?)
    }

    /// Whether the epoch before is the first, whose last message is known by its size.
    pub fn is_second(&self) -> bool {
        later_epoch(&self.origin) == Some(2)
    }

    /// Whether what it says is lost is what lies between the epoch before, whose last message is `end`, and its own first.
    pub fn accounts_from(&self, end: u64) -> Result<(), LedgerError> {
        let after = end.saturating_add(1);
        let due = (self.first_sequence > after).then(|| Lost { from: after, to: self.first_sequence - 1 });
        match (due, self.lost) {
            (due, lost) if due == lost => Ok(()),
            (Some(_), None) => Err(LedgerError::GenesisMalformed(
                "it begins further on than the epoch before ends, and says that nothing is lost",
            )),
            (_, _) => {
                Err(LedgerError::GenesisMalformed("it says that other messages are lost than lie between the two"))
            }
        }
    }

    fn at_ns(&self) -> i64 {
        self.at_ms.saturating_mul(1_000_000)
    }

    fn checked(self) -> Result<Self, LedgerError> {
        let before = self.before()?.origin;
        let (first, epoch) = (first_origin(&self.origin), later_epoch(&self.origin));
        let why = if self.kind != KIND {
            "of another kind"
        } else if epoch.is_none() || epoch_of(first, &before).map(|before| before + 1) != epoch {
            "its epoch is not the one after its checkpoint's"
        } else if self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES_MAX {
            "no reason, or one that is too long"
        } else if !(1..=NUMBER_MAX).contains(&self.first_sequence)
            || self.lost.is_some_and(|lost| lost.from > lost.to || lost.to != self.first_sequence - 1)
        {
            "no sequences of a stream"
        } else if u64::try_from(self.at_ms).is_ok_and(|at_ms| at_ms > NUMBER_MAX) || self.at_ms < 0 {
            "no time"
        } else {
            return Ok(self);
        };
        Err(LedgerError::GenesisMalformed(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;
    use marque_signing::SigningKey;
    use proptest::prelude::*;

    const FIRST: &str = "acme.example/audit";

    fn note(origin: &str) -> String {
        let checkpoint = Checkpoint { origin: origin.into(), size: 5, root: Hash::leaf(b"5") };
        checkpoint.sign(&SigningKey::from_seed(&[3; 32])).unwrap()
    }

    fn genesis(origin: &str) -> Genesis {
        Genesis::after(
            note(origin),
            "the stream was purged".into(),
            1_764_000_000_123,
            8,
            Some(Lost { from: 6, to: 7 }),
        )
        .unwrap()
    }

    #[test]
    fn each_epoch_names_the_one_before() {
        assert_eq!(genesis(FIRST).origin, "acme.example/audit/e2");
        let third = genesis("acme.example/audit/e2");
        assert_eq!((third.origin.as_str(), third.before().unwrap().size), ("acme.example/audit/e3", 5));
        let frame = third.entry().unwrap();
        let entry = Entry::decode(&frame).unwrap();
        assert_eq!((Genesis::of(&entry).unwrap(), entry.stream_seq), (third.clone(), 7));
        // The same bytes framed as a message of the stream are none.
        assert!(Genesis::of(&Entry { bus_subject: "marque.record.decided.none", ..entry }).is_err());
        assert!(Genesis::of(&Entry { stream_seq: 8, ..entry }).is_err());
        let last = format!("{FIRST}/e{EPOCHS_MAX}");
        assert!(Genesis::after(note(&last), "once more".into(), 7, 1, None).is_err());
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (name, epoch) in
            [(FIRST, Some(1)), ("acme.example/audit/e2", Some(2)), ("acme.example/audit/e64", Some(64))]
        {
            assert_eq!(epoch_of(FIRST, name), epoch);
            assert_eq!(epoch_origin(FIRST, epoch.unwrap()), name);
            assert_eq!(later_epoch(name), epoch.filter(|epoch| *epoch > 1));
            assert_eq!(first_origin(name), FIRST);
        }
        for name in ["", "acme.example", "/e1", "/e0", "/e02", "/e65", "/e2/e3", "/f2", "/e+2", "/e"] {
            assert_eq!(epoch_of(FIRST, &format!("{FIRST}{name}")).filter(|_| !name.is_empty()), None, "{name}");
        }
    }

    #[test]
    fn refuses_what_does_not_go_together() {
        let good = genesis(FIRST);
        let text = |genesis: &Genesis| serde_json::to_vec(genesis).unwrap();
        assert_eq!(Genesis::parse(&text(&good)).unwrap(), good);
        for bad in [
            Genesis { kind: "record".into(), ..good.clone() },
            Genesis { origin: "acme.example/audit/e3".into(), ..good.clone() },
            Genesis { origin: FIRST.into(), ..good.clone() },
            Genesis { origin: "evil.example/audit/e2".into(), ..good.clone() },
            Genesis { previous: "noise".into(), ..good.clone() },
            Genesis { reason: " ".into(), ..good.clone() },
            Genesis { reason: "x".repeat(REASON_BYTES_MAX + 1), ..good.clone() },
            Genesis { first_sequence: 0, ..good.clone() },
            Genesis { first_sequence: NUMBER_MAX + 1, lost: None, ..good.clone() },
            Genesis { at_ms: -1, ..good.clone() },
            Genesis { at_ms: 1 << 53, ..good.clone() },
            Genesis { lost: Some(Lost { from: 8, to: 7 }), ..good.clone() },
            Genesis { lost: Some(Lost { from: 6, to: 8 }), ..good.clone() },
        ] {
            assert!(Genesis::parse(&text(&bad)).is_err(), "{bad:?}");
        }
        assert!(Genesis { reason: "x".repeat(REASON_BYTES_MAX), ..good }.checked().is_ok());
    }

    #[test]
    fn what_it_goes_on_from_is_signed_by_the_log() {
        let log = |origin: &str, seed: u8| {
            VerifierKey::new(origin, KeyKind::Ed25519, SigningKey::from_seed(&[seed; 32]).public()).unwrap()
        };
        let third = genesis("acme.example/audit/e2");
        for name in [FIRST, "acme.example/audit/e2", "acme.example/audit/e3"] {
            assert_eq!(third.previous(&[log(FIRST, 4), log(name, 3)]).unwrap().size, 5, "{name}");
        }
        for logs in [vec![], vec![log(FIRST, 4)], vec![log("evil.example/audit", 3)]] {
            assert!(third.previous(&logs).is_err(), "{logs:?}");
        }
        assert!(genesis(FIRST).is_second() && !third.is_second());
    }

    #[test]
    fn what_is_lost_is_what_lies_between_two_epochs() {
        let good = genesis(FIRST);
        good.accounts_from(5).unwrap();
        for (first_sequence, lost, ends) in
            [(8, None, 7..=20), (1, None, 0..=9), (NUMBER_MAX, None, u64::MAX..=u64::MAX)]
        {
            let genesis = Genesis { first_sequence, lost, ..good.clone() };
            ends.for_each(|end| genesis.accounts_from(end).unwrap());
        }
        for end in [0, 4, 6, 7, 8, u64::MAX] {
            assert!(good.accounts_from(end).is_err(), "{end}");
        }
        let silent = Genesis { lost: None, ..good }.accounts_from(5);
        assert!(silent.unwrap_err().to_string().contains("nothing is lost"));
    }

    proptest! {
        #[test]
        fn noise_panics_nothing(payload in proptest::collection::vec(any::<u8>(), 0..200), name in ".{0,40}") {
            let _ = (Genesis::parse(&payload), later_epoch(&name), epoch_of(FIRST, &name));
        }
    }
}
