//! What comes on top of AAT §8: time once more, directives, narrowings, freshness, replay.

mod scene;

use std::sync::Arc;
use std::time::Duration;

use marque_credential::{Assurance, IdentityClaims, IdentityCredential, Runtime};
use marque_identity::{Code, Digest, Epoch, TokenId, TrustDomain, UnixMillis, UnixSeconds};
use marque_judgement::record::{Body, Record, Verb, judge};
use marque_judgement::{
    ChainCache, Decision, DecisionPolicy, Now, ReplayGuard, VerifiedChain, action, check_credential, decide,
};
use marque_revocation::{Directive, DirectiveId, Event, Heartbeat, Item, Op, SetDigest, SignedDirective, Target, View};
use proptest::prelude::*;
use scene::{NOW, Scene, key};
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(2);
const AT: Duration = Duration::from_secs(100);

fn domain() -> TrustDomain {
    "acme.example".parse().expect("a name")
}

/// A scene whose root has our claims.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.tokens[0]["task"] = "urn:task:q3".into();
    scene.tokens[0]["purpose"] = "report".into();
    scene.tokens[0]["agent"] = json!({
        "did": key(2).did().to_string(), "blueprint": "analyst", "sponsor": "team-a",
        "manifest_hash": Digest([7; 32]).to_string(), "vc_hash": Digest([8; 32]).to_string(),
    });
    scene
}

fn heartbeat(epoch: u64, set: &[&SignedDirective]) -> Item {
    let mut set_digest = SetDigest::default();
    set.iter().for_each(|directive| set_digest.insert(&directive.digest()));
    Item::Heartbeat(Heartbeat {
        iss: key(50).did(),
        t: UnixMillis(NOW.0 * 1000),
        boot: UnixMillis(0),
        n: epoch,
        epoch: Epoch(epoch),
        active: set.len() as u64,
        set_digest,
    })
}

/// A view that has seen these directives committed, then a heartbeat, just now.
fn view(directives: &[SignedDirective]) -> View {
    let mut view = View::new();
    let mut seq = 0;
    let mut commit = |item| {
        seq += 1;
        view.on(Event::Committed { seq: Epoch(seq), item }, AT);
    };
    commit(heartbeat(1, &[]));
    for directive in directives {
        commit(Item::Directive(Arc::new(directive.clone())));
    }
    commit(heartbeat(2 + directives.len() as u64, &directives.iter().collect::<Vec<_>>()));
    // The start of the stream is empty: nothing lies before what was seen.
    view.on(Event::Filled { from: Epoch(1), items: Vec::new() }, AT);
    view
}

fn directive(op: Op, target: Target, narrow: Option<Value>) -> SignedDirective {
    let directive = Directive {
        id: DirectiveId::from_bytes([9; 16]),
        op,
        target,
        until: None,
        narrow,
        lifts: None,
        reason: "test".into(),
        requested_by: key(50).did(),
        iat: NOW,
        domain: domain(),
    };
    SignedDirective::sign(directive, &key(50)).expect("a directive")
}

struct Ran {
    chain: VerifiedChain,
    decision: Decision,
}

impl Ran {
    fn step(&self) -> &'static str {
        match &self.decision {
            Decision::Permit(_) => "permit",
            Decision::Deny(denial) => denial.step(),
        }
    }

    fn code(&self) -> Option<Code> {
        match &self.decision {
            Decision::Permit(_) => None,
            Decision::Deny(denial) => Some(denial.code()),
        }
    }
}

fn run_with(scene: &Scene, view: &View, replay: &ReplayGuard, now: Now) -> Ran {
    let chain = scene.chain().expect("the chain holds");
    let (_, proof) = scene.signed();
    let args = scene.args();
    let call = marque_judgement::Call { tool: &scene.tool, args: &args };
    let domain = domain();
    let policy = DecisionPolicy::new(&scene.audience, &domain, BOUND);
    let decision = decide(&chain, &call, &proof, &policy, view, replay, now);
    Ran { chain, decision }
}

fn run(scene: &Scene, view: &View) -> Ran {
    run_with(scene, view, &ReplayGuard::default(), Now { unix: NOW, monotonic: AT })
}

