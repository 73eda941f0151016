//! Erasable actions: what their records leave out, and what stands for it in the log.
//!
//! The log keeps every byte for ever. Where a tool's arguments and reasons may have to be forgotten, its *decided*
//! record holds a commitment in their stead ([`record::Sealed`](crate::record::Sealed)); the payload itself is sealed
//! for one data subject's key and kept elsewhere. Once that key is gone nobody reads the payload any more, and every
//! proof over the record holds as before.
//!
//! What stays in the record tells nothing of the arguments: the commitment covers 32 random bytes that are in the
//! payload alone; the proof's plain digest, which the agent's next proof names as its `prev`, covers a signature that
//! only the agent's key makes. In scope: the payload, its commitment, its seal, what a record loses. Out of scope:
//! where payloads and keys lie (`bus`), whose data it is (`agent::enforce`).

use marque_identity::{Digest, TrustDomain};
use marque_signing::xkey::{PublicXkey, SealingKey};
use marque_signing::{jws, random_32, sha256};

use crate::record::{Body, CARRIED_BYTES_MAX, Carried, InputDigest, Record, Sealed};

/// The first byte of a payload, for whoever changes its form.
const VERSION: u8 = 1;
const SALT_BYTES: usize = 32;
/// Characters of a public xkey.
const XKEY_CHARS: usize = 56;
/// Parts of a payload: the record's id, proof, input, message.
const PARTS: usize = 4;

/// What a record leaves out. Not shown by `Debug`: it would end in telemetry.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    bytes: Vec<u8>,
}

/// A payload's parts.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The id of the *decided* record that it belongs to.
    pub record: &'a str,
    /// The proof as presented: its claims `hta` and `why` are the arguments and the reason.
    pub proof: &'a str,
    /// The arguments as received.
    pub input: &'a [u8],
    /// Of a denial: the sentence that says why. May repeat arguments.
    pub message: &'a str,
}

/// Why a payload could not be made, opened, or is not the one that a record stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// Larger than its frame can say.
    #[error("the payload is too large")]
    Oversize,
    /// Not sealed as it should be, or for another key.
    #[error("not sealed for this key")]
    Seal,
    /// Not a payload.
    #[error("the payload can't be read")]
    Malformed,
    /// It is another record's, or was changed.
    #[error("the payload is not the one that the record commits to")]
    Mismatch,
}

/// What a data subject is called: SHA-256 of the trust domain and of what identifies it. TRUST: whoever guesses the
/// text finds the digest, so that no record bears it.
pub fn subject_digest(domain: &TrustDomain, text: &str) -> Digest {
    sha256(format!("marque-data-subject/1\n{domain}\n{text}").as_bytes())
}

impl Payload {
    /// The payload of a record, under a new salt.
    pub fn new(record: &str, proof: &str, input: &[u8], message: &str) -> Result<Self, SealedError> {
        let salt = random_32().map_err(|_| SealedError::Randomness)?;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&*salt);
        for part in [record.as_bytes(), proof.as_bytes(), input, message.as_bytes()] {
            let length = u32::try_from(part.len()).map_err(|_| SealedError::Oversize)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Ok(Self { bytes })
    }

    /// What the record states in its stead.
    pub fn commitment(&self) -> Digest {
        sha256(&self.bytes)
    }

    /// Seals it for a data subject's key: the key's public half, that of a key made for this payload alone, the box.
    pub fn seal(&self, reader: &PublicXkey) -> Result<Vec<u8>, SealedError> {
        let sender = SealingKey::generate().map_err(|_| SealedError::Randomness)?;
        let sealed = sender.seal(&self.bytes, reader).map_err(|_| SealedError::Seal)?;
        Ok([reader.text().as_bytes(), sender.public().as_bytes(), &sealed].concat())
    }

    /// The public half of the key that a sealed payload was sealed for.
    pub fn reader(sealed: &[u8]) -> Option<&str> {
        std::str::from_utf8(sealed.get(..XKEY_CHARS)?).ok().filter(|text| PublicXkey::parse(text).is_ok())
    }

