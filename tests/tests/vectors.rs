//! The vectors: the files are what the list says, and our judgement answers each as it must, by both doors.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use marque_identity::UnixSeconds;
use marque_json::Limits;
use marque_judgement::{
    Audience, Call, ChainLimits, ChainRefusal, ProofPolicy, ReplayGuard, TrustAnchor, check_call, check_proof,
    verify_chain, verify_chain_knowing,
};
use marque_signing::VerifiedSignatures;
use marque_tests::vectors::token::{AUDIENCE, ISSUER, Who, canonical};
use marque_tests::vectors::{Case, Expected, Group, cases, files};
use serde_json::{Value, json};

#[test]
fn files_are_what_the_list_says() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/vectors"));
    let expected = files::files();
    let mut found = BTreeSet::new();
    for folder in ["accepted", "rejected"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            found.insert(format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()));
        }
    }
    let in_draft_format = [(files::DRAFT_FORMAT, 649), (files::OURS_IN_DRAFT_FORMAT, 15)];
    for (place, (name, count)) in in_draft_format.into_iter().enumerate() {
        found.insert(name.to_owned());
        let vectors = expected[name].lines().filter(|line| line.contains("\"chain_compact\"")).collect::<Vec<_>>();
        assert_eq!(vectors.len(), count, "{name}");
        assert!(vectors.iter().all(|vector| vector.contains("\"notes\":[]") == (place == 0)), "{name}");
    }
    let names: BTreeSet<String> = expected.keys().cloned().collect();
    let regenerate = "run `cargo run -p marque-tests --bin generate-schemas`";
    assert_eq!(found, names, "{regenerate}");
    for (path, text) in expected {
        assert!(std::fs::read_to_string(root.join(&path)).unwrap() == text, "{path} differs: {regenerate}");
    }
}

fn differences(answer: impl Fn(&Case) -> Option<(Option<String>, String)>) -> Vec<String> {
    let mut differing = Vec::new();
    for case in cases() {
        let expected = match case.expected {
            Expected::Permit => None,
            Expected::Deny(step, code) => Some((Some(step.to_owned()), code.to_owned())),
        };
        let answered = answer(&case);
        if answered != expected {
            differing.push(format!("{}: expected {expected:?}, answered {answered:?}", case.id));
        }
    }
    differing
}

fn none(differing: Vec<String>) {
    assert!(differing.is_empty(), "{} cases:\n{}", differing.len(), differing.join("\n"));
}

/// What the cases before have left known.
static KNOWN: LazyLock<VerifiedSignatures> = LazyLock::new(VerifiedSignatures::default);

/// Chain, call, proof, memory: the Rust API in the draft's order.
fn judge(case: &Case) -> Result<(), ChainRefusal> {
    let tokens: Vec<&str> = case.chain.iter().map(|token| token.compact.as_str()).collect();
    let anchors = [TrustAnchor { iss: ISSUER.to_owned(), key: Who::ControlPlane.key().public() }];
    let now = UnixSeconds(case.now);
    let text = canonical(&case.args);
    let args = marque_json::parse(text.as_bytes(), Limits::DEFAULT).unwrap();
    let call = Call { tool: &case.tool, args: &args };
    let mut audience = Audience::new(vec![AUDIENCE.to_owned()]);
    audience.chain_required = case.policy.require_chain_aud;
    audience.proof_required = case.policy.require_pop_aud;
    let policy = ProofPolicy { nonce: case.policy.nonce, ..ProofPolicy::new(&audience) };

    let chain = verify_chain(&tokens, &anchors, now, &ChainLimits::default());
    let knowing = verify_chain_knowing(&tokens, &anchors, now, &ChainLimits::default(), &KNOWN);
    assert_eq!(chain.as_ref().err(), knowing.as_ref().err());
    let chain = chain?;
    check_call(&chain, &call, &audience, now)?;
    let proof = check_proof(&chain, &call, &case.proof.compact, &policy, now)?;
    let memory = ReplayGuard::default();
    for _ in 0..=usize::from(case.policy.accepted_before) {
        memory.accept(&proof, policy.window_seconds, now)?;
    }
    Ok(())
}

#[test]
fn the_api_answers_each_as_it_must() {
    none(differences(|case| {
        judge(case).err().map(|refusal| (Some(refusal.step.to_owned()), refusal.code.as_str().to_owned()))
    }));
}

#[test]
fn the_plumbing_answers_each_as_it_must() {
    none(differences(|case| {
        if case.policy.accepted_before {
            // It has no memory.
            return Some((Some("7i".to_owned()), "proof_replayed".to_owned()));
        }
        let request = json!({
            "chain": case.chain.iter().map(|token| token.compact.as_str()).collect::<Vec<_>>(),
            "trust_anchors": [{"iss": ISSUER, "jwk": Who::ControlPlane.jwk()}], "tool": case.tool, "args": case.args,
            "pop": case.proof.compact, "now": case.now, "audience": AUDIENCE, "nonce": case.policy.nonce,
            "require_pop_audience": case.policy.require_pop_aud, "require_chain_audience": case.policy.require_chain_aud,
        });
        let answer = marque_judgement::plumbing::answer(canonical(&request).as_bytes());
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if answer["decision"] == "permit" {
            return None;
        }
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", case.id);
        Some((answer["step"].as_str().map(str::to_owned), answer["code"].as_str().unwrap().to_owned()))
    }));
}

