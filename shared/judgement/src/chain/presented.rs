//! Tokens as they were presented: AAT §8 step 2, and what later steps read of them.

use std::borrow::Cow;

use marque_identity::Digest;
use marque_identity::refusal::Code;
use marque_json::{Json, Limits};
use marque_signing::{Compact, JwsError, PublicKey, VerifiedSignatures, base64url_decode};

use super::{ALGORITHMS, ChainLimits};
use crate::ChainRefusal;
use crate::refusal::require;

/// A signature's text that decodes to 64 bytes, to stand in where none does and only the header is judged.
const NO_SIGNATURE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// One token: its parts, and its payload's bytes, decoded once. TRUST: none.
pub(super) struct Presented<'a> {
    text: &'a str,
    /// None where the third part is no signature: refused in step b, after the header was judged.
    compact: Option<Compact<'a>>,
    payload: Vec<u8>,
}

impl<'a> Presented<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if let Ok(compact) = Compact::split(text) {
            let payload = compact.payload().ok()?;
            return Some(Self { text, compact: Some(compact), payload });
        }
        let mut parts = text.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let payload = base64url_decode(payload).filter(|_| parts.next().is_none())?;
        Some(Self { text, compact: None, payload })
    }

    pub(super) fn check_header(&self, typ: &str) -> Result<(), JwsError> {
        if let Some(compact) = &self.compact {
            return compact.check_header(typ, ALGORITHMS);
        }
        let signed = self.text.rsplit_once('.').map_or(self.text, |(signed, _)| signed);
        Compact::split(&format!("{signed}.{NO_SIGNATURE}"))?.check_header(typ, ALGORITHMS)
    }

    /// The header's bytes, to name what it asks for.
    pub(super) fn header_text(&self) -> Option<Vec<u8>> {
        base64url_decode(self.text.split('.').next()?)
    }

    /// The SHA-256 of the signing input, if the signature verifies under the key.
    pub(super) fn verified(&self, key: &PublicKey, known: Option<&VerifiedSignatures>) -> Option<Digest> {
        let compact = self.compact.as_ref()?;
        match known {
            Some(known) => known.check(compact, key).ok(),
            None => compact.check_signature(key).is_ok().then(|| compact.signing_digest()),
        }
    }

    /// The payload's bytes. TRUST: none before [`verified`](Self::verified).
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Step 2: sizes, then every `jti` readable and none twice.
pub(super) fn read<'a>(tokens: &[&'a str], limits: &ChainLimits) -> Result<Vec<Presented<'a>>, ChainRefusal> {
    // a: each token.
    let small = tokens.iter().all(|token| token.len() <= limits.token_bytes_max);
    require(small, "2a", Code::Oversize, "a token is larger than is allowed")?;
    // b: all of them.
    let bytes = tokens.iter().fold(0usize, |sum, token| sum.saturating_add(token.len()));
    require(bytes <= limits.chain_bytes_max, "2b", Code::Oversize, "the chain is larger than is allowed")?;
    // c: the payload of each, and its `jti`, read from unverified bytes for nothing but this comparison.
    let mut presented = Vec::with_capacity(tokens.len());
    for token in tokens {
        let token = Presented::read(token)
            .ok_or_else(|| ChainRefusal::at("2c", Code::Malformed, "a token is not three parts of base64url"))?;
        presented.push(token);
    }
    let quick: Option<Vec<&[u8]>> = presented.iter().map(|token| quick_token_id(&token.payload)).collect();
    if quick.is_none_or(|ids| distinct(ids).is_err()) {
        let ids: Option<Vec<Cow<'_, str>>> = presented.iter().map(|token| token_id(&token.payload)).collect();
        let unreadable = || ChainRefusal::at("2c", Code::ClaimsMalformed, "a token's `jti` is not a string");
        distinct(ids.ok_or_else(unreadable)?)?;
    }
    Ok(presented)
}

/// Step 2c's comparison.
pub(super) fn distinct<T: Ord>(mut ids: Vec<T>) -> Result<(), ChainRefusal> {
    ids.sort_unstable();
    let distinct = ids.windows(2).all(|pair| pair[0] != pair[1]);
    require(distinct, "2c", Code::TokenIdRepeated, "two tokens of the chain have one `jti`")
}

/// The bytes of a `jti` where a canonical payload has it: the last `"jti":"…"` without escapes. It may be another
/// object's, hence only good for saying quickly that all differ; the signed ones are compared again.
fn quick_token_id(payload: &[u8]) -> Option<&[u8]> {
    const MEMBER: &[u8] = b"\"jti\":\"";
    let at = payload.windows(MEMBER.len()).rposition(|window| window == MEMBER)?;
    let rest = &payload[at + MEMBER.len()..];
    let id = &rest[..rest.iter().position(|c| *c == b'"')?];
    (!id.contains(&b'\\')).then_some(id)
}

/// The `jti` of the outermost object, by a scan that knows strings and brackets and nothing else.
fn token_id(payload: &[u8]) -> Option<Cow<'_, str>> {
    let mut rest = space(payload).strip_prefix(b"{")?;
    loop {
        let (name, after) = string(space(rest))?;
        let value = space(space(after).strip_prefix(b":")?);
        if unescape(name)? == "jti" {
            return unescape(string(value)?.0);
        }
        rest = space(skip(value)?).strip_prefix(b",")?;
    }
}

fn space(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

/// A string's bytes with its quotes, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = bytes.strip_prefix(b"\"").map(|_| 1)?;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(bytes.split_at(at + 1)),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What follows a value.
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    let mut depth = 0usize;
    loop {
        match rest.first()? {
            b'"' => rest = string(rest)?.1,
            b'{' | b'[' => {
                depth += 1;
                rest = &rest[1..];
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                rest = &rest[1..];
            }
            b',' if depth == 0 => return Some(rest),
            _ => rest = &rest[1..],
        }
        if depth == 0 && matches!(rest.first(), Some(b'}' | b',')) {
            return Some(rest);
        }
    }
}

fn unescape(string: &[u8]) -> Option<Cow<'_, str>> {
    match marque_json::parse(string, Limits::DEFAULT).ok()? {
        Json::String(text) => Some(text),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_outermost_token_id() {
        for (payload, id) in [
            (r#"{"jti":"a"}"#, Some("a")),
            (r#" { "x" : {"jti":"b"} , "jti" : "a" }"#, Some("a")),
            (r#"{"x":[{"jti":"b"},"}\"]"],"jti":"a","y":1}"#, Some("a")),
            (r#"{"\u006ati":"\u0061"}"#, Some("a")),
            (r#"{"jti":"a","jti":"b"}"#, Some("a")),
            (r#"{"x":1,"y":null,"jti":""}"#, Some("")),
            (r#"{"jti":1}"#, None),
            (r#"{"x":{"jti":"a"}}"#, None),
            (r#"["jti","a"]"#, None),
            ("{", None),
            ("", None),
        ] {
            assert_eq!(token_id(payload.as_bytes()).as_deref(), id, "{payload}");
        }
    }

    proptest! {
        #[test]
        fn scans_noise_without_panic(payload in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:\\\\jti a]{0,60}") {
            let _ = (token_id(&payload), quick_token_id(&payload));
            let _ = (token_id(text.as_bytes()), quick_token_id(text.as_bytes()));
        }
    }
}
