//! The files of `schemas/vectors/`: one per case for reading, and all of them in the draft's own format for running; apart
//! from the others there, those that hang on what is ours.

use std::collections::BTreeMap;

use marque_json::Limits;
use marque_signing::{base64url, sha256};
use serde_json::{Map, Value, json};

use super::case::{Case, Expected, Group, Policy};
use super::layout::document;
use super::token::{AUDIENCE, ISSUER, NOW, Token, Who, aat_header, proof_header, raw, splice_raw};

/// The file, in the draft's format, of what the draft decides.
pub const DRAFT_FORMAT: &str = "aat-jws-vectors.json";
/// And, in the same format, of what hangs on something of ours.
pub const OURS_IN_DRAFT_FORMAT: &str = "marque-jws-vectors.json";

/// Every file, by its path below `schemas/vectors/`.
pub fn files() -> BTreeMap<String, String> {
    let cases = super::cases();
    let mut files = BTreeMap::new();
    for case in &cases {
        let path = format!("{}/{}.json", case.folder(), case.file_stem());
        assert!(files.insert(path, readable(case)).is_none(), "two cases named {}", case.file_stem());
    }
    let (ours, drafts): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.hangs_on.is_some());
    files.insert(DRAFT_FORMAT.to_owned(), draft_format(&drafts));
    files.insert(OURS_IN_DRAFT_FORMAT.to_owned(), draft_format(&ours));
    files
}

/// What an enforcement point demands, under the draft's member names.
fn policy(policy: &Policy) -> Map<String, Value> {
    let mut members = Map::new();
    if policy.require_pop_aud {
        members.insert("require_pop_aud".into(), true.into());
    }
    if policy.require_chain_aud {
        members.insert("require_chain_aud".into(), true.into());
    }
    if let Some(nonce) = policy.nonce {
        members.insert("nonce".into(), nonce.into());
    }
    if policy.accepted_before {
        members.insert("accepted_before".into(), true.into());
    }
    members
}

fn readable(case: &Case) -> String {
    let source = match case.group {
        Group::Draft => "the draft's index",
        Group::Step => "AAT \u{a7}8",
        Group::Pair => "AAT \u{a7}4.5",
        Group::Extension => "schemas/constraints, limits",
    };
    let expected = match case.expected {
        Expected::Permit => json!({"verdict": "PERMIT"}),
        Expected::Deny(step, code) => json!({"verdict": "DENY", "step": step, "code": code}),
    };
    let mut members = vec![
        ("id", case.id.clone().into()),
        ("title", case.title.clone().into()),
        ("source", source.into()),
        ("expected", expected),
    ];
    if case.now != NOW {
        members.push(("now", case.now.into()));
    }
    members.push(("tool", case.tool.clone().into()));
    members.push(("args", case.args.clone()));
    let policy = policy(&case.policy);
    if !policy.is_empty() {
        members.push(("policy", policy.into()));
    }
    members.push(("chain", case.chain.iter().map(|token| readable_token(token, &aat_header())).collect()));
    members.push(("pop", readable_token(&case.proof, &proof_header())));
    splice_raw(&document(&members))
}

/// A token as it can be rebuilt: header and payload in JCS, or their exact text, and who signed; the compact text
/// where it was changed after signing. The usual header is left out.
fn readable_token(token: &Token, usual: &Value) -> Value {
    let mut members = Map::new();
    members.insert("signer".into(), token.signer.clone().into());
    if token.signer.contains('(') {
        members.insert("compact".into(), token.compact.clone().into());
        return members.into();
    }
    if token.header != super::token::canonical(usual).as_bytes() {
        let (name, value) = part("header", &token.header);
        members.insert(name, value);
    }
    if token.pad_bytes > 0 {
        let mut claims = token.claims();
        claims.remove("pad");
        members.insert("pad_bytes".into(), token.pad_bytes.into());
        members.insert("payload".into(), claims.into());
    } else {
        let (name, value) = part("payload", &token.payload);
        members.insert(name, value);
    }
    members.into()
}

/// `name` with the value where its canonical form is these very bytes, else `name_text`, else `name_base64url`.
fn part(name: &str, bytes: &[u8]) -> (String, Value) {
    let canonical = marque_json::parse(bytes, Limits::DEFAULT).is_ok_and(|json| json.canonical() == bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if canonical => match serde_json::from_str(text) {
            Ok(value) => (name.to_owned(), value),
            Err(_) => (format!("{name}_text"), text.into()),
        },
        Ok(text) => (format!("{name}_text"), text.into()),
        Err(_) => (format!("{name}_base64url"), base64url(bytes).into()),
    }
}

