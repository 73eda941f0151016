use std::sync::Arc;

use marque_credential::{DerivedRequest, RootRequest, derive, mint_root};
use marque_identity::{TokenId, UnixSeconds};
use marque_judgement::{ChainLimits, TrustAnchor, verify_chain};
use marque_revocation::{Directive, DirectiveId, Event, Op, SignedDirective, Target};
use marque_signing::SigningKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
const OWN_INBOX_AND_ASKS: usize = 2 + 4 + 2;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

/// A root of these tools, whose holder is key 2.
fn root(tools: &Value) -> String {
    let marque = json!({
        "task": "urn:task:one", "purpose": "p",
        "agent": { "did": key(2).did(), "blueprint": "reader", "sponsor": "team", "vc_hash": "00".repeat(32) },
    });
    let request = RootRequest {
        iss: domain().issuer_uri(),
        jti: TokenId("root".into()),
        iat: NOW,
        exp: NOW.plus(900),
        del_max_depth: 2,
        holder: key(2).public(),
        aud: None,
        tools: serde_json::from_value(tools.clone()).unwrap(),
        marque: serde_json::from_value(marque).unwrap(),
    };
    mint_root(&key(1), &request).unwrap()
}

fn verified(text: &str) -> VerifiedChain {
    let anchor = TrustAnchor { iss: domain().issuer_uri(), key: key(1).public() };
    let tokens: Vec<&str> = text.split('~').collect();
    verify_chain(&tokens, &[anchor], NOW, &ChainLimits::default()).unwrap()
}

fn chain(tools: &Value) -> VerifiedChain {
    verified(&root(tools))
}

/// The same with a child for key 3, valid at these places alone.
fn child(tools: &Value, child_tools: &Value, aud: Option<Vec<String>>) -> VerifiedChain {
    let parent = root(tools);
    let request = DerivedRequest {
        holder: key(3).public(),
        tools: serde_json::from_value(child_tools.clone()).unwrap(),
        exp: NOW.plus(900),
        del_max_depth: 1,
        aud,
        iat: NOW,
        jti: TokenId("child".into()),
    };
    let child = derive(&key(2), &parent, &request).unwrap();
    verified(&format!("{parent}~{child}"))
}

fn narrowed(tools: &Value) -> View {
    let directive = Directive {
        id: DirectiveId::from_bytes([7; 16]),
        op: Op::Narrow,
        target: Target::Key(key(2).did()),
        until: None,
        narrow: Some(json!({ "tools": tools })),
        lifts: None,
        reason: "test".into(),
        requested_by: key(9).did(),
        iat: NOW,
        domain: domain(),
    };
    let mut view = View::new();
    let signed = SignedDirective::sign(directive, &key(9)).unwrap();
    view.on(Event::Raw(Arc::new(signed)), std::time::Duration::ZERO);
    assert_eq!(view.active_count(), 1);
    view
}

/// What it may do beyond its inbox, its questions and its statements.
fn more(grant: &Grant, way: Way) -> Vec<String> {
    let plain = ["marque.issuer.", "marque.revocation.", "marque.record.", "_INBOX."];
    let own = |line: &&Line| line.way == way && !plain.iter().any(|prefix| line.subject.starts_with(prefix));
    grant.given.iter().filter(own).map(|line| line.subject.clone()).collect()
}

fn of(tools: &Value) -> Grant {
    Grant::of_chain(&chain(tools), &domain(), &View::new())
}

fn subject(constraint: Value) -> Value {
    json!({ PUBLISH: { "subject": constraint } })
}

#[test]
fn a_tool_is_reached_where_it_is_served() {
    let grant =
        of(&json!({ "nats:tools.crm.query": {}, "nats:gated.mail": {}, "nats:agents.echo": {}, "read_file": {} }));
    let publish = ["agents.echo", "marque.gate.gated.mail", "marque.gate.tools.crm.query", "tools.crm.query"];
    assert_eq!(more(&grant, Way::Publish), publish);
    assert!(more(&grant, Way::Subscribe).is_empty() && grant.responses().is_none());
    assert_eq!(grant.given.len(), OWN_INBOX_AND_ASKS + publish.len());
}

#[test]
fn nothing_granted_is_nothing_but_its_own() {
    let grant = of(&json!({}));
    assert_eq!(grant.given.len(), OWN_INBOX_AND_ASKS);
    let key = key(2).did().multibase();
    for line in &grant.given {
        let own = line.subject.starts_with("marque.issuer.")
            || line.subject == "marque.revocation.request"
            || line.subject.ends_with(&format!(".{key}"))
            || line.subject == format!("_INBOX.{key}.>");
        assert!(own, "{line:?}");
    }
}

