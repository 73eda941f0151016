//! `url {schemes, hosts, path_prefix}`: an absolute URL of some schemes, at some hosts, below a path.
//!
//! check: the argument is a string that parses as below (stricter than RFC 3986, so that no two readers disagree on
//! where it leads), its scheme is listed, its host is listed or under a listed `*.` suffix, its port is the listed
//! entry's (none listed: none written), and its path's segments begin with the prefix's. Query and fragment are
//! free. subsumes: schemes a subset, each host within some host of the parent's, the prefix below the parent's.

use serde_json::{Value, json};

use super::ConstraintError;
use super::members::{Members, bounded};
use crate::limits::URL_NAMES_MAX;

/// Where a URL may lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlScope {
    schemes: Vec<Box<str>>,
    hosts: Vec<HostRule>,
    /// `/`, or `/`-led segments.
    path_prefix: Box<str>,
}

/// A host, or every host under a suffix, with a port if one is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostRule {
    /// Whether it was written with `*.`: one or more labels in front.
    below: bool,
    name: Box<str>,
    port: Option<u16>,
}

impl UrlScope {
    pub(super) fn parse(members: &Members<'_, '_>) -> Result<Self, ConstraintError> {
        let schemes = names(members, "schemes", |text| is_scheme(text).then(|| text.into()))?;
        let hosts = names(members, "hosts", HostRule::parse)?;
        let path_prefix = match members.get("path_prefix") {
            None => "/",
            Some(_) => members.text("path_prefix")?,
        };
        let normal = is_path(path_prefix)
            && (path_prefix == "/" || path_prefix.split('/').skip(1).all(|segment| !segment.is_empty()));
        if !normal {
            return Err(ConstraintError::Malformed { reason: "`path_prefix` is not an absolute path in normal form" });
        }
        Ok(Self { schemes, hosts, path_prefix: path_prefix.into() })
    }

    /// Whether a URL leads to where this allows.
    pub fn admits(&self, url: &str) -> bool {
        Target::parse(url).is_some_and(|target| {
            self.schemes.iter().any(|scheme| **scheme == *target.scheme)
                && self.hosts.iter().any(|rule| rule.admits(&target.host, target.port))
                && is_below(&self.path_prefix, target.path)
        })
    }

    pub(super) fn subsumes(&self, child: &Self) -> bool {
        child.schemes.iter().all(|scheme| self.schemes.contains(scheme))
            && child.hosts.iter().all(|rule| self.hosts.iter().any(|own| own.subsumes(rule)))
            && is_below(&self.path_prefix, &child.path_prefix)
    }

    pub(super) fn to_json(&self) -> Value {
        let hosts: Vec<String> = self.hosts.iter().map(HostRule::text).collect();
        json!({ "schemes": self.schemes, "hosts": hosts, "path_prefix": self.path_prefix })
    }
}

impl HostRule {
    fn parse(text: &str) -> Option<Self> {
        let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let (name, port) = split_port(rest)?;
        // A suffix of digits would be read as part of an IPv4 address by some.
        let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|c| c.is_ascii_digit()));
        let valid = is_host(name) && name.bytes().all(|c| !c.is_ascii_uppercase()) && !(below && numeric);
        valid.then(|| Self { below, name: name.into(), port })
    }

    fn admits(&self, host: &str, port: Option<u16>) -> bool {
        self.port == port && if self.below { is_under(host, &self.name) } else { *self.name == *host }
    }

    fn subsumes(&self, child: &Self) -> bool {
        let within = match (self.below, child.below) {
            (true, true) => self.name == child.name || is_under(&child.name, &self.name),
            (true, false) => is_under(&child.name, &self.name),
            (false, true) => false,
            (false, false) => self.name == child.name,
        };
        within && self.port == child.port
    }

    fn text(&self) -> String {
        let star = if self.below { "*." } else { "" };
        self.port.map_or_else(|| format!("{star}{}", self.name), |port| format!("{star}{}:{port}", self.name))
    }
}

