//! Who may ask for what, with real chains.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use marque_credential::{DerivedRequest, MarqueClaims, RootRequest, Tools, derive, mint_root};
use marque_identity::{Code, Did, Digest, TokenId, UnixSeconds};
use marque_json::Limits;
use marque_judgement::{ChainLimits, TrustAnchor, VerifiedChain, verify_chain};
use marque_revocation::{DirectiveRequest, Op, Target, Wait};
use marque_revocation_broadcaster::authority::{Ended, RISK_UNTIL_SECONDS_MAX, check};
use marque_revocation_broadcaster::compose::compose;
use marque_signing::{Anchor, Operator, Role, ServiceKey, SigningKey, TrustBundle};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

const ISSUER: u8 = 1;
const OPERATOR: u8 = 2;
const RISK: u8 = 3;
const VERIFIER: u8 = 4;
const HOLDERS: [u8; 3] = [10, 11, 12];

fn bundle() -> TrustBundle {
    let service = |role, n| ServiceKey { role, name: "s".into(), did: key(n).did() };
    TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: NOW,
        issuers: vec![
            Anchor { iss: "https://acme.example".into(), did: key(ISSUER).did() },
            Anchor { iss: "https://other.example".into(), did: key(9).did() },
        ],
        services: vec![service(Role::Risk, RISK), service(Role::Verifier, VERIFIER)],
        operators: vec![Operator { name: "ada".into(), did: key(OPERATOR).did() }],
    }
}

