//! What a log commits to: its name, its size and its root. Source: C2SP `tlog-checkpoint`.

use marque_identity::TrustDomain;
use marque_signing::SigningKey;

use crate::{Hash, LedgerError, Note, VerifierKey};

/// A checkpoint: the text of a signed note. Extension lines are refused, since ours has none and an
/// unread line is an unchecked claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, under which its key signs too.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// The name of a trust domain's audit log: `<domain>/audit`; a later epoch appends its number.
pub fn origin(domain: &TrustDomain) -> String {
    format!("{domain}/audit")
}

impl Checkpoint {
    /// `<origin>\n<size>\n<base64 root>\n`.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// The checkpoint that a text states; there is one text per checkpoint.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let refused = LedgerError::CheckpointMalformed;
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(refused("not three lines"));
        let (origin, size, root) = (line()?, line()?, line()?);
        if !line()?.is_empty() || lines.next().is_some() {
            return Err(refused("more than three lines"));
        }
        if origin.is_empty() {
            return Err(refused("no origin"));
        }
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: size.parse().map_err(|_| refused("the size is not a number"))?,
            root: Hash::from_base64(root).ok_or(refused("the root is not 32 bytes in base64"))?,
        };
        if checkpoint.text() == text { Ok(checkpoint) } else { Err(refused("the size has another spelling")) }
    }

    /// The signed note under the log's own name. TRUST: the caller has checked it against the one before.
    pub fn sign(&self, key: &SigningKey) -> Result<String, LedgerError> {
        let mut note = Note::new(self.text())?;
        note.sign(&self.origin, key)?;
        Ok(note.to_string())
    }

    /// What a signed note states. TRUST: none; nobody's signature is looked at.
    pub fn stated(note: &[u8]) -> Result<Self, LedgerError> {
        Self::parse(Note::parse(note)?.text())
    }

    /// The checkpoint in a note that one of these keys signed under the checkpoint's own origin.
    pub fn open(note: &[u8], keys: &[VerifierKey]) -> Result<Self, LedgerError> {
        Self::signed(&Note::parse(note)?, keys)
    }

    /// The same of a note that is read already.
    pub fn signed(note: &Note, keys: &[VerifierKey]) -> Result<Self, LedgerError> {
        let checkpoint = Self::parse(note.text())?;
        let signers = note.verify(keys)?;
        if signers.iter().any(|key| key.name() == checkpoint.origin) {
            Ok(checkpoint)
        } else {
            Err(LedgerError::NoteUntrusted("the log itself did not sign it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyKind;
    use proptest::prelude::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "acme.example/audit".into(), size: 20, root: Hash::leaf(b"x") }
    }

    #[test]
    fn opens_under_its_own_key_only() {
        let key = SigningKey::from_seed(&[1; 32]);
        let vkey = |name: &str, key: &SigningKey| VerifierKey::new(name, KeyKind::Ed25519, key.public()).unwrap();
        let note = checkpoint().sign(&key).unwrap();
        let own = [vkey("acme.example/audit", &key)];
        assert_eq!(Checkpoint::open(note.as_bytes(), &own).unwrap(), checkpoint());
        assert!(Checkpoint::open(note.as_bytes(), &[vkey("other", &key)]).is_err());
        assert!(
            Checkpoint::open(note.as_bytes(), &[vkey("acme.example/audit", &SigningKey::from_seed(&[2; 32]))]).is_err()
        );
        // Another's signature under our text, however well known, is no checkpoint of ours.
        let mut foreign = Note::new(checkpoint().text()).unwrap();
        foreign.sign("other", &key).unwrap();
        assert!(Checkpoint::open(foreign.to_string().as_bytes(), &[vkey("other", &key)]).is_err());
    }

    #[test]
    fn refuses_other_spellings() {
        let root = Hash::leaf(b"x").to_base64();
        assert!(Checkpoint::parse(&format!("o\n0\n{root}\n")).is_ok());
        for text in [
            String::new(),
            "o\n".into(),
            format!("o\n1\n{root}"),
            format!("o\n01\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            format!("o\n\n{root}\n"),
            format!("\n1\n{root}\n"),
            format!("o\n1\n{root}\nextension\n"),
            format!("o\n1\n{root}\n\n"),
            format!("o\n1\n{}\n", &root[..40]),
            format!("o\n1\n{}\n", root.trim_end_matches('=')),
        ] {
            assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(origin in "[a-z./]{1,20}", size: u64, root: [u8; 32]) {
            let checkpoint = Checkpoint { origin, size, root: Hash(root) };
            prop_assert_eq!(Checkpoint::parse(&checkpoint.text()).unwrap(), checkpoint);
        }

        #[test]
        fn noise(text in "([a-z]{0,3}\n|[0-9]{0,4}\n|[A-Za-z0-9+/=]{44}\n){0,5}") {
            if let Ok(checkpoint) = Checkpoint::parse(&text) { prop_assert_eq!(checkpoint.text(), text); }
        }
    }
}
