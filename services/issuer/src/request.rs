//! A signed request: who asks, proven by the signature; what is asked, as bytes that are read only afterwards.

use marque_identity::refusal::quoted;
use marque_identity::{Code, Digest, Refusal, TokenId, TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_signing::{Algorithms, Compact, JwsError, PublicKey, jws, sha256};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::store::RequestId;

/// What a request may weigh: the broker carries 64 KiB with headers and the answer is no smaller than the request.
pub const REQUEST_BYTES_MAX: usize = 48 * 1024;
/// How far a request's `iat` may be from our clock, either way, in seconds (AAT §7.3's window for proofs).
pub const WINDOW_SECONDS: i64 = 30;
/// A UUID has 36; room for other makers.
pub const JTI_BYTES_MAX: usize = 128;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// An identity credential, by a join token.
    Enrol,
    /// A root token, by an identity credential.
    Issue,
    /// An identity credential, by one that still holds.
    Renew,
}

impl Duty {
    /// `typ` of its requests.
    pub fn typ(self) -> &'static str {
        match self {
            Self::Enrol => "marque-enrol+jwt",
            Self::Issue => "marque-issue+jwt",
            Self::Renew => "marque-renew+jwt",
        }
    }

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Issue => "issue",
            Self::Renew => "renew",
        }
    }
}

/// A request whose signer holds the key that it names.
///
/// INVARIANT: only [`open`](Self::open) makes one.
#[derive(Debug)]
pub struct SignedRequest {
    agent: PublicKey,
    digest: Digest,
    jti: TokenId,
    iat: UnixSeconds,
    payload: Vec<u8>,
}

/// What every request says beside its own matter, which [`read`] reads.
#[derive(Deserialize)]
struct Frame {
    iat: UnixSeconds,
    jti: TokenId,
    aud: String,
}

impl SignedRequest {
    /// Opens a body: size, envelope, possession, then the frame. The time is judged apart: see
    /// [`check_window`](Self::check_window).
    ///
    /// TRUST: the key is the one that `kid` names; holding it is all that is proven here.
    pub fn open(body: &[u8], duty: Duty, domain: &TrustDomain) -> Result<Self, Refusal> {
        if body.len() > REQUEST_BYTES_MAX {
            return Err(JwsError::Oversize { bytes: body.len(), bytes_max: REQUEST_BYTES_MAX }.into());
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::from(JwsError::NotCompact))?;
        let compact = Compact::split(text)?;
        compact.check_header(duty.typ(), Algorithms::Ed25519)?;
        let agent = jws::claimed_signer(text).map_err(|_| unproven("`kid` is not the DID URL of an Ed25519 key"))?;
        compact
            .check_signature(&agent)
            .map_err(|_| unproven("the request is not signed by the key that its `kid` names"))?;
        let payload = compact.payload()?;
        let frame: Frame = read(&payload)?;
        if frame.aud != domain.as_str() {
            let message = format!("the request is for {}, this issuer serves `{domain}`", quoted(&frame.aud));
            return Err(Refusal::new(Code::AudienceMismatch, message));
        }
        let jti = &frame.jti.0;
        if jti.is_empty() || jti.len() > JTI_BYTES_MAX || !jti.bytes().all(|c| c.is_ascii_graphic()) {
            let message = format!("`jti` is not 1 to {JTI_BYTES_MAX} printable characters");
            return Err(Refusal::new(Code::ClaimsMalformed, message));
        }
        Ok(Self { agent, digest: sha256(body), jti: frame.jti, iat: frame.iat, payload })
    }

    /// Refuses a request that was not signed just now.
    pub fn check_window(&self, now: UnixSeconds) -> Result<(), Refusal> {
        let off = now.0.saturating_sub(self.iat.0);
        if off.saturating_abs() <= WINDOW_SECONDS {
            return Ok(());
        }
        let (off, way) = if off > 0 { (off, "ago") } else { (off.saturating_neg(), "ahead") };
        let message = format!("the request was signed {off} s {way}, {WINDOW_SECONDS} s are allowed");
        Err(Refusal::new(Code::RequestStale, message))
    }

    /// Who asks.
    pub fn agent(&self) -> &PublicKey {
        &self.agent
    }

    /// SHA-256 of the request as it was sent.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it is remembered by.
    pub fn id(&self) -> RequestId {
        RequestId::of(&self.agent.did(), &self.jti)
    }