#[test]
fn permits_under_a_fresh_clear_view() {
    let ran = run(&scene(), &view(&[]));
    let Decision::Permit(permit) = &ran.decision else { panic!("{:?}", ran.decision) };
    assert_eq!(permit.basis().view_age, Some(Duration::ZERO));
    assert_eq!(permit.proof().claimed().seq, Some(1));
    assert_eq!(permit.proof().claimed().why.as_deref(), Some("to read it"));
}

#[test]
fn step_9_ends_a_chain_by_any_name_it_goes_by() {
    let chain = scene().chain().unwrap();
    let targets = [
        Target::Token(*chain.root().digest()),
        Target::Token(*chain.links()[1].digest()),
        Target::Token(*chain.leaf().digest()),
        Target::Key(key(2).did()),
        Target::Key(key(3).did()),
        Target::Key(key(4).did()),
        Target::Blueprint("analyst".parse().unwrap()),
        Target::Task("urn:task:q3".parse().unwrap()),
        Target::Manifest(Digest([7; 32])),
        Target::Issuer(scene::ISSUER.to_owned()),
        Target::Domain(domain()),
    ];
    for target in targets {
        for (op, code) in [(Op::Revoke, Code::Revoked), (Op::Suspend, Code::Suspended)] {
            let ran = run(&scene(), &view(&[directive(op, target.clone(), None)]));
            assert_eq!((ran.step(), ran.code()), ("9", Some(code)), "{target:?}");
            let Decision::Deny(denial) = &ran.decision else { unreachable!() };
            assert_eq!(denial.directive(), Some("09090909-0909-0909-0909-090909090909"));
            assert_eq!(denial.claimed().why.as_deref(), Some("to read it"));
        }
    }
    let others = [
        Target::Token(Digest([1; 32])),
        Target::Key(key(9).did()),
        Target::Blueprint("other".parse().unwrap()),
        Target::Task("urn:task:q4".parse().unwrap()),
        Target::Manifest(Digest([6; 32])),
        Target::Issuer("https://other.example".to_owned()),
    ];
    for target in others {
        assert_eq!(run(&scene(), &view(&[directive(Op::Revoke, target.clone(), None)])).step(), "permit", "{target:?}");
    }
}

#[test]
fn step_9_ends_an_identity_credential_by_any_name_it_goes_by() {
    let claims = IdentityClaims {
        jti: TokenId::generate(),
        iat: NOW,
        exp: NOW.plus(60),
        subject: key(2).did(),
        blueprint: "analyst".parse().unwrap(),
        sponsor: "team-a".parse().unwrap(),
        runtime: Runtime {
            model_id: "test/model-1".into(),
            manifest_hash: Some(Digest([7; 32])),
            assurance: Assurance::Claimed,
        },
        evidence: Vec::new(),
        status: None,
    };
    let token = IdentityCredential::issue(&key(1), &claims).unwrap();
    let credential = IdentityCredential::verify(&token, &[key(1).public()], NOW).unwrap();
    let checked = |view: &View| check_credential(&credential, &domain(), view, BOUND, AT);
    let own = [
        Target::Token(credential.digest()),
        Target::Key(key(2).did()),
        Target::Blueprint("analyst".parse().unwrap()),
        Target::Manifest(Digest([7; 32])),
        Target::Issuer(domain().issuer_uri()),
        Target::Domain(domain()),
    ];
    for target in own {
        for (op, code) in [(Op::Revoke, Code::Revoked), (Op::Suspend, Code::Suspended)] {
            let (refusal, by) = checked(&view(&[directive(op, target.clone(), None)])).unwrap_err();
            assert_eq!((refusal.step, refusal.code), ("9", code), "{target:?}");
            assert_eq!(by.as_deref(), Some("09090909-0909-0909-0909-090909090909"));
        }
        let narrowing = directive(Op::Narrow, target, Some(json!({"tools": {"*": {}}})));
        assert_eq!(checked(&view(&[narrowing])), Ok(()), "it is about what a chain grants");
    }
    let others = [
        Target::Token(Digest([1; 32])),
        Target::Key(key(3).did()),
        Target::Blueprint("other".parse().unwrap()),
        Target::Manifest(Digest([6; 32])),
        Target::Issuer("https://other.example".to_owned()),
    ];
    for target in others {
        assert_eq!(checked(&view(&[directive(Op::Revoke, target.clone(), None)])), Ok(()), "{target:?}");
    }
    let (refusal, by) = checked(&View::new()).unwrap_err();
    assert_eq!((refusal.step, refusal.code, by), ("11", Code::ViewStale, None));
}

