//! The exit codes, and one document in JSON mode whatever happens; `doctor`, `check`, `explain`, `completions`.

use marque::service_config::Service;
use marque_bus::streams;
use marque_identity::Code;
use marque_test_support::eventually;
use marque_tests::system::DEADLINE;
use serde_json::Value;

use super::{Stage, said};

/// Questions to the broker and to services behind it.
const QUESTIONS: [&[&str]; 8] = [
    &["blueprint", "ls"],
    &["revoke", "ls"],
    &["revoke", "status"],
    &["agent", "ls"],
    &["agent", "tree"],
    &["audit", "query"],
    &["audit", "completeness"],
    &["audit", "proof", "x"],
];

/// Commands that write.
const WRITES: [&[&str]; 4] = [
    &["revoke", "task", "urn:task:none"],
    &["suspend", "task", "urn:task:none"],
    &["lift", "01900000-0000-7000-8000-000000000000"],
    &["nats", "streams"],
];

/// Whatever is asked, and whatever comes of it: one document in JSON mode, lines in NDJSON mode, and the same exit code
/// in each form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_output_has_its_document_and_one_exit_code() {
    let stage = Stage::start().await;
    let home = stage.enrolled("agent");
    stage.issued(&home);
    eventually("the log knows the token", DEADLINE, || async {
        let tree = stage.yes(&["agent", "tree"]);
        if tree["credentials"] == serde_json::json!([]) { Err("no token") } else { Ok(()) }
    })
    .await;
    let commands: [(&[&str], i32); 22] = [
        (&["blueprint", "ls"], 0),
        (&["blueprint", "info", "nobody"], 6),
        (&["revoke", "ls"], 0),
        (&["revoke", "status"], 0),
        (&["agent", "ls"], 0),
        (&["agent", "tree"], 0),
        (&["agent", "info", "nobody"], 2),
        (&["audit", "query"], 0),
        (&["audit", "completeness"], 0),
        (&["audit", "explain", "x"], 6),
        (&["nats", "streams", "--dry-run"], 0),
        (&["nats", "streams"], 0),
        (&["nats", "permissions", "host"], 0),
        (&["nats", "nothing"], 2),
        (&["lift", "01900000-0000-7000-8000-000000000000"], 6),
        (&["check", "broker"], 0),
        (&["check", "nothing"], 2),
        (&["doctor"], 0),
        (&["explain", "revoked"], 0),
        (&["explain", "--all"], 0),
        (&["explain", "nothing"], 6),
        (&["completions", "bash"], 0),
    ];
    for (args, code) in commands {
        let json = stage.said("json", args);
        let document = json.document();
        assert_eq!(json.code, code, "{args:?}: {json:?}");
        assert_eq!(document.get("error").is_some(), code > 1, "{args:?}: {document}");
        if let Some(error) = document.get("error") {
            assert!(Code::ALL.iter().any(|code| error["code"] == code.as_str()), "{args:?}: {error}");
        }
        let lines = stage.said("ndjson", args);
        assert_eq!(lines.code, code, "{args:?}: {lines:?}");
        let lines = lines.lines();
        let list = match args {
            ["agent", "ls"] => &document["agents"],
            ["agent", "tree"] => &document["credentials"],
            ["audit", "completeness"] => &document["findings"],
            _ => &document,
        };
        assert_eq!(lines.len(), list.as_array().map_or(1, Vec::len), "{args:?}");
        let human = stage.said("human", args);
        assert_eq!(human.code, code, "{args:?}: {human:?}");
        assert_eq!(human.out.is_empty(), code > 1, "data on stdout, talk on stderr: {args:?}: {human:?}");
        let told = human.err.contains("hint:") && (human.err.contains("why:") || code == 2);
        assert!(code <= 1 || told, "{args:?}: {human:?}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_asked_is_undecided_and_who_may_not_ask_is_told() {
    let mut stage = Stage::start().await;
    let url = stage.system.url().to_owned();
    let operator = stage.system.directory().key_file("operator").display().to_string();
    let other = stage.system.directory().key_file("bootstrap").display().to_string();
    // 5: nobody, and one who may something else: create the streams.
    for args in QUESTIONS {
        let nobody = said(&[&["-j", "-s", &url], args].concat(), b"");
        assert_eq!((nobody.code, &nobody.document()["error"]["code"]), (5, &"not_authorized".into()), "{args:?}");
        let hint = nobody.document()["error"]["hint"].to_string();
        assert!(hint.contains("--dir") && !hint.contains("is a broker at"), "{hint}");
        let other = said(&[&["-j", "-s", &url, "--nkey", &other], args].concat(), b"");
        assert_eq!((other.code, &other.document()["error"]["code"]), (5, &"not_authorized".into()), "{args:?}");
        let asked = said(&[&["-j", "-s", &url, "--nkey", &operator], args].concat(), b"");
        assert!([0, 6].contains(&asked.code), "the twin, who may: {args:?}: {asked:?}");
    }
    // 3: a service that does not answer; a question changes nothing.
    stage.system.freeze(Service::Issuer, true);
    assert_eq!(stage.refused(3, &["blueprint", "ls", "--timeout", "500ms"])["code"], "unavailable");
    stage.system.freeze(Service::Issuer, false);
    stage.yes(&["blueprint", "ls"]);
    // 3: one that is not there.
    stage.system.kill(Service::Sink);
    stage.refused(3, &["audit", "query"]);
    stage.refused(3, &["agent", "ls"]);
    // 3: no broker; a write has not happened either.
    stage.system.kill_broker();
    for args in QUESTIONS.into_iter().chain(WRITES) {
        let error = stage.refused(3, &[args, &["--timeout", "500ms"]].concat());
        assert_eq!(error["code"], "unavailable", "{args:?}");
    }
    // A broker that does not answer is what `doctor` and `check` look for: that is a finding.
    let doctor = stage.said("json", &["doctor", "--timeout", "500ms"]);
    assert_eq!((doctor.code, &doctor.document()["standing"]), (1, &"bad".into()), "{doctor:?}");
    for (form, code, word) in
        [("nagios", 2, "MARQUE CRITICAL"), ("json", 1, "\"bad\""), ("prometheus", 1, "\"broker\"} 0")]
    {
        let said = stage.said("human", &["check", "broker", "--format", form, "--timeout", "500ms"]);
        assert!(said.code == code && said.out.contains(word), "{form}: {said:?}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_check_find_what_is_not_as_it_must_be() {
    let mut stage = Stage::start().await;
    stage.system.until_heard().await.unwrap();
    let names = |document: &Value, standing: &str| {
        let findings = document["findings"].as_array().unwrap().iter();
        let of = findings.filter(|finding| finding["standing"] == standing);
        of.map(|finding| finding["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // 1. All is well.
    let well = stage.yes(&["doctor"]);
    assert_eq!((&well["standing"], names(&well, "bad")), (&"good".into(), vec![]), "{well}");
    for stream in [streams::DIRECTIVES, streams::AUDIT, streams::CHECKPOINTS, streams::PROOFS] {
        assert!(names(&well, "good").contains(&stream.to_owned()), "{well}");
    }
    for service in Service::ALL {
        assert!(names(&well, "good").contains(&service.name().to_owned()), "{well}");
    }
    for what in ["broker", "streams", "services", "freshness", "audit"] {
        assert_eq!(stage.yes(&["check", what])["standing"], "good", "{what}");
        let nagios = stage.human(&["check", what, "--format", "nagios"]);
        assert!(nagios.starts_with("MARQUE OK - ") && nagios.lines().count() == 1, "{nagios}");
        let metrics = stage.human(&["check", what, "--format", "prometheus"]);
        assert!(metrics.contains("marque_check_good{what="), "{metrics}");
        let json = stage.human(&["check", what, "--format", "json"]);
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["standing"], "good");
    }
    let page = stage.system.directory().sink_page().unwrap();
    stage.yes(&["check", "page", &format!("{page}/livez")]);
    stage.yes(&["check", "page", &format!("http://{page}/readyz")]);
    let absent = stage.said("json", &["check", "page", &format!("{page}/nothing")]);
    assert_eq!((absent.code, &absent.document()["standing"]), (1, &"bad".into()));
    // 2. A service is gone.
    stage.system.kill(Service::Issuer);
    let ill = stage.said("json", &["doctor"]);
    assert_eq!((ill.code, &ill.document()["standing"]), (1, &"bad".into()), "{ill:?}");
    assert!(names(&ill.document(), "bad").contains(&Service::Issuer.name().to_owned()), "{ill:?}");
    let human = stage.said("human", &["doctor"]);
    assert!(human.code == 1 && human.out.contains("hint:"), "{human:?}");
    let nagios = stage.said("human", &["check", "services", "--format", "nagios"]);
    assert!(nagios.code == 2 && nagios.out.starts_with("MARQUE CRITICAL"), "Nagios has its own codes: {nagios:?}");
    assert_eq!(stage.said("json", &["check", "services"]).code, 1);
    // One that does not answer is critical, whatever is asked of it; unknown is what could not be asked.
    stage.system.kill(Service::Broadcaster);
    stage.system.kill(Service::Sink);
    for what in ["freshness", "audit"] {
        let nagios = stage.said("human", &["check", what, "--format", "nagios"]);
        assert!(nagios.code == 2 && nagios.out.starts_with("MARQUE CRITICAL"), "{what}: {nagios:?}");
        let url = stage.system.url();
        let nobody = said(&["-s", url, "check", what, "--format", "nagios"], b"");
        assert!(nobody.code == 3 && nobody.out.starts_with("MARQUE UNKNOWN"), "{what}: {nobody:?}");
    }
    // 3. A key that others may read.
    let key = stage.system.directory().key_file("operator");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&key, mode(0o644)).unwrap();
    assert!(names(&stage.said("json", &["doctor"]).document(), "bad").contains(&"keys".to_owned()));
    stage.refused(5, &["revoke", "task", "urn:task:none"]);
    std::fs::set_permissions(&key, mode(0o600)).unwrap();
    stage.stop().await;
}

/// What `marque explain` says of a code is how a command ends by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_code_is_explained_with_its_exit() {
    for code in Code::ALL {
        let told = said(&["-j", "explain", code.as_str()], b"");
        let document = told.document();
        assert_eq!((told.code, &document["code"]), (0, &code.as_str().into()));
        assert!((1..=6).contains(&document["exit"].as_i64().unwrap()), "{document}");
        assert!(!document["hint"].as_str().unwrap().is_empty() && !document["why"].as_str().unwrap().is_empty());
        assert!(said(&["explain", code.as_str()], b"").out.contains("hint:"));
    }
    let lines = said(&["-o", "ndjson", "explain", "--all"], b"").lines();
    assert_eq!(lines.len(), Code::ALL.len());
}