/// One vector a line.
fn draft_format(cases: &[&Case]) -> String {
    let keys: Map<String, Value> = Who::ALL.iter().map(|who| (who.name().to_owned(), key(*who))).collect();
    let head = [
        ("spec", "draft-niyikiza-oauth-attenuating-agent-tokens-02".into()),
        (
            "conventions",
            json!({
                "header": aat_header(), "pop_header": proof_header(), "aat_payload_jcs": true, "pop_payload_jcs": true,
                "exceptions": "header or payload is null where it is not strict JSON: compact is what was signed",
                "parts": "header_b64, payload_b64, signing_input and signature_b64 are given for the draft's own cases (J.); elsewhere they are the parts of compact",
                "par_hash": "base64url-nopad(SHA-256(parent JWS Signing Input))",
            }),
        ),
        (
            "params",
            json!({
                "now": NOW, "max_iat_skew": 30, "max_token_lifetime": 7_776_000, "max_delegation_depth": 64,
                "pop_window": 30, "audience": AUDIENCE,
            }),
        ),
        ("keys", keys.into()),
        ("trust_anchors", json!([{"iss": ISSUER, "jwk": Who::ControlPlane.jwk()}])),
    ];
    let mut out = String::from("{\n");
    for (name, value) in head {
        out.push_str(&format!("\"{name}\":{value},\n"));
    }
    let vectors: Vec<String> = cases.iter().map(|case| vector(case)).collect();
    out.push_str(&format!("\"vectors\":[\n{}\n]}}\n", vectors.join(",\n")));
    out
}

fn key(who: Who) -> Value {
    let public = who.key().public();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({
        "seed_hex": hex(&who.seed()), "public_hex": hex(public.bytes()), "jwk": who.jwk(),
        "thumbprint": public.thumbprint(), "thumbprint_uri": public.thumbprint_uri(),
    })
}

fn vector(case: &Case) -> String {
    let expected = match case.expected {
        Expected::Permit => json!({"verdict": "PERMIT", "step": null}),
        // The draft's vectors name the two walks over constraints as one.
        Expected::Deny("3n" | "4o", _) => json!({"verdict": "DENY", "step": "3n/4o"}),
        Expected::Deny(step, _) => json!({"verdict": "DENY", "step": step}),
    };
    let compact: Vec<&str> = case.chain.iter().map(|token| token.compact.as_str()).collect();
    let notes: Vec<String> = case.hangs_on.iter().map(|what| format!("hangs on {what}")).collect();
    let value = json!({
        "id": case.id, "title": case.title, "description": case.title, "notes": notes, "now": case.now, "tool": case.tool,
        "args": case.args, "policy": policy(&case.policy), "chain": case.chain.iter().map(|token| full_token(token, case.group)).collect::<Vec<_>>(),
        "chain_compact": compact, "pop": full_token(&case.proof, case.group), "expected": expected,
    });
    splice_raw(&value.to_string())
}

/// With its parts one by one for the draft's own cases, as published; elsewhere that would double the file.
fn full_token(token: &Token, group: Group) -> Value {
    let mut parts = token.compact.splitn(3, '.');
    let mut next = || parts.next().unwrap_or_default();
    let (header, payload, signature) = (next(), next(), next());
    let text = |bytes: &[u8]| {
        let strict = marque_json::parse(bytes, Limits::DEFAULT).is_ok();
        std::str::from_utf8(bytes).ok().filter(|_| strict).map_or(Value::Null, raw)
    };
    let mut value = json!({
        "header": text(&token.header), "payload": text(&token.payload), "compact": token.compact, "signer": token.signer,
        "signing_input_sha256_b64u": base64url(&sha256(token.signing_input().as_bytes()).0),
    });
    if group == Group::Draft {
        value["header_b64"] = header.into();
        value["payload_b64"] = payload.into();
        value["signing_input"] = token.signing_input().into();
        value["signature_b64"] = signature.into();
    }
    value
}

/// Writes every file below `root` and removes the JSON files that no case stands for. Gives how many there are.
pub fn write(root: &std::path::Path) -> std::io::Result<usize> {
    let files = files();
    for folder in ["accepted", "rejected"] {
        let folder_path = root.join(folder);
        std::fs::create_dir_all(&folder_path)?;
        for entry in std::fs::read_dir(&folder_path)? {
            let name = entry?.file_name();
            let stale = name
                .to_str()
                .is_some_and(|name| name.ends_with(".json") && !files.contains_key(&format!("{folder}/{name}")));
            if stale {
                std::fs::remove_file(folder_path.join(name))?;
            }
        }
    }
    for (path, text) in &files {
        std::fs::write(root.join(path), text)?;
    }
    Ok(files.len())
}
