//! What a directive is aimed at.

use std::fmt;

use marque_identity::{BlueprintName, Did, Digest, TaskId, TrustDomain};
use marque_signing::TrustBundle;
use serde::{Deserialize, Serialize};

use crate::error::RevocationError;

/// An issuer is a URI; 512 bytes hold any that a person would configure.
const ISSUER_BYTES_MAX: usize = 512;

/// The kinds of things that a directive can be aimed at. Source: PROTOCOL §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A link and all that descends from it.
    Token,
    /// Every token held by a key.
    Key,
    /// Every agent of a blueprint.
    Blueprint,
    /// Everything done for a task.
    Task,
    /// Every agent that runs this manifest.
    Manifest,
    /// Everything that an issuer signed.
    Issuer,
    /// Everything: the kill switch.
    Domain,
}

impl TargetKind {
    /// Every kind.
    pub const ALL: [TargetKind; 7] =
        [Self::Token, Self::Key, Self::Blueprint, Self::Task, Self::Manifest, Self::Issuer, Self::Domain];

    /// The text on the wire; also one token of a bus subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Key => "key",
            Self::Blueprint => "blueprint",
            Self::Task => "task",
            Self::Manifest => "manifest",
            Self::Issuer => "issuer",
            Self::Domain => "domain",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a directive is aimed at. On the wire `{"kind", "value"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireTarget", into = "WireTarget")]
pub enum Target {
    /// A link, by the SHA-256 of its signing input.
    Token(Digest),
    /// A holder's key.
    Key(Did),
    /// A blueprint.
    Blueprint(BlueprintName),
    /// A task.
    Task(TaskId),
    /// A manifest, by its digest.
    Manifest(Digest),
    /// An issuer's URI: the `iss` of root tokens.
    Issuer(String),
    /// A trust domain.
    Domain(TrustDomain),
}

/// A borrowed target: what a verifier looks up for each link, without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRef<'a> {
    /// A link's digest.
    Token(&'a Digest),
    /// A link's holder.
    Key(&'a Did),
    /// The agent's blueprint.
    Blueprint(&'a str),
    /// The task.
    Task(&'a str),
    /// The agent's manifest.
    Manifest(&'a Digest),
    /// The root's issuer.
    Issuer(&'a str),
    /// The trust domain.
    Domain(&'a str),
}

impl Target {
    /// Its kind.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Token(_) => TargetKind::Token,
            Self::Key(_) => TargetKind::Key,
            Self::Blueprint(_) => TargetKind::Blueprint,
            Self::Task(_) => TargetKind::Task,
            Self::Manifest(_) => TargetKind::Manifest,
            Self::Issuer(_) => TargetKind::Issuer,
            Self::Domain(_) => TargetKind::Domain,
        }
    }

    /// Its value's text: hexadecimal digest, DID, name, URN or URI.
    pub fn value(&self) -> String {
        match self {
            Self::Token(digest) | Self::Manifest(digest) => digest.to_string(),
            Self::Key(did) => did.to_string(),
            Self::Blueprint(name) => name.to_string(),
            Self::Task(task) => task.to_string(),
            Self::Issuer(uri) => uri.clone(),
            Self::Domain(domain) => domain.to_string(),
        }
    }

    /// The target of a kind and a value's text.
    pub fn parse(kind: TargetKind, value: &str) -> Result<Self, RevocationError> {
        let refused = |reason: String| RevocationError::TargetInvalid { kind, reason };
        Ok(match kind {
            TargetKind::Token => Self::Token(value.parse().map_err(|error| refused(format!("{error}")))?),
            TargetKind::Key => Self::Key(value.parse().map_err(|error| refused(format!("{error}")))?),
            TargetKind::Blueprint => Self::Blueprint(value.parse().map_err(|error| refused(format!("{error}")))?),
            TargetKind::Task => Self::Task(value.parse().map_err(|error| refused(format!("{error}")))?),
            TargetKind::Manifest => Self::Manifest(value.parse().map_err(|error| refused(format!("{error}")))?),
            TargetKind::Issuer => {
                Self::Issuer(issuer_uri(value).ok_or_else(|| {
                    refused(format!("an issuer is a URI of at most {ISSUER_BYTES_MAX} printable bytes"))
                })?)
            }
            TargetKind::Domain => Self::Domain(value.parse().map_err(|error| refused(format!("{error}")))?),
        })
    }

    /// Refuses a domain or an issuer that the bundle does not name: every verifier would apply such a directive, and
    /// nothing would stop. Of the other kinds no one knows all.
    pub fn check_known(&self, bundle: &TrustBundle) -> Result<(), RevocationError> {
        let reason = match self {
            Self::Domain(domain) if *domain != bundle.trust_domain => {
                format!("the trust domain here is {}", bundle.trust_domain)
            }
            Self::Issuer(uri) if !bundle.issuers.iter().any(|anchor| anchor.iss == *uri) => {
                let known: Vec<&str> = bundle.issuers.iter().map(|anchor| anchor.iss.as_str()).collect();
                format!("the issuers here are {}", known.join(", "))
            }
            Self::Token(_)
            | Self::Key(_)
            | Self::Blueprint(_)
            | Self::Task(_)
            | Self::Manifest(_)
            | Self::Issuer(_)
            | Self::Domain(_) => return Ok(()),
        };
        Err(RevocationError::TargetInvalid { kind: self.kind(), reason })
    }

    /// This target, borrowed.
    pub fn as_ref(&self) -> TargetRef<'_> {
        match self {
            Self::Token(digest) => TargetRef::Token(digest),
            Self::Key(did) => TargetRef::Key(did),
            Self::Blueprint(name) => TargetRef::Blueprint(name.as_str()),
            Self::Task(task) => TargetRef::Task(task.as_str()),
            Self::Manifest(digest) => TargetRef::Manifest(digest),
            Self::Issuer(uri) => TargetRef::Issuer(uri),
            Self::Domain(domain) => TargetRef::Domain(domain.as_str()),
        }
    }
}

impl TargetRef<'_> {
    /// The target, owned. INVARIANT: text in a `TargetRef` of a stored directive was parsed when it came in.
    pub(crate) fn to_owned(self) -> Target {
        const PARSED: &str = "this text was parsed when the directive came in";
        match self {
            Self::Token(digest) => Target::Token(*digest),
            Self::Key(did) => Target::Key(*did),
            Self::Blueprint(name) => Target::Blueprint(name.parse().expect(PARSED)),
            Self::Task(task) => Target::Task(task.parse().expect(PARSED)),
            Self::Manifest(digest) => Target::Manifest(*digest),
            Self::Issuer(uri) => Target::Issuer(uri.to_owned()),
            Self::Domain(domain) => Target::Domain(domain.parse().expect(PARSED)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.value())
    }
}

/// RFC 3986 §3: a scheme, a colon, something behind it; printable ASCII.
fn issuer_uri(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'));
    let fits = text.len() <= ISSUER_BYTES_MAX && text.bytes().all(|c| c.is_ascii_graphic());
    (scheme_fits && !rest.is_empty() && fits).then(|| text.to_owned())
}

#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Target")]
struct WireTarget {
    /// What kind of thing.
    kind: TargetKind,
    /// Which one: hexadecimal digest (token, manifest), DID (key), name (blueprint, domain), URN (task), URI (issuer).
    value: String,
}

impl From<Target> for WireTarget {
    fn from(target: Target) -> Self {
        Self { kind: target.kind(), value: target.value() }
    }
}

impl TryFrom<WireTarget> for Target {
    type Error = RevocationError;
    fn try_from(wire: WireTarget) -> Result<Self, RevocationError> {
        Self::parse(wire.kind, &wire.value)
    }
}

impl schemars::JsonSchema for Target {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Target".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WireTarget::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_kind() {
        let did = Did::from_key_bytes([7; 32]).to_string();
        let digest = "ab".repeat(32);
        let values = [&digest, &did, "web-reader", "urn:task:q3", &digest, "https://acme.example", "acme.example"];
        for (kind, value) in TargetKind::ALL.into_iter().zip(values) {
            let target = Target::parse(kind, value).unwrap();
            assert_eq!((target.kind(), target.value().as_str()), (kind, value));
            let json = serde_json::to_string(&target).unwrap();
            assert_eq!(serde_json::from_str::<Target>(&json).unwrap(), target);
        }
    }

    #[test]
    fn refuses_a_value_of_another_kind() {
        for (kind, value) in [
            (TargetKind::Token, "AB"),
            (TargetKind::Key, "did:web:x"),
            (TargetKind::Blueprint, "Web Reader"),
            (TargetKind::Task, "q3"),
            (TargetKind::Manifest, ""),
            (TargetKind::Issuer, "acme"),
            (TargetKind::Issuer, "https:"),
            (TargetKind::Domain, ""),
        ] {
            assert!(Target::parse(kind, value).is_err(), "{kind} {value}");
        }
        assert!(serde_json::from_str::<Target>(r#"{"kind":"token","value":"","also":1}"#).is_err());
    }

    #[test]
    fn knows_the_domains_and_issuers_of_a_bundle() {
        let issuer = marque_signing::Anchor { iss: "https://acme.example".into(), did: Did::from_key_bytes([7; 32]) };
        let bundle = TrustBundle {
            trust_domain: "acme.example".parse().unwrap(),
            version: 1,
            issued_at: marque_identity::UnixSeconds(0),
            issuers: vec![issuer],
            services: vec![],
            operators: vec![],
        };
        let check = |kind, value| Target::parse(kind, value).unwrap().check_known(&bundle);
        for (kind, value) in [
            (TargetKind::Domain, "acme.example"),
            (TargetKind::Issuer, "https://acme.example"),
            (TargetKind::Blueprint, "nobody-yet"),
        ] {
            assert_eq!(check(kind, value), Ok(()), "{kind} {value}");
        }
        for (kind, value) in [(TargetKind::Domain, "acme.exampel"), (TargetKind::Issuer, "https://acme.example/")] {
            let error = check(kind, value).unwrap_err();
            assert_eq!(error.code(), marque_identity::Code::TargetInvalid);
            assert!(error.to_string().contains("acme.example"), "{error}");
        }
    }

    #[test]
    fn bounds_an_issuer() {
        let at = |length: usize| format!("x:{}", "a".repeat(length - 2));
        assert!(Target::parse(TargetKind::Issuer, &at(ISSUER_BYTES_MAX)).is_ok());
        assert!(Target::parse(TargetKind::Issuer, &at(ISSUER_BYTES_MAX + 1)).is_err());
    }
}