/// A URL's parts that decide where it leads.
struct Target<'a> {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// None for what is no absolute URL with a host, or has user information, or could be read in two ways.
    fn parse(url: &'a str) -> Option<Self> {
        if url.len() > crate::limits::CONSTRAINT_VALUE_BYTES_MAX
            || !url.bytes().all(|c| {
                c.is_ascii_graphic() && !matches!(c, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
            })
        {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        let (host, port) = split_port(authority)?;
        let host = host.to_ascii_lowercase();
        (is_scheme(&scheme) && is_host(&host) && is_path(path)).then_some(Self { scheme, host, port, path })
    }
}

fn names<T>(
    members: &Members<'_, '_>,
    name: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, ConstraintError> {
    let elements = members.array(name)?;
    if elements.is_empty() {
        return Err(ConstraintError::Malformed { reason: "a list of `schemes` or `hosts` is empty" });
    }
    if elements.len() > URL_NAMES_MAX {
        return Err(ConstraintError::Oversize { what: "a list of `schemes` or `hosts`", max: URL_NAMES_MAX });
    }
    let wrong = ConstraintError::Malformed { reason: "an element of `schemes` or `hosts` is not one" };
    elements.iter().map(|e| e.as_str().map(bounded).transpose()?.and_then(&read).ok_or_else(|| wrong.clone())).collect()
}

/// Lower-case RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    let more = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.');
    text.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && text.bytes().all(more)
}

/// Labels of letters, digits and hyphens between dots, none empty: no user information, no brackets, no escapes.
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        })
}

/// Host and port; a port is 1 to 5 digits without leading zero.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let Some((host, port)) = authority.split_once(':') else { return Some((authority, None)) };
    let digits = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) && !port.starts_with('0');
    port.parse().ok().filter(|_| digits).map(|port| (host, Some(port)))
}

/// `/`-led, valid escapes only, no segment that is or decodes to `.` or `..`, no escaped slash, backslash or NUL.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.is_ascii()
        && path.split('/').all(|segment| {
            let Some(decoded) = decode(segment.as_bytes()) else { return false };
            // Some servers cut a segment at `;` before they resolve it.
            let plain = decoded.split(|c| *c == b';').next().unwrap_or_default();
            !matches!(plain, b"." | b"..") && !decoded.iter().any(|c| matches!(c, b'/' | b'\\' | 0 | b'%'))
        })
}

/// Percent-decoded once; none where an escape is not two hexadecimal digits.
fn decode(segment: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let [high, low, tail @ ..] = tail else { return None };
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            out.push(digit(*high)? << 4 | digit(*low)?);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Some(out)
}

