//! What is said before the relay begins, bytes in and bytes out: the broker's `INFO` and the client's `CONNECT`.
//!
//! Does not read or write a socket; see `proxy`.

use marque_json::Limits;
use serde_json::{Map, Value};

/// A line before the relay: the broker's own `max_control_line` (64 KB), in which a chain fits.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;
/// What a client shows who it is by.
const CREDENTIALS: [&str; 6] = ["user", "pass", "auth_token", "jwt", "nkey", "sig"];
/// What the broker says of itself and its client needs not know: the nonce is ours to sign, the addresses lead past us.
const NOT_TOLD: [&str; 7] =
    ["nonce", "connect_urls", "ws_connect_urls", "xkey", "tls_required", "tls_available", "tls_verify"];
const TLS_REQUIRED: &str = "tls_required";
const VERBOSE: &str = "verbose";

/// Why a client is not connected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("'the port is for the user who runs it'")]
    OtherUser,
    #[error("'no broker is reached'")]
    NoBroker,
    #[error("'CONNECT is expected'")]
    NoConnect,
    #[error("'connect without credentials: this port holds the key'")]
    Credentials,
    #[error("'this port speaks no TLS'")]
    Tls,
}

/// The broker's first line, taken.
#[derive(Debug)]
pub(super) struct Greeting {
    /// What the broker wants signed.
    pub(super) nonce: String,
    /// The line that the client is greeted with.
    pub(super) told: String,
}

/// What the broker is shown instead of a client's credentials.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    /// The key, as a user of NATS.
    pub(super) nkey: &'a str,
    /// Its signature over the broker's nonce.
    pub(super) signature: &'a str,
    /// The chain.
    pub(super) chain: &'a str,
}

/// Takes the first line, without its end, out of what has come so far, and leaves what came behind it; none where
/// there is no end yet. No line ends within the first `searched` bytes.
pub(super) fn take_line(come: &mut Vec<u8>, searched: usize) -> Option<Vec<u8>> {
    let at = come.iter().skip(searched).position(|byte| *byte == b'\n')?;
    let behind = come.split_off(searched + at + 1);
    let line = std::mem::replace(come, behind);
    Some(line.trim_ascii_end().to_vec())
}

/// Reads the broker's `INFO`. One without a nonce, or that wants TLS, is of no broker that the sidecar is for.
pub(super) fn greeting(line: &[u8]) -> Result<Greeting, Refused> {
    let mut info = object(line, "INFO").ok_or(Refused::NoBroker)?;
    let nonce = info.get("nonce").and_then(Value::as_str).map(str::to_owned).ok_or(Refused::NoBroker)?;
    if info.get(TLS_REQUIRED).and_then(Value::as_bool) == Some(true) {
        return Err(Refused::NoBroker);
    }
    NOT_TOLD.iter().for_each(|name| drop(info.remove(*name)));
    info.insert("auth_required".to_owned(), Value::Bool(false));
    Ok(Greeting { nonce, told: format!("INFO {}\r\n", Value::Object(info)) })
}

/// The `CONNECT` that the broker gets for this one of the client's, which must carry no credentials of its own.
pub(super) fn connect(line: &[u8], shown: &Shown<'_>) -> Result<String, Refused> {
    let mut options = object(line, "CONNECT").ok_or(Refused::NoConnect)?;
    let is_set = |value: &Value| !matches!(value, Value::Null) && value.as_str() != Some("");
    if options.iter().any(|(name, value)| CREDENTIALS.iter().any(|known| is_named(name, known)) && is_set(value)) {
        return Err(Refused::Credentials);
    }
    if options.iter().any(|(name, value)| is_named(name, TLS_REQUIRED) && value.as_bool() == Some(true)) {
        return Err(Refused::Tls);
    }
    options.retain(|name, _| !CREDENTIALS.iter().any(|known| is_named(name, known)));
    for (name, value) in [("nkey", shown.nkey), ("sig", shown.signature), ("auth_token", shown.chain)] {
        options.insert(name.to_owned(), value.into());
    }
    Ok(format!("CONNECT {}\r\n", Value::Object(options)))
}

/// Whether this `CONNECT` says that it is not to be answered. One that says nothing of it is: that is the broker's default.
pub(super) fn is_quiet(line: &[u8]) -> bool {
    let options = object(line, "CONNECT").unwrap_or_default();
    let mut said = options.iter().filter(|(name, _)| is_named(name, VERBOSE)).map(|(_, value)| value);
    said.next() == Some(&Value::Bool(false)) && said.next().is_none()
}

