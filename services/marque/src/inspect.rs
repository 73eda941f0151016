//! `marque token inspect -`: any of our tokens, decoded. No trust is needed, none is given.

use std::io::Read;
use std::path::Path;

use clap::Args;
use marque_credential::evidence::PROCESS_EVIDENCE_TYPE;
use marque_identity::{Code, Did, Digest};
use marque_json::{Json, Limits};
use marque_signing::jws::Compact;
use serde::Serialize;
use serde_json::Value;

use crate::output::{Answer, Output, Paint};
use crate::{Exit, Failure};

/// The largest thing that holds tokens is a request around a chain (PROTOCOL §2: 256 KiB).
const INPUT_BYTES_MAX: usize = 512 * 1024;

/// What to decode.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// File, or `-` for stdin: a token, a chain joined by `~`, or a JSON document that holds tokens.
    #[arg(default_value = "-")]
    file: String,
}

/// One token, decoded.
#[derive(Debug, Serialize)]
pub struct Decoded {
    /// What it is, by its `typ`.
    kind: &'static str,
    /// SHA-256 of the signing input: how directives and records name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Value>,
    /// The DID of the key that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Did>,
    /// What could not be decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Decodes.
pub(crate) fn run(args: &InspectArgs, out: &Output) -> Result<Answer, Failure> {
    const HINT: &str = "give it a token, a chain joined by `~`, or a JSON document that holds tokens";
    let input = read_bounded(&args.file, INPUT_BYTES_MAX)?;
    let decoded = tokens(&input).map_err(|failure| failure.hint(HINT))?;
    let all = decoded.iter().all(|token| token.error.is_none());
    let text = decoded.iter().enumerate().map(|(at, token)| describe(at, token, out)).collect::<Vec<_>>().join("\n\n");
    let answer = Answer::yes(serde_json::json!({ "verified": false, "tokens": decoded }), text);
    Ok(answer.exit(if all { Exit::Yes } else { Exit::No }))
}

/// The tokens of an input, each decoded as far as it can be.
pub fn tokens(input: &[u8]) -> Result<Vec<Decoded>, Failure> {
    Ok(tokens_in(input)?.iter().map(|text| decode(text)).collect())
}

/// All of a file, or of stdin for `-`, if it is not larger than `bytes_max`.
pub(crate) fn read_bounded(file: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = match file {
        "-" => std::io::stdin().lock().take(limit).read_to_end(&mut input),
        file => std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut input)),
    };
    read.map_err(|error| Failure::file(Path::new(file), &error))?;
    if input.len() > bytes_max {
        return Err(Failure::new(Code::Oversize, format!("{file} holds more than {bytes_max} bytes")));
    }
    Ok(input)
}

/// The tokens of an input: itself, the parts of a chain, or every string with two dots in a JSON document.
fn tokens_in(input: &[u8]) -> Result<Vec<String>, Failure> {
    let text = std::str::from_utf8(input)
        .map_err(|_| Failure::new(Code::Malformed, "the input is not UTF-8, so it is no token"))?
        .trim();
    if text.is_empty() {
        return Err(Failure::new(Code::Malformed, "the input is empty"));
    }
    if !text.starts_with(['{', '[', '"']) {
        return Ok(text.split('~').map(|part| part.trim().to_owned()).collect());
    }
    let document = marque_json::parse(text.as_bytes(), Limits::bytes(INPUT_BYTES_MAX))?;
    let mut found = Vec::new();
    collect(&document, &mut found);
    if found.is_empty() {
        return Err(Failure::new(Code::Malformed, "the JSON document holds no token"));
    }
    Ok(found)
}

