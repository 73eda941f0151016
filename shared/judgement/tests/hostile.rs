//! Hostile input: nothing panics, nothing bent verifies.

mod scene;

use marque_judgement::plumbing::answer;
use marque_judgement::{ChainLimits, verify_chain};
use proptest::prelude::*;
use scene::{HERE, ISSUER, NOW, Scene, anchor, jwk};

fn line(scene: &Scene) -> String {
    let (tokens, proof) = scene.signed();
    let anchors = serde_json::json!([{"iss": ISSUER, "jwk": jwk(1)}]);
    format!(
        r#"{{"chain":{},"trust_anchors":{anchors},"tool":"read","args":{},"pop":"{proof}","now":{},"audience":"{HERE}"}}"#,
        serde_json::json!(tokens),
        scene.args,
        NOW.0
    )
}

#[test]
fn the_plumbing_permits_the_straight_chain_and_denies_what_is_no_request() {
    assert_eq!(answer(line(&Scene::new()).as_bytes()), r#"{"decision":"permit"}"#);
    for bad in ["", "{}", "[]", "null", r#"{"chain":1}"#, r#"{"chain":[1]}"#, "\u{0}", r#"{"chain":[],"chain":[]}"#] {
        let answer: serde_json::Value = serde_json::from_str(&answer(bad.as_bytes())).unwrap();
        assert_eq!((answer["decision"].as_str(), &answer["step"]), (Some("deny"), &serde_json::Value::Null), "{bad}");
    }
    assert!(answer("[".repeat(100_000).as_bytes()).contains("too_deep"));
    assert!(answer(b"{\"a\":\"\xff\"}").contains("malformed"));
    let empty = format!(r#"{{"chain":[],"trust_anchors":[],"tool":"read","args":{{}},"now":{}}}"#, NOW.0);
    assert!(answer(empty.as_bytes()).contains(r#""step":"1""#));
}

#[test]
fn a_depth_of_33_is_refused_and_32_is_not() {
    let nested = |depth: usize| {
        let mut constraint = serde_json::json!({"constraint_type": "wildcard"});
        for _ in 1..depth {
            constraint = serde_json::json!({"constraint_type": "all", "constraints": [constraint]});
        }
        Scene::bent(|s| {
            s.tokens.truncate(1);
            s.tokens[0]["authorization_details"][0]["tools"]["read"]["path"] = constraint;
            s.proof["aat_id"] = "token-0".into();
            s.proof_signer = 2;
        })
    };
    assert_eq!((nested(32), nested(33), nested(40)), ("permit", "3n", "3n"));
    assert_eq!(nested(60), "3b"); // deeper than JSON may be
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_token_never_verifies(which in 0usize..3, at: prop::sample::Index, to in "[A-Za-z0-9_-]") {
        let (mut tokens, _) = Scene::new().signed();
        let at = at.index(tokens[which].len());
        let changed = format!("{}{to}{}", &tokens[which][..at], &tokens[which][at + 1..]);
        prop_assume!(changed != tokens[which]);
        tokens[which] = changed;
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        prop_assert!(verify_chain(&tokens, &[anchor()], NOW, &ChainLimits::default()).is_err());
    }

    #[test]
    fn a_chain_in_another_order_never_verifies(order in Just(vec![0usize, 1, 2]).prop_shuffle(), cut in 1usize..=3) {
        let (tokens, _) = Scene::new().signed();
        let tokens: Vec<&str> = order[..cut].iter().map(|n| tokens[*n].as_str()).collect();
        let straight = order[..cut].iter().enumerate().all(|(at, n)| at == *n);
        prop_assert_eq!(verify_chain(&tokens, &[anchor()], NOW, &ChainLimits::default()).is_ok(), straight);
    }

    #[test]
    fn the_plumbing_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(answer(&bytes).contains("deny"));
    }

    #[test]
    fn the_plumbing_survives_a_bent_line(at: prop::sample::Index, to: u8, cut: bool) {
        let mut bytes = line(&Scene::new()).into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = to }
        let answer: serde_json::Value = serde_json::from_str(&answer(&bytes)).unwrap();
        prop_assert!(answer["decision"] == "deny" || answer["decision"] == "permit");
    }
}
