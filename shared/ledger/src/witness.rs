//! How a log asks a witness for its cosignature, and how a witness answers. Source: C2SP `tlog-witness`, `add-checkpoint`.
//!
//! In scope: the request, and the witness's decision as a function of what it cosigned last. Out of scope: HTTP, and
//! keeping that last checkpoint, which must be durable before the answer leaves.

use std::fmt;

use marque_identity::UnixSeconds;
use marque_signing::SigningKey;

use crate::lines::{decimal, hashes};
use crate::{Checkpoint, Hash, LedgerError, Note, VerifierKey, cosign, verify_consistency};

/// Where a witness takes it, below its submission prefix.
pub const PATH: &str = "add-checkpoint";
/// The type of an answer that only says the size of the witness's last checkpoint.
pub const SIZE_TYPE: &str = "text/x.tlog.size";
/// Consistency proof lines at the most.
pub const HASHES_MAX: usize = 63;
/// The largest note and the proof.
pub const REQUEST_BYTES_MAX: usize = 72 * 1024;

/// A checkpoint handed to a witness, with its proof from the one that the witness cosigned last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the earlier one; 0 where there is none.
    pub old_size: u64,
    /// The consistency proof from there.
    pub proof: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: String,
}

impl AddCheckpoint {
    /// Reads a request's body.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let refused = LedgerError::AddCheckpointMalformed;
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(refused("too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| refused("not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(refused("no blank line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old_size = old_size.ok_or(refused("the first line is not `old` and a size"))?;
        let proof = hashes(lines, HASHES_MAX).ok_or(refused("a line is no hash, or there are too many"))?;
        Note::parse(checkpoint.as_bytes())?;
        Ok(Self { old_size, proof, checkpoint: checkpoint.to_owned() })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Why a witness does not cosign, each with its HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwitnessed {
    /// 400: the request is malformed, or the old size is beyond the checkpoint's.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// 403: no trusted key of the log signed it.
    #[error("no trusted key of the log signed the checkpoint")]
    Unsigned,
    /// 404: the origin is not one that is witnessed here.
    #[error("this log is not witnessed here")]
    UnknownLog,
    /// 409: the witness last cosigned another size, which it tells.
    #[error("the last cosigned size is {0}")]
    OtherSize(u64),
    /// 409: the same size with another root: the log has forked, or its broker has.
    #[error("another root was cosigned for this size")]
    OtherRoot {
        /// The size at which both stand.
        size: u64,
    },
    /// 422: the consistency proof does not verify.
    #[error("the consistency proof does not verify")]
    Inconsistent,
}

impl Unwitnessed {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsigned => 403,
            Self::UnknownLog => 404,
            Self::OtherSize(_) | Self::OtherRoot { .. } => 409,
            Self::Inconsistent => 422,
        }
    }

    /// The answer's body; for another size this is the protocol's, for all else a sentence for people.
    pub fn body(&self) -> String {
        match self {
            Self::OtherSize(size) | Self::OtherRoot { size } => format!("{size}\n"),
            Self::Malformed(_) | Self::Unsigned | Self::UnknownLog | Self::Inconsistent => format!("{self}\n"),
        }
    }

    /// The answer's type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::OtherSize(_) | Self::OtherRoot { .. } => SIZE_TYPE,
            Self::Malformed(_) | Self::Unsigned | Self::UnknownLog | Self::Inconsistent => "text/plain; charset=utf-8",
        }
    }
}

/// Whether a witness that trusts these keys, and cosigned `last` of this log, may cosign what is asked: the checkpoint
/// that becomes its new last. The caller keeps it, durably and in the same breath as it read `last`, before
/// [`cosignature`] leaves.
pub fn admissible(
    asked: &AddCheckpoint,
    logs: &[VerifierKey],
    last: impl FnOnce(&str) -> Option<Checkpoint>,
) -> Result<Checkpoint, Unwitnessed> {
    let malformed = |error: LedgerError| Unwitnessed::Malformed(error.to_string());
    // 1. Whose it is, and that it is the log's own.
    let note = Note::parse(asked.checkpoint.as_bytes()).map_err(malformed)?;
    let stated = Checkpoint::parse(note.text()).map_err(malformed)?;
    let known: Vec<VerifierKey> = logs.iter().filter(|key| key.name() == stated.origin).cloned().collect();
    if known.is_empty() {
        return Err(Unwitnessed::UnknownLog);
    }
    note.verify(&known).map_err(|_| Unwitnessed::Unsigned)?;
    // 2. That it goes on from what was cosigned last.
    if asked.old_size > stated.size {
        return Err(Unwitnessed::Malformed("the old size is beyond the checkpoint's".into()));
    }
    let last = last(&stated.origin);
    let last_size = last.as_ref().map_or(0, |last| last.size);
    if asked.old_size != last_size {
        return Err(Unwitnessed::OtherSize(last_size));
    }
    // 3. And that it is the same log, grown.
    match last {
        Some(last) if last.size == stated.size && last.root != stated.root => {
            Err(Unwitnessed::OtherRoot { size: last.size })
        }
        Some(last) if last.size > 0 => {
            verify_consistency(last.size, stated.size, &asked.proof, last.root, stated.root)
                .map_err(|_| Unwitnessed::Inconsistent)?;
            Ok(stated)
        }
        Some(_) | None if asked.proof.is_empty() => Ok(stated),
        Some(_) | None => Err(Unwitnessed::Inconsistent),
    }
}

/// The witness's line under a checkpoint that is [`admissible`] and kept: the body of its answer.
pub fn cosignature(
    checkpoint: &Checkpoint,
    name: &str,
    key: &SigningKey,
    now: UnixSeconds,
) -> Result<String, LedgerError> {
    let mut note = Note::new(checkpoint.text())?;
    note.add(cosign(note.text(), name, key, now)?);
    let whole = note.to_string();
    Ok(whole[note.text().len() + 1..].to_owned())
}

/// The signed note with the lines of a witness's answer that verify under its key added: other lines are passed over.
pub fn with_cosignature(note: &str, answer: &str, witness: &VerifierKey) -> Result<String, LedgerError> {
    let mut whole = Note::parse(note.as_bytes())?;
    let answered = Note::parse(format!("{}\n{answer}", whole.text()).as_bytes())?;
    let of = |name: &str, key_id: [u8; 4]| name == witness.name() && key_id == witness.key_id();
    if crate::verify_cosignature(&answered, witness).is_none() {
        return Err(LedgerError::NoteUntrusted("the witness's answer has no cosignature of its key"));
    }
    if whole.signatures().iter().any(|line| of(&line.name, line.key_id)) {
        return Ok(note.to_owned());
    }
    let mut alone = Note::new(whole.text().to_owned())?;
    for line in answered.signatures().iter().filter(|line| of(&line.name, line.key_id)) {
        alone.add(line.clone());
        // The one that verifies, should there be several.
        if crate::verify_cosignature(&alone, witness).is_some() {
            whole.add(line.clone());
            break;
        }
    }
    Ok(whole.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyKind, verify_cosignature};
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn log() -> VerifierKey {
        VerifierKey::new("o.example", KeyKind::Ed25519, key(1).public()).unwrap()
    }

    fn leaves() -> [Hash; 3] {
        [b"a", b"b", b"c"].map(|entry| Hash::leaf(entry))
    }

    /// The log of the first `size` of three leaves.
    fn checkpoint(size: u64) -> Checkpoint {
        let [a, b, c] = leaves();
        let root = match size {
            0 => Hash::empty_root(),
            1 => a,
            2 => Hash::node(a, b),
            _ => Hash::node(Hash::node(a, b), c),
        };
        Checkpoint { origin: "o.example".into(), size, root }
    }

    fn asked(old_size: u64, size: u64, proof: &[Hash]) -> AddCheckpoint {
        AddCheckpoint { old_size, proof: proof.to_vec(), checkpoint: checkpoint(size).sign(&key(1)).unwrap() }
    }

    #[test]
    fn cosigns_what_goes_on_from_the_last() {
        let [_, b, c] = leaves();
        for (last, request) in [
            (None, asked(0, 0, &[])),
            (None, asked(0, 2, &[])),
            (Some(0), asked(0, 3, &[])),
            (Some(1), asked(1, 2, &[b])),
            (Some(2), asked(2, 3, &[c])),
            (Some(3), asked(3, 3, &[])),
        ] {
            let read = AddCheckpoint::parse(request.to_string().as_bytes()).unwrap();
            assert_eq!(read, request);
            let new = admissible(&read, &[log()], |_| last.map(checkpoint)).unwrap();
            let answer = cosignature(&new, "w.example", &key(5), UnixSeconds(7)).unwrap();
            let witness = VerifierKey::new("w.example", KeyKind::Cosignature, key(5).public()).unwrap();
            let whole = with_cosignature(&request.checkpoint, &answer, &witness).unwrap();
            let note = Note::parse(whole.as_bytes()).unwrap();
            assert_eq!(verify_cosignature(&note, &witness), Some(UnixSeconds(7)));
            assert_eq!(with_cosignature(&whole, &answer, &witness).unwrap(), whole);
            let other = VerifierKey::new("w.example", KeyKind::Cosignature, key(6).public()).unwrap();
            assert!(with_cosignature(&request.checkpoint, &answer, &other).is_err());
        }
    }

    #[test]
    fn refuses_each_by_its_status() {
        let [_, b, c] = leaves();
        let forked = Checkpoint { root: Hash::leaf(b"x"), ..checkpoint(2) };
        let of_fork = AddCheckpoint { checkpoint: forked.sign(&key(1)).unwrap(), ..asked(2, 2, &[]) };
        let grown_fork = AddCheckpoint {
            checkpoint: Checkpoint { root: Hash::leaf(b"x"), ..checkpoint(3) }.sign(&key(1)).unwrap(),
            ..asked(2, 3, &[c])
        };
        let unsigned = AddCheckpoint { checkpoint: checkpoint(2).sign(&key(2)).unwrap(), ..asked(0, 2, &[]) };
        let foreign = Checkpoint { origin: "p.example".into(), ..checkpoint(2) };
        let foreign = AddCheckpoint { checkpoint: foreign.sign(&key(1)).unwrap(), ..asked(0, 2, &[]) };
        for (status, last, request) in [
            (400, Some(3), asked(3, 2, &[])),
            (403, None, unsigned),
            (404, None, foreign),
            (409, Some(2), asked(1, 3, &[b])),
            (409, None, asked(1, 2, &[b])),
            (409, Some(2), of_fork),
            (422, Some(2), grown_fork),
            (422, Some(2), asked(2, 3, &[b])),
            (422, Some(2), asked(2, 3, &[])),
            (422, Some(3), asked(3, 3, &[c])),
            (422, None, asked(0, 2, &[b])),
        ] {
            let refused = admissible(&request, &[log()], |_| last.map(checkpoint)).unwrap_err();
            assert_eq!(refused.status(), status, "{refused}: {request}");
        }
        let told = admissible(&asked(1, 3, &[b]), &[log()], |_| Some(checkpoint(2))).unwrap_err();
        assert_eq!((told.body().as_str(), told.content_type()), ("2\n", SIZE_TYPE));
    }

    #[test]
    fn refuses_malformed_requests() {
        let good = asked(2, 3, &[leaves()[2]]).to_string();
        for text in [
            String::new(),
            good.replace("old 2", "old 02"),
            good.replace("old 2", "old"),
            good.replace("old 2", "old  2"),
            good.replace("\n\n", "\n"),
            good.replace("old 2\n", &format!("old 2\n{}", format!("{}\n", leaves()[0]).repeat(63))),
            "x".repeat(REQUEST_BYTES_MAX + 1),
        ] {
            assert!(AddCheckpoint::parse(text.as_bytes()).is_err(), "{text:.80}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_prints_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(asked) = AddCheckpoint::parse(&bytes) { prop_assert_eq!(asked.to_string().into_bytes(), bytes); }
        }

        #[test]
        fn near_requests_are_refused_or_print_the_same(at in 0usize..400, with in "[ -~\n]{0,3}") {
            let mut text = asked(2, 3, &[leaves()[2]]).to_string().into_bytes();
            let at = at % text.len();
            text.splice(at..at + 1, with.into_bytes());
            if let Ok(asked) = AddCheckpoint::parse(&text) { prop_assert_eq!(asked.to_string().into_bytes(), text); }
        }
    }
}