/// AAT §8's steps; 4f and 5 can't be reached (see `vectors::steps`).
const STEPS: &str = "1 2a 2b 2c 3a 3b 3c 3d 3e 3f 3g 3h 3i 3j 3k 3l 3m 3n 4a 4b 4b1 4b2 4b3 4b4 4b5 4c 4d 4e 4g 4h 4i \
                     4j 4k 4l 4m 4n 4o 4p1 4p2 4p3 4p4 4q 6a 6b 6c 7a 7b 7c 7d 7e 7f 7g 7h 7i";

#[test]
fn every_step_has_a_rejected_case() {
    let mut by_step: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases() {
        if let Expected::Deny(step, _) = case.expected {
            *by_step.entry(step).or_default() += 1;
        }
    }
    let steps: BTreeSet<&str> = STEPS.split_whitespace().collect();
    assert_eq!(by_step.keys().copied().collect::<BTreeSet<_>>(), steps);
}

/// The ids of the draft's index, as published.
const INDEX: &str = "1 2 3 4 4.b 4.c 5 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9 6.10 7.1 7.2 7.3 7.4 7.5 7.6 8.1 8.2 8.3 8.4 \
                     8.5 8.6 8.7 8.8 8.9 9.1 9.2 9.3 9.4 10 10.b 10.c 11 11.b 11.c 11.d 12 12.b 13 13.b 14 14.b 14.c \
                     15.1 15.2 15.3 15.4 15.5 15.6 16.1 16.2 16.3 16.4 16.5 16.6 17.1 17.2 17.3 17.4 17.5 17.6 17.7 \
                     17.8 18.1 18.2 20.1 20.2 20.3 20.4 20.5 20.6 20.7 20.8 21.1 21.2 21.3 21.4 21.5 21.6 21.7 21.8 \
                     21.9 21.10 21.11 21.12 22.1 22.2 22.3 22.4 22.5 22.6 22.7 22.8 22.9 22.10 22.11 22.12 22.13 22.14 \
                     22.15 22.16 22.17 22.18 22.19 22.20 22.21 22.22 22.23";

#[test]
fn every_case_of_the_drafts_index_is_there() {
    let cases = cases();
    let ours: BTreeSet<&str> =
        cases.iter().filter(|case| case.group == Group::Draft).filter_map(|case| case.id.strip_prefix("J.")).collect();
    assert_eq!(ours, INDEX.split_whitespace().collect());
}

/// Signatures as the draft's authors published them, of a proof or the last token, case by case.
const PUBLISHED: &[(&str, &str)] = &[
    ("J.1", "G2ZIeMAY5H1nbG0j2f6R9hW8WsP98CC8ZA9-dLpNATy-i7DMR6iAHzgSrAhpdTVt1Y5urMK9iE0ZXMcLHzrHBg"),
    ("J.11.d", "_Ou2hxsxXJM66IZ46s9e6mHZE6otXa0lPt8jBzrP_px8VjWDji9eScAiaaz4A5__5dNfMM88iR1qNo3xp4UCCw"),
    ("J.11.d", "1w6GGDLnljYp6IM7SwBmqxgbyqDIl7ht8PTaXpAsjvGtmRsn6IW6fKt6uu5jwP1gwm_h7d-RPRDQChU9Gsq4Bw"),
    ("J.12", "_w7vQBpZOZHXH6EV-u635jknoAuhUMm4KfptfxB3uDXa7mW-TEwbCqiTPmqXmYrzMH4F2pVqC0_gqsB2yUpIAg"),
    ("J.15.1", "pUkanKNgh5PFd2uB3lY4FlnAQFmyL6HaIl13VjSnBH9AtTTqgQNiU4WqmpyTLmFv2il5kvBxbd_SEIph_2qODA"),
    ("J.15.1", "L5eXH3OC-DyH2QKvu-uRGrk1dfaXoEBRYSJ_ageSamuYL7ubaAMhH5JpXVtR_QO0kq-RBvppYMXoKM-DcCfDBw"),
    ("J.21.5", "6u3uhJqGGHKyke0NW4z6_ntKuVKfy87jsodTE5ryI3mq_OBqest-cjV81fZg4vIxMvfjXgDm1_qOTmX0l9IxCQ"),
    ("J.21.6", "BFcBOjM3DKlrKAVtcpFyeMtSKIIjg63a8bamzCPanbYPhOb58KAOrm12mMipIGEqREMioLT6hP5SixSGUcSeDQ"),
    ("J.21.7", "QDAHc6xKInTuq_35-fxLS6-GmtskO0ERL-OmqbjFLCSOExoTdzhdp2H5h7KtH55m_C-Pj-4EACeJ4gADE2vEBw"),
];

#[test]
fn signatures_are_those_that_the_draft_published() {
    let cases = cases();
    for (id, signature) in PUBLISHED {
        let case = cases.iter().find(|case| case.id == *id).unwrap();
        let mut presented = case.chain.iter().chain([&case.proof]).map(|token| token.compact.as_str());
        assert!(presented.any(|compact| compact.ends_with(&format!(".{signature}"))), "{id}");
    }
}
