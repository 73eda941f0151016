//! Steps 1 and 2: an empty chain, too many bytes, ids that cannot be read or repeat.

use serde_json::Value;

use super::super::case::Case;
use super::super::token::{Token, Who, aat_header, child_claims, derived, named, root, root_claims, with, without};
use super::{At, alone, bent_root, calling, q3, reading};

/// AAT §4.3, MAX_TOKEN_SIZE as recommended.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        calling(
            "1-chain-empty",
            "No token at all",
            Some(("1", "chain_empty")),
            vec![],
            Who::Orchestrator,
            "read_file",
            &q3(),
        ),
        alone(
            "2a-token-at-limit",
            "A token of as many bytes as are allowed",
            None,
            padded_to("2a-token-at-limit", TOKEN_BYTES_MAX),
        )
        .ours("TOKEN_BYTES_MAX"),
        alone(
            "2a-token-oversize",
            "A token larger than 64 KiB",
            Some(("2a", "oversize")),
            padded_to("2a-token-oversize", TOKEN_BYTES_MAX + 4),
        )
        .ours("TOKEN_BYTES_MAX"),
        long_chain("2b-chain-at-limit", "Four tokens of 63 KiB: within 256 KiB together", 4, None),
        long_chain("2b-chain-oversize", "Five tokens of 63 KiB: beyond 256 KiB together", 5, Some(("2b", "oversize"))),
    ];
    cases.extend(ids());
    cases
}

/// A root whose claim `pad` brings it to at most this many bytes, and to more than three fewer.
fn padded_to(id: &str, bytes: usize) -> Token {
    let claims = root_claims(&named(id, "root"), reading());
    let bare = root(&with(claims.clone(), "pad", "".into())).compact.len();
    let pad_bytes = (bytes - bare) * 3 / 4;
    let mut token = root(&with(claims, "pad", "x".repeat(pad_bytes).into()));
    token.pad_bytes = pad_bytes;
    token
}

fn long_chain(id: &str, title: &str, length: usize, at: Option<At>) -> Case {
    const PAD_BYTES: usize = 46_800;
    let pad = |claims: Value| with(with(claims, "del_max_depth", 8.into()), "pad", "x".repeat(PAD_BYTES).into());
    let holders = [Who::Orchestrator, Who::Worker, Who::Worker2, Who::Orchestrator, Who::Worker];
    let mut chain = vec![root(&pad(root_claims(&named(id, "0"), reading())))];
    for depth in 1..length {
        let (signer, holder) = (holders[depth - 1], holders[depth]);
        let claims = child_claims(&named(id, &depth.to_string()), &chain[depth - 1], signer, holder, reading());
        chain.push(derived(&pad(claims), signer));
    }
    for token in &mut chain {
        token.pad_bytes = PAD_BYTES;
    }
    calling(id, title, at, chain, holders[length - 1], "read_file", &q3()).ours("CHAIN_BYTES_MAX")
}

fn ids() -> Vec<Case> {
    let unreadable = Some(("2c", "claims_malformed"));
    let compact = Some(("2c", "malformed"));
    let sealed =
        |payload: &[u8]| Token::seal_bytes(aat_header().to_string().into_bytes(), payload.to_vec(), Who::ControlPlane);
    let twice = {
        let token = root(&root_claims(&named("2c-token-twice", "root"), reading()));
        vec![token.clone(), token]
    };
    let id = "2c-two-parts";
    let two_parts = root(&root_claims(&named(id, "root"), reading()))
        .altered("without its signature part", |compact| compact.rsplit_once('.').unwrap_or_default().0.to_owned());
    let id = "2c-four-parts";
    let four_parts = root(&root_claims(&named(id, "root"), reading()))
        .altered("with a fourth part", |compact| format!("{compact}.e30"));
    let id = "2c-payload-not-base64url";
    let padded = root(&root_claims(&named(id, "root"), reading()))
        .altered("`*` put before the payload", |compact| compact.replacen('.', ".*", 1));
    vec![
        bent_root("2c-jti-absent", "No `jti`", unreadable, |claims| without(claims, "jti")),
        bent_root("2c-jti-number", "`jti` is a number", unreadable, |claims| with(claims, "jti", 7.into())),
        calling(
            "2c-token-twice",
            "The same token twice",
            Some(("2c", "token_id_repeated")),
            twice,
            Who::Orchestrator,
            "read_file",
            &q3(),
        ),
        alone("2c-payload-not-json", "A payload that is no JSON", unreadable, sealed(b"not json")),
        alone("2c-payload-array", "A payload that is an array", unreadable, sealed(b"[]")),
        alone("2c-two-parts", "A token without its signature part", compact, two_parts),
        alone("2c-four-parts", "A token of four parts", compact, four_parts),
        alone("2c-payload-not-base64url", "A payload that is not base64url", compact, padded),
        alone("2c-empty-token", "An empty token", compact, sealed(b"{}").altered("emptied", |_| String::new())),
        alone("2c-payload-truncated", "A payload cut short", unreadable, sealed(br#"{"iss":"x","#)),
    ]
}
