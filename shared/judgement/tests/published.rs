//! The bytes that the draft publishes (AAT Appendix E): J.1, through the plumbing.

use marque_judgement::plumbing::answer;

const ROOT: &str = "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiYWF0K2p3dCJ9.eyJhdXRob3JpemF0aW9uX2RldGFpbHMiOlt7InRvb2xzIjp7InJlYWRfZmlsZSI6eyJwYXRoIjp7ImNvbnN0cmFpbnRfdHlwZSI6IndpbGRjYXJkIn19fSwidHlwZSI6ImF0dGVudWF0aW5nX2FnZW50X3Rva2VuIn1dLCJjbmYiOnsiandrIjp7ImNydiI6IkVkMjU1MTkiLCJrdHkiOiJPS1AiLCJ4IjoiZ1RsM0RxaDlGMTlXbzFSbXcweC16TXVOaXBHMDdqZWlYZllQVzRfSnM1USJ9fSwiZGVsX2RlcHRoIjowLCJkZWxfbWF4X2RlcHRoIjozLCJleHAiOjE3MDQwNzA4MDAsImlhdCI6MTcwNDA2NzIwMCwiaXNzIjoiaHR0cHM6Ly9hdXRoLmV4YW1wbGUuY29tIiwianRpIjoiMDE5NDcxZjgtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAxIn0.G2ZIeMAY5H1nbG0j2f6R9hW8WsP98CC8ZA9-dLpNATy-i7DMR6iAHzgSrAhpdTVt1Y5urMK9iE0ZXMcLHzrHBg";
const PROOF: &str = "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiYWF0LXBvcCtqd3QifQ.eyJhYXRfYXVkIjoiaHR0cHM6Ly90b29scy5leGFtcGxlLmNvbSIsImFhdF9oYXNoIjoicXowNUNqTzFTLWlUazkzQ0dLbWlCOHk3YlJVZFVBZTY3a1h6VXd5TXpVVSIsImFhdF9pZCI6IjAxOTQ3MWY4LTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMSIsImFhdF90b29sIjoicmVhZF9maWxlIiwiaHRhIjp7InBhdGgiOiIvZGF0YS9xMy1yZXBvcnQucGRmIn0sImlhdCI6MTcwNDA2NzUwMCwianRpIjoiMDE5NDcxZjgtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwYTAxIn0.Dod0rnn_6OlvM2upQlbY0trWOJPM80GEuZn6gUJr0vOmWrjdWEg_voQT-f-iKsgqGJ1KRdQqisbNgaNJ5OBOAQ";
const ANCHOR: &str = r#"{"iss":"https://auth.example.com","jwk":{"kty":"OKP","crv":"Ed25519","x":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w"}}"#;

fn ask(root: &str, proof: &str, rest: &str) -> serde_json::Value {
    let line = format!(
        r#"{{"chain":["{root}"],"trust_anchors":[{ANCHOR}],"tool":"read_file","args":{{"path":"/data/q3-report.pdf"}},"pop":{proof},"now":1704067500{rest}}}"#
    );
    serde_json::from_str(&answer(line.as_bytes())).expect("an answer is JSON")
}

#[test]
fn permits_the_published_chain() {
    let proof = format!("\"{PROOF}\"");
    let here = r#","audience":"https://tools.example.com","require_pop_audience":true"#;
    assert_eq!(ask(ROOT, &proof, here), serde_json::json!({"decision": "permit"}));
}

#[test]
fn rejects_it_elsewhere_and_without_its_proof() {
    let proof = format!("\"{PROOF}\"");
    let step = |answer: serde_json::Value| {
        assert_eq!(answer["decision"], "deny");
        answer["step"].as_str().map(str::to_owned)
    };
    assert_eq!(step(ask(ROOT, &proof, "")).as_deref(), Some("7d"));
    assert_eq!(step(ask(ROOT, "null", "")).as_deref(), Some("7a"));
    assert_eq!(step(ask(ROOT, &format!("\"{ROOT}\""), "")).as_deref(), Some("7a"));
    assert_eq!(
        step(ask(ROOT, &proof, r#","audience":["https://tools.example.com"],"nonce":"n""#)).as_deref(),
        Some("7h")
    );
    assert_eq!(step(ask(&ROOT.replace("G2ZI", "G2ZJ"), &proof, "")).as_deref(), Some("3b"));
    assert_eq!(step(ask(&ROOT[..ROOT.len() - 86], &proof, "")).as_deref(), Some("3b"));
    assert_eq!(step(ask("e30.e30", &proof, "")).as_deref(), Some("2c"));
}
