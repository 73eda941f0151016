//! Every step of AAT §8: what it refuses, beside the twin that it lets pass.

mod scene;

use marque_identity::Code;
use marque_judgement::{Audience, ChainLimits, verify_chain, verify_chain_knowing};
use marque_signing::VerifiedSignatures;
use scene::{HERE, NOW, Scene, anchor, details, jwk, key, sign, sign_text};
use serde_json::{Value, json};

#[test]
fn the_straight_chain_is_permitted() {
    assert_eq!(Scene::new().judge(), Ok(()));
    assert!(scene::same_as_jws(&json!({"b": 1, "a": "x"})));
    let chain = Scene::new().chain().unwrap();
    assert_eq!((chain.links().len(), chain.leaf().depth(), chain.issuer()), (3, 2, scene::ISSUER));
    assert_eq!(chain.expires_at().0, NOW.0 + 900);
    assert_eq!(chain.token(2), chain.text().split('~').nth(2));
}

fn step_of(tokens: &[&str]) -> &'static str {
    let verdict = verify_chain(tokens, &[anchor()], NOW, &ChainLimits::default());
    let known = VerifiedSignatures::default();
    for _ in 0..2 {
        let knowing = verify_chain_knowing(tokens, &[anchor()], NOW, &ChainLimits::default(), &known);
        assert_eq!(knowing.err(), verdict.as_ref().err().cloned());
    }
    match verdict {
        Ok(_) => "verified",
        Err(refusal) => refusal.step,
    }
}

#[test]
fn steps_1_and_2_presented() {
    let (tokens, _) = Scene::new().signed();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    assert_eq!(step_of(&tokens), "verified");
    assert_eq!(step_of(&tokens[..2]), "verified");
    assert_eq!(step_of(&[]), "1");
    let large = "a".repeat(64 * 1024 + 1);
    assert_eq!(step_of(&[&large]), "2a");
    let full = "a".repeat(64 * 1024);
    assert_eq!(step_of(&[&full, &full, &full, &full, "a"]), "2b");
    assert_eq!(step_of(&[&full, &full, &full, &full]), "2c");
    for token in ["", ".", "..", "a.b", "a.b.c.d", "e30.e30.!", "e30.!.e30", "e30.W10.e30", "\u{fffd}.e30.x"] {
        assert_eq!(step_of(&[token]), "2c", "{token}");
    }
    assert_eq!(step_of(&[tokens[0], tokens[0]]), "2c");
    assert_eq!(Scene::bent(|s| s.tokens[1]["jti"] = "token-0".into()), "2c");
    assert_eq!(Scene::bent(|s| s.tokens[1]["jti"] = 7.into()), "2c");
    // A `jti` in a deeper object counts neither for nor against.
    assert_eq!(Scene::bent(|s| s.tokens[1]["x"] = json!({"jti": "token-0"})), "permit");
    let nested = sign(1, &json!({"alg": "Ed25519", "typ": "aat+jwt"}), &json!({"x": {"jti": "a"}}));
    assert_eq!(step_of(&[&nested]), "3b");
}