    /// Opens a sealed payload.
    pub fn open(sealed: &[u8], key: &SealingKey) -> Result<Self, SealedError> {
        let (keys, sealed) = sealed.split_at_checked(2 * XKEY_CHARS).ok_or(SealedError::Malformed)?;
        let sender = keys.get(XKEY_CHARS..).and_then(|text| std::str::from_utf8(text).ok());
        let sender = sender.and_then(|text| PublicXkey::parse(text).ok()).ok_or(SealedError::Malformed)?;
        key.open(sealed, &sender).map(|bytes| Self { bytes }).map_err(|_| SealedError::Seal)
    }

    /// Its parts, if it is the very payload that the record commits to.
    pub fn of(&self, record: &Record) -> Result<Opened<'_>, SealedError> {
        let Body::Decided(decided) = &record.body else { return Err(SealedError::Mismatch) };
        let committed = decided.sealed.as_ref().and_then(|sealed| sealed.commitment);
        if committed != Some(self.commitment()) {
            return Err(SealedError::Mismatch);
        }
        let opened = self.parts().ok_or(SealedError::Malformed)?;
        let proof = Some(Carried::Elided(InputDigest::of(opened.proof.as_bytes())));
        if opened.record == record.id && proof == decided.proof { Ok(opened) } else { Err(SealedError::Mismatch) }
    }

    fn parts(&self) -> Option<Opened<'_>> {
        let (version, rest) = self.bytes.split_first()?;
        let mut rest = rest.get(SALT_BYTES..).filter(|_| *version == VERSION)?;
        let mut parts = [&[][..]; PARTS];
        for part in &mut parts {
            let (length, after) = rest.split_first_chunk::<4>()?;
            (*part, rest) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        }
        let [record, proof, input, message] = parts;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let opened = Opened { record: text(record)?, proof: text(proof)?, input, message: text(message)? };
        rest.is_empty().then_some(opened)
    }
}

/// Takes out of a *decided* record what may repeat arguments or reasons, and gives the payload that the record now
/// commits to.
pub fn withhold(record: &mut Record, proof: &str, input: &[u8]) -> Result<Payload, SealedError> {
    let Body::Decided(decided) = &record.body else { return Err(SealedError::Mismatch) };
    let payload = Payload::new(&record.id, proof, input, decided.message.as_deref().unwrap_or_default())?;
    unkept(record, proof);
    if let Body::Decided(decided) = &mut record.body {
        decided.sealed = Some(Sealed { commitment: Some(payload.commitment()), action: action_id(proof) });
    }
    Ok(payload)
}

/// The same where the payload could not be stored: the proof's digest stays, for the agent's chain of actions.
pub fn unkept(record: &mut Record, proof: &str) {
    redact(record);
    if let Body::Decided(decided) = &mut record.body {
        decided.proof = Some(Carried::Elided(InputDigest::of(proof.as_bytes())));
    }
}

/// The same where nothing is kept: no signature vouches for what was presented, so that anybody could fill the store
/// in anyone's name. The proof goes too: without a signature that holds its digest could be guessed.
pub fn redact(record: &mut Record) {
    let Body::Decided(decided) = &mut record.body else { return };
    (decided.proof, decided.why, decided.message, decided.input) = (None, None, None, None);
    decided.cause = decided.cause.take().filter(|cause| is_uuid(cause));
    decided.sealed = Some(Sealed { commitment: None, action: None });
}

/// The `jti` of a proof, where it is a name that says nothing.
fn action_id(proof: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claims {
        jti: String,
    }
    let claims = jws::unverified_payload::<Claims>(proof, CARRIED_BYTES_MAX).ok()?;
    Some(claims.jti).filter(|jti| is_uuid(jti))
}