#[test]
fn step_9_denies_where_a_root_can_not_be_matched() {
    let mut scene = scene();
    scene.tokens[0]["agent"]["blueprint"] = "Not A Name".into();
    assert_eq!(run(&scene, &view(&[])).step(), "9");
    // The algorithm itself ignores claims that are not the draft's.
    assert_eq!(scene.verdict(), "permit");
}

#[test]
fn step_14_denies_a_manifest_that_is_not_the_roots() {
    let said = |said: Value, root: Option<Digest>| {
        let mut scene = scene();
        scene.proof["manifest_hash"] = said;
        match root {
            Some(root) => scene.tokens[0]["agent"]["manifest_hash"] = root.to_string().into(),
            None => drop(scene.tokens[0]["agent"].as_object_mut().unwrap().remove("manifest_hash")),
        }
        run(&scene, &view(&[]))
    };
    let same = said(Digest([7; 32]).to_string().into(), Some(Digest([7; 32])));
    let Decision::Permit(permit) = &same.decision else { panic!("{:?}", same.decision) };
    assert_eq!(permit.proof().claimed().manifest_hash, Some(Digest([7; 32])));
    for (claim, root) in [
        (json!(Digest([6; 32]).to_string()), Some(Digest([7; 32]))),
        (json!(Digest([7; 32]).to_string()), None),
        (json!(""), Some(Digest([7; 32]))),
        (json!("seven"), None),
        (json!(7), Some(Digest([7; 32]))),
        (Value::Null, Some(Digest([7; 32]))),
    ] {
        let ran = said(claim.clone(), root);
        assert_eq!((ran.step(), ran.code()), ("14", Some(Code::ManifestChanged)), "{claim}");
        let Decision::Deny(denial) = &ran.decision else { unreachable!() };
        let presented = action::Presented {
            by: key(60).did(),
            iat_ms: UnixMillis(NOW.0 * 1000),
            tool: "read",
            proof: "",
            input: b"",
            audience: None,
        };
        let risk = action::risk(denial, &ran.chain, &presented).expect("it is a risk");
        let Body::Risk(body) = &risk.body else { panic!("{risk:?}") };
        assert_eq!(body.signal, "manifest_changed");
        assert_eq!((risk.agent, risk.token), (Some(key(4).did()), Some(*ran.chain.leaf().digest())));
    }
    // A denial of another rule is none; and that rule speaks first.
    let mut outside = scene();
    outside.proof["manifest_hash"] = Digest([6; 32]).to_string().into();
    let ran = run(&outside, &view(&[directive(Op::Revoke, Target::Key(key(4).did()), None)]));
    assert_eq!(ran.step(), "9");
}

#[test]
fn step_14_consumes_no_proof() {
    let (mut changed, replay) = (scene(), ReplayGuard::default());
    changed.proof["manifest_hash"] = Digest([6; 32]).to_string().into();
    let now = Now { unix: NOW, monotonic: AT };
    assert_eq!(run_with(&changed, &view(&[]), &replay, now).step(), "14");
    assert_eq!(run_with(&scene(), &view(&[]), &replay, now).step(), "permit");
}