#[test]
fn step_3a_and_4a_header() {
    for n in [0, 1] {
        let step = ["3a", "4a"][n];
        let verdict = |header: Value| Scene::bent(|s| s.headers[n] = header);
        assert_eq!(
            verdict(json!({"typ": "aat+jwt", "alg": "Ed25519", "kid": "x", "jku": "https://e", "jwk": jwk(9)})),
            "permit"
        );
        for header in [
            json!({"alg": "none", "typ": "aat+jwt"}),
            json!({"alg": "EdDSA", "typ": "aat+jwt"}),
            json!({"alg": "HS256", "typ": "aat+jwt"}),
            json!({"typ": "aat+jwt"}),
            json!({"alg": "Ed25519"}),
            json!({"alg": "Ed25519", "typ": "aat-pop+jwt"}),
            json!({"alg": "Ed25519", "typ": "AAT+JWT"}),
            json!({"alg": "Ed25519", "typ": "aat+jwt", "crit": []}),
            json!({"alg": "Ed25519", "typ": "aat+jwt", "crit": ["x"], "x": 1}),
            json!({"alg": "Ed25519", "typ": "aat+jwt", "crit": ["urn:marque:limits"]}),
            json!(["alg"]),
        ] {
            assert_eq!(verdict(header.clone()), step, "{header}");
        }
    }
    // Judged before the signature: also where there is none.
    let unsigned = sign(1, &json!({"alg": "none", "typ": "aat+jwt"}), &json!({"jti": "a"}));
    let unsigned = &unsigned[..=unsigned.rfind('.').unwrap()];
    assert_eq!(step_of(&[unsigned]), "3a");
    let doubled = sign_text(1, r#"{"alg":"Ed25519","typ":"aat+jwt","alg":"none"}"#, r#"{"jti":"a"}"#);
    assert_eq!(step_of(&[&doubled]), "3a");
}

#[test]
fn limits_are_refused_and_never_ignored() {
    let code = |bend: fn(&mut Scene)| {
        let mut scene = Scene::new();
        bend(&mut scene);
        scene.judge().map_err(|refusal| (refusal.step, refusal.code))
    };
    let crit = |s: &mut Scene| s.headers[2]["crit"] = json!(["urn:marque:limits"]);
    assert_eq!(code(crit), Err(("4a", Code::LimitUnsupported)));
    fn entry(s: &mut Scene, n: usize) {
        let details = s.tokens[n]["authorization_details"].as_array_mut().unwrap();
        details.push(json!({"type": "urn:marque:limits", "count": 1}));
    }
    assert_eq!(code(|s| entry(s, 0)), Err(("3m", Code::LimitUnsupported)));
    assert_eq!(code(|s| entry(s, 1)), Err(("4n", Code::LimitUnsupported)));
    // Entries of any other type are ignored.
    let other = |s: &mut Scene| {
        s.tokens[0]["authorization_details"].as_array_mut().unwrap().push(json!({"type": "payment"}));
        s.tokens[0]["authorization_details"].as_array_mut().unwrap().push(json!(7));
    };
    assert_eq!(code(other), Ok(()));
}

#[test]
fn step_3b_to_3n_root() {
    let root = |bend: &dyn Fn(&mut Value)| Scene::bent(|s| bend(&mut s.tokens[0]));
    assert_eq!(Scene::bent(|s| s.signers[0] = 9), "3b");
    for (name, value) in
        [("iat", json!(1.5)), ("iat", json!("1704067200")), ("exp", Value::Null), ("exp", json!(1e300))]
    {
        assert_eq!(root(&|t| t[name] = value.clone()), "3b", "{name} {value}");
    }
    let text = |payload: &str| step_of(&[&sign_text(1, r#"{"alg":"Ed25519","typ":"aat+jwt"}"#, payload)]);
    assert_eq!(text(r#"{"jti":"a","iat":1,"iat":1}"#), "3b");
    assert_eq!(text(r#"{"jti":"a","x":{"y":[{"z":1,"\u007a":2}]}}"#), "3b");
    assert_eq!(text(r#"{"jti":"a","iat":1704067200,"exp":1704070800.0,"del_depth":0}"#), "3b");
    assert_eq!(text(r#"{"jti":"a","iat":17040672e2,"exp":1704070800,"del_depth":0}"#), "3b");
    assert_eq!(text(r#"{"jti":"a","iat":1704067200,"exp":1704070800,"del_depth":0.0}"#), "3c");
    assert_eq!(text(r#"{"jti":"a","iat":1704067200,"exp":1704070800,"del_depth":0e0}"#), "3c");
    for depth in [json!(1), json!(false), Value::Null, json!("0")] {
        assert_eq!(root(&|t| t["del_depth"] = depth.clone()), "3c");
    }
    assert_eq!(root(&|t| t["par_hash"] = Value::Null), "3d");
    assert_eq!(root(&|t| t["exp"] = NOW.0.into()), "3e");
    assert_eq!(root(&|t| t["iat"] = (NOW.0 + 31).into()), "3f");
    assert_eq!(
        root(&|t| {
            t["iat"] = (NOW.0 + 30).into();
            t["exp"] = (NOW.0 + 30).into();
        }),
        "3g"
    );
    assert_eq!(root(&|t| t["exp"] = (NOW.0 - 300 + 90 * 86400 + 1).into()), "3h");
    assert_eq!(root(&|t| t["exp"] = (NOW.0 - 300 + 90 * 86400).into()), "permit");
    for depth in [json!(65), json!(-1), json!(1.5), Value::Null] {
        assert_eq!(root(&|t| t["del_max_depth"] = depth.clone()), "3i");
    }
    assert_eq!(root(&|t| t["del_max_depth"] = 64.into()), "permit");
    assert_eq!(root(&|t| t["jti"] = "".into()), "3j");
    for iss in [json!("https://other.example.com"), json!("auth.example.com"), json!(""), Value::Null] {
        assert_eq!(root(&|t| t["iss"] = iss.clone()), "3k");
    }
    let mut private = jwk(2);
    private["d"] = "AAAA".into();
    let small_order = json!({"kty": "OKP", "crv": "Ed25519", "x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    for cnf in [
        Value::Null,
        json!({}),
        json!({"jwk": {}}),
        json!({"jwk": private}),
        json!({"jwk": small_order}),
        json!({"jwk": {"kty": "EC", "crv": "P-256", "x": jwk(2)["x"]}}),
        json!({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}}),
    ] {
        assert_eq!(root(&|t| t["cnf"] = cnf.clone()), "3l", "{cnf}");
    }
    let entry = json!({"type": "attenuating_agent_token", "tools": {"read": {}}});
    for details in [
        Value::Null,
        json!([]),
        json!({}),
        json!([{"type": "other"}]),
        json!([entry, entry]),
        json!([{"type": "attenuating_agent_token"}]),
        json!([{"type": "attenuating_agent_token", "tools": []}]),
        json!([{"type": "attenuating_agent_token", "tools": {"read": []}}]),
    ] {
        assert_eq!(root(&|t| t["authorization_details"] = details.clone()), "3m", "{details}");
    }
    // n: also on a tool that nobody calls.
    assert_eq!(
        root(&|t| t["authorization_details"][0]["tools"]["send"] = json!({"to": {"constraint_type": "regex"}})),
        "3n"
    );
}

#[test]
fn step_4b_to_4q_pair() {
    let child = |bend: &dyn Fn(&mut Value)| Scene::bent(|s| bend(&mut s.tokens[1]));
    assert_eq!(Scene::bent(|s| s.signers[1] = 9), "4b");
    assert_eq!(Scene::bent(|s| s.signers[1] = 1), "4b");
    assert_eq!(child(&|t| t["jti"] = "".into()), "4b1");
    assert_eq!(child(&|t| t["cnf"] = json!({"jwk": {"kty": "OKP"}})), "4b2");
    assert_eq!(child(&|t| t["authorization_details"] = json!({})), "4b3");
    assert_eq!(child(&|t| t["del_depth"] = json!("1")), "4b4");
    assert_eq!(child(&|t| t["del_max_depth"] = json!(-1)), "4b4");
    assert_eq!(child(&|t| t["iss"] = Value::Null), "4b5");
    assert_eq!(child(&|t| t["par_hash"] = "absent".into()), "4b5");
    assert_eq!(child(&|t| t["exp"] = json!(1.5)), "4b5");
    assert_eq!(child(&|t| t["iss"] = key(9).public().thumbprint_uri().into()), "4c");
    assert_eq!(child(&|t| t["del_depth"] = 2.into()), "4d");
    assert_eq!(Scene::bent(|s| s.tokens[0]["del_max_depth"] = 0.into()), "4e");
    assert_eq!(child(&|t| t["del_max_depth"] = 4.into()), "4g");
    assert_eq!(child(&|t| t["exp"] = (NOW.0 + 3601).into()), "4h");
    assert_eq!(child(&|t| t["exp"] = NOW.0.into()), "4i");
    assert_eq!(child(&|t| t["iat"] = (NOW.0 - 301).into()), "4j");
    assert_eq!(child(&|t| t["iat"] = (NOW.0 + 31).into()), "4k");
    assert_eq!(
        child(&|t| {
            t["iat"] = (NOW.0 + 20).into();
            t["exp"] = (NOW.0 + 20).into();
        }),
        "4l"
    );
    assert_eq!(child(&|t| t["del_max_depth"] = 0.into()), "4m");
    let entry = json!({"type": "attenuating_agent_token", "tools": {}});
    assert_eq!(child(&|t| t["authorization_details"] = json!([entry, entry])), "4n");
    assert_eq!(child(&|t| t["authorization_details"] = details(json!({"read": 1}))), "4n");
    assert_eq!(
        child(&|t| t["authorization_details"] =
            details(json!({"read": {"path": {"constraint_type": "all", "constraints": []}}}))),
        "4o"
    );
    assert_eq!(child(&|t| t["par_hash"] = scene::signing_hash("e30.e30.x").into()), "4q");
    // An empty set in the middle passes, and grants its child nothing.
    assert_eq!(child(&|t| t["authorization_details"] = json!([])), "4p1");
    assert_eq!(
        Scene::bent(|s| {
            s.tokens[1]["authorization_details"] = json!([]);
            s.tokens[2]["authorization_details"] = json!([]);
        }),
        "6a"
    );
}

#[test]
fn step_4f_depth_of_ours() {
    let limits = ChainLimits { delegation_depth_max: 8, ..ChainLimits::default() };
    let limited = |depth: u64| {
        let mut scene = Scene::new();
        scene.tokens[0]["del_max_depth"] = depth.into();
        let (tokens, _) = scene.signed();
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        verify_chain(&tokens, &[anchor()], NOW, &limits).map_or_else(|refusal| refusal.step, |_| "verified")
    };
    assert_eq!((limited(8), limited(9)), ("verified", "3i"));
}

#[test]
fn step_4p_widening() {
    let child = |tools: Value| {
        Scene::bent(|s| {
            s.tokens[1]["authorization_details"] = details(tools);
            s.tokens.truncate(2);
            s.proof["aat_id"] = "token-1".into();
            s.proof_signer = 3;
        })
    };
    let one_of = |values: Value| json!({"constraint_type": "one_of", "values": values});
    let range = json!({"constraint_type": "range", "max": 10, "optional": true});
    assert_eq!(child(json!({"read": {"path": one_of(json!(["/a"])), "limit": range}})), "permit");
    assert_eq!(child(json!({"read": {"path": one_of(json!(["/a"]))}})), "permit");
    assert_eq!(child(json!({"read": {"path": one_of(json!(["/a"]))}, "write": {}})), "4p1");
    assert_eq!(child(json!({"read": {"limit": range}})), "4p2");
    assert_eq!(child(json!({"read": {"path": one_of(json!(["/a"])), "mode": one_of(json!(["r"]))}})), "4p2");
    assert_eq!(child(json!({"read": {"path": one_of(json!(["/a"])), "*": {"constraint_type": "wildcard"}}})), "4p2");
    assert_eq!(child(json!({"read": {}})), "4p2");
    let mut optional = one_of(json!(["/a"]));
    optional["optional"] = true.into();
    assert_eq!(child(json!({"read": {"path": optional}})), "4p3");
    assert_eq!(child(json!({"read": {"path": one_of(json!(["/a", "/c"]))}})), "4p4");
    assert_eq!(child(json!({"read": {"path": {"constraint_type": "wildcard"}}})), "4p4");
}

#[test]
fn step_6b_call() {
    let call = |tool: &str, args: &str| {
        Scene::bent(|s| {
            s.tool = tool.into();
            s.args = args.into();
            s.proof["aat_tool"] = tool.into();
            s.proof["hta"] = serde_json::from_str(args).unwrap();
        })
    };
    assert_eq!(call("read", r#"{"path":"/b","limit":10}"#), "permit");
    assert_eq!(call("send", "{}"), "6b");
    assert_eq!(call("Read", r#"{"path":"/a"}"#), "6b");
    assert_eq!(call("read", "{}"), "6b");
    assert_eq!(call("read", r#"{"path":"/c"}"#), "6b");
    assert_eq!(call("read", r#"{"path":"/a","limit":11}"#), "6b");
    assert_eq!(call("read", r#"{"path":"/a","mode":"r"}"#), "6b");
    assert_eq!(call("read", r#"{"path":"/a","limit":1.00000000000000001}"#), "6b");
    let mut scene = Scene::new();
    scene.args = r#"{"path":"/c"}"#.into();
    let refusal = scene.judge().unwrap_err();
    assert_eq!(refusal.code, Code::ArgumentRefused);
    assert!(refusal.constraint.unwrap().contains("one_of"));
}

#[test]
fn step_6c_audience_of_the_chain() {
    let aud = |aud: Value| Scene::bent(|s| s.tokens[1]["aud"] = aud);
    assert_eq!(aud(json!(HERE)), "permit");
    assert_eq!(aud(json!(["https://x", HERE])), "permit");
    for elsewhere in [json!("https://x"), json!([]), json!(null), json!(7), json!([7, HERE]), json!(format!("{HERE}/"))]
    {
        assert_eq!(aud(elsewhere.clone()), "6c", "{elsewhere}");
    }
    let demanding = |s: &mut Scene| s.audience = Audience::new([HERE.to_owned()]).demand_chain();
    assert_eq!(Scene::bent(demanding), "6c");
    assert_eq!(
        Scene::bent(|s| {
            demanding(s);
            s.tokens[0]["aud"] = HERE.into();
        }),
        "permit"
    );
}

#[test]
fn step_7_proof() {
    let proof = |bend: &dyn Fn(&mut Value)| Scene::bent(|s| bend(&mut s.proof));
    for header in [
        json!({"alg": "Ed25519"}),
        json!({"alg": "Ed25519", "typ": "aat+jwt"}),
        json!({"alg": "EdDSA", "typ": "aat-pop+jwt"}),
        json!({"alg": "Ed25519", "typ": "aat-pop+jwt", "crit": ["x"]}),
    ] {
        assert_eq!(Scene::bent(|s| s.proof_header = header), "7a");
    }
    assert_eq!(Scene::bent(|s| s.proof_signer = 3), "7b");
    for name in ["jti", "aat_id", "aat_hash", "aat_tool"] {
        for value in [json!(""), json!(7), Value::Null] {
            assert_eq!(proof(&|p| p[name] = value.clone()), "7c", "{name}");
        }
    }
    for (name, value) in [
        ("iat", json!(1.5)),
        ("hta", json!([])),
        ("hta", Value::Null),
        ("aat_id", json!("token-1")),
        ("aat_hash", json!("x")),
    ] {
        assert_eq!(proof(&|p| p[name] = value.clone()), "7c", "{name}");
    }
    assert_eq!(proof(&|p| p["aat_aud"] = "https://x".into()), "7d");
    assert_eq!(proof(&|p| p["aat_aud"] = json!([HERE])), "7d");
    let without = |p: &mut Value| drop(p.as_object_mut().unwrap().remove("aat_aud"));
    assert_eq!(proof(&without), "permit");
    assert_eq!(
        Scene::bent(|s| {
            without(&mut s.proof);
            s.audience = Audience::new([HERE.to_owned()]).demand_proof();
        }),
        "7d"
    );
    assert_eq!(proof(&|p| p["aat_tool"] = "send".into()), "7e");
    assert_eq!(proof(&|p| p["hta"] = json!({"path": "/b"})), "7f");
    assert_eq!(proof(&|p| p["hta"] = json!({"path": "/a", "limit": 1})), "7f");
    assert_eq!(proof(&|p| p["iat"] = (NOW.0 - 31).into()), "7g");
    assert_eq!(proof(&|p| p["iat"] = (NOW.0 + 31).into()), "7g");
    assert_eq!(proof(&|p| p["iat"] = (NOW.0 - 30).into()), "permit");
    assert_eq!(proof(&|p| p["iat"] = i64::MIN.into()), "7g");
    let nonce = |claim: Value| {
        Scene::bent(|s| {
            s.nonce = Some("n".into());
            s.proof["nonce"] = claim;
        })
    };
    assert_eq!((nonce(json!("n")), nonce(json!("m")), nonce(Value::Null)), ("permit", "7h", "7h"));
    // What is ours and not of its kind is not said, no more.
    assert_eq!(
        proof(&|p| {
            p["seq"] = "x".into();
            p["prev"] = 1.into();
            p["task"] = "x".into();
        }),
        "permit"
    );
}