/// Whether the broker reads a member of this name as `known`: Go's `encoding/json` takes any case, as Unicode folds it
/// (`ſ` is an s, the Kelvin sign a k).
fn is_named(name: &str, known: &str) -> bool {
    name.to_uppercase().to_lowercase() == known
}

/// The JSON object behind a verb. Duplicate members are refused: two readers might take different ones.
fn object(line: &[u8], verb: &str) -> Option<Map<String, Value>> {
    let (head, rest) = line.split_at_checked(verb.len())?;
    if !head.eq_ignore_ascii_case(verb.as_bytes()) || !rest.first().is_some_and(u8::is_ascii_whitespace) {
        return None;
    }
    marque_json::from_slice(rest, Limits::bytes(LINE_BYTES_MAX)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Shown<'_> = Shown { nkey: "U1", signature: "s", chain: "a~b" };

    #[test]
    fn reads_a_verb_and_one_object() {
        assert!(object(b"CONNECT {\"a\":1}", "CONNECT").is_some());
        assert!(object(b"connect\t{}", "CONNECT").is_some());
        for line in [&b"CONNECT{}"[..], b"CONNECT []", b"CONNECT {\"a\":1,\"a\":2}", b"PING", b"", b"CONNECT \xff"] {
            assert!(object(line, "CONNECT").is_none());
        }
    }

    #[test]
    fn a_line_is_whole_however_it_comes() {
        let mut come = b"CONNECT {}\r\nPING\r\n".to_vec();
        assert_eq!(take_line(&mut come, 0), Some(b"CONNECT {}".to_vec()));
        assert_eq!(come, b"PING\r\n");
        let mut come = b"CONNECT".to_vec();
        assert_eq!(take_line(&mut come, 0), None);
        let searched = come.len();
        come.extend(b" {}\n");
        assert_eq!(take_line(&mut come, searched), Some(b"CONNECT {}".to_vec()));
        assert!(come.is_empty());
    }

    #[test]
    fn tells_a_client_nothing_that_is_ours() {
        let greeting = greeting(br#"INFO {"nonce":"n","connect_urls":["h:1"],"auth_required":true,"max_payload":9}"#);
        let greeting = greeting.unwrap();
        assert_eq!(greeting.nonce, "n");
        assert_eq!(greeting.told, "INFO {\"auth_required\":false,\"max_payload\":9}\r\n");
        for line in [&b"INFO {}"[..], br#"INFO {"nonce":1}"#, br#"INFO {"nonce":"n","tls_required":true}"#] {
            assert_eq!(super::greeting(line).unwrap_err(), Refused::NoBroker);
        }
    }

    #[test]
    fn a_client_is_quiet_that_says_so_once_and_plainly() {
        assert!(is_quiet(br#"CONNECT {"verbose":false,"lang":"go"}"#));
        for other in ["{}", r#"{"verbose":true}"#, r#"{"verbose":null}"#, r#"{"verbose":false,"VERBOSE":true}"#, "["] {
            assert!(!is_quiet(format!("CONNECT {other}").as_bytes()), "{other}");
        }
    }

    #[test]
    fn rejects_a_client_that_shows_credentials_of_its_own_however_it_writes_them() {
        let ours = r#"CONNECT {"auth_token":"a~b","lang":"go","nkey":"U1","sig":"s"}"#;
        for plain in [r#"CONNECT {"lang":"go"}"#, r#"CONNECT {"lang":"go","user":"","SIG":"","jwt":null}"#] {
            assert_eq!(connect(plain.as_bytes(), &SHOWN), Ok(format!("{ours}\r\n")), "{plain}");
        }
        for name in
            ["user", "pass", "auth_token", "jwt", "nkey", "sig", "JWT", "Auth_Token", "\u{17f}ig", "n\u{212a}ey"]
        {
            let line = format!(r#"CONNECT {{"{name}":"x"}}"#);
            assert_eq!(connect(line.as_bytes(), &SHOWN), Err(Refused::Credentials), "{line}");
        }
        assert_eq!(connect(br#"CONNECT {"TLS_required":true}"#, &SHOWN), Err(Refused::Tls));
    }
}
