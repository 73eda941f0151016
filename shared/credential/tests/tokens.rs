//! Minting: what is minted, and what is refused before it is signed.

use marque_credential::aat::{Claims, wire};
use marque_credential::proof::ProofPayload;
use marque_credential::{
    AgentClaim, Assurance, CredentialError, DerivedRequest, EvidenceDigest, EvidenceKind, IdentityClaims,
    IdentityCredential, MarqueClaims, ProofRequest, RootRequest, Runtime, Tools, derive, make_proof, mint_root,
};
use marque_identity::{Code, Digest, TokenId, UnixSeconds};
use marque_json::{Limits, parse};
use marque_signing::{Algorithms, Compact, SigningKey, jws};
use serde_json::{Value, json};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn tools(value: Value) -> Tools {
    serde_json::from_value(value).expect("tools are well-formed")
}

fn root_request() -> RootRequest {
    RootRequest {
        iss: "https://acme.example".into(),
        jti: TokenId("root".into()),
        iat: NOW,
        exp: NOW.plus(900),
        del_max_depth: 2,
        holder: key(2).public(),
        aud: Some(vec!["nats://acme.example/a".into()]),
        tools: tools(json!({"read": {"n": {"constraint_type": "range", "max": 10}}, "send": {}})),
        marque: MarqueClaims {
            task: "urn:task:q3".parse().expect("a URN"),
            purpose: "report".into(),
            agent: AgentClaim {
                did: key(2).did(),
                blueprint: "analyst".parse().expect("a name"),
                sponsor: "team-a".parse().expect("a name"),
                manifest_hash: None,
                vc_hash: Digest([1; 32]),
            },
        },
    }
}

fn derived_request() -> DerivedRequest {
    DerivedRequest {
        holder: key(3).public(),
        tools: tools(json!({"read": {"n": {"constraint_type": "exact", "value": 5}}})),
        exp: NOW.plus(600),
        del_max_depth: 2,
        aud: None,
        iat: NOW.plus(-5),
        jti: TokenId("child".into()),
    }
}

#[test]
fn mints_a_root_that_reads_back() {
    let token = mint_root(&key(1), &root_request()).unwrap();
    let payload: wire::Payload = jws::verify_json(&token, &key(1).public(), "aat+jwt", 65536).unwrap();
    assert_eq!((payload.del_depth, payload.del_max_depth, payload.par_hash), (0, 2, None));
    let bytes = Compact::split(&token).unwrap().payload().unwrap();
    let claims = Claims::parse(&bytes).unwrap();
    assert_eq!(claims.holder().unwrap(), key(2).public());
    assert!(
        matches!(claims.marque(), marque_credential::aat::MarqueReading::Present(found) if *found == root_request().marque)
    );
    assert_eq!(parse(&bytes, Limits::DEFAULT).unwrap().canonical(), bytes, "the payload is canonical");
}

#[test]
fn refuses_to_mint_a_root_that_would_not_verify() {
    let code = |bend: fn(&mut RootRequest)| {
        let mut request = root_request();
        bend(&mut request);
        mint_root(&key(1), &request).map(drop).map_err(|error| error.code())
    };
    assert_eq!(code(|_| ()), Ok(()));
    assert_eq!(code(|r| r.exp = r.iat), Err(Code::LifetimeInvalid));
    assert_eq!(code(|r| r.exp = r.iat.plus(90 * 86400 + 1)), Err(Code::LifetimeInvalid));
    assert_eq!(code(|r| r.del_max_depth = 65), Err(Code::DepthInvalid));
    assert_eq!(code(|r| r.iss = "acme".into()), Err(Code::ClaimsMalformed));
    assert_eq!(code(|r| r.jti = TokenId(String::new())), Err(Code::ClaimsMalformed));
    assert_eq!(code(|r| r.marque.purpose = "x".repeat(60_000)), Err(Code::Oversize));
}