/// The form of a UUID. An agent may write what it likes as `jti` and `cause`: only this can't be somebody's name.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use marque_identity::{Did, UnixMillis};

    use super::*;
    use crate::record::Heads;

    const SECRET: &str = "the customer is jane@example.org";

    fn record() -> Record {
        let decided = serde_json::json!({
            "kind": "decided", "decision": "deny", "message": SECRET, "why": SECRET, "cause": SECRET,
            "proof": SECRET, "input": { "sha256": "00".repeat(32), "bytes": 3 }, "seq": 4, "prev": "01".repeat(32),
            "epoch": 1, "staleness_bound_ms": 2000, "side_effecting": false,
        });
        let body: Body = serde_json::from_value(decided).unwrap();
        Record::new(UnixMillis(1), Did::from_key_bytes([7; 32]), body)
    }

    fn key(seed: u8) -> (SealingKey, PublicXkey) {
        let key = SealingKey::from_seed(&[seed; 32]);
        let public = PublicXkey::parse(&key.public()).unwrap();
        (key, public)
    }

    #[test]
    fn a_record_that_withholds_says_nothing_and_its_payload_says_all() {
        let mut record = record();
        let payload = withhold(&mut record, SECRET, SECRET.as_bytes()).unwrap();
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains("jane") && !text.contains(&"00".repeat(32)), "{text}");
        assert!(text.contains(&sha256(SECRET.as_bytes()).to_string()), "the proof's digest, for the next `prev`");
        assert!(text.contains(&"01".repeat(32)) && text.contains(r#""seq":4"#), "the chain of actions stays");
        let (own, public) = key(1);
        let sealed = payload.seal(&public).unwrap();
        assert_eq!(Payload::reader(&sealed), Some(own.public().as_str()));
        let opened = Payload::open(&sealed, &own).unwrap();
        let parts = opened.of(&record).unwrap();
        assert_eq!((parts.proof, parts.input, parts.message), (SECRET, SECRET.as_bytes(), SECRET));
    }

    #[test]
    fn refuses_a_payload_that_the_record_does_not_commit_to() {
        let (mut one, mut other) = (record(), record());
        let payload = withhold(&mut one, "p", b"i").unwrap();
        let foreign = withhold(&mut other, "p", b"i").unwrap();
        assert!(payload.of(&one).is_ok());
        assert!(foreign.of(&one) == Err(SealedError::Mismatch), "the same words under another salt and record");
        for at in 0..payload.bytes.len() {
            let mut touched = payload.clone();
            touched.bytes[at] ^= 1;
            assert!(touched.of(&one) == Err(SealedError::Mismatch), "{at}");
        }
        let heads = Body::Heads(Heads { tree_size: 1, heads: Vec::new() });
        assert!(payload.of(&Record::new(UnixMillis(1), one.by, heads)) == Err(SealedError::Mismatch));
        // A record that commits to it under another id or proof.
        let renamed = Record { id: other.id.clone(), ..one.clone() };
        assert!(payload.of(&renamed) == Err(SealedError::Mismatch));
    }

    #[test]
    fn a_commitment_is_of_a_new_salt_each_time() {
        let commitment = || Payload::new("r", "p", b"i", "").unwrap().commitment();
        assert_ne!(commitment(), commitment());
    }

    #[test]
    fn refuses_to_open_with_another_key_or_what_was_changed() {
        let payload = Payload::new("r", "p", b"i", "m").unwrap();
        let ((own, public), (stranger, _)) = (key(1), key(2));
        let sealed = payload.seal(&public).unwrap();
        assert!(Payload::open(&sealed, &own).is_ok_and(|opened| opened == payload));
        assert!(Payload::open(&sealed, &stranger) == Err(SealedError::Seal));
        for at in XKEY_CHARS..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            assert!(Payload::open(&touched, &own).is_err(), "{at}");
        }
        for cut in 0..sealed.len() {
            assert!(Payload::open(&sealed[..cut], &own).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_no_signature_vouches_for_is_not_kept() {
        let mut record = record();
        redact(&mut record);
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains("jane") && !text.contains("proof"), "{text}");
    }

    #[test]
    fn only_a_uuid_stays_as_a_name() {
        assert!(is_uuid("01a20ed6-7ebd-74c4-ba7b-6d3d3727502e"));
        for text in
            ["", "jane@example.org", "01a20ed6-7ebd-74c4-ba7b-6d3d3727502", "01a20ed6x7ebd-74c4-ba7b-6d3d3727502e"]
        {
            assert!(!is_uuid(text), "{text}");
        }
    }

    #[test]
    fn a_data_subject_s_name_depends_on_the_domain() {
        let digest = |domain: &str, text| subject_digest(&domain.parse().unwrap(), text);
        assert_ne!(digest("acme.example", "jane"), digest("other.example", "jane"));
        assert_eq!(digest("acme.example", "jane"), digest("acme.example", "jane"));
    }
}