#[test]
fn spells_out_what_a_constraint_allows() {
    for (constraint, patterns) in [
        (json!({ "constraint_type": "nats_subject", "pattern": "team.*.news.>" }), vec!["team.*.news.>"]),
        (json!({ "constraint_type": "exact", "value": "team.a" }), vec!["team.a"]),
        (json!({ "constraint_type": "one_of", "values": ["team.b", "team.a", 5] }), vec!["team.a", "team.b"]),
        (json!({ "constraint_type": "wildcard" }), vec![]),
        (json!({ "constraint_type": "not_one_of", "excluded": ["team.a"] }), vec![]),
        (
            json!({ "constraint_type": "any", "constraints": [
                { "constraint_type": "nats_subject", "pattern": "x.>" }, { "constraint_type": "exact", "value": "y" } ] }),
            vec!["x.>", "y"],
        ),
        (
            json!({ "constraint_type": "all", "constraints": [
                { "constraint_type": "nats_subject", "pattern": "x.>" }, { "constraint_type": "nats_subject", "pattern": "x.a.*" } ] }),
            vec!["x.a.*"],
        ),
        // The pattern's text passes `not_one_of`, what it matches does not.
        (
            json!({ "constraint_type": "all", "constraints": [
                { "constraint_type": "nats_subject", "pattern": "x.>" }, { "constraint_type": "not_one_of", "excluded": ["x.secret"] } ] }),
            vec![],
        ),
        (
            json!({ "constraint_type": "all", "constraints": [
                { "constraint_type": "exact", "value": "x.open" }, { "constraint_type": "not_one_of", "excluded": ["x.secret"] } ] }),
            vec!["x.open"],
        ),
    ] {
        assert_eq!(more(&of(&subject(constraint.clone())), Way::Publish), patterns, "{constraint}");
    }
    let with_more = json!({ PUBLISH: { "subject": { "constraint_type": "exact", "value": "x" }, "payload": { "constraint_type": "exact", "value": "y" } } });
    assert!(more(&of(&with_more), Way::Publish).is_empty(), "the broker does not see a payload");
}

#[test]
fn no_pattern_reaches_beyond_the_agents() {
    for pattern in [
        ">",
        "*",
        "*.x",
        "*.>",
        "$SYS.>",
        "$JS.API.>",
        "$KV.a.>",
        "$SRV.>",
        "$JS.ACK.>",
        "_INBOX.>",
        "_R_.>",
        "_x",
        "marque.>",
        "marque.record.decided.*",
        "tools.>",
        "tools.crm.query",
        "gated.>",
    ] {
        for tool in [PUBLISH, SUBSCRIBE] {
            let constraint = json!({ "constraint_type": "nats_subject", "pattern": pattern });
            let grant = of(&json!({ tool: { "subject": constraint } }));
            assert_eq!(grant.given.len(), OWN_INBOX_AND_ASKS, "{tool} {pattern}");
            assert_eq!(grant.withheld.len(), 1, "{tool} {pattern}");
        }
    }
    for tool in
        ["nats:$SYS.REQ.SERVER.PING", "nats:marque.issuer.enrol", "nats:_INBOX.x", "nats:a.>", "nats:", "nats:a b"]
    {
        let grant = of(&json!({ tool: {} }));
        assert_eq!((grant.given.len(), grant.withheld.len()), (OWN_INBOX_AND_ASKS, 1), "{tool}");
    }
}

#[test]
fn discovery_is_granted_where_it_is_spelled_out() {
    for pattern in ["$SRV.PING", "$SRV.INFO.agents", "$SRV.STATS.agents.*", "$SRV.PING.>", "$SRV.INFO.*.i-1"] {
        for (tool, way) in [(PUBLISH, Way::Publish), (SUBSCRIBE, Way::Subscribe)] {
            let constraint = json!({ "constraint_type": "nats_subject", "pattern": pattern });
            let grant = of(&json!({ tool: { "subject": constraint } }));
            assert_eq!(more(&grant, way), [pattern], "{tool}");
            assert_eq!(grant.given.len(), OWN_INBOX_AND_ASKS + 1, "{tool} {pattern}");
        }
    }
    for pattern in [
        ">",
        "*.PING",
        "*.INFO.agents",
        "$SRV",
        "$SRV.*",
        "$SRV.>",
        "$SRV.*.agents",
        "$SRV.ping",
        "$SRV.SCHEMA.agents",
        "$SRV.PING.a.b.c",
        "$SRV.PING.*.*.>",
        "$SRVX.PING",
        "$SYS.PING",
        "$SYS.REQ.USER.INFO",
        "$JS.INFO.agents",
    ] {
        for tool in [PUBLISH, SUBSCRIBE] {
            let constraint = json!({ "constraint_type": "nats_subject", "pattern": pattern });
            let grant = of(&json!({ tool: { "subject": constraint } }));
            assert_eq!(grant.given.len(), OWN_INBOX_AND_ASKS, "{tool} {pattern}");
        }
    }
    // Neither a tool's name, nor a grant without a constraint, nor one that says nothing of it.
    for tools in [
        json!({ "nats:$SRV.PING": {} }),
        json!({ PUBLISH: {}, SUBSCRIBE: {} }),
        json!({ PUBLISH: { "subject": { "constraint_type": "wildcard" } } }),
        json!({ PUBLISH: { "subject": { "constraint_type": "not_one_of", "excluded": ["x"] } } }),
    ] {
        assert_eq!(of(&tools).given.len(), OWN_INBOX_AND_ASKS, "{tools}");
    }
}

