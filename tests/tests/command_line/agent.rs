//! `agent`, `blueprint`, `token`, `nats permissions`: who an agent is and what it may do, by hand.

use marque_agent::{AgentKey, attest};
use marque_judgement::record::Record;
use marque_test_support::eventually;
use marque_tests::cast::{GATED, HOSTED};
use marque_tests::system::DEADLINE;
use serde_json::{Value, json};

use super::{BLUEPRINT, MODEL, Stage, TASK, both_tools, exists, said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_invited_enrolled_and_renewed_by_hand() {
    let stage = Stage::start().await;
    // 1. The kinds that there are.
    let listed = stage.yes(&["blueprint", "ls"]);
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|blueprint| &blueprint["name"]).collect();
    assert!(names.contains(&&json!(BLUEPRINT)), "{listed}");
    assert!(stage.human(&["blueprint", "ls"]).lines().any(|line| line.starts_with(BLUEPRINT)));
    assert_eq!(stage.said("ndjson", &["blueprint", "ls"]).lines().len(), names.len(), "one on each line");
    assert_eq!(stage.yes(&["blueprint", "info", BLUEPRINT])["name"], BLUEPRINT);
    assert_eq!(stage.refused(6, &["blueprint", "info", "nobody"])["code"], "blueprint_unknown");
    // 2. An invitation: the token alone on stdout.
    let invited = stage.said("human", &["agent", "invite", "--blueprint", BLUEPRINT]);
    let join = invited.out.trim();
    assert!(invited.code == 0 && join.split('.').count() == 3 && invited.err.contains("marque agent enrol"));
    // 3. Enrolled, once; a dry run makes nothing.
    let home = stage.path("agent");
    let enrol = ["agent", "enrol", "--home", &home, "--model", MODEL, "--join", join];
    assert_eq!(stage.yes(&[&enrol[..], &["--dry-run"]].concat())["blueprint"], BLUEPRINT);
    assert!(!exists(&home), "a dry run makes no key");
    let enrolled = stage.yes(&enrol);
    let another = stage.path("another");
    let again = ["agent", "enrol", "--home", &another, "--model", MODEL, "--join", join];
    assert_eq!(stage.refused(6, &again)["code"], "join_token_used");
    let wrong = stage.system.join_token(BLUEPRINT).unwrap();
    let other = ["agent", "enrol", "--home", &another, "--model", "other/model", "--join", &wrong];
    assert_eq!(stage.refused(1, &other)["code"], "model_not_allowed");
    // 4. Who it is, by its folder; a dry run renews nothing.
    let info = stage.yes(&["agent", "info", "--home", &home]);
    assert_eq!((&info["agent"], &info["actions_signed"]), (&enrolled["agent"], &json!(0)));
    assert!(stage.human(&["agent", "info", "--home", &home]).contains(BLUEPRINT));
    let credential = || std::fs::read_to_string(format!("{home}/credential.jwt")).unwrap();
    let before = credential();
    assert_eq!(stage.yes(&["agent", "renew", "--home", &home, "--dry-run"])["dry_run"], true);
    assert_eq!(credential(), before);
    stage.yes(&["agent", "renew", "--home", &home]);
    assert_ne!(credential(), before);
    let file = format!("{home}/credential.jwt");
    assert_eq!(stage.yes(&["token", "verify", &file])["agent"], enrolled["agent"]);
    assert_eq!(stage.yes(&["token", "inspect", &file])["tokens"][0]["kind"], "identity credential");
    assert!(stage.yes(&["nats", "permissions", &file])["may_answer"].is_boolean());
    // 5. A sidecar's dry run runs nothing; run, its command's exit code is passed on.
    let touched = stage.path("touched");
    let tools = both_tools().to_string();
    let run = ["agent", "run", "--home", &home, "--task", TASK, "--purpose", "p", "--tools", &tools];
    let told = stage.yes(&[&run[..], &["--dry-run", "--", "touch", &touched]].concat());
    assert_eq!((&told["dry_run"], &told["enrol"], &told["command"][0]), (&true.into(), &false.into(), &"touch".into()));
    assert!(!exists(&touched));
    let ran = stage.said("json", &[&run[..], &["--", "sh", "-c", "touch \"$0\"; exit 7", &touched]].concat());
    assert!(ran.code == 7 && ran.out.is_empty() && exists(&touched), "{ran:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commission_is_issued_delegated_and_looked_at_by_hand() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let tools = both_tools().to_string();
    fn issue<'a>(home: &'a str, tools: &'a str) -> Vec<&'a str> {
        vec!["token", "issue", "--home", home, "--task", TASK, "--purpose", "p", "--tools", tools]
    }
    // 1. Issued within the ceiling; a dry run asks for nothing.
    assert_eq!(stage.yes(&[issue(&home, &tools), vec!["--dry-run"]].concat())["task"], TASK);
    let of_task = |record: &Record| record.task.as_ref().is_some_and(|task| task.as_str() == TASK);
    assert_eq!(stage.recorded(of_task).await, 0, "a dry run is not recorded");
    let chain = stage.issued(&home);
    assert_ne!(stage.recorded(of_task).await, 0);
    // Issued, and lost on the way to the reader's disk: it has happened.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let dir = stage.system.directory().path().display().to_string();
    let args = [issue(&home, &tools), vec!["--dir", &dir]].concat();
    let lost = std::process::Command::new(super::binary()).args(args).stdout(full).output().unwrap();
    let told = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert!(lost.status.code() == Some(4) && told.contains("error[output_lost]"), "{told}");
    // A task that the log does not know is not an empty tree.
    assert_eq!(stage.refused(6, &["agent", "tree", "--task", "urn:task:none"])["code"], "not_found");
    // An invitation for what the issuer does not know is refused, with what it knows.
    let unknown = stage.refused(6, &["agent", "invite", "--blueprint", "nope"]);
    assert_eq!(unknown["code"], "blueprint_unknown");
    assert!(unknown["hint"].as_str().unwrap().contains(super::BLUEPRINT), "{unknown}");
    let more = json!({ "nats:tools.mail.send": {} }).to_string();
    assert_eq!(stage.refused(1, &issue(&home, &more))["code"], "ceiling_exceeded");
    // 2. What can't be read is no ceiling.
    let odd = format!(r#"{{"nats:{HOSTED}":{{"account":{{"constraint_type":"perhaps"}}}}}}"#);
    for (bad, code) in [
        ("{", "malformed"),
        ("[]", "grant_malformed"),
        (r#"{"a":{},"a":{}}"#, "duplicate_member"),
        (odd.as_str(), "constraint_unknown"),
        ("@/nonexistent", "not_found"),
    ] {
        let exit = if code == "not_found" { 6 } else { 2 };
        assert_eq!(stage.refused(exit, &issue(&home, bad))["code"], code, "{bad}");
        let narrow = ["narrow", "task", TASK, "--tools", bad];
        assert_eq!(stage.refused(exit, &narrow)["code"], code, "{bad}");
    }
    // 3. A part of it is handed on, offline, and never more than that.
    let sub = stage.enrolled("sub");
    let to = stage.did(&sub);
    fn delegate<'a>(home: &'a str, chain: &'a str, to: &'a str, tools: &'a str) -> Vec<&'a str> {
        vec!["token", "delegate", "--home", home, "--chain", chain, "--to", to, "--tools", tools]
    }
    let one = json!({ format!("nats:{HOSTED}"): { "account": { "constraint_type": "range", "max": 9 } } }).to_string();
    let handed = stage.yes(&delegate(&home, &chain, &to, &one));
    assert_eq!(handed["holder"], json!(to));
    let widened = stage.refused(1, &delegate(&home, &chain, &to, &more));
    assert_eq!(widened["code"], "authority_widened");
    let message = widened["message"].as_str().unwrap();
    let last = message.rsplit(": ").next().unwrap();
    assert_eq!(message.matches(last).count(), 1, "said once: {message}");
    // A life beyond the parent's is cut, and that is said; one within it is not talked about.
    let ttl = |ttl| stage.said("human", &[delegate(&home, &chain, &to, &one), vec!["--ttl", ttl]].concat());
    assert!(ttl("10h").err.contains("--ttl was cut") && ttl("1m").err.is_empty());
    assert_eq!(stage.refused(2, &delegate(&home, &chain, &to, "{"))["code"], "malformed");
    assert_eq!(stage.refused(5, &delegate(&sub, &chain, &to, &one))["code"], "possession_unproven");
    // 4. Decoded, and verified.
    let child = stage.file("child", handed["chain"].as_str().unwrap());
    let seen = stage.yes(&["token", "inspect", &child]);
    let kinds: Vec<&Value> = seen["tokens"].as_array().unwrap().iter().map(|token| &token["kind"]).collect();
    assert_eq!((kinds, &seen["verified"]), (vec![&json!("root token"), &json!("derived token")], &json!(false)));
    assert_eq!(seen["tokens"][1]["digest"], handed["token"]);
    assert!(stage.human(&["token", "inspect", &child]).contains("no signature was checked"));
    assert_eq!(stage.yes(&["token", "verify", &child])["links"].as_array().unwrap().len(), 2);
    assert_eq!(stage.refused(1, &["token", "verify", &child, "--at", "+2h"])["code"], "token_expired");
    let cut = stage.file("cut", handed["chain"].as_str().unwrap().split('~').nth(1).unwrap());
    stage.refused(1, &["token", "verify", &cut]);
    // 5. What it gets at the broker.
    let gets = stage.yes(&["nats", "permissions", &child]);
    let given = gets["given"].as_array().unwrap();
    assert!(given.iter().any(|line| line["subject"] == HOSTED), "{gets}");
    assert!(!given.iter().any(|line| line["subject"].as_str().unwrap().contains(GATED)), "{gets}");
    assert!(stage.human(&["nats", "permissions", &child]).contains(HOSTED));
    assert_eq!(stage.yes(&["nats", "permissions", "issuer"])["role"], "issuer");
    // The log knows of its enrolment, and of no commission of its own: what was handed on offline nobody has shown yet.
    let known = eventually("the log knows it", DEADLINE, || async {
        let said = stage.said("json", &["nats", "permissions", &to]);
        if said.code == 0 { Ok(said.document()) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert_eq!(known["chains"], json!([]));
    assert!(known["to_enrol"]["given"].as_array().is_some_and(|given| !given.is_empty()), "{known}");
    stage.refused(6, &["nats", "permissions", "/nonexistent"]);
    stage.refused(1, &["nats", "permissions", &cut]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_token_of_ours_is_decoded_an_attestors_too() {
    let mut stage = Stage::start().await;
    let socket = stage.system.start_attestor().await.unwrap();
    let key = AgentKey::generate().unwrap();
    let evidence = attest(&socket, &key, stage.system.domain()).await.unwrap();
    let seen = said(&["-j", "token", "inspect", "-"], evidence.as_bytes());
    let token = seen.document()["tokens"][0].clone();
    assert_eq!((seen.code, &token["kind"]), (0, &json!("process evidence")), "{seen:?}");
    assert_eq!(token["holder"], json!(key.did()));
    assert_eq!(token["claims"]["process"]["pid"], std::process::id());
    let bundle = stage.system.directory().bundle_file().display().to_string();
    assert_eq!(stage.yes(&["token", "inspect", &bundle])["tokens"][0]["kind"], "trust bundle");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_knows_agents_in_every_form_of_output() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    let chain = stage.issued(&home);
    stage.yes(&Stage::call(&home, &chain, r#"{"account":1}"#));
    let did = stage.did(&home);
    eventually("the log knows of the call", DEADLINE, || async {
        let listed = stage.yes(&["agent", "ls"]);
        if listed["agents"][0]["permitted"] == 1 { Ok(()) } else { Err(listed.to_string()) }
    })
    .await;
    let short = format!("{}…{}", &did[8..12], &did[did.len() - 6..]);
    for (args, rows, key) in [
        (&["agent", "ls"][..], Some("agents"), "agent"),
        (&["agent", "tree"], Some("credentials"), "holder"),
        (&["agent", "info", &did], None, "agents"),
    ] {
        let document = stage.yes(args);
        let lines = stage.said("ndjson", args).lines();
        let listed = rows.map_or(&document, |rows| &document[rows][0]);
        assert!(lines.len() == 1 && lines[0][key] == listed[key], "{args:?}: {lines:?}, {document}");
        assert!(!listed[key].is_null(), "{args:?}: {document}");
        let shown = stage.human(args);
        assert!(shown.contains(&short) || shown.contains(&did), "{args:?}: {shown}");
    }
    for none in [&["--task", "urn:task:none"][..], &["--sponsor", "nobody"], &["--blueprint", "nobody"]] {
        let listed = stage.yes(&[&["agent", "ls"], none].concat());
        assert_eq!(listed["agents"], json!([]), "{none:?}");
    }
    let stranger = AgentKey::generate().unwrap().did().to_string();
    assert_eq!(stage.refused(6, &["agent", "info", &stranger])["code"], "not_found");
    stage.stop().await;
}
