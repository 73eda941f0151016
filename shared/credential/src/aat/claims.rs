//! A token's claims, read one by one, so that a verifier can take AAT §8's steps in their order.

use marque_identity::UnixSeconds;
use marque_json::{Json, JsonError, Limits, Object};
use marque_signing::{KeyError, PublicKey};

use super::{DETAILS_TYPE, LIMITS_TYPE, MarqueReading};
use crate::limits::TOKEN_BYTES_MAX;

/// JWK members that belong to a private key, of any key type (RFC 7518 §6, RFC 8037).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The claims of a token or proof whose signature holds. TRUST: what its signer said, nothing more.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims<'a>(Object<'a>);

/// Why a `cnf` gives no key (AAT §8 steps 3l, 4b2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HolderFault {
    /// No `cnf.jwk`, or not an object.
    #[error("`cnf.jwk` is missing or not an object")]
    Missing,
    /// A private member.
    #[error("`cnf.jwk` carries private key material")]
    Private,
    /// Not a key.
    #[error("`cnf.jwk` is no key: {0}")]
    Key(#[source] KeyError),
}

/// Why `authorization_details` gives no grant (AAT §8 steps 3m, 4n).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantFault {
    /// More than one entry of the type.
    #[error("more than one entry of type `attenuating_agent_token`")]
    Many,
    /// The entry has no `tools`.
    #[error("the entry has no `tools`")]
    NoTools,
    /// An entry that limits sequences of calls, which is not enforced yet.
    #[error("an entry of type `urn:marque:limits` is not enforced here")]
    Limits,
}

impl<'a> Claims<'a> {
    /// Reads a payload strictly; anything but an object is refused.
    pub fn parse(payload: &'a [u8]) -> Result<Self, JsonError> {
        match marque_json::parse(payload, Limits::bytes(TOKEN_BYTES_MAX))? {
            Json::Object(claims) => Ok(Self(claims)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                Err(JsonError::Syntax { offset: 0, expected: "an object" })
            }
        }
    }

    /// A claim.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.get(name)
    }

    /// A NumericDate: a JSON number without fraction or exponent (AAT §3.2).
    pub fn numeric_date(&self, name: &str) -> Option<UnixSeconds> {
        self.get(name).and_then(Json::as_integer).map(UnixSeconds)
    }

    /// A non-negative integer as written.
    pub fn natural(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Json::as_integer).and_then(|number| u64::try_from(number).ok())
    }

    /// A string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::as_str)
    }

    /// A non-empty string.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// `aud` (RFC 7519 §4.1.3). One that is not a string or an array of strings is an audience that nobody is.
    pub fn audience(&self) -> Option<Vec<Box<str>>> {
        Some(match self.get("aud")? {
            Json::String(one) => vec![one.as_ref().into()],
            Json::Array(many) => {
                many.iter().map(|one| one.as_str().map(Into::into)).collect::<Option<Vec<_>>>().unwrap_or_default()
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => Vec::new(),
        })
    }

    /// The holder's key, `cnf.jwk`.
    pub fn holder(&self) -> Result<PublicKey, HolderFault> {
        let jwk = self.get("cnf").and_then(Json::as_object).and_then(|cnf| cnf.get("jwk"));
        let jwk = jwk.and_then(Json::as_object).ok_or(HolderFault::Missing)?;
        if jwk.iter().any(|(name, _)| PRIVATE_MEMBERS.contains(&name)) {
            return Err(HolderFault::Private);
        }
        let text = |name: &str| jwk.get(name).and_then(Json::as_str);
        PublicKey::from_jwk_parts(text("kty"), text("crv"), text("x")).map_err(HolderFault::Key)
    }

    /// `authorization_details`, if it is an array.
    pub fn details(&self) -> Option<&[Json<'a>]> {
        self.get("authorization_details").and_then(Json::as_array)
    }

    /// The `tools` of the one `attenuating_agent_token` entry, none if there is no such entry. Entries of other
    /// types are ignored, but for ours that limits sequences of calls.
    pub fn tools(&self) -> Result<Option<&Json<'a>>, GrantFault> {
        let mut found = None;
        for entry in self.details().unwrap_or_default().iter().filter_map(Json::as_object) {
            match entry.get("type").and_then(Json::as_str) {
                Some(DETAILS_TYPE) if found.is_some() => return Err(GrantFault::Many),
                Some(DETAILS_TYPE) => found = Some(entry.get("tools").ok_or(GrantFault::NoTools)?),
                Some(LIMITS_TYPE) => return Err(GrantFault::Limits),
                Some(_) | None => {}
            }
        }
        Ok(found)
    }

    /// Our claims of a root.
    pub fn marque(&self) -> MarqueReading {
        MarqueReading::of(&self.0)
    }
}
