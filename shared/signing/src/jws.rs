//! JWS in compact form (RFC 7515 §7.1), Ed25519 alone (RFC 9864), `EdDSA` (RFC 8037) where a caller allows it.
//!
//! A key is never taken out of a header. `crit` is refused: no extension is known here.

use marque_identity::{Code, Digest, Refusal};
use marque_json::{Json, JsonError, Limits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::encoding::{base64url, base64url_decode, decode_array};
use crate::key::{PublicKey, SigningKey};
use crate::many::Signed;
use crate::sha256;

/// Ours take 40 bytes, with a `kid` 200; room for foreign members that are ignored.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Which `alg` values a place accepts. `none` and symmetric ones are in no set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithms {
    /// `Ed25519` (RFC 9864).
    Ed25519,
    /// `Ed25519`, or its older name `EdDSA`: for the identity credential.
    Ed25519OrEdDsa,
}

impl Algorithms {
    fn allow(self, alg: &str) -> bool {
        alg == "Ed25519" || (self == Self::Ed25519OrEdDsa && alg == "EdDSA")
    }
}

/// Why a JWS was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// More bytes than allowed.
    #[error("{bytes} bytes where {bytes_max} are allowed")]
    Oversize {
        /// Size of the token.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not three parts of base64url.
    #[error("not three parts of base64url")]
    NotCompact,
    /// The header is no JSON object, or too large.
    #[error("the header is no JSON object of the expected kind")]
    Header(#[source] JsonError),
    /// `alg` is absent or not allowed.
    #[error("`alg` is absent or not on the allow-list")]
    AlgorithmNotAllowed,
    /// `typ` is absent or another.
    #[error("`typ` is not {expected}")]
    TypeMismatch {
        /// What belongs here.
        expected: String,
    },
    /// `crit` is present.
    #[error("`crit` names an extension that is not understood")]
    CriticalUnknown,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    SignatureInvalid,
    /// The payload is not the JSON that belongs here.
    #[error("the payload is not of the expected kind")]
    Payload(#[source] JsonError),
}

impl JwsError {
    /// The outward code.
    pub fn code(&self) -> Code {
        match self {
            Self::Oversize { .. } => Code::Oversize,
            Self::NotCompact => Code::Malformed,
            Self::Header(error) | Self::Payload(error) => json_code(error),
            Self::AlgorithmNotAllowed => Code::AlgorithmNotAllowed,
            Self::TypeMismatch { .. } => Code::TypeMismatch,
            Self::CriticalUnknown => Code::CriticalUnknown,
            Self::SignatureInvalid => Code::SignatureInvalid,
        }
    }
}

/// The outward code of a JSON refusal.
pub fn json_code(error: &JsonError) -> Code {
    match error {
        JsonError::Oversize { .. } => Code::Oversize,
        JsonError::TooDeep { .. } => Code::TooDeep,
        JsonError::DuplicateMember { .. } => Code::DuplicateMember,
        JsonError::NotUtf8 { .. } | JsonError::Syntax { .. } => Code::Malformed,
        JsonError::Shape { .. } => Code::ClaimsMalformed,
    }
}

impl From<JwsError> for Refusal {
    fn from(error: JwsError) -> Self {
        let detail = match &error {
            JwsError::Header(inner) | JwsError::Payload(inner) => format!("{error}: {inner}"),
            _ => error.to_string(),
        };
        Refusal::new(error.code(), detail)
    }
}

/// A JWS in its three parts. Nothing is verified yet.
#[derive(Debug, Clone, Copy)]
pub struct Compact<'a> {
    text: &'a str,
    header_end: usize,
    payload_end: usize,
    signature: [u8; 64],
}

impl<'a> Compact<'a> {
    /// Splits a token into its parts. Refuses anything but two dots, base64url characters and a 64-byte signature.
    pub fn split(text: &'a str) -> Result<Self, JwsError> {
        let mut dots = memchr::memchr_iter(b'.', text.as_bytes());
        let header_end = dots.next().ok_or(JwsError::NotCompact)?;
        let payload_end = dots.next().ok_or(JwsError::NotCompact)?;
        // A third dot is no base64url, so that the signature's decoder refuses it.
        let signature = decode_array(&text.as_bytes()[payload_end + 1..]).ok_or(JwsError::NotCompact)?;
        Ok(Self { text, header_end, payload_end, signature })
    }

    /// The whole token as received.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The signed bytes: header, dot, payload, as received.
    pub fn signing_input(&self) -> &'a [u8] {
        &self.text.as_bytes()[..self.payload_end]
    }

    /// SHA-256 of the signed bytes: what a token is called by (AAT §4.6).
    pub fn signing_digest(&self) -> Digest {
        sha256(self.signing_input())
    }

    /// The header's base64url text.
    pub fn header_base64(&self) -> &'a str {
        &self.text[..self.header_end]
    }

    /// The payload's base64url text.
    pub fn payload_base64(&self) -> &'a str {
        &self.text[self.header_end + 1..self.payload_end]
    }

    /// The signature.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The payload's bytes. TRUST: none before [`check_signature`](Self::check_signature).
    pub fn payload(&self) -> Result<Vec<u8>, JwsError> {
        base64url_decode(self.payload_base64()).ok_or(JwsError::NotCompact)
    }

    /// The header's bytes.
    pub fn header_bytes(&self) -> Result<Vec<u8>, JwsError> {
        if self.header_base64().len() > HEADER_BYTES_MAX {
            return Err(JwsError::Oversize { bytes: self.header_base64().len(), bytes_max: HEADER_BYTES_MAX });
        }
        base64url_decode(self.header_base64()).ok_or(JwsError::NotCompact)
    }

    /// The header's string member of this name. TRUST: a hint, nothing more.
    pub fn header_member(&self, name: &str) -> Result<Option<String>, JwsError> {
        let bytes = self.header_bytes()?;
        let header = marque_json::parse(&bytes, Limits::bytes(HEADER_BYTES_MAX)).map_err(JwsError::Header)?;
        Ok(header.as_object().and_then(|object| object.get(name)).and_then(Json::as_str).map(str::to_owned))
    }

    /// Checks the protected header: a JSON object whose `alg` is allowed and whose `typ` is this one, without
    /// `crit`. Other members are ignored; keys in it are never used.
    pub fn check_header(&self, typ: &str, algorithms: Algorithms) -> Result<(), JwsError> {
        if known_header(typ) == Some(self.header_base64()) {
            return Ok(());
        }
        let bytes = self.header_bytes()?;
        let header = marque_json::parse(&bytes, Limits::bytes(HEADER_BYTES_MAX)).map_err(JwsError::Header)?;
        let Json::Object(header) = header else {
            return Err(JwsError::Header(JsonError::Syntax { offset: 0, expected: "an object" }));
        };
        if !header.get("alg").and_then(Json::as_str).is_some_and(|alg| algorithms.allow(alg)) {
            return Err(JwsError::AlgorithmNotAllowed);
        }
        if header.get("typ").and_then(Json::as_str) != Some(typ) {
            return Err(JwsError::TypeMismatch { expected: typ.to_owned() });
        }
        if header.get("crit").is_some() { Err(JwsError::CriticalUnknown) } else { Ok(()) }
    }

    /// Checks the signature on the received bytes.
    pub fn check_signature(&self, key: &PublicKey) -> Result<(), JwsError> {
        key.verify(self.signing_input(), &self.signature).map_err(|_| JwsError::SignatureInvalid)
    }

    /// What [`check_signature`](Self::check_signature) checks, to be checked among others.
    pub fn signed<'s>(&'s self, key: &'s PublicKey) -> Signed<'s> {
        Signed { key, message: self.signing_input(), signature: &self.signature }
    }

    /// Header, then signature; gives the payload's bytes, not yet parsed.
    pub fn verify(&self, key: &PublicKey, typ: &str, algorithms: Algorithms) -> Result<Vec<u8>, JwsError> {
        self.check_header(typ, algorithms)?;
        self.check_signature(key)?;
        self.payload()
    }
}