fn collect(json: &Json<'_>, found: &mut Vec<String>) {
    match json {
        Json::String(text) => {
            found.extend(text.split('~').filter(|part| Compact::split(part).is_ok()).map(str::to_owned));
        }
        Json::Array(elements) => elements.iter().for_each(|element| collect(element, found)),
        Json::Object(object) => object.iter().for_each(|(_, value)| collect(value, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn decode(text: &str) -> Decoded {
    let empty = Decoded {
        kind: "unknown",
        digest: None,
        bytes: text.len(),
        header: None,
        claims: None,
        holder: None,
        error: None,
    };
    let token = match Compact::split(text) {
        Ok(token) => token,
        Err(error) => return Decoded { error: Some(error.to_string()), ..empty },
    };
    let part = |name: &str, bytes: Result<Vec<u8>, marque_signing::JwsError>| {
        let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
        let json = marque_json::parse(&bytes, Limits::DEFAULT).map_err(|error| format!("{name}: {error}"))?;
        Ok::<Value, String>(Value::from(&json))
    };
    let header = part("header", token.header_bytes());
    let claims = part("claims", token.payload());
    let typ = header.as_ref().ok().and_then(|header| header.get("typ")).and_then(Value::as_str).unwrap_or_default();
    let errors: Vec<String> = [&header, &claims].into_iter().filter_map(|part| part.as_ref().err().cloned()).collect();
    Decoded {
        kind: kind(typ, claims.as_ref().ok()),
        digest: Some(token.signing_digest()),
        holder: claims.as_ref().ok().and_then(|claims| holder(typ, claims)),
        header: header.ok(),
        claims: claims.ok(),
        error: (!errors.is_empty()).then(|| errors.join("; ")),
        ..empty
    }
}

fn kind(typ: &str, claims: Option<&Value>) -> &'static str {
    match typ {
        "vc+jwt" => "identity credential",
        "aat+jwt" if claims.is_some_and(|claims| claims.get("par_hash").is_some()) => "derived token",
        "aat+jwt" => "root token",
        "aat-pop+jwt" => "proof of an action",
        "secevent+jwt" => "directive",
        "marque-heartbeat+jwt" => "heartbeat",
        "marque-ack+jwt" => "acknowledgement",
        "marque-directive-request+jwt" => "directive request",
        "marque-join+jwt" => "join token",
        "marque-enrol+jwt" => "enrol request",
        "marque-issue+jwt" => "issue request",
        "marque-renew+jwt" => "renew request",
        "marque-record+jwt" => "record",
        "marque-bundle+jwt" => "trust bundle",
        "marque-attest+jwt" => "attest request",
        PROCESS_EVIDENCE_TYPE => "process evidence",
        _ => "unknown",
    }
}

/// By its confirmation key (RFC 7800); what an attestor states is for the key that it names.
fn holder(typ: &str, claims: &Value) -> Option<Did> {
    if typ == PROCESS_EVIDENCE_TYPE {
        return claims.get("sub")?.as_str()?.parse().ok();
    }
    let jwk: marque_signing::Jwk = serde_json::from_value(claims.get("cnf")?.get("jwk")?.clone()).ok()?;
    Some(jwk.public_key().ok()?.did())
}

fn describe(at: usize, token: &Decoded, out: &Output) -> String {
    let mut lines = vec![out.paint(Paint::Bold, &format!("{at}: {}", token.kind))];
    if let Some(digest) = &token.digest {
        lines.push(format!("digest  {digest}"));
    }
    if let Some(holder) = &token.holder {
        lines.push(format!("holder  {holder}"));
    }
    for (name, value) in [("header", &token.header), ("claims", &token.claims)] {
        if let Some(value) = value {
            lines.push(format!("{name}  {}", serde_json::to_string_pretty(value).unwrap_or_default()));
        }
    }
    if let Some(error) = &token.error {
        lines.push(format!("{} {error}", out.paint(Paint::Red, "not decodable:")));
    }
    lines.push(out.paint(Paint::Dim, "decoded only: no signature was checked"));
    lines.join("\n")
}

/// The digest that names a token in directives, from the digest itself, a token, or a chain (its leaf).
pub(crate) fn token_digest(text: &str) -> Result<Digest, Failure> {
    if let Ok(digest) = text.trim().parse() {
        return Ok(digest);
    }
    let leaf = text.trim().rsplit('~').next().unwrap_or_default();
    let token = Compact::split(leaf).map_err(|_| {
        Failure::new(Code::TargetInvalid, "a token is named by 64 hexadecimal digits, by itself, or by its chain")
    })?;
    Ok(token.signing_digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `typ` that a room of ours writes.
    #[test]
    fn no_token_of_ours_is_unknown() {
        for typ in [
            marque_credential::aat::TOKEN_TYPE,
            marque_credential::evidence::ATTEST_REQUEST_TYPE,
            marque_credential::evidence::PROCESS_EVIDENCE_TYPE,
            marque_credential::identity_credential::CREDENTIAL_TYPE,
            marque_credential::proof::PROOF_TYPE,
            marque_judgement::record::RECORD_TYPE,
            marque_revocation::ACK_TYP,
            marque_revocation::DIRECTIVE_TYP,
            marque_revocation::HEARTBEAT_TYP,
            marque_revocation::REQUEST_TYP,
            marque_signing::bundle::BUNDLE_TYP,
            crate::agent::JOIN_TYP,
            "marque-enrol+jwt",
            "marque-issue+jwt",
            "marque-renew+jwt",
        ] {
            assert_ne!(kind(typ, None), "unknown", "{typ}");
        }
        assert_eq!(kind("at+jwt", None), "unknown");
    }

    #[test]
    fn an_attestors_statement_names_whose_key_it_is_for() {
        let [attestor, agent] = [[1; 32], [2; 32]].map(|seed| marque_signing::SigningKey::from_seed(&seed));
        let claims = serde_json::json!({ "iss": attestor.did(), "sub": agent.did(), "host": "node-1" });
        let token = marque_signing::jws::sign_as_did(&attestor, PROCESS_EVIDENCE_TYPE, &claims).unwrap();
        let seen = tokens(token.as_bytes()).unwrap();
        assert_eq!((seen[0].kind, seen[0].holder), ("process evidence", Some(agent.did())));
    }
}
