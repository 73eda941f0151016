//! A text with signatures under it. Source: C2SP `signed-note`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_signing::{PublicKey, SigningKey, sha256};

use crate::LedgerError;
use crate::cosignature::verify_blob;

/// The most a note may have; ours have a few hundred bytes (limit of our own: 100 signatures fit).
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// The most signatures under a note (as `golang.org/x/mod/sumdb/note`).
const SIGNATURES_MAX: usize = 100;
const LINE_START: &str = "— ";

/// What a key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Type 0x01: Ed25519 over the note's text.
    Ed25519,
    /// Type 0x04: `cosignature/v1`, Ed25519 over a time and the note's text.
    Cosignature,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// A key under whose name notes are trusted: its text is the `vkey`, `<name>+<hex key id>+<base64(type ‖ key)>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: PublicKey,
    key_id: [u8; 4],
}

impl VerifierKey {
    /// The key under this name. Refuses a name that a note can't carry.
    pub fn new(name: &str, kind: KeyKind, key: PublicKey) -> Result<Self, LedgerError> {
        if !name_is_admissible(name) {
            return Err(LedgerError::VerifierKeyMalformed("the name is empty or has a space or a plus"));
        }
        let typed = [&[kind.byte()], &key.bytes()[..]].concat();
        let digest = sha256(&[name.as_bytes(), b"\n", &typed].concat()).0;
        Ok(Self { name: name.to_owned(), kind, key, key_id: [digest[0], digest[1], digest[2], digest[3]] })
    }

    /// The name before its signatures.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs with.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// `SHA-256(name ‖ 0x0A ‖ type ‖ key)[..4]`.
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.kind.byte()], &self.key.bytes()[..]].concat();
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.key_id), STANDARD.encode(typed))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = LedgerError;
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let refused = LedgerError::VerifierKeyMalformed;
        let (name, rest) = text.split_once('+').ok_or(refused("not name+id+key"))?;
        let (_, key) = rest.split_once('+').ok_or(refused("not name+id+key"))?;
        let typed = STANDARD.decode(key).map_err(|_| refused("the key is not base64"))?;
        let (kind, bytes) = typed.split_first().ok_or(refused("the key is empty"))?;
        let kind = match kind {
            0x01 => KeyKind::Ed25519,
            0x04 => KeyKind::Cosignature,
            _ => return Err(refused("unknown signature type")),
        };
        let bytes = bytes.try_into().map_err(|_| refused("the key is not 32 bytes"))?;
        let key = PublicKey::from_bytes(bytes).map_err(|_| refused("the key is not an admissible Ed25519 key"))?;
        let parsed = Self::new(name, kind, key)?;
        if parsed.to_string() == text { Ok(parsed) } else { Err(refused("the key id is not this key's")) }
    }
}

/// A signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The signer's name.
    pub name: String,
    /// Which of the name's keys.
    pub key_id: [u8; 4],
    /// What stands behind the key id: for Ed25519 64 bytes, for a cosignature 72.
    pub blob: Vec<u8>,
}

/// A text and the signatures under it, whatever they are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A text nobody has signed yet. It ends with a newline and has no control characters beside newlines.
    pub fn new(text: String) -> Result<Self, LedgerError> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(LedgerError::NoteMalformed("too long"));
        }
        if !text.ends_with('\n') {
            return Err(LedgerError::NoteMalformed("the text does not end with a newline"));
        }
        if text.chars().any(|c| c < ' ' && c != '\n') {
            return Err(LedgerError::NoteMalformed("control characters"));
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// TRUST: none yet; [`verify`](Self::verify) says who signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let refused = LedgerError::NoteMalformed;
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(refused("too long"));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| refused("not UTF-8"))?;
        // The signatures stand behind the last blank line; the text keeps its own newline.
        let at = whole.rfind("\n\n").ok_or(refused("no blank line before the signatures"))?;
        let mut note = Self::new(whole[..=at].to_owned())?;
        let lines = whole[at + 2..].strip_suffix('\n').ok_or(refused("the last line is not ended"))?;
        for line in lines.split('\n') {
            if note.signatures.len() == SIGNATURES_MAX {
                return Err(refused("too many signatures"));
            }
            note.signatures.push(signature_of(line).ok_or(refused("a signature line is malformed"))?);
        }
        Ok(note)
    }

    /// What was signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds the Ed25519 (0x01) signature of a key under a name.
    pub fn sign(&mut self, name: &str, key: &SigningKey) -> Result<(), LedgerError> {
        let verifier = VerifierKey::new(name, KeyKind::Ed25519, key.public())?;
        let blob = key.sign(self.text.as_bytes()).to_vec();
        self.add(NoteSignature { name: name.to_owned(), key_id: verifier.key_id(), blob });
        Ok(())
    }

    /// Adds a signature made elsewhere, such as a witness's.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures.push(signature);
    }

    /// The known keys that signed, in the order of their signatures.
    ///
    /// A signature under an unknown key is passed over; one under a known key that fails rejects the note, and so
    /// does a note that no known key signed.
    pub fn verify<'k>(&self, known: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, LedgerError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let of = |key: &&VerifierKey| key.name == signature.name && key.key_id == signature.key_id;
            let Some(key) = known.iter().find(of) else { continue };
            let valid = match key.kind {
                KeyKind::Ed25519 => <&[u8; 64]>::try_from(&signature.blob[..])
                    .is_ok_and(|bytes| key.key.verify(self.text.as_bytes(), bytes).is_ok()),
                KeyKind::Cosignature => verify_blob(&self.text, &signature.blob, &key.key).is_some(),
            };
            if !valid {
                return Err(LedgerError::NoteUntrusted("a signature under a known key fails"));
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() { Err(LedgerError::NoteUntrusted("no known key signed it")) } else { Ok(signers) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| {
            let blob = STANDARD.encode([&signature.key_id[..], &signature.blob].concat());
            writeln!(f, "{LINE_START}{} {blob}", signature.name)
        })
    }
}