#[test]
fn derives_offline_and_only_what_is_narrower() {
    let root = mint_root(&key(1), &root_request()).unwrap();
    let child = derive(&key(2), &root, &derived_request()).unwrap();
    let payload: wire::Payload = jws::verify_json(&child, &key(2).public(), "aat+jwt", 65536).unwrap();
    assert_eq!((payload.del_depth, payload.iat, &payload.iss), (1, NOW, &key(2).public().thumbprint_uri()));
    let code = |signer: u8, parent: &str, bend: fn(&mut DerivedRequest)| {
        let mut request = derived_request();
        bend(&mut request);
        derive(&key(signer), parent, &request).map(drop).map_err(|error| error.code())
    };
    assert_eq!(code(2, &root, |_| ()), Ok(()));
    assert_eq!(code(3, &root, |_| ()), Err(Code::PossessionUnproven));
    assert_eq!(code(2, &root, |r| r.exp = NOW.plus(901)), Err(Code::LifetimeInvalid));
    assert_eq!(code(2, &root, |r| r.exp = NOW), Err(Code::LifetimeInvalid));
    assert_eq!(code(2, &root, |r| r.del_max_depth = 3), Err(Code::DepthInvalid));
    assert_eq!(code(2, &root, |r| r.del_max_depth = 0), Err(Code::DepthInvalid));
    assert_eq!(code(2, &root, |r| r.jti = TokenId("root".into())), Err(Code::ClaimsMalformed));
    assert_eq!(code(2, &root, |r| r.tools = tools(json!({"read": {}}))), Err(Code::AuthorityWidened));
    assert_eq!(code(2, &root, |r| r.tools = tools(json!({"write": {}}))), Err(Code::AuthorityWidened));
    assert_eq!(code(2, "a.b", |_| ()), Err(Code::Malformed));
    let leaf = derive(
        &key(3),
        &child,
        &DerivedRequest { jti: TokenId("leaf".into()), holder: key(4).public(), ..derived_request() },
    )
    .unwrap();
    assert_eq!(
        derive(&key(4), &leaf, &DerivedRequest { jti: TokenId("x".into()), ..derived_request() }),
        Err(CredentialError::Depth { reason: "the parent may not be delegated further" })
    );
}

#[test]
fn proves_with_a_canonical_payload() {
    let root = mint_root(&key(1), &root_request()).unwrap();
    let args = parse(br#"{"n":5.0,"a\u0000\"":["\u00e9"]}"#, Limits::DEFAULT).unwrap();
    let request = ProofRequest {
        jti: TokenId("p".into()),
        iat: NOW,
        tool: "read\n",
        args: &args,
        aud: Some("nats://acme.example/a".into()),
        nonce: Some("n".into()),
        seq: 3,
        prev: Some(Digest([2; 32])),
        task: Some("urn:task:q3".parse().unwrap()),
        why: Some("because \u{1f600}".into()),
        cause: Some("c".into()),
        traceparent: Some("00-1".into()),
        manifest_hash: Some(Digest([7; 32])),
    };
    let proof = make_proof(&key(2), &root, &request).unwrap();
    let compact = Compact::split(&proof).unwrap();
    let bytes = compact.verify(&key(2).public(), "aat-pop+jwt", Algorithms::Ed25519).unwrap();
    assert_eq!(parse(&bytes, Limits::DEFAULT).unwrap().canonical(), bytes);
    let payload: ProofPayload = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        (payload.seq, payload.why.as_deref(), payload.prev, payload.manifest_hash),
        (Some(3), Some("because \u{1f600}"), Some(Digest([2; 32])), Some(Digest([7; 32])))
    );
    assert_eq!(make_proof(&key(3), &root, &request), Err(CredentialError::NotHolder));
    for args in ["[]", "1", r#"{"n":9007199254740993}"#] {
        let args = parse(args.as_bytes(), Limits::DEFAULT).unwrap();
        assert!(make_proof(&key(2), &root, &ProofRequest { args: &args, ..request.clone() }).is_err());
    }
}

