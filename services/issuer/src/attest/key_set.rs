//! A JWK set (RFC 7517): the keys under which another issuer's tokens are verified.
//!
//! Read strictly as JSON and generously as a set: keys that are not for us (other kinds, for encryption, without a
//! `kid`) are passed over; a private or repeated key refuses the set, for its operator has made a mistake.

use std::collections::BTreeMap;
use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey};
use marque_json::{Json, Limits, Object};
use marque_signing::{PublicKey, base64url_decode};

/// What a set may weigh, in bytes: a dozen RSA keys with their certificates take 20 KiB.
pub(super) const SET_BYTES_MAX: usize = 128 * 1024;
/// Keys in a set; issuers have two to a dozen.
const KEYS_MAX: usize = 128;
/// A key's name, in bytes.
pub(super) const KID_BYTES_MAX: usize = 256;
/// RSA moduli, in bytes: 2048 bits (RFC 7518 §3.3) to 4096, what the verifying crate takes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// What a token may be signed with. Neither `none` nor a symmetric one has a place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Alg {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A key that verifies signatures of one algorithm.
#[derive(Clone)]
pub(super) enum VerifyingKey {
    Rs256(DecodingKey),
    Es256(DecodingKey),
    /// Ours, which verifies strictly, as everywhere.
    EdDsa(PublicKey),
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.alg().name())
    }
}

impl VerifyingKey {
    fn alg(&self) -> Alg {
        match self {
            Self::Rs256(_) => Alg::Rs256,
            Self::Es256(_) => Alg::Es256,
            Self::EdDsa(_) => Alg::EdDsa,
        }
    }

    /// Whether `signature` (base64url) is the key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let by_crate = |key, algorithm| jsonwebtoken::crypto::verify(signature, message, key, algorithm);
        match self {
            Self::Rs256(key) => by_crate(key, Algorithm::RS256).unwrap_or(false),
            Self::Es256(key) => by_crate(key, Algorithm::ES256).unwrap_or(false),
            Self::EdDsa(key) => {
                let signature = base64url_decode(signature).and_then(|bytes| bytes.try_into().ok());
                signature.is_some_and(|signature| key.verify(message, &signature).is_ok())
            }
        }
    }
}

/// Keys by what a token calls them.
#[derive(Debug)]
pub(super) struct KeySet(BTreeMap<(String, Alg), VerifyingKey>);

/// Why a set is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("the key set is not the JSON that RFC 7517 has: {0}")]
    Json(String),
    #[error("the key set has {0} keys, at most {KEYS_MAX} are allowed")]
    Count(usize),
    #[error("the key set shows a private key")]
    Private,
    #[error("the key set has two keys `{kid}` for {alg}")]
    Repeated { kid: String, alg: &'static str },
    #[error("the key set has no key that can be used: RS256 from 2048 bits, ES256 or EdDSA, with a `kid`")]
    Empty,
}

impl KeySet {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let json = marque_json::parse(bytes, Limits::bytes(SET_BYTES_MAX))
            .map_err(|error| KeySetError::Json(error.to_string()))?;
        let keys = json.as_object().and_then(|set| set.get("keys")).and_then(Json::as_array);
        let keys = keys.ok_or_else(|| KeySetError::Json("`keys` is no array".into()))?;
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::Count(keys.len()));
        }
        let mut set = BTreeMap::new();
        for jwk in keys.iter().filter_map(Json::as_object) {
            let Some((kid, key)) = read(jwk)? else { continue };
            let alg = key.alg();
            if set.insert((kid.clone(), alg), key).is_some() {
                return Err(KeySetError::Repeated { kid, alg: alg.name() });
            }
        }
        if set.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(set)) }
    }

    /// The key that a token calls so.
    pub(super) fn get(&self, kid: &str, alg: Alg) -> Option<&VerifyingKey> {
        self.0.get(&(kid.to_owned(), alg))
    }
}

/// A key that can be used, and its name.
fn read(jwk: &Object<'_>) -> Result<Option<(String, VerifyingKey)>, KeySetError> {
    let text = |name: &str| jwk.get(name).and_then(Json::as_str);
    let alg = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => Alg::Rs256,
        (Some("EC"), Some("P-256")) => Alg::Es256,
        (Some("OKP"), Some("Ed25519")) => Alg::EdDsa,
        _ => return Ok(None),
    };
    if jwk.get("d").is_some() {
        return Err(KeySetError::Private);
    }
    // `jwt-svid` is SPIFFE's own word for it.
    let for_tokens = match jwk.get("use") {
        None => true,
        Some(word) => matches!(word.as_str(), Some("sig" | "jwt-svid")),
    };
    let same_alg = jwk.get("alg").is_none_or(|word| word.as_str() == Some(alg.name()));
    let verifies = jwk.get("key_ops").is_none_or(|words| {
        words.as_array().is_some_and(|words| words.iter().any(|word| word.as_str() == Some("verify")))
    });
    let Some(kid) = text("kid").filter(|kid| !kid.is_empty() && kid.len() <= KID_BYTES_MAX) else { return Ok(None) };
    if !(for_tokens && same_alg && verifies) {
        return Ok(None);
    }
    let key = match alg {
        Alg::Rs256 => rsa(text("n"), text("e")).map(VerifyingKey::Rs256),
        Alg::Es256 => {
            let key = text("x").zip(text("y")).and_then(|(x, y)| DecodingKey::from_ec_components(x, y).ok());
            key.map(VerifyingKey::Es256)
        }
        // Under a key of small order anybody can sign: it is none.
        Alg::EdDsa => PublicKey::from_jwk_parts(text("kty"), text("crv"), text("x")).ok().map(VerifyingKey::EdDsa),
    };
    Ok(key.map(|key| (kid.to_owned(), key)))
}