#[test]
fn step_10_narrows_and_only_narrows() {
    let narrowed = |narrow: Value| {
        let directive = directive(Op::Narrow, Target::Key(key(4).did()), Some(narrow));
        run(&scene(), &view(&[directive]))
    };
    let exact = |value: &str| json!({"path": {"constraint_type": "exact", "value": value}});
    assert_eq!(narrowed(json!({"tools": {"read": exact("/a")}})).step(), "permit");
    assert_eq!(narrowed(json!({"tools": {"*": exact("/a")}})).step(), "permit");
    assert_eq!(narrowed(json!({"tools": {"send": exact("/b")}})).step(), "permit");
    for narrow in [
        json!({"tools": {"read": exact("/b")}}),
        json!({"tools": {"*": exact("/b")}}),
        json!({"tools": {"read": exact("/b"), "*": {}}}),
        json!({"tools": {"read": {"path": {"constraint_type": "unheard_of"}}}}),
        json!({"tools": {"send": {"path": {"constraint_type": "unheard_of"}}}}),
    ] {
        let ran = narrowed(narrow.clone());
        assert_eq!((ran.step(), ran.code()), ("10", Some(Code::Narrowed)), "{narrow}");
    }
    assert!(marque_judgement::validate_narrowing(&json!({"tools": {"read": exact("/b")}})).is_ok());
    assert!(marque_judgement::validate_narrowing(&json!({"tools": {"read": {"path": 1}}})).is_err());
    // A narrowing adds nothing: what the chain refuses stays refused, at its own step.
    let mut scene = scene();
    scene.args = r#"{"path":"/c"}"#.into();
    let wide = directive(Op::Narrow, Target::Domain(domain()), Some(json!({"tools": {"*": {}}})));
    assert_eq!(run(&scene, &view(&[wide])).step(), "6b");
}

#[test]
fn step_11_denies_under_a_cold_or_stale_view() {
    let cold = run(&scene(), &View::new());
    assert_eq!((cold.step(), cold.code()), ("11", Some(Code::ViewStale)));
    let at = |monotonic| run_with(&scene(), &view(&[]), &ReplayGuard::default(), Now { unix: NOW, monotonic });
    assert_eq!(at(AT + BOUND).step(), "permit");
    assert_eq!(at(AT + BOUND + Duration::from_millis(1)).step(), "11");
}