fn identity() -> IdentityClaims {
    IdentityClaims {
        jti: TokenId("vc".into()),
        iat: NOW,
        exp: NOW.plus(3600),
        subject: key(2).did(),
        blueprint: "analyst".parse().expect("a name"),
        sponsor: "team-a".parse().expect("a name"),
        runtime: Runtime {
            model_id: "m-1".into(),
            manifest_hash: Some(Digest([3; 32])),
            assurance: Assurance::Claimed,
        },
        evidence: vec![EvidenceDigest::new(EvidenceKind::JoinToken, Digest([4; 32]))],
        status: Some(json!({"type": "BitstringStatusListEntry"})),
    }
}

#[test]
fn an_identity_credential_holds_under_its_issuer_in_its_time() {
    let token = IdentityCredential::issue(&key(1), &identity()).unwrap();
    let header = Compact::split(&token).unwrap().header_bytes().unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["alg"], &header["typ"], &header["cty"]), (&json!("EdDSA"), &json!("vc+jwt"), &json!("vc")));
    assert_eq!(header["kid"], key(1).did().url());
    let issuers = [key(9).public(), key(1).public()];
    let verified = IdentityCredential::verify(&token, &issuers, NOW).unwrap();
    assert_eq!((verified.claims(), verified.holder()), (&identity(), &key(2).public()));
    let code = |token: &str, issuers: &[_], now| {
        IdentityCredential::verify(token, issuers, now).map(drop).map_err(|e| e.code())
    };
    assert_eq!(code(&token, &issuers[..1], NOW), Err(Code::CredentialInvalid));
    assert_eq!(code(&token, &issuers, NOW.plus(3600)), Err(Code::TokenExpired));
    assert_eq!(code(&token, &issuers, NOW.plus(-31)), Err(Code::TokenExpired));
    assert_eq!(code(&token, &issuers, NOW.plus(3599)), Ok(()));

    // The same claims under the newer name of the algorithm.
    let payload = Compact::split(&token).unwrap().payload().unwrap();
    let renamed = |payload: &[u8]| jws::sign(&key(1), "vc+jwt", None, payload);
    assert_eq!(code(&renamed(&payload), &issuers, NOW), Ok(()));
    let bent = |bend: fn(&mut Value)| {
        let mut claims: Value = serde_json::from_slice(&payload).unwrap();
        bend(&mut claims);
        code(&renamed(&serde_json::to_vec(&claims).unwrap()), &issuers, NOW)
    };
    assert_eq!(bent(|_| ()), Ok(()));
    assert_eq!(bent(|c| c["cnf"]["jwk"]["d"] = "x".into()), Err(Code::ClaimsMalformed));
    assert_eq!(bent(|c| c["cnf"]["jwk"] = json!(key(3).public().jwk())), Err(Code::ClaimsMalformed));
    assert_eq!(bent(|c| c["iss"] = json!(key(3).did())), Err(Code::ClaimsMalformed));
    assert_eq!(bent(|c| c["credentialSubject"]["id"] = json!(key(3).did())), Err(Code::ClaimsMalformed));
    assert_eq!(bent(|c| c["@context"] = json!(["x"])), Err(Code::ClaimsMalformed));
    assert_eq!(bent(|c| c["type"] = json!(["x"])), Err(Code::ClaimsMalformed));
    let text = String::from_utf8(payload.clone()).unwrap();
    let doubled = text.replacen('{', r#"{"jti":"other","#, 1);
    assert_eq!(code(&renamed(doubled.as_bytes()), &issuers, NOW), Err(Code::DuplicateMember));
    assert_eq!(code(&jws::sign(&key(1), "aat+jwt", None, &payload), &issuers, NOW), Err(Code::TypeMismatch));
}