fn is_under(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

/// Whether the path's segments, as written, begin with the prefix's.
fn is_below(prefix: &str, path: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_json::{Limits, parse};

    fn scope(text: &str) -> Result<UrlScope, ConstraintError> {
        let json = parse(text.as_bytes(), Limits::DEFAULT).unwrap();
        UrlScope::parse(&Members::of(json.as_object().unwrap(), &["schemes", "hosts", "path_prefix"])?)
    }

    const API: &str = r#"{"schemes":["https"],"hosts":["api.example.com","*.cdn.example.com","db.example.com:8443"],"path_prefix":"/v1/reports"}"#;

    #[test]
    fn admits_by_scheme_host_and_segments() {
        let scope = scope(API).unwrap();
        for url in [
            "https://api.example.com/v1/reports",
            "https://api.example.com/v1/reports/q3?x=../..#y",
            "HTTPS://API.example.com/v1/reports/",
            "https://a.cdn.example.com/v1/reports/x",
            "https://a.b.cdn.example.com/v1/reports/x%20y",
            "https://db.example.com:8443/v1/reports",
        ] {
            assert!(scope.admits(url), "{url}");
        }
        for url in [
            "http://api.example.com/v1/reports",
            "https://api.example.com/v1/reports2",
            "https://api.example.com/v1",
            "https://api.example.com",
            "https://api.example.com:443/v1/reports",
            "https://api.example.com:/v1/reports",
            "https://db.example.com/v1/reports",
            "https://cdn.example.com/v1/reports",
            "https://.cdn.example.com/v1/reports",
            "https://evilcdn.example.com/v1/reports",
            "https://user@api.example.com/v1/reports",
            "https://api.example.com@evil.com/v1/reports",
            "https://api.example.com\\@evil.com/v1/reports",
            "https://evil.com#@api.example.com/v1/reports",
            "https://api.example.com./v1/reports",
            "https://api.example.com/v1/reports/../../secret",
            "https://api.example.com/v1/reports/%2e%2E/x",
            "https://api.example.com/v1/reports/..;/x",
            "https://api.example.com/v1/reports/%2fx",
            "https://api.example.com/v1/reports/%252e%252e/x",
            "https://api.example.com/v1/reports/%zz",
            "https://api.example.com/v1//reports",
            "https:///v1/reports",
            "https:api.example.com/v1/reports",
            "//api.example.com/v1/reports",
            "https://[::1]/v1/reports",
            "https://api.example.com/v1/reports/\n",
            "https://api.example.com/v1/reports/é",
            " https://api.example.com/v1/reports",
            "",
        ] {
            assert!(!scope.admits(url), "{url}");
        }
    }

    #[test]
    fn rejects_what_is_not_well_formed() {
        for text in [
            r#"{"schemes":[],"hosts":["a.com"]}"#,
            r#"{"schemes":["https"],"hosts":[]}"#,
            r#"{"schemes":["HTTPS"],"hosts":["a.com"]}"#,
            r#"{"schemes":["https"],"hosts":["*"]}"#,
            r#"{"schemes":["https"],"hosts":["a.*.com"]}"#,
            r#"{"schemes":["https"],"hosts":["*.1"]}"#,
            r#"{"schemes":["https"],"hosts":["u@a.com"]}"#,
            r#"{"schemes":["https"],"hosts":["a.com:99999"]}"#,
            r#"{"schemes":["https"],"hosts":["a.com"],"path_prefix":"v1"}"#,
            r#"{"schemes":["https"],"hosts":["a.com"],"path_prefix":"/v1/"}"#,
            r#"{"schemes":["https"],"hosts":["a.com"],"path_prefix":"/v1/../x"}"#,
            r#"{"schemes":["https"],"hosts":["a.com"],"path_prefix":null}"#,
            r#"{"schemes":["https"]}"#,
            r#"{"schemes":["https"],"hosts":["a.com"],"port":1}"#,
        ] {
            assert!(scope(text).is_err(), "{text}");
        }
    }

    #[test]
    fn subsumes_what_leads_to_fewer_places() {
        let parent = scope(API).unwrap();
        for (child, held) in [
            (API, true),
            (r#"{"schemes":["https"],"hosts":["x.cdn.example.com"],"path_prefix":"/v1/reports/q3"}"#, true),
            (r#"{"schemes":["https"],"hosts":["*.x.cdn.example.com"],"path_prefix":"/v1/reports"}"#, true),
            (r#"{"schemes":["https"],"hosts":["*.example.com"],"path_prefix":"/v1/reports"}"#, false),
            (r#"{"schemes":["https"],"hosts":["*.api.example.com"],"path_prefix":"/v1/reports"}"#, false),
            (r#"{"schemes":["https","http"],"hosts":["api.example.com"],"path_prefix":"/v1/reports"}"#, false),
            (r#"{"schemes":["https"],"hosts":["api.example.com"]}"#, false),
            (r#"{"schemes":["https"],"hosts":["db.example.com"],"path_prefix":"/v1/reports"}"#, false),
        ] {
            assert_eq!(parent.subsumes(&scope(child).unwrap()), held, "{child}");
        }
    }
}