/// The header that nearly every token has, so that it need not be decoded.
fn known_header(typ: &str) -> Option<&'static str> {
    match typ {
        "aat+jwt" => Some("eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiYWF0K2p3dCJ9"),
        "aat-pop+jwt" => Some("eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiYWF0LXBvcCtqd3QifQ"),
        _ => None,
    }
}

/// Signs a payload as it is. The header is `{"alg":"Ed25519","kid":…,"typ":…}`, in JCS.
pub fn sign(key: &SigningKey, typ: &str, kid: Option<&str>, payload: &[u8]) -> String {
    let member = |text: &str| serde_json::Value::from(text).to_string();
    let kid = kid.map(|kid| format!(r#","kid":{}"#, member(kid))).unwrap_or_default();
    let header = format!(r#"{{"alg":"Ed25519"{kid},"typ":{}}}"#, member(typ));
    let mut token = format!("{}.{}", base64url(header.as_bytes()), base64url(payload));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&base64url(&signature));
    token
}

/// Signs a value's canonical JSON.
pub fn sign_json<T: Serialize>(key: &SigningKey, typ: &str, kid: Option<&str>, value: &T) -> Result<String, JwsError> {
    let payload = marque_json::to_canonical(value).map_err(JwsError::Payload)?;
    Ok(sign(key, typ, kid, &payload))
}

/// Signs a value's canonical JSON with the signer's DID URL as `kid`.
pub fn sign_as_did<T: Serialize>(key: &SigningKey, typ: &str, value: &T) -> Result<String, JwsError> {
    sign_json(key, typ, Some(&key.did().url()), value)
}

/// Size, header, signature, then the payload read strictly as `T`.
pub fn verify_json<T: DeserializeOwned>(
    token: &str,
    key: &PublicKey,
    typ: &str,
    bytes_max: usize,
) -> Result<T, JwsError> {
    if token.len() > bytes_max {
        return Err(JwsError::Oversize { bytes: token.len(), bytes_max });
    }
    let payload = Compact::split(token)?.verify(key, typ, Algorithms::Ed25519)?;
    marque_json::from_slice(&payload, Limits::bytes(bytes_max)).map_err(JwsError::Payload)
}

/// Reads a payload without any check of its signature. TRUST: none; only to learn which key to try, or to show.
pub fn unverified_payload<T: DeserializeOwned>(token: &str, bytes_max: usize) -> Result<T, JwsError> {
    if token.len() > bytes_max {
        return Err(JwsError::Oversize { bytes: token.len(), bytes_max });
    }
    let payload = Compact::split(token)?.payload()?;
    marque_json::from_slice(&payload, Limits::bytes(bytes_max)).map_err(JwsError::Payload)
}

/// The key that a token's `kid` names, a DID URL. TRUST: a claim; compare it with the keys that are trusted.
pub fn claimed_signer(token: &str) -> Result<PublicKey, JwsError> {
    let kid = Compact::split(token)?.header_member("kid")?.unwrap_or_default();
    let did = marque_identity::Did::from_url(&kid).map_err(|_| JwsError::SignatureInvalid)?;
    PublicKey::from_did(&did).map_err(|_| JwsError::SignatureInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[9; 32])
    }

    fn with_header(header: &str) -> String {
        let mut token = format!("{}.{}", base64url(header.as_bytes()), base64url(b"{}"));
        let signature = key().sign(token.as_bytes());
        token = format!("{token}.{}", base64url(&signature));
        token
    }

    #[test]
    fn accepts_what_it_signed() {
        let token = sign_as_did(&key(), "x+jwt", &serde_json::json!({"b": 1, "a": 2})).unwrap();
        let payload = Compact::split(&token).unwrap().verify(&key().public(), "x+jwt", Algorithms::Ed25519).unwrap();
        assert_eq!(payload, br#"{"a":2,"b":1}"#);
        assert_eq!(claimed_signer(&token).unwrap(), key().public());
    }

    #[test]
    fn refuses_headers_by_rule() {
        let verdict = |header: &str, algorithms| {
            Compact::split(&with_header(header)).unwrap().verify(&key().public(), "aat+jwt", algorithms).map(drop)
        };
        let strict = |header: &str| verdict(header, Algorithms::Ed25519);
        assert_eq!(strict(r#"{"alg":"Ed25519","typ":"aat+jwt"}"#), Ok(()));
        assert_eq!(strict(r#"{"typ":"aat+jwt","alg":"Ed25519","jku":"https://evil","jwk":{}}"#), Ok(()));
        for alg in ["none", "HS256", "EdDSA", "ed25519", ""] {
            assert_eq!(strict(&format!(r#"{{"alg":"{alg}","typ":"aat+jwt"}}"#)), Err(JwsError::AlgorithmNotAllowed));
        }
        assert_eq!(verdict(r#"{"alg":"EdDSA","typ":"aat+jwt"}"#, Algorithms::Ed25519OrEdDsa), Ok(()));
        assert!(matches!(strict(r#"{"alg":"Ed25519"}"#), Err(JwsError::TypeMismatch { .. })));
        assert_eq!(strict(r#"{"alg":"Ed25519","typ":"aat+jwt","crit":[]}"#), Err(JwsError::CriticalUnknown));
        assert!(matches!(
            strict(r#"{"alg":"Ed25519","alg":"none","typ":"aat+jwt"}"#),
            Err(JwsError::Header(JsonError::DuplicateMember { .. }))
        ));
        assert!(matches!(strict("[]"), Err(JwsError::Header(_))));
    }

    #[test]
    fn knows_its_known_headers() {
        for typ in ["aat+jwt", "aat-pop+jwt"] {
            let token = sign(&key(), typ, None, b"{}");
            assert_eq!(known_header(typ), Some(Compact::split(&token).unwrap().header_base64()));
        }
    }

    proptest! {
        #[test]
        fn a_changed_character_never_verifies(at in 0usize..200, to in "[A-Za-z0-9_.-]") {
            let token = sign(&key(), "aat+jwt", None, br#"{"jti":"1"}"#);
            let at = at % token.len();
            let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
            prop_assume!(changed != token);
            let verdict = Compact::split(&changed).and_then(|compact| compact.verify(&key().public(), "aat+jwt", Algorithms::Ed25519));
            prop_assert!(verdict.is_err());
        }

        #[test]
        fn noise_never_panics(text in "[ -~.]{0,300}") {
            if let Ok(compact) = Compact::split(&text) { let _ = compact.check_header("aat+jwt", Algorithms::Ed25519); }
            let _ = claimed_signer(&text);
        }
    }
}
