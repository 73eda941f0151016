//! `[[issuer.oidc]]`: whose tokens are evidence, and where their keys are found.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Issuers that one domain goes by.
pub const OIDC_ISSUERS_MAX: usize = 64;
/// An issuer's URI or name, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// What blueprints call it.
    pub name: String,
    /// Its tokens' `iss`, exactly.
    pub iss: String,
    /// Its JWK set as a file; read again when it changes. This or the URL.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Its JWK set as a URL: `https`, or `http` on this machine. This or the file.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Certificates (PEM) that the URL's server is known by; without it those of the public web.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Where a key set is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    Url { url: String, https: bool, ca_file: Option<PathBuf> },
}

/// Why a section can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OidcConfigError {
    /// Too many.
    #[error("`issuer.oidc` has {0} sections, at most {OIDC_ISSUERS_MAX} are allowed")]
    Count(usize),
    /// A member is wrong.
    #[error("`issuer.oidc`, name `{name}`: {reason}")]
    Section {
        /// Which.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl OidcConfig {
    /// Where its keys are found, if all of it can be used.
    pub(super) fn place(&self) -> Result<Place, OidcConfigError> {
        let wrong = |reason: &str| OidcConfigError::Section { name: self.name.clone(), reason: reason.to_owned() };
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return Err(wrong("`name` is empty or too long"));
        }
        if self.iss.is_empty() || self.iss.len() > NAME_BYTES_MAX {
            return Err(wrong("`iss` is empty or too long"));
        }
        match (&self.jwks_file, &self.jwks_url) {
            (Some(file), None) if self.ca_file.is_none() => Ok(Place::File(file.clone())),
            (Some(_), None) => Err(wrong("`ca_file` is for a `jwks_url`")),
            (None, Some(url)) => self.url(url).map_err(wrong),
            (None, None) => Err(wrong("set `jwks_file` or `jwks_url`")),
            (Some(_), Some(_)) => Err(wrong("set one of `jwks_file` and `jwks_url`")),
        }
    }

    fn url(&self, url: &str) -> Result<Place, &'static str> {
        let parsed: ureq::http::Uri = url.parse().map_err(|_| "`jwks_url` is no URL")?;
        let host = parsed.host().ok_or("`jwks_url` names no host")?;
        let https = match parsed.scheme_str() {
            Some("https") => true,
            // Whoever sits on the way would choose the keys.
            Some("http") if is_this_machine(host) => false,
            Some("http") => return Err("`jwks_url` is `http` and not on this machine: use `https`"),
            Some(_) | None => return Err("`jwks_url` is not `https`"),
        };
        if !https && self.ca_file.is_some() {
            return Err("`ca_file` is for `https`");
        }
        Ok(Place::Url { url: url.to_owned(), https, ca_file: self.ca_file.clone() })
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(file: Option<&str>, url: Option<&str>, ca: Option<&str>) -> OidcConfig {
        OidcConfig {
            name: "ci".into(),
            iss: "https://ci.example".into(),
            jwks_file: file.map(PathBuf::from),
            jwks_url: url.map(str::to_owned),
            ca_file: ca.map(PathBuf::from),
        }
    }

    #[test]
    fn finds_one_place() {
        let url = |url: &str, https| Place::Url { url: url.to_owned(), https, ca_file: None };
        assert_eq!(section(Some("k"), None, None).place().unwrap(), Place::File("k".into()));
        for (text, https) in [
            ("https://ci.example/keys", true),
            ("http://127.0.0.1:1/k", false),
            ("http://[::1]:8080/k", false),
            ("http://localhost/k", false),
        ] {
            assert_eq!(section(None, Some(text), None).place().unwrap(), url(text, https), "{text}");
        }
        assert!(section(None, Some("https://ci.example/keys"), Some("ca.pem")).place().is_ok());
    }

    #[test]
    fn refuses_two_places_none_and_a_way_that_others_can_write_on() {
        assert!(section(None, None, None).place().is_err());
        assert!(section(Some("k"), Some("https://ci.example"), None).place().is_err());
        assert!(section(Some("k"), None, Some("ca.pem")).place().is_err());
        assert!(section(None, Some("http://127.0.0.1/k"), Some("ca.pem")).place().is_err());
        for url in [
            "http://ci.example/keys",
            "http://127.0.0.1.evil.example/k",
            "http://localhost.evil.example/k",
            "http://localhost@evil.example/k",
            "ftp://ci.example/k",
            "ci.example",
            "/keys",
            "",
        ] {
            assert!(section(None, Some(url), None).place().is_err(), "{url}");
        }
        assert!(OidcConfig { name: String::new(), ..section(Some("k"), None, None) }.place().is_err());
        assert!(OidcConfig { iss: String::new(), ..section(Some("k"), None, None) }.place().is_err());
    }
}
