//! Erasable tools: what their records leave out is sealed for a data subject, and stored before the record is.

use marque_bus::{Bus, BusError, Claim};
use marque_identity::{Did, Digest, TrustDomain};
use marque_json::Json;
use marque_judgement::sealed::{Payload, SealedError, subject_digest};
use marque_signing::random_32;
use marque_signing::xkey::{PublicXkey, SealingKey};

/// Rounds of looking for a data subject's key and offering one: an erasure may come between.
const ROUNDS_MAX: usize = 3;

/// Whose data an erasable tool's arguments are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSubject {
    /// The agent's that acts, by its DID.
    Agent,
    /// The one that an argument names: a string by its characters, anything else by its canonical JSON. The agent's
    /// where the call has no such argument.
    Argument(String),
}

/// Why a payload is not stored.
///
/// Its text names no bus subject: that bears the data subject's digest, which can be guessed, and would end in telemetry.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnkeptError {
    #[error("the broker: {}", .0.code())]
    Bus(#[from] BusError),
    #[error(transparent)]
    Sealed(#[from] SealedError),
    #[error("the data subject's key is none, or changes each time it is looked at")]
    Key,
}

impl DataSubject {
    /// What the data subject of a call is called.
    pub(super) fn of(&self, domain: &TrustDomain, args: &Json<'_>, agent: &Did) -> Digest {
        let named = match self {
            Self::Agent => None,
            Self::Argument(name) => args.as_object().and_then(|args| args.get(name)),
        };
        let text = match named {
            None => agent.to_string(),
            Some(Json::String(text)) => text.clone().into_owned(),
            // Canonical JSON is UTF-8.
            Some(value) => String::from_utf8_lossy(&value.canonical()).into_owned(),
        };
        subject_digest(domain, &text)
    }
}

/// Seals a record's payload for a data subject and stores it. Nothing is remembered between two calls: a key that was
/// erased is not sealed for again. In a cluster a replica that lags may still show it for a moment; what is sealed for it
/// then is erased from the start.
pub(super) async fn keep(bus: &Bus, subject: &Digest, record: &str, payload: &Payload) -> Result<(), UnkeptError> {
    let key = key_of(bus, subject).await?;
    bus.publish_sealed(subject, record, &payload.seal(&key)?).await?;
    Ok(())
}

/// The data subject's public key; a new one where it has none.
async fn key_of(bus: &Bus, subject: &Digest) -> Result<PublicXkey, UnkeptError> {
    for _ in 0..ROUNDS_MAX {
        if let Some(held) = bus.sealing_key(subject).await? {
            let text = std::str::from_utf8(&held.payload).map_err(|_| UnkeptError::Key)?;
            return PublicXkey::parse(text).map_err(|_| UnkeptError::Key);
        }
        let seed = random_32().map_err(|_| SealedError::Randomness)?;
        let public = SealingKey::from_seed(&seed).public();
        match bus.offer_sealing_key(subject, &public, &*seed).await? {
            Claim::Won => return PublicXkey::parse(&public).map_err(|_| UnkeptError::Key),
            Claim::Lost => {}
        }
    }
    Err(UnkeptError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_subject_is_found_by_its_argument() {
        let domain: TrustDomain = "acme.example".parse().unwrap();
        let agent = Did::from_key_bytes([7; 32]);
        let args =
            marque_json::parse(br#"{"customer":"jane","id":7,"of":{"b":1,"a":2}}"#, marque_json::Limits::DEFAULT)
                .unwrap();
        let of = |subject: DataSubject| subject.of(&domain, &args, &agent);
        let by = |name: &str| of(DataSubject::Argument(name.into()));
        assert_eq!(by("customer"), subject_digest(&domain, "jane"));
        assert_eq!(by("id"), subject_digest(&domain, "7"));
        assert_eq!(by("of"), subject_digest(&domain, r#"{"a":2,"b":1}"#));
        let agents = subject_digest(&domain, &agent.to_string());
        assert_eq!((of(DataSubject::Agent), by("absent")), (agents, agents));
    }
}