    /// The signed JSON.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Reads a request's matter, strictly: a member that we don't know is refused, it may be a misspelt limit.
pub(crate) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Refusal> {
    marque_json::from_slice(payload, Limits::bytes(REQUEST_BYTES_MAX)).map_err(|error| JwsError::Payload(error).into())
}

fn unproven(message: &str) -> Refusal {
    Refusal::new(Code::PossessionUnproven, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_signing::SigningKey;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn domain() -> TrustDomain {
        "acme.example".parse().unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[2; 32])
    }

    fn signed(claims: &Value) -> String {
        jws::sign_as_did(&key(), Duty::Renew.typ(), claims).unwrap()
    }

    fn open(text: &str) -> Result<SignedRequest, Refusal> {
        SignedRequest::open(text.as_bytes(), Duty::Renew, &domain())
    }

    fn good() -> Value {
        json!({"iat": 1000, "jti": "r1", "aud": "acme.example", "credential": "x"})
    }

    #[test]
    fn opens_what_its_key_signed() {
        let request = open(&signed(&good())).unwrap();
        assert_eq!(*request.agent(), key().public());
        assert_eq!(request.id(), RequestId::of(&key().did(), &TokenId("r1".into())));
    }

    #[test]
    fn refuses_each_broken_rule_by_its_code() {
        let with = |member: &str, value: Value| {
            let mut claims = good();
            claims[member] = value;
            open(&signed(&claims)).unwrap_err().code
        };
        assert_eq!(with("aud", json!("other.example")), Code::AudienceMismatch);
        assert_eq!(with("jti", json!("")), Code::ClaimsMalformed);
        assert_eq!(with("jti", json!("x".repeat(JTI_BYTES_MAX + 1))), Code::ClaimsMalformed);
        assert_eq!(with("iat", json!(1000.5)), Code::ClaimsMalformed);
        assert_eq!(with("iat", json!("1000")), Code::ClaimsMalformed);

        let other = SigningKey::from_seed(&[3; 32]);
        let foreign_kid = jws::sign_json(&other, Duty::Renew.typ(), Some(&key().did().url()), &good()).unwrap();
        assert_eq!(open(&foreign_kid).unwrap_err().code, Code::PossessionUnproven);
        let no_kid = jws::sign_json(&key(), Duty::Renew.typ(), None, &good()).unwrap();
        assert_eq!(open(&no_kid).unwrap_err().code, Code::PossessionUnproven);
        let other_typ = jws::sign_as_did(&key(), Duty::Issue.typ(), &good()).unwrap();
        assert_eq!(open(&other_typ).unwrap_err().code, Code::TypeMismatch);
        let twice = jws::sign(&key(), Duty::Renew.typ(), Some(&key().did().url()), br#"{"jti":"a","jti":"b"}"#);
        assert_eq!(open(&twice).unwrap_err().code, Code::DuplicateMember);
        assert_eq!(open("").unwrap_err().code, Code::Malformed);
        assert_eq!(open(&"a".repeat(REQUEST_BYTES_MAX + 1)).unwrap_err().code, Code::Oversize);
        assert_eq!(open(&"a".repeat(REQUEST_BYTES_MAX)).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn allows_the_window_and_not_a_second_more() {
        let request = open(&signed(&good())).unwrap();
        for now in [1000 - WINDOW_SECONDS, 1000, 1000 + WINDOW_SECONDS] {
            assert!(request.check_window(UnixSeconds(now)).is_ok(), "{now}");
        }
        for now in [999 - WINDOW_SECONDS, 1001 + WINDOW_SECONDS, i64::MAX, i64::MIN] {
            assert_eq!(request.check_window(UnixSeconds(now)).unwrap_err().code, Code::RequestStale, "{now}");
        }
        let extreme = open(&signed(&json!({"iat": i64::MIN, "jti": "r", "aud": "acme.example"})))
            .map(|r| r.check_window(UnixSeconds(i64::MAX)));
        assert!(!matches!(extreme, Ok(Ok(()))));
    }

    proptest! {
        #[test]
        fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(SignedRequest::open(&body, Duty::Enrol, &domain()).is_err());
        }

        #[test]
        fn a_changed_byte_never_opens(at in 0usize..400, to: u8) {
            let mut body = signed(&good()).into_bytes();
            let at = at % body.len();
            prop_assume!(body[at] != to);
            body[at] = to;
            prop_assert!(SignedRequest::open(&body, Duty::Renew, &domain()).is_err());
        }
    }
}
