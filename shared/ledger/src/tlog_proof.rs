//! A proof that can be kept in a file and checked offline: index, hashes, and the checkpoint that they lead to.
//! Source: C2SP `tlog-proof`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::lines::{decimal, hashes};
use crate::policy::{Policy, Witnessed};
use crate::{ENTRY_BYTES_MAX, Hash, LedgerError, Note, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// What a file of a proof is called by.
pub const EXTENSION: &str = "tlog-proof";
/// A path from a leaf to the root has no more hashes: one for each bit of a size.
const HASHES_MAX: usize = 64;
/// The largest entry in base64, the hashes, and the largest note.
pub const PROOF_BYTES_MAX: usize = 192 * 1024;

/// A transparency log proof. TRUST: none before [`check`](Self::check).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Opaque, in no way authenticated by the format. Ours holds the leaf's entry, whose hash the proof is about.
    pub extra: Option<Vec<u8>>,
    /// The leaf.
    pub index: u64,
    /// From the leaf's sibling up to the root's child.
    pub hashes: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: String,
}

impl TlogProof {
    /// Reads a proof's file.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let refused = LedgerError::TlogProofMalformed;
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(refused("too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| refused("not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(refused("no blank line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(refused("the first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra ")).map(|line| &line["extra ".len()..]);
        let extra = extra.map(|base64| STANDARD.decode(base64)).transpose();
        let extra = extra.map_err(|_| refused("the extra data is not base64"))?;
        if extra.as_ref().is_some_and(|extra| extra.len() > ENTRY_BYTES_MAX) {
            return Err(refused("more extra data than an entry has"));
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(refused("no index"))?;
        let hashes = hashes(lines, HASHES_MAX).ok_or(refused("a line is no hash, or there are too many"))?;
        Note::parse(checkpoint.as_bytes())?;
        Ok(Self { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that the log of this policy holds this entry at the proof's index: the checkpoint's signatures and
    /// quorum, then the path. Gives the checkpoint and who has witnessed it.
    pub fn check(&self, entry: &[u8], policy: &Policy) -> Result<Witnessed, LedgerError> {
        let witnessed = policy.open(self.checkpoint.as_bytes())?;
        let stated = &witnessed.checkpoint;
        verify_inclusion(self.index, stated.size, Hash::leaf(entry), &self.hashes, stated.root)?;
        Ok(witnessed)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, KeyKind, VerifierKey};
    use marque_signing::SigningKey;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn policy() -> Policy {
        Policy::of_logs(vec![VerifierKey::new("o.example", KeyKind::Ed25519, key().public()).unwrap()])
    }

    /// Two leaves, `a` and `b`.
    fn proof() -> TlogProof {
        let (a, b) = (Hash::leaf(b"a"), Hash::leaf(b"b"));
        let checkpoint = Checkpoint { origin: "o.example".into(), size: 2, root: Hash::node(a, b) };
        let checkpoint = checkpoint.sign(&key()).unwrap();
        TlogProof { extra: Some(b"b".to_vec()), index: 1, hashes: vec![a], checkpoint }
    }

    #[test]
    fn a_proof_is_read_back_and_holds() {
        for proof in [proof(), TlogProof { extra: None, ..proof() }] {
            let read = TlogProof::parse(proof.to_string().as_bytes()).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.check(b"b", &policy()).unwrap().checkpoint.size, 2);
        }
    }

    #[test]
    fn refuses_another_entry_index_path_or_key() {
        let refused = |proof: &TlogProof, entry: &[u8]| proof.check(entry, &policy()).unwrap_err();
        assert_eq!(refused(&proof(), b"a"), LedgerError::ProofInvalid);
        assert_eq!(refused(&TlogProof { index: 0, ..proof() }, b"b"), LedgerError::ProofInvalid);
        assert_eq!(refused(&TlogProof { hashes: vec![], ..proof() }, b"b"), LedgerError::ProofInvalid);
        let other = VerifierKey::new("o.example", KeyKind::Ed25519, SigningKey::from_seed(&[2; 32]).public()).unwrap();
        let refused = proof().check(b"b", &Policy::of_logs(vec![other]));
        assert!(matches!(refused, Err(LedgerError::NoteUntrusted(_))), "{refused:?}");
    }

    #[test]
    fn refuses_every_flipped_bit_of_what_is_authenticated() {
        let bare = TlogProof { extra: None, ..proof() }.to_string();
        for bit in 0..bare.len() * 8 {
            let mut flipped = bare.clone().into_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let checked = TlogProof::parse(&flipped).and_then(|proof| proof.check(b"b", &policy()));
            assert!(checked.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn refuses_malformed_files() {
        let good = proof().to_string();
        for text in [
            String::new(),
            good.replace("@v1", "@v2"),
            good.replace("extra ", "extra  "),
            good.replace("index 1", "index 01"),
            good.replace("index 1", "index +1"),
            good.replace("index 1\n", ""),
            good.replace("\n\n", "\n"),
            good.replacen('\n', "\r\n", 1),
            good.replace("index 1\n", &format!("index 1\n{}", format!("{}\n", Hash::leaf(b"a")).repeat(64))),
            good.replace("extra ", &format!("extra {}", STANDARD.encode(vec![0; ENTRY_BYTES_MAX + 3]))),
            "x".repeat(PROOF_BYTES_MAX + 1),
        ] {
            assert!(TlogProof::parse(text.as_bytes()).is_err(), "{text:.80}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_prints_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(proof) = TlogProof::parse(&bytes) { prop_assert_eq!(proof.to_string().into_bytes(), bytes); }
        }

        #[test]
        fn near_proofs_are_refused_or_print_the_same(at in 0usize..400, with in "[ -~\n]{0,3}") {
            let mut text = proof().to_string().into_bytes();
            let at = at % text.len();
            text.splice(at..at + 1, with.into_bytes());
            if let Ok(proof) = TlogProof::parse(&text) { prop_assert_eq!(proof.to_string().into_bytes(), text); }
        }
    }
}
