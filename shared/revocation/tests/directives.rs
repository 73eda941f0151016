//! Attacks on the bytes of a directive, each beside its accepting twin.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use marque_identity::{Code, Did, Digest, UnixSeconds};
use marque_revocation::{
    DIRECTIVE_TYP, Directive, DirectiveId, DirectiveRequest, NARROW_BYTES_MAX, Op, Opener, REASON_BYTES_MAX, Receipt,
    RevocationError, SignedDirective, Target, TargetKind, Wait,
};
use marque_signing::{Compact, SigningKey, jws};
use proptest::prelude::*;
use serde_json::{Value, json};

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn directive(op: Op) -> Directive {
    Directive {
        id: DirectiveId::from_bytes([1; 16]),
        op,
        target: Target::Token(Digest([9; 32])),
        until: None,
        narrow: (op == Op::Narrow)
            .then(|| json!({"tools": {"nats:tools.pay": {"amount": {"constraint_type": "range", "max": 1e21}}}})),
        lifts: (!op.tightens()).then(|| DirectiveId::from_bytes([2; 16])),
        reason: "seen \u{e4} \"elsewhere\"".into(),
        requested_by: Did::from_key_bytes([4; 32]),
        iat: UnixSeconds(1_800_000_000),
        domain: "acme.example".parse().unwrap(),
    }
}

fn verify(compact: &str) -> Result<SignedDirective, RevocationError> {
    SignedDirective::verify(compact.as_bytes(), &[SigningKey::from_seed(&[5; 32]).public(), key().public()])
}

/// The payload of a good directive, changed and signed again by the broadcaster's own key.
fn changed(op: Op, change: impl FnOnce(&mut Value)) -> Result<SignedDirective, RevocationError> {
    let signed = SignedDirective::sign(directive(op), &key()).unwrap();
    let mut payload: Value =
        serde_json::from_slice(&Compact::split(signed.compact()).unwrap().payload().unwrap()).unwrap();
    change(&mut payload);
    verify(&jws::sign_as_did(&key(), DIRECTIVE_TYP, &payload).unwrap())
}

#[test]
fn accepts_every_op_and_target_that_it_signed() {
    for op in Op::ALL {
        let digest = "ab".repeat(32);
        let did = key().did().to_string();
        let values = [&digest, &did, "reader", "urn:task:q3", &digest, "https://acme.example", "acme.example"];
        for (kind, value) in TargetKind::ALL.into_iter().zip(values) {
            let directive = Directive { target: Target::parse(kind, value).unwrap(), ..directive(op) };
            let signed = SignedDirective::sign(directive.clone(), &key()).unwrap();
            let verified = verify(signed.compact()).unwrap();
            assert_eq!((verified.directive(), verified.digest()), (&directive, signed.digest()));
        }
    }
}

#[test]
fn is_a_security_event_token() {
    let signed = SignedDirective::sign(directive(Op::Revoke), &key()).unwrap();
    let payload: Value = serde_json::from_slice(&Compact::split(signed.compact()).unwrap().payload().unwrap()).unwrap();
    assert_eq!(payload["jti"], "01010101-0101-0101-0101-010101010101");
    assert_eq!(payload["sub_id"]["format"], "opaque");
    assert!(payload.get("sub").is_none() && payload.get("exp").is_none());
    let caep = &payload["events"]["https://schemas.openid.net/secevent/caep/event-type/session-revoked"];
    assert_eq!(caep["event_timestamp"], 1_800_000_000);
    assert_eq!(payload["events"].as_object().unwrap().len(), 2);
}

#[test]
fn rejects_another_signer_and_another_typ() {
    let signed = SignedDirective::sign(directive(Op::Revoke), &key()).unwrap();
    let stranger = SignedDirective::verify(signed.compact().as_bytes(), &[SigningKey::from_seed(&[6; 32]).public()]);
    assert_eq!(stranger, Err(RevocationError::SignerUnknown));
    let payload = Compact::split(signed.compact()).unwrap().payload().unwrap();
    let posed = jws::sign(&key(), "marque-heartbeat+jwt", Some(&key().did().url()), &payload);
    assert_eq!(verify(&posed).unwrap_err().code(), Code::TypeMismatch);
    // The thief signs and names the broadcaster's key.
    let thief = jws::sign(&SigningKey::from_seed(&[6; 32]), DIRECTIVE_TYP, Some(&key().did().url()), &payload);
    assert_eq!(verify(&thief).unwrap_err().code(), Code::SignatureInvalid);
}

#[test]
fn rejects_what_is_not_canonical() {
    assert!(changed(Op::Revoke, |_| {}).is_ok());
    let refused = |change: fn(&mut Value)| changed(Op::Revoke, change).unwrap_err();
    assert_eq!(refused(|p| p["sub_id"]["id"] = "token:other".into()), RevocationError::NotCanonical);
    assert_eq!(refused(|p| p["jti"] = "01010101-0101-0101-0101-010101010102".into()), RevocationError::NotCanonical);
    assert_eq!(
        refused(|p| p["iss"] = SigningKey::from_seed(&[5; 32]).did().to_string().into()),
        RevocationError::NotCanonical
    );
    assert_eq!(refused(|p| p["events"]["https://other.example"] = json!({})), RevocationError::NotCanonical);
    assert_eq!(refused(|p| p["exp"] = 1.into()).code(), Code::ClaimsMalformed);
    assert_eq!(refused(|p| p["events"]["urn:marque:event:directive"]["also"] = 1.into()).code(), Code::ClaimsMalformed);
    assert_eq!(
        refused(|p| p["events"]["urn:marque:event:directive"]["op"] = "resume".into()).code(),
        Code::ClaimsMalformed
    );
    // White space: another text of the same JSON.
    let signed = SignedDirective::sign(directive(Op::Revoke), &key()).unwrap();
    let mut payload = Compact::split(signed.compact()).unwrap().payload().unwrap();
    payload.push(b' ');
    assert_eq!(
        verify(&jws::sign(&key(), DIRECTIVE_TYP, Some(&key().did().url()), &payload)),
        Err(RevocationError::NotCanonical)
    );
    // A member twice.
    let text = String::from_utf8(Compact::split(signed.compact()).unwrap().payload().unwrap()).unwrap();
    let twice = text.replacen("{\"aud\"", "{\"iat\":1,\"aud\"", 1);
    let twice = jws::sign(&key(), DIRECTIVE_TYP, Some(&key().did().url()), twice.as_bytes());
    assert_eq!(verify(&twice).unwrap_err().code(), Code::DuplicateMember);
}