fn tools() -> Tools {
    let json = marque_json::parse(br#"{"nats:tools.a":{}}"#, Limits::DEFAULT).unwrap();
    Tools::parse(&json).unwrap()
}

/// Root, child, grandchild, held by [`HOLDERS`].
fn chain() -> VerifiedChain {
    let agent = serde_json::json!({
        "task": "urn:task:one", "purpose": "p",
        "agent": { "did": key(10).did(), "blueprint": "reader", "sponsor": "team", "vc_hash": Digest([0; 32]) },
    });
    let marque: MarqueClaims = serde_json::from_value(agent).unwrap();
    let root = RootRequest {
        iss: "https://acme.example".into(),
        jti: TokenId::generate(),
        iat: NOW,
        exp: NOW.plus(900),
        del_max_depth: 5,
        holder: key(10).public(),
        aud: None,
        tools: tools(),
        marque,
    };
    let mut tokens = vec![mint_root(&key(ISSUER), &root).unwrap()];
    for pair in HOLDERS.windows(2) {
        let request = DerivedRequest {
            holder: key(pair[1]).public(),
            tools: tools(),
            exp: NOW.plus(800),
            del_max_depth: 5,
            aud: None,
            iat: NOW,
            jti: TokenId::generate(),
        };
        tokens.push(derive(&key(pair[0]), tokens.last().unwrap(), &request).unwrap());
    }
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let anchors = [TrustAnchor { iss: "https://acme.example".into(), key: key(ISSUER).public() }];
    verify_chain(&tokens, &anchors, NOW, &ChainLimits::default()).unwrap()
}

fn request(op: Op) -> DirectiveRequest {
    DirectiveRequest {
        iat: NOW,
        jti: "j".into(),
        aud: "acme.example".parse().unwrap(),
        op,
        target: None,
        until: None,
        narrow: None,
        lifts: None,
        reason: String::new(),
        chain: None,
        wait: Wait::Durable,
    }
}

fn may(who: u8, request: &DirectiveRequest, target: &Target, chain: Option<&VerifiedChain>) -> bool {
    match check(&bundle(), &key(who).did(), request, target, None, chain, NOW) {
        Ok(()) => true,
        Err(refusal) => {
            assert_eq!(refusal.code, Code::NotAuthorized);
            false
        }
    }
}

fn every_target() -> [Target; 7] {
    [
        Target::Token(Digest([9; 32])),
        Target::Key(key(60).did()),
        Target::Blueprint("reader".parse().unwrap()),
        Target::Task("urn:task:one".parse().unwrap()),
        Target::Manifest(Digest([8; 32])),
        Target::Issuer("https://acme.example".into()),
        Target::Domain("acme.example".parse().unwrap()),
    ]
}

#[test]
fn a_holder_reaches_what_it_holds_and_what_is_below() {
    let chain = chain();
    for (holder, who) in HOLDERS.into_iter().enumerate() {
        for (link, token) in chain.links().iter().enumerate() {
            let target = Target::Token(*token.digest());
            for op in [Op::Revoke, Op::Suspend, Op::Narrow] {
                assert_eq!(may(who, &request(op), &target, Some(&chain)), holder <= link, "{holder} {link}");
            }
            assert!(!may(who, &request(Op::Revoke), &target, None), "without showing the chain");
        }
        assert!(!may(who, &request(Op::Revoke), &Target::Token(Digest([9; 32])), Some(&chain)), "not in the chain");
    }
    let leaf = Target::Token(*chain.leaf().digest());
    assert!(!may(50, &request(Op::Revoke), &leaf, Some(&chain)), "a chain found on the road");
}

#[test]
fn each_role_within_its_own() {
    let reach = |who, request: &DirectiveRequest| every_target().map(|target| may(who, request, &target, None));
    assert_eq!(reach(OPERATOR, &request(Op::Revoke)), [true; 7]);
    assert_eq!(reach(ISSUER, &request(Op::Revoke)), [true, true, true, true, true, true, false]);
    assert_eq!(reach(VERIFIER, &request(Op::Suspend)), [false; 7]);
    assert_eq!(reach(50, &request(Op::Suspend)), [false; 7]);
    assert!(!may(ISSUER, &request(Op::Revoke), &Target::Issuer("https://other.example".into()), None));
    // An agent, its own key: one that a shown chain has a link for.
    let (chain, own) = (chain(), |who: u8| Target::Key(key(who).did()));
    assert!(HOLDERS.iter().all(|who| may(*who, &request(Op::Revoke), &own(*who), Some(&chain))));
    assert!(!may(HOLDERS[0], &request(Op::Revoke), &own(HOLDERS[0]), None), "without showing the chain");
    assert!(!may(HOLDERS[0], &request(Op::Revoke), &own(HOLDERS[1]), Some(&chain)), "another's key");
    assert!(!may(50, &request(Op::Revoke), &own(50), Some(&chain)), "a key that nothing was issued to");
}

#[test]
fn the_risk_service_has_a_ceiling() {
    let until = |seconds| DirectiveRequest { until: Some(NOW.plus(seconds)), ..request(Op::Suspend) };
    let reach = |request: &DirectiveRequest| every_target().map(|target| may(RISK, request, &target, None));
    assert_eq!(reach(&until(RISK_UNTIL_SECONDS_MAX)), [true, true, true, true, true, false, false]);
    assert_eq!(reach(&until(RISK_UNTIL_SECONDS_MAX + 1)), [false; 7]);
    assert_eq!(reach(&request(Op::Suspend)), [false; 7]);
    assert_eq!(reach(&DirectiveRequest { op: Op::Revoke, ..until(60) }), [false; 7]);
}

#[test]
fn only_an_operator_ends_what_another_asked_for() {
    let target = Target::Key(key(50).did());
    let ended = |by: Did| Ended { op: Op::Suspend, target: target.clone(), requested_by: by };
    let may = |who: u8, by: u8| {
        check(&bundle(), &key(who).did(), &request(Op::Resume), &target, Some(&ended(key(by).did())), None, NOW).is_ok()
    };
    assert!(may(OPERATOR, ISSUER) && may(50, 50) && may(ISSUER, ISSUER) && may(RISK, RISK));
    assert!(!may(50, OPERATOR) && !may(ISSUER, OPERATOR) && !may(RISK, ISSUER));
}

#[test]
fn a_token_s_directive_lasts_as_long_as_any_token_that_it_can_match() {
    let chain = chain();
    let domain = "acme.example".parse().unwrap();
    let until = |target: Target, chain: Option<&VerifiedChain>, request: DirectiveRequest| {
        let composed = compose(&request, target, key(2).did(), &domain, chain, None, NOW).unwrap();
        assert_eq!(composed.gone_at.is_some(), composed.directive.until.is_some());
        composed.directive.until
    };
    let leaf = Target::Token(*chain.leaf().digest());
    assert_eq!(until(leaf.clone(), Some(&chain), request(Op::Revoke)), Some(NOW.plus(860)));
    assert_eq!(until(leaf.clone(), None, request(Op::Revoke)), Some(NOW.plus(90 * 86_400 + 60)));
    assert_eq!(until(every_target()[1].clone(), None, request(Op::Revoke)), None);
    let suspend = DirectiveRequest { until: Some(NOW.plus(5)), ..request(Op::Suspend) };
    assert_eq!(until(leaf, None, suspend), Some(NOW.plus(5)));
}