fn name_is_admissible(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn signature_of(line: &str) -> Option<NoteSignature> {
    let (name, blob) = line.strip_prefix(LINE_START)?.split_once(' ')?;
    let bytes = STANDARD.decode(blob).ok()?;
    let (key_id, blob) = bytes.split_first_chunk::<4>()?;
    (name_is_admissible(name) && !blob.is_empty()).then(|| NoteSignature {
        name: name.to_owned(),
        key_id: *key_id,
        blob: blob.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn vkey(name: &str, seed: u8) -> VerifierKey {
        VerifierKey::new(name, KeyKind::Ed25519, key(seed).public()).unwrap()
    }

    fn signed() -> Note {
        let mut note = Note::new("one\ntwo\n".into()).unwrap();
        note.sign("a.example/log", &key(1)).unwrap();
        note
    }

    #[test]
    fn the_published_example_verifies() {
        // From the documentation of golang.org/x/mod/sumdb/note.
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let vkey: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let note = Note::parse(text.as_bytes()).unwrap();
        assert_eq!(note.verify(std::slice::from_ref(&vkey)).unwrap(), [&vkey]);
        assert_eq!(note.to_string(), text);
    }

    #[test]
    fn unknown_keys_are_passed_over_and_a_failing_known_one_rejects() {
        let mut note = signed();
        let known = [vkey("a.example/log", 1)];
        assert_eq!(note.verify(&known).unwrap().len(), 1);
        note.sign("b.example", &key(2)).unwrap();
        note.sign("a.example/log", &key(3)).unwrap();
        assert_eq!(note.verify(&known).unwrap().len(), 1);
        assert!(note.verify(&[vkey("c.example", 2)]).is_err());
        assert!(note.verify(&[]).is_err());
        note.signatures[0].blob[5] ^= 1;
        assert!(note.verify(&known).is_err());
        assert!(note.verify(&[known[0].clone(), vkey("b.example", 2)]).is_err());
        assert_eq!(note.verify(&[vkey("b.example", 2)]).unwrap().len(), 1);
    }

    #[test]
    fn refuses_every_flipped_bit_or_keeps_no_signature() {
        let text = signed().to_string().into_bytes();
        let known = [vkey("a.example/log", 1)];
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let accepted = Note::parse(&flipped).and_then(|note| note.verify(&known).map(|_| ()));
            assert!(accepted.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn refuses_malformed_notes() {
        let line = signed().to_string().split("\n\n").nth(1).unwrap().to_owned();
        for text in [
            String::new(),
            "text\n".into(),
            "text\n\n".into(),
            format!("text\n{line}"),
            format!("text\n\n{}", line.trim_end()),
            format!("text\n\n{line}\n"),
            format!("te\txt\n\n{line}"),
            format!("te\rxt\n\n{line}"),
            format!("text\n\n{}", line.replace('—', "-")),
            format!("text\n\n{}", line.replace("a.example", "a+example")),
            format!("text\n\n{}", line.replace("a.example/log ", " ")),
            format!("text\n\n{}", line.replace("=\n", "\n")),
            "text\n\n— a AAAAAA==\n".into(),
            format!("text\n\n{}", line.repeat(101)),
            format!("{}\n\n{line}", "x".repeat(NOTE_BYTES_MAX)),
        ] {
            assert!(matches!(Note::parse(text.as_bytes()), Err(LedgerError::NoteMalformed(_))), "{text:.60}");
        }
        assert!(Note::parse(format!("text\n\n{}", line.repeat(100)).as_bytes()).is_ok());
    }

    #[test]
    fn refuses_malformed_verifier_keys() {
        let good = vkey("a.example/log", 1).to_string();
        assert_eq!(good.parse::<VerifierKey>().unwrap().to_string(), good);
        let (name, rest) = good.split_once('+').unwrap();
        let (id, key) = rest.split_once('+').unwrap();
        for text in [
            String::new(),
            name.into(),
            format!("{name}+{id}"),
            format!("+{id}+{key}"),
            format!("other+{id}+{key}"),
            format!("{name}+{}+{key}", id.to_uppercase() + "0"),
            format!("{name}+{id}+{}", &key[..40]),
            format!("{name}+{id}+{}", STANDARD.encode([1; 33])),
            format!("{name}+{id}+{}", STANDARD.encode([[9].as_slice(), &[0; 32]].concat())),
            format!("{name}+{id}+{}", STANDARD.encode([[1].as_slice(), &[0; 32]].concat())),
        ] {
            assert!(text.parse::<VerifierKey>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_prints_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(note) = Note::parse(&bytes) { prop_assert_eq!(note.to_string().into_bytes(), bytes); }
        }

        #[test]
        fn near_notes_are_refused_or_print_the_same(text in "[a\n]{0,8}\n\n(— [a+ ]{1,3} [A-D]{8}(==)?\n){0,3}") {
            if let Ok(note) = Note::parse(text.as_bytes()) { prop_assert_eq!(note.to_string(), text); }
        }

        #[test]
        fn vkey_noise(text in "[a-z+/=A-Z0-9 ]{0,80}") {
            if let Ok(key) = text.parse::<VerifierKey>() { prop_assert_eq!(key.to_string(), text); }
        }
    }
}