#[test]
fn rejects_members_that_do_not_fit_the_op() {
    let refused = |directive: Directive| SignedDirective::sign(directive, &key()).is_err();
    assert!(!refused(Directive { until: Some(UnixSeconds(1)), ..directive(Op::Revoke) }));
    let of_key = Target::Key(Did::from_key_bytes([1; 32]));
    assert!(refused(Directive { until: Some(UnixSeconds(1)), target: of_key, ..directive(Op::Revoke) }));
    assert!(refused(Directive { until: Some(UnixSeconds(-1)), ..directive(Op::Suspend) }));
    assert!(refused(Directive { until: Some(UnixSeconds(i64::MAX)), ..directive(Op::Suspend) }));
    assert!(refused(Directive { until: Some(UnixSeconds(1)), ..directive(Op::Lift) }));
    assert!(refused(Directive { lifts: None, ..directive(Op::Resume) }));
    assert!(refused(Directive { lifts: Some(DirectiveId::from_bytes([1; 16])), ..directive(Op::Suspend) }));
    assert!(refused(Directive { narrow: None, ..directive(Op::Narrow) }));
    assert!(refused(Directive { narrow: Some(json!({"tools": {"*": {}}})), ..directive(Op::Suspend) }));
    for narrow in [json!({}), json!([]), json!({"tools": {}}), json!({"tools": 1}), json!({"tools": {"*": {}}, "x": 1})]
    {
        assert!(refused(Directive { narrow: Some(narrow.clone()), ..directive(Op::Narrow) }), "{narrow}");
    }
    assert!(refused(Directive { reason: "line\nfeed".into(), ..directive(Op::Revoke) }));
}

#[test]
fn bounds_reason_and_narrowing() {
    let signs = |directive: Directive| SignedDirective::sign(directive, &key()).is_ok();
    assert!(signs(Directive { reason: "a".repeat(REASON_BYTES_MAX), ..directive(Op::Revoke) }));
    assert!(!signs(Directive { reason: "a".repeat(REASON_BYTES_MAX + 1), ..directive(Op::Revoke) }));
    let frame = r#"{"tools":{"":{}}}"#.len();
    let narrow = |bytes: usize| {
        let tool = "t".repeat(bytes - frame);
        Directive { narrow: Some(json!({"tools": {tool: {}}})), ..directive(Op::Narrow) }
    };
    assert!(signs(narrow(NARROW_BYTES_MAX)));
    assert!(!signs(narrow(NARROW_BYTES_MAX + 1)));
}

#[test]
fn opens_the_same_bytes_once() {
    let signed = SignedDirective::sign(directive(Op::Revoke), &key()).unwrap();
    let mut opener = Opener::new(vec![key().public()]);
    let first = opener.directive(signed.compact().as_bytes()).unwrap();
    let second = opener.directive(signed.compact().as_bytes()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    assert!(opener.directive(format!("{}A", signed.compact()).as_bytes()).is_err());
}

#[test]
fn opens_a_request_and_names_its_signer() {
    let request = DirectiveRequest {
        iat: UnixSeconds(1),
        jti: "one".into(),
        aud: "acme.example".parse().unwrap(),
        op: Op::Suspend,
        target: Some(Target::Key(key().did())),
        until: None,
        narrow: None,
        lifts: None,
        reason: String::new(),
        chain: None,
        wait: Wait::Durable,
    };
    let signed = request.sign(&key()).unwrap();
    assert_eq!(DirectiveRequest::open(signed.as_bytes()).unwrap(), (key().did(), request.clone()));
    for jti in [String::new(), "j".repeat(129), "a\n".into()] {
        let signed = DirectiveRequest { jti, ..request.clone() }.sign(&key()).unwrap();
        assert!(DirectiveRequest::open(signed.as_bytes()).is_err());
    }
}

#[test]
fn receipts_round_trip() {
    let receipt = Receipt::new(DirectiveId::from_bytes([1; 16]), marque_identity::Epoch(2), vec![], vec![key().did()]);
    let text = serde_json::to_vec(&receipt).unwrap();
    assert_eq!(serde_json::from_slice::<Receipt>(&text).unwrap(), receipt);
}

proptest! {
    #[test]
    fn noise_opens_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut opener = Opener::new(vec![key().public()]);
        prop_assert!(opener.directive(&bytes).is_err());
        prop_assert!(opener.heartbeat(&bytes).is_err());
        prop_assert!(opener.item(&bytes).1.is_some());
        prop_assert!(DirectiveRequest::open(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_opens_nothing(at in 0usize..4000, to in any::<u8>()) {
        let signed = SignedDirective::sign(directive(Op::Narrow), &key()).unwrap();
        let mut bytes = signed.compact().as_bytes().to_vec();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(SignedDirective::verify(&bytes, &[key().public()]).is_err());
    }
}
