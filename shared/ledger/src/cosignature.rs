//! A witness's signature under a checkpoint, with the time at which it saw it. Source: C2SP `tlog-cosignature`.

use marque_identity::UnixSeconds;
use marque_signing::{PublicKey, SigningKey};

use crate::{KeyKind, LedgerError, Note, NoteSignature, VerifierKey};

/// A time and an Ed25519 signature.
const BLOB_BYTES: usize = 8 + 64;

/// The `cosignature/v1` line of a witness under a checkpoint's text. TRUST: the caller has checked consistency.
pub fn cosign(text: &str, name: &str, key: &SigningKey, time: UnixSeconds) -> Result<NoteSignature, LedgerError> {
    let verifier = VerifierKey::new(name, KeyKind::Cosignature, key.public())?;
    let time = u64::try_from(time.0).map_err(|_| LedgerError::NoteMalformed("a time before 1970"))?;
    let mut blob = time.to_be_bytes().to_vec();
    blob.extend_from_slice(&key.sign(&message(text, time)));
    Ok(NoteSignature { name: name.to_owned(), key_id: verifier.key_id(), blob })
}

/// When the witness with this key saw the note; none unless its signature is there and verifies.
pub fn verify_cosignature(note: &Note, key: &VerifierKey) -> Option<UnixSeconds> {
    note.signatures()
        .iter()
        .filter(|signature| signature.name == key.name() && signature.key_id == key.key_id())
        .find_map(|signature| verify_blob(note.text(), &signature.blob, key.key()))
}

/// The time in a cosignature's blob, if it verifies.
pub(crate) fn verify_blob(text: &str, blob: &[u8], key: &PublicKey) -> Option<UnixSeconds> {
    let blob: &[u8; BLOB_BYTES] = blob.try_into().ok()?;
    let (time, signature) = blob.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    key.verify(&message(text, time), signature.try_into().ok()?).ok()?;
    i64::try_from(time).ok().map(UnixSeconds)
}

fn message(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifies_and_refuses_another_time_text_or_key() {
        let key = SigningKey::from_seed(&[5; 32]);
        let vkey = VerifierKey::new("w.example", KeyKind::Cosignature, key.public()).unwrap();
        let mut note = Note::new("o\n1\nAAAA\n".into()).unwrap();
        let line = cosign(note.text(), "w.example", &key, UnixSeconds(1_700_000_000)).unwrap();
        assert_eq!(line.blob.len() + 4, 76);
        note.add(line.clone());
        let known = [vkey.clone()];
        assert_eq!(verify_cosignature(&note, &vkey), Some(UnixSeconds(1_700_000_000)));
        assert_eq!(note.verify(&known).unwrap().len(), 1);
        for byte in 0..line.blob.len() {
            let mut note = Note::new("o\n1\nAAAA\n".into()).unwrap();
            let mut line = line.clone();
            line.blob[byte] ^= 1;
            note.add(line);
            assert_eq!(verify_cosignature(&note, &vkey), None, "{byte}");
            assert!(note.verify(&known).is_err());
        }
        let mut other = Note::new("o\n2\nAAAA\n".into()).unwrap();
        other.add(line);
        assert!(other.verify(&known).is_err());
        assert!(cosign("o\n", "w.example", &key, UnixSeconds(-1)).is_err());
        assert!(cosign("o\n", "w example", &key, UnixSeconds(1)).is_err());
    }
}