#[test]
fn who_is_asked_may_answer() {
    let grant = of(&json!({ SUBSCRIBE: { "subject": { "constraint_type": "exact", "value": "agents.echo" } } }));
    assert_eq!(more(&grant, Way::Subscribe), ["agents.echo"]);
    assert!(grant.responses().is_some());
}

#[test]
fn the_leaf_decides_and_its_places() {
    let wide = json!({ "nats:tools.a": {}, "nats:tools.b": {}, PUBLISH: { "subject": { "constraint_type": "nats_subject", "pattern": "x.>" } } });
    let narrow = json!({ "nats:tools.a": {}, PUBLISH: { "subject": { "constraint_type": "nats_subject", "pattern": "x.y.>" } } });
    let grant = Grant::of_chain(&child(&wide, &narrow, None), &domain(), &View::new());
    assert_eq!(more(&grant, Way::Publish), ["marque.gate.tools.a", "tools.a", "x.y.>"]);
    let elsewhere = Some(vec!["nats://acme.example/tools.a".to_owned()]);
    let grant = Grant::of_chain(&child(&wide, &narrow, elsewhere), &domain(), &View::new());
    assert_eq!(more(&grant, Way::Publish), ["marque.gate.tools.a", "tools.a"]);
    assert_eq!(grant.withheld.len(), 1);
}

#[test]
fn a_live_narrowing_withholds_and_no_other_does() {
    let tools = subject(json!({ "constraint_type": "nats_subject", "pattern": "x.>" }));
    let under = |narrow: Value| more(&Grant::of_chain(&chain(&tools), &domain(), &narrowed(&narrow)), Way::Publish);
    assert_eq!(under(json!({ "nats:tools.other": { "a": { "constraint_type": "exact", "value": 1 } } })), ["x.>"]);
    // Of what it takes a part of, the rest is left; nothing is given that the chain does not have.
    assert_eq!(under(subject(json!({ "constraint_type": "nats_subject", "pattern": "x.y.>" }))), ["x.y.>"]);
    assert!(under(subject(json!({ "constraint_type": "nats_subject", "pattern": "y.>" }))).is_empty());
    assert!(under(subject(json!({ "constraint_type": "nats_subject", "pattern": "*.y" }))).is_empty());
    assert_eq!(under(subject(json!({ "constraint_type": "one_of", "values": ["y.a", "x.a", "x.b"] }))), ["x.a", "x.b"]);
    assert!(under(subject(json!({ "constraint_type": "not_one_of", "excluded": ["x.secret"] }))).is_empty());
    assert_eq!(under(subject(json!({ "constraint_type": "nats_subject", "pattern": "x.>" }))), ["x.>"]);
    assert_eq!(under(json!({ "*": { "subject": { "constraint_type": "exact", "value": "x.a" } } })), ["x.a"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a chain grants, each permission is an agent's own, or a tool's, or begins as no service's subject does.
    #[test]
    fn whatever_is_granted_stays_among_agents(pattern in "[a-z$_*>.]{1,12}", kind in 0u8..3) {
        let constraint = match kind {
            0 => json!({ "constraint_type": "nats_subject", "pattern": pattern }),
            1 => json!({ "constraint_type": "exact", "value": pattern }),
            _ => json!({ "constraint_type": "any", "constraints": [{ "constraint_type": "one_of", "values": [pattern] }] }),
        };
        let tools: Result<marque_credential::Tools, _> = serde_json::from_value(subject(constraint));
        prop_assume!(tools.is_ok());
        let grant = of(&serde_json::to_value(tools.unwrap()).unwrap());
        for beyond in ["$SYS.REQ.X", "$JS.API.INFO", "_INBOX.other.x", "marque.directive.key.x", "marque.record.decided.x", "tools.pay", "gated.x"] {
            let reached = grant.given.iter().any(|line| line.way == Way::Publish && subjects::matches(&line.subject, beyond));
            prop_assert!(!reached, "{:?} reaches {}", grant.given, beyond);
        }
    }
}