/// What may happen to a view before a decision.
#[derive(Debug, Clone)]
enum Happens {
    /// A heartbeat comes live: it may lie of the set, and may come without the message before it.
    Beat { lies: bool, behind_a_gap: bool },
    /// The message that is missing is read, as nothing.
    Filled,
    /// The task is suspended: by the raw copy, or the committed one.
    Suspend { raw: bool },
    /// Time goes by.
    Wait { ms: u64 },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(lies, behind_a_gap)| Happens::Beat { lies, behind_a_gap }),
        2 => Just(Happens::Filled),
        1 => any::<bool>().prop_map(|raw| Happens::Suspend { raw }),
        3 => (0u64..3000).prop_map(|ms| Happens::Wait { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Promise 6, by a model of its own: permitted exactly while a true heartbeat of the bound's age or younger came
    /// live, with all before it held, and no directive stands against the call.
    #[test]
    fn permits_by_what_is_known_for_certain_and_denies_by_all_else(story in prop::collection::vec(happens(), 1..24)) {
        let scene = scene();
        let task = || directive(Op::Suspend, Target::Task("urn:task:q3".parse().expect("a task")), None);
        let mut view = View::new();
        let (mut now, mut seq, mut held) = (AT, 0, 0);
        // What waits behind a gap: when it came, and whether it is true.
        let mut waiting: Vec<(u64, Option<(Duration, bool)>)> = Vec::new();
        let (mut proven, mut is_true) = (None, true);
        let (mut suspended, mut committed) = (false, false);
        for event in story {
            match event {
                Happens::Wait { ms } => now += Duration::from_millis(ms),
                Happens::Filled => {
                    view.on(Event::Filled { from: Epoch(held + 1), items: vec![(Epoch(held + 1), Item::Skipped)] }, now);
                    if seq > held && waiting.iter().all(|(at, _)| *at != held + 1) {
                        waiting.push((held + 1, None));
                    }
                    seq = seq.max(held + 1);
                    if waiting.is_empty() { held += 1; }
                }
                Happens::Suspend { raw: true } => {
                    view.on(Event::Raw(Arc::new(task())), now);
                    suspended = true;
                }
                Happens::Suspend { raw: false } => {
                    seq += 1;
                    view.on(Event::Committed { seq: Epoch(seq), item: Item::Directive(Arc::new(task())) }, now);
                    waiting.push((seq, None));
                    (suspended, committed) = (true, true);
                }
                Happens::Beat { lies, behind_a_gap } => {
                    seq += 1 + u64::from(behind_a_gap);
                    let set = task();
                    let set: &[&SignedDirective] = if committed != lies { &[&set] } else { &[] };
                    let Item::Heartbeat(mut beat) = heartbeat(seq, set) else { unreachable!("it is one") };
                    beat.t = UnixMillis(i64::try_from(now.as_millis()).expect("a short story"));
                    view.on(Event::Committed { seq: Epoch(seq), item: Item::Heartbeat(beat) }, now);
                    waiting.push((seq, Some((now, !lies))));
                }
            }
            waiting.sort_by_key(|(at, _)| *at);
            while waiting.first().is_some_and(|(at, _)| *at == held + 1) {
                let (at, beat) = waiting.remove(0);
                held = at;
                if let Some((came, told_truth)) = beat {
                    (proven, is_true) = (proven.max(Some(came)), told_truth);
                }
            }
            let is_fresh = is_true && proven.is_some_and(|at| now - at <= BOUND);
            let ran = run_with(&scene, &view, &ReplayGuard::default(), Now { unix: NOW, monotonic: now });
            match ran.step() {
                "permit" => prop_assert!(is_fresh && !suspended),
                "9" => prop_assert!(suspended),
                "11" => {
                    prop_assert!(!is_fresh);
                    prop_assert_eq!(ran.code(), Some(if is_true { Code::ViewStale } else { Code::ViewDiverged }));
                }
                other => prop_assert!(false, "denied at {other}"),
            }
        }
    }
}

#[test]
fn step_7i_accepts_a_proof_once_and_only_when_it_permits() {
    let replay = ReplayGuard::default();
    let now = Now { unix: NOW, monotonic: AT };
    // A denial consumes nothing.
    assert_eq!(run_with(&scene(), &View::new(), &replay, now).step(), "11");
    assert_eq!(run_with(&scene(), &view(&[]), &replay, now).step(), "permit");
    let again = run_with(&scene(), &view(&[]), &replay, now);
    assert_eq!((again.step(), again.code()), ("7i", Some(Code::ProofReplayed)));
    let mut other = scene();
    other.proof["jti"] = "proof-2".into();
    assert_eq!(run_with(&other, &view(&[]), &replay, now).step(), "permit");
    let full = run_with(&scene(), &view(&[]), &ReplayGuard::new(0), now);
    assert_eq!((full.step(), full.code()), ("7i", Some(Code::ReplayUndecided)));
}

#[test]
fn time_is_looked_at_again_on_every_action() {
    let mut scene = scene();
    let later = UnixSeconds(NOW.0 + 900);
    scene.proof["iat"] = later.0.into();
    let now = Now { unix: later, monotonic: AT };
    let ran = run_with(&scene, &view(&[]), &ReplayGuard::default(), now);
    assert_eq!((ran.step(), ran.code()), ("4i", Some(Code::TokenExpired)));
    scene.proof["iat"] = (later.0 - 1).into();
    let now = Now { unix: UnixSeconds(later.0 - 1), monotonic: AT };
    assert_eq!(run_with(&scene, &view(&[]), &ReplayGuard::default(), now).step(), "permit");
}

#[test]
fn a_decision_becomes_a_record_that_holds() {
    let scene = scene();
    let (_, proof) = scene.signed();
    let presented = action::Presented {
        by: key(60).did(),
        iat_ms: UnixMillis(1),
        tool: &scene.tool,
        proof: &proof,
        input: scene.args.as_bytes(),
        audience: Some(scene::HERE),
    };
    let revoked = view(&[directive(Op::Revoke, Target::Domain(domain()), None)]);
    for (view, verb) in [(view(&[]), Verb::Permit), (revoked, Verb::Deny)] {
        let ran = run(&scene, &view);
        let record = action::decided(&ran.decision, &ran.chain, &presented);
        let sealed = record.seal(&key(60)).unwrap();
        let opened = Record::open(&sealed, |by, _| *by == key(60).did()).unwrap();
        assert_eq!(opened, record);
        let Body::Decided(decided) = &opened.body else { panic!("{opened:?}") };
        assert_eq!((decided.decision, decided.why.as_deref()), (verb, Some("to read it")));
        assert_eq!(decided.proof.as_ref().unwrap().compact(), Some(&*proof));
        assert_eq!((opened.links.len(), opened.task.as_ref().unwrap().as_str()), (3, "urn:task:q3"));
        assert_eq!(opened.key(), key(4).did().multibase());
        assert!(Record::open(&sealed, |_, _| false).is_err());
        assert!(Record::open(&sealed.replace('a', "b"), |_, _| true).is_err());
        assert!(record.seal(&key(61)).is_err());
    }
    let delegated = action::delegated(&scene.chain().unwrap(), 2, key(60).did(), UnixMillis(1)).unwrap();
    assert_eq!(delegated.agent, Some(key(4).did()));
    assert!(action::delegated(&scene.chain().unwrap(), 0, key(60).did(), UnixMillis(1)).is_none());
    assert!(action::delegated(&scene.chain().unwrap(), 3, key(60).did(), UnixMillis(1)).is_none());
}

#[test]
fn a_record_is_judged_under_the_bundle() {
    use marque_signing::{Role, ServiceKey, TrustBundle};
    let service = |role, n: u8| ServiceKey { role, name: "x".into(), did: key(n).did() };
    let bundle = TrustBundle {
        trust_domain: domain(),
        version: 1,
        issued_at: NOW,
        issuers: Vec::new(),
        services: vec![service(Role::Host, 60), service(Role::Broadcaster, 50)],
        operators: Vec::new(),
    };
    let ran = run(&scene(), &view(&[]));
    let presented = action::Presented {
        by: key(60).did(),
        iat_ms: UnixMillis(1),
        tool: "read",
        proof: "",
        input: b"{}",
        audience: None,
    };
    let mut record = action::decided(&ran.decision, &ran.chain, &presented);
    let judged = judge(record.seal(&key(60)).unwrap().as_bytes(), &bundle);
    assert_eq!((judged.verdict.as_str(), judged.id.as_ref()), ("valid", Some(&record.id)));
    record.by = key(50).did();
    assert_eq!(judge(record.seal(&key(50)).unwrap().as_bytes(), &bundle).verdict, "not_authorized");
    assert_eq!(judge(b"\xff", &bundle).verdict, "malformed");
    assert_eq!(judge(b"a.b.c", &bundle).verdict, "malformed");
    // The largest that may be said still fits the stream.
    let mut long = scene();
    long.proof["why"] = "\u{1}".repeat(8000).into();
    let ran = run(&long, &view(&[]));
    let (_, proof) = long.signed();
    let presented = action::Presented { proof: &proof, by: key(60).did(), ..presented };
    assert!(action::decided(&ran.decision, &ran.chain, &presented).seal(&key(60)).is_ok());
}

#[test]
fn the_cache_finds_exactly_what_was_verified_and_stays_bounded() {
    let mut cache = ChainCache::new(4);
    let chain = scene().chain().unwrap();
    let (text, digest) = (chain.text().to_owned(), chain.digest());
    assert!(cache.get(&text).is_none());
    cache.insert(chain);
    assert!(cache.get(&text).is_some() && cache.get_by_digest(&digest).is_some());
    assert!(cache.get(&format!("{text}~")).is_none());
    assert!(cache.get(&text.replacen('e', "f", 1)).is_none());
    assert!(cache.get("").is_none());
    for n in 0..10 {
        let mut scene = scene();
        scene.tokens[2]["jti"] = format!("other-{n}").into();
        cache.insert(scene.chain().unwrap());
        assert!(cache.len() <= 4);
    }
    assert!(cache.get(&text).is_none() && cache.get_by_digest(&digest).is_none());
    cache.clear();
    assert!(cache.is_empty());
}