fn rsa(n: Option<&str>, e: Option<&str>) -> Option<DecodingKey> {
    let (n, e) = n.zip(e)?;
    let modulus = base64url_decode(n)?;
    let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
    if !RSA_BYTES.contains(&significant) {
        return None;
    }
    DecodingKey::from_rsa_components(n, e).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_signing::{SigningKey, base64url};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn ed(kid: &str) -> Value {
        let jwk = SigningKey::from_seed(&[5; 32]).public().jwk();
        json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "kid": kid})
    }

    fn set(keys: Vec<Value>) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn with(change: Value) -> Value {
        let mut key = ed("a");
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        key
    }

    #[test]
    fn finds_a_key_by_its_name_and_algorithm_alone() {
        let set = set(vec![ed("a"), with(json!({"kid": "b", "use": "jwt-svid", "alg": "EdDSA"}))]).unwrap();
        assert!(set.get("a", Alg::EdDsa).is_some() && set.get("b", Alg::EdDsa).is_some());
        assert!(set.get("a", Alg::Rs256).is_none() && set.get("a", Alg::Es256).is_none());
        assert!(set.get("c", Alg::EdDsa).is_none());
    }

    #[test]
    fn passes_over_what_is_not_for_us() {
        let mut small_order = [0; 32];
        small_order[0] = 1;
        let others = [
            json!({"kty": "oct", "k": "AAAA", "kid": "a"}),
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "a"}),
            json!({"kty": "RSA", "n": base64url(&[0xff; 128]), "e": "AQAB", "kid": "a"}),
            json!({"kty": "RSA", "n": base64url(&[0; 300]), "e": "AQAB", "kid": "a"}),
            json!({"kty": "RSA", "n": base64url(&[0xff; 513]), "e": "AQAB", "kid": "a"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "a"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&small_order), "kid": "a"}),
            with(json!({"use": "enc"})),
            with(json!({"use": 1})),
            with(json!({"alg": "HS256"})),
            with(json!({"key_ops": ["sign"]})),
            with(json!({"kid": ""})),
            with(json!({"kid": "k".repeat(KID_BYTES_MAX + 1)})),
            json!(7),
        ];
        for other in others {
            assert_eq!(set(vec![other.clone()]).unwrap_err(), KeySetError::Empty, "{other}");
            assert!(set(vec![other, ed("good")]).unwrap().get("good", Alg::EdDsa).is_some());
        }
        let long = json!({"kty": "RSA", "n": base64url(&[0xff; 512]), "e": "AQAB", "kid": "a"});
        assert!(set(vec![long]).unwrap().get("a", Alg::Rs256).is_some());
    }

    #[test]
    fn refuses_a_set_that_is_a_mistake() {
        assert_eq!(set(vec![with(json!({"d": "AA"}))]).unwrap_err(), KeySetError::Private);
        assert!(matches!(set(vec![ed("a"), ed("a")]).unwrap_err(), KeySetError::Repeated { .. }));
        assert_eq!(
            set((0..=KEYS_MAX).map(|n| ed(&n.to_string())).collect()).unwrap_err(),
            KeySetError::Count(KEYS_MAX + 1)
        );
        assert!(set((0..KEYS_MAX).map(|n| ed(&n.to_string())).collect()).is_ok());
        let twice = br#"{"keys":[],"keys":[]}"#;
        for bytes in [&twice[..], b"", b"[]", b"{}", br#"{"keys":{}}"#, &[b' '; SET_BYTES_MAX + 1]] {
            assert!(matches!(KeySet::parse(bytes).unwrap_err(), KeySetError::Json(_)));
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,80}") {
            let _ = KeySet::parse(&bytes);
            let members = json!({"keys": [{"kty": "RSA", "n": text, "e": text, "kid": "a"}, {"kty": "EC", "crv": "P-256", "x": text, "y": text, "kid": "b"}]});
            if let Ok(set) = KeySet::parse(members.to_string().as_bytes()) {
                for (kid, alg) in [("a", Alg::Rs256), ("b", Alg::Es256)] {
                    if let Some(key) = set.get(kid, alg) {
                        prop_assert!(!key.verifies(b"message", &text));
                    }
                }
            }
        }
    }
}
