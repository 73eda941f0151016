//! Erasure, end to end: what an erasable tool was called with is nowhere in the log, can be read until its data subject
//! is erased, is read by nobody afterwards, and every proof holds as before.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use marque::service_config::Service;
use marque_agent::enforce::{DataSubject, Policy};
use marque_agent::{Answer, CallError, Commission, Why};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, async_nats, subjects};
use marque_identity::Code;
use marque_judgement::record::{Body, Carried, Decided, Record, Requested};
use marque_judgement::sealed::subject_digest;
use marque_runtime::Clock;
use marque_tests::cast::{self, Carrier, GATED, HOSTED, tools};
use marque_tests::system::{DEADLINE, LogCopy, TestSystem};
use serde_json::{Value, json};

/// Whom the gated tool is asked about.
const JANE: &str = "jane-4711@example.org";
/// What it is asked, and why.
const QUESTION: &str = "her-overdue-invoices";
const REASON: &str = "she-asked-to-be-reminded";
/// What the hosted tool is asked, whose data subject is the agent.
const NOTE: &str = "a-note-of-the-agents-own";
/// An argument that is refused: denials' messages repeat values.
const REFUSED: u64 = 987_654_321_987;
/// What a tool that is not erasable is asked.
const CONTROL: &str = "control-in-the-clear";

/// Bases of base64 in base64: a proof in a record in a leaf, and what stands in the proof.
const DEPTH_MAX: usize = 4;
/// Shorter runs hold nothing that is looked for.
const RUN_MIN: usize = 16;

/// Which of the texts bytes hold, in the clear or in base64url, to any depth.
fn held<'t>(bytes: &[u8], texts: &[&'t str], depth: usize, found: &mut BTreeSet<&'t str>) {
    let read = String::from_utf8_lossy(bytes);
    found.extend(texts.iter().filter(|text| read.contains(**text)));
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if depth == DEPTH_MAX {
        return;
    }
    for run in bytes.split(|byte| !is_base64(byte)).filter(|run| run.len() >= RUN_MIN) {
        // In a file a run may begin with what does not belong to it.
        for skip in 0..if depth == 0 { 4 } else { 1 } {
            let run = &run[skip..];
            let whole = URL_SAFE_NO_PAD.decode(run);
            if let Ok(decoded) = whole.or_else(|_| URL_SAFE_NO_PAD.decode(&run[..run.len() / 4 * 4])) {
                held(&decoded, texts, depth + 1, found);
            }
        }
    }
}

/// Which of the texts the files below a folder hold.
fn found<'t>(folder: &Path, texts: &[&'t str]) -> BTreeSet<&'t str> {
    let mut all = BTreeSet::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            all.extend(found(&path, texts));
        } else {
            held(&std::fs::read(&path).unwrap_or_default(), texts, 0, &mut all);
        }
    }
    all
}

/// Asks the gated tool about somebody.
async fn ask_about(commission: &Commission, bus: &Bus, customer: &str, why: Why) -> Result<Answer, CallError> {
    let args = json!({ "customer": customer, "question": QUESTION, "account": 3 });
    commission.on(bus).call_via_gate(GATED, &args, why).await
}

/// An agent's own statement of such a call would bring its arguments into the log: the gatekeeper refuses it.
async fn states_nothing_of_its_own(carrier: &Carrier) {
    let actor = carrier.commission.on(&carrier.bus);
    let args = json!({ "customer": JANE }).to_string();
    let proof = actor.prove(&format!("nats:{GATED}"), args.as_bytes(), None, None, Why::because(REASON)).unwrap().proof;
    let own = carrier.seed.did();
    let body = Body::Requested(Requested { proof: Carried::of(&proof) });
    let record = Record { agent: Some(own), ..Record::new(Clock::new().unix_millis(), own, body) };
    let statement = record.seal(&carrier.seed).unwrap();
    let subject = subjects::record("requested", Some(&own));
    let refused = carrier.bus.request(&subject, HeaderMap::new(), statement, DEADLINE).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotAuthorized, "{refused}");
}

/// A question to the verifier about a tool that is erasable in its host alone: recorded in the clear.
async fn control(system: &TestSystem, commission: &Commission) {
    let bus = system.bus(BusRole::Host).await.unwrap();
    let tool = format!("nats:{HOSTED}");
    let args = json!({ "account": 1, "note": CONTROL });
    let audience = Some(format!("nats://{}/{HOSTED}", system.domain()));
    let proof = commission.on(&bus).prove(&tool, args.to_string().as_bytes(), audience, None, Why::because(CONTROL));
    let answer = cast::decide(&bus, commission, &tool, &args, &proof.unwrap().proof).await;
    assert_eq!(answer["decision"], json!(true), "{answer}");
}

fn explained(system: &TestSystem, id: &str) -> Value {
    let (code, said) = system.marque(&["audit", "explain", id]);
    assert_eq!(code, 0, "{said}");
    said
}

fn decided<'r>(copy: &'r LogCopy, id: &str) -> (&'r Record, &'r Decided) {
    let record = copy.records.iter().flatten().find(|record| record.id == id).expect("it is in the log");
    let Body::Decided(decided) = &record.body else { panic!("{record:?}") };
    (record, decided)
}

/// Each key's actions: counted without a gap, each naming the proof before it.
fn chains_are_whole(copy: &LogCopy) {
    let mut chains: BTreeMap<String, BTreeMap<u64, &Decided>> = BTreeMap::new();
    for record in copy.records.iter().flatten() {
        if let (Body::Decided(decided), Some(agent)) = (&record.body, record.agent)
            && let Some(seq) = decided.seq
        {
            assert!(chains.entry(agent.to_string()).or_default().insert(seq, decided).is_none(), "{seq} twice");
        }
    }
    assert!(chains.values().any(|chain| chain.len() > 2));
    for chain in chains.values() {
        let mut before = None;
        for (n, (seq, decided)) in (1..).zip(chain) {
            assert_eq!((*seq, decided.prev), (n, before));
            before = decided.proof.as_ref().map(|proof| match proof {
                Carried::Compact(proof) => marque_signing::sha256(proof.as_bytes()),
                Carried::Elided(proof) => proof.sha256,
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_of_a_data_subject_is_erased_and_every_proof_holds() {
    let erasable = format!("[verifier.erasable]\n\"nats:{GATED}\" = \"customer\"\n");
    let withheld = format!("erasable = [\"nats:{GATED}\", \"nats:{HOSTED}\"]");
    let settings = [(Service::Verifier, erasable.as_str()), (Service::Gatekeeper, &withheld)];
    let system = TestSystem::start_with(&[cast::blueprint()], &settings).await.unwrap();
    let carrier = Carrier::of_cast(&system).await;
    let bus = carrier.bus.clone();
    let policy = Policy::new(system.domain().clone()).erasing(format!("nats:{HOSTED}"), DataSubject::Agent);
    let host = cast::host(&system, policy).await;
    let _gated = cast::plain_tool(&system).await;
    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;

    // 1. Asked about Jane, at the gate; something of the agent's own, at a host; something that is refused.
    let first = ask_about(&root, &bus, JANE, Why::because(REASON)).await.unwrap();
    let about_jane = first.record.unwrap();
    let args = json!({ "account": 1, "note": NOTE });
    let own = root.on(&bus).call(HOSTED, &args, Why::because(NOTE)).await.unwrap().record.unwrap();
    let small = json!({ "constraint_type": "range", "max": 9 });
    let any = json!({ "constraint_type": "wildcard" });
    let map = json!({ "customer": any, "question": any, "account": small });
    let child = cast::delegate(&root, tools(json!({ format!("nats:{GATED}"): map })), 0);
    let args = json!({ "customer": JANE, "question": QUESTION, "account": REFUSED });
    let refused = child.on(&bus).call_via_gate(GATED, &args, Why::because(REASON)).await.unwrap_err();
    let refused = refused.denial().expect("denied").clone();
    assert_eq!(refused.code, Code::ArgumentRefused);
    let refused_id = refused.record.clone().unwrap();
    let led = Why::because(REASON).caused_by(first.action);
    let followed = ask_about(&root, &bus, "somebody-else", led).await.unwrap().record.unwrap();
    states_nothing_of_its_own(&carrier).await;
    control(&system, &root).await;

    // 2. Nothing of it is in the log, in no file of it, in any form; nor in the sink's state or the broker's stream.
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    let export = tempfile::tempdir().unwrap();
    assert_eq!(system.marque(&["log", "export", &export.path().display().to_string()]).0, 0);
    let folders = [export.path(), system.directory().path()];
    for folder in folders {
        let refused = REFUSED.to_string();
        let found = found(folder, &[CONTROL, JANE, QUESTION, REASON, NOTE, &refused]);
        assert_eq!(found, BTreeSet::from([CONTROL]), "what is in the clear is found, and nothing else");
    }
    chains_are_whole(&copy);

    // 3. Explaining reveals it, held to what the record commits to.
    let said = explained(&system, &about_jane);
    assert_eq!(said["revealed"]["state"], "revealed", "{said}");
    assert_eq!(said["revealed"]["arguments"]["customer"], JANE);
    assert_eq!(said["revealed"]["why"], REASON);
    assert_eq!((&said["arguments"], &said["claimed"]["why"]), (&Value::Null, &Value::Null));
    assert_eq!(said["followed"][0]["record"], json!(followed), "what it led to is known without its proof");
    assert_eq!(explained(&system, &own)["revealed"]["arguments"]["note"], NOTE);
    assert_eq!(explained(&system, &refused_id)["revealed"]["message"], json!(refused.message));

    // 4. Jane is erased: said before it is done, and the key's bytes leave the disk.
    let jane = subject_digest(system.domain(), JANE);
    let operator = system.bus(BusRole::Operator).await.unwrap();
    let public = operator.sealing_key(&jane).await.unwrap().expect("she has a key").payload;
    let public = std::str::from_utf8(&public).unwrap();
    let private = operator.sealing_private(&jane, public).await.unwrap().unwrap().payload;
    let streams = system.directory().path().join("nats");
    let on_disk = |bytes: &[u8]| holds_raw(&streams, bytes);
    assert!(on_disk(&private));
    let (code, dry) = system.marque(&["audit", "erase", JANE, "--reason", "not yet", "--dry-run"]);
    assert_eq!((code, &dry["subject"]), (0, &json!(jane)), "{dry}");
    assert_eq!(explained(&system, &about_jane)["revealed"]["state"], "revealed", "a dry run erases nothing");
    let (code, erased) = system.marque(&["audit", "erase", JANE, "--reason", "asked for under article 17"]);
    assert_eq!((code, &erased["keys"], &erased["payloads"]), (0, &json!(1), &json!(2)), "{erased}");
    assert!(!on_disk(&private));

    // 5. Nobody reads it any more; the others' are as they were; she may be asked about again.
    assert_eq!(explained(&system, &about_jane)["revealed"], json!({ "state": "erased" }));
    assert_eq!(explained(&system, &refused_id)["revealed"]["state"], "erased");
    assert_eq!(explained(&system, &own)["revealed"]["state"], "revealed");
    let again = ask_about(&root, &bus, JANE, Why::because(REASON)).await.unwrap().record.unwrap();

    // 6. The log is as whole as before, and tells of the erasure to whom the salt was given.
    host.served.drain(DEADLINE).await;
    let after = system.copy_log().await.unwrap();
    assert!(after.verified, "{}", after.report);
    assert_eq!(explained(&system, &again)["revealed"]["why"], REASON);
    assert_eq!(after.records[..copy.records.len()], copy.records[..]);
    chains_are_whole(&after);
    for id in [&about_jane, &refused_id] {
        let (code, proof) = system.marque(&["audit", "proof", id]);
        assert_eq!(code, 0, "{proof}");
        assert!(decided(&after, id).1.sealed.as_ref().unwrap().commitment.is_some());
    }
    let told = after.records.iter().flatten().find_map(|record| match &record.body {
        Body::Erased(erased) => Some(erased.clone()),
        _ => None,
    });
    let told = told.expect("the erasure is recorded, by who may");
    let salt = URL_SAFE_NO_PAD.decode(erased["salt"].as_str().unwrap()).unwrap();
    assert_eq!(told.commitment, marque_signing::sha256(&[&salt[..], &jane.0].concat()));
    let (code, replayed) = system.marque(&["audit", "replay"]);
    assert_eq!((code, &replayed["otherwise"]), (0, &json!([])), "{replayed}");
    let unknown = replayed["not_judged"].as_object().unwrap();
    assert_eq!(unknown.get("its proof is not carried"), Some(&json!(5)), "{replayed}");
    system.stop().await;
}

fn holds_raw(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => holds_raw(&path, bytes),
        false => std::fs::read(&path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes),
    })
}
