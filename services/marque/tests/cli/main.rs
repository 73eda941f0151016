//! The binary as a script meets it: exit codes, one document in JSON mode, plumbing that survives any bytes.
#![allow(clippy::unwrap_used, reason = "a test's helper may")]

mod lost;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use marque_identity::Code;
use serde_json::Value;

/// Somebody.
const AGENT: &str = "did:key:z6MkgeAYjgfXDoaxMou4TKNEtGJ8cYHARPASB12ehQ8b13ie";

fn marque(args: &[&str]) -> Output {
    fed(args, b"")
}

fn fed(args: &[&str], input: &[u8]) -> Output {
    run(args, Stdio::piped(), input)
}

/// Runs the binary with this on stdin, on a stdout that is opened in this way, in an environment that says nothing.
fn run(args: &[&str], stdout: impl Into<Stdio>, input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_marque"))
        .args(args)
        .env_remove("MARQUE_DIR")
        .env_remove("NATS_URL")
        .env_remove("NATS_CONTEXT")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Exactly one JSON document on stdout, and nothing else there.
fn document(output: &Output) -> Value {
    serde_json::from_str(stdout(output)).unwrap_or_else(|error| panic!("{error}: {:?}", stdout(output)))
}

fn exit(output: &Output) -> i32 {
    output.status.code().expect("ended by itself")
}

#[test]
fn an_agent_enrols_by_other_evidence_than_a_join_token() {
    let home = tempfile::tempdir().unwrap();
    let (token, manifest) = (home.path().join("token"), home.path().join("manifest.json"));
    std::fs::write(&token, "a.b.c\n").unwrap();
    std::fs::write(&manifest, r#"{"model_id":"m"}"#).unwrap();
    let (token, manifest) = (token.display().to_string(), manifest.display().to_string());
    let at = home.path().join("agent").display().to_string();
    let enrol = |rest: &[&str]| {
        let base = ["agent", "enrol", "-j", "--dry-run", "--home", &at, "--model", "m"];
        fed(&[&base[..], rest].concat(), b"")
    };
    let by_token = ["--blueprint", "ci", "--domain", "acme.example", "--oidc-token", &token, "--manifest", &manifest];
    let told = enrol(&by_token);
    assert_eq!(exit(&told), 0, "{}", stdout(&told));
    assert_eq!(document(&told)["blueprint"], "ci");
    assert_eq!(exit(&enrol(&[])), 2, "neither a join token nor a blueprint");
    let both = ["--blueprint", "ci", "--domain", "acme.example", "--oidc-token", "-", "--manifest", "-"];
    assert_eq!(exit(&enrol(&both)), 2, "one stdin");
    std::fs::write(&manifest, r#"{"model":"m"}"#).unwrap();
    assert_eq!(document(&enrol(&by_token))["error"]["code"], "config_invalid");
}

#[test]
fn explains_every_code() {
    for code in Code::ALL {
        let output = marque(&["-j", "explain", code.as_str()]);
        let told = document(&output);
        assert_eq!((exit(&output), told["code"].as_str()), (0, Some(code.as_str())));
        assert!(!told["why"].as_str().unwrap().is_empty() && !told["hint"].as_str().unwrap().is_empty(), "{code}");
        assert!(matches!(told["exit"].as_u64(), Some(1..=6)), "{code}");
    }
    assert_eq!(document(&marque(&["explain", "--all", "-o", "json"])).as_array().unwrap().len(), Code::ALL.len());
    let unknown = marque(&["explain", "revokd"]);
    assert_eq!(exit(&unknown), 6);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("marque explain revoked"));
}

#[test]
fn json_mode_has_one_document_whatever_happens() {
    for (args, code) in [
        (&["-j", "explain", "revoked"][..], 0),
        (&["-j", "explain", "nope"], 6),
        (&["-j", "nope"], 2),
        (&["-o", "json", "token"], 2),
        (&["--output=json", "token", "issue"], 2),
        (&["-ojson", "call"], 2),
        (&["-j"], 2),
        (&["-j", "--help"], 0),
        (&["-j", "--version"], 0),
        (&["-j", "agent", "invite", "--blueprint", "x"], 2),
        (&["-j", "agent", "info", "--home", "/nonexistent"], 6),
        (&["-j", "agent", "info"], 2),
        (&["-j", "agent", "info", "nobody"], 2),
        (&["-j", "agent", "info", AGENT, "-s", "nats://127.0.0.1:1", "--timeout", "300ms"], 3),
        (&["-j", "agent", "ls", "--live", "-s", "nats://127.0.0.1:1", "--timeout", "300ms"], 3),
        (&["-j", "agent", "ls", "--task", "not a urn"], 2),
        (&["-j", "agent", "tree", "-s", "nats://127.0.0.1:1", "--timeout", "300ms"], 3),
        (&["-j", "audit", "completeness", "--agent", AGENT, "-s", "nats://127.0.0.1:1", "--timeout", "300ms"], 3),
        (&["-j", "audit", "completeness", "--agent", "did:web:x"], 2),
        (&["-j", "audit", "completeness", "--since", "tomorrow"], 2),
        (&["-j", "token", "verify", "/nonexistent"], 6),
        (&["-j", "token", "inspect", "-"], 1),
        (&["-j", "log", "verify", "/nonexistent", "--dir", "/nonexistent"], 6),
        (&["-j", "log", "info", "/nonexistent"], 6),
        (&["-j", "log", "events", "--format", "ocsf", "--log", "/nonexistent"], 2),
        (&["-j", "log", "events", "--format", "ocsf", "--log", "/nonexistent", "--out", "/nonexistent/events"], 6),
        (&["-j", "log", "events", "--format", "leef", "--log", "/nonexistent"], 2),
        (&["-j", "blueprint", "check", "/nonexistent.toml"], 6),
        (&["-j", "revoke", "token", "short", "--dir", "/nonexistent"], 2),
        (&["-j", "revoke"], 2),
        (&["-j", "nats", "streams", "--dry-run"], 0),
        (&["-j", "nats", "streams", "--dry-run", "--audit-bytes-max", "1000000000"], 0),
        (&["-j", "nats", "streams", "--dry-run", "--audit-messages-max", "0"], 2),
        (&["-j", "revoke", "status", "-s", "nats://127.0.0.1:1", "--timeout", "300ms"], 3),
        // It looks for just that: whoever does not answer is a finding.
        (&["-j", "doctor", "-s", "nats://127.0.0.1:1", "--timeout", "300ms"], 1),
        (&["-j", "check", "page", "127.0.0.1:1/"], 1),
        (&["-j", "agent", "ls", "--limit", "0"], 2),
        (&["-j", "audit", "query", "--limit", "0"], 2),
        (&["-j", "log", "verify", "/etc/passwd"], 2),
        (&["-j", "log", "info", "/etc/passwd"], 2),
        (&["-j", "log", "serve", "/etc/passwd"], 2),
        (&["-j", "log", "export", "/etc/passwd", "--from", "127.0.0.1:1", "--bundle", "/etc/passwd"], 2),
        (&["-j", "revoke", "ls", "--creds", "/etc/passwd"], 2),
        (&["-j", "revoke", "ls", "--nkey", "/etc/passwd"], 2),
        (&["-j", "token", "verify", "/etc/passwd", "--bundle", "/"], 2),
        (&["-j", "completions", "bash"], 0),
        (&["-j", "nats", "bootstrap", "/nonexistent/marque", "--dry-run"], 0),
        (&["-j", "bootstrap", "/nonexistent/marque", "--dry-run"], 0),
        (&["-j", "nats", "streams", "--context", "absent"], 6),
        (&["-j", "nats", "streams", "--context", "../x"], 2),
    ] {
        let output = marque(args);
        let told = document(&output);
        assert_eq!(exit(&output), code, "{args:?}: {told}");
        if let Some(error) = told.get("error") {
            assert_eq!(error["exit"], code, "{args:?}");
            assert!(Code::ALL.iter().any(|code| error["code"] == code.as_str()), "{args:?}: {told}");
            assert!(!error["hint"].as_str().unwrap().is_empty() && error["blame"].is_string(), "{args:?}");
        }
    }
}

#[test]
fn people_get_data_on_stdout_and_talk_on_stderr() {
    let yes = marque(&["explain", "revoked"]);
    assert!(stdout(&yes).contains("directive") && yes.stderr.is_empty());
    let no = marque(&["agent", "info", "--home", "/nonexistent"]);
    assert!(no.stdout.is_empty());
    let said = String::from_utf8_lossy(&no.stderr).into_owned();
    assert!(said.starts_with("error[not_found]: ") && said.contains("why: ") && said.contains("hint: "), "{said}");
    assert!(!stdout(&yes).contains('\x1b') && !said.contains('\x1b'), "colour beyond a terminal");
}

/// Lines that no parser may stumble over.
fn garbage() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        &b""[..],
        b"null",
        b"{}",
        b"[]",
        b"{\"chain\":[],\"chain\":[]}",
        b"\xff\xfe\x00",
        b"{\"kind\":\"inclusion\"",
        b"{\"chain\":[\"a.b.c\"],\"trust_anchors\":[],\"tool\":\"t\",\"args\":{},\"pop\":\"x\",\"now\":1}",
        b"{\"chain\":[1],\"trust_anchors\":{},\"tool\":null}",
        b"{\"kind\":\"consistency\",\"size1\":-1}",
        b"{\"kind\":\"inclusion\",\"leafIdx\":18446744073709551615,\"treeSize\":1,\"leafHash\":\"\",\"root\":\"\"}",
        b"\"\\ud800\"",
        b"1e999999999",
        b"{\"a\":\"\x00\"}",
        b"\xef\xbb\xbf{}",
        b"{\"now\":1.5}\r",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    lines.push(vec![b'['; 200_000]);
    lines.push([b"{\"chain\":[\"".as_slice(), &vec![b'A'; 300_000], b"\"]}"].concat());
    lines.push(vec![b'x'; 3 * 1024 * 1024]);
    // Deterministic noise (xorshift), without newlines.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        let mut line = Vec::new();
        for _ in 0..(state % 97) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            line.push(u8::try_from(state & 0xff).unwrap());
        }
        line.retain(|byte| *byte != b'\n');
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        lines.push(line);
    }
    lines
}

#[test]
fn plumbing_gives_one_answer_for_each_line_of_garbage() {
    let lines = garbage();
    let input = lines.join(&b'\n');
    for (args, member) in [(&["verify", "--stdin"][..], "decision"), (&["log", "verify-proof", "--stdin"], "valid")] {
        let output = fed(args, &input);
        assert_eq!(exit(&output), 1, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let answers: Vec<&str> = stdout(&output).lines().collect();
        assert_eq!(answers.len(), lines.len(), "{args:?}");
        for answer in answers {
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert!(answer[member] == "deny" || answer[member] == false, "{answer}");
        }
    }
    for args in [&["verify", "--stdin"][..], &["log", "verify-proof", "--stdin"]] {
        let output = fed(args, b"");
        assert_eq!((exit(&output), stdout(&output)), (0, ""));
    }
}

#[test]
fn verify_proof_says_yes_and_no() {
    let leaf = "DTrtAjFI/9KiWfvQzcf7PPl1ZYdg03dbgq9vkKrMLfw=";
    let question = |size: u64| {
        format!(
            r#"{{"kind":"inclusion","leafIdx":0,"treeSize":{size},"leafHash":"{leaf}","root":"{leaf}","proof":[]}}"#
        )
    };
    let yes = fed(&["log", "verify-proof", "--stdin"], question(1).as_bytes());
    assert_eq!((exit(&yes), stdout(&yes)), (0, "{\"valid\":true}\n"));
    let no = fed(&["log", "verify-proof", "--stdin"], format!("{}\n{}\n", question(1), question(2)).as_bytes());
    assert_eq!((exit(&no), stdout(&no)), (1, "{\"valid\":true}\n{\"valid\":false}\n"));
}

#[test]
fn verify_permits_what_the_libraries_made() {
    let issuer = marque_signing::SigningKey::from_seed(&[1; 32]);
    let agent = marque_signing::SigningKey::from_seed(&[2; 32]);
    let args = marque_json::parse(br#"{"customer":"acme"}"#, marque_json::Limits::DEFAULT).unwrap();
    let grant = marque_json::parse(
        br#"{"crm":{"customer":{"constraint_type":"exact","value":"acme"}}}"#,
        marque_json::Limits::DEFAULT,
    )
    .unwrap();
    let now = marque_identity::UnixSeconds(1_704_067_500);
    let root = marque_credential::mint_root(
        &issuer,
        &marque_credential::RootRequest {
            iss: "https://acme.example".into(),
            jti: marque_identity::TokenId("root".into()),
            iat: now,
            exp: now.plus(60),
            del_max_depth: 0,
            holder: agent.public(),
            aud: None,
            tools: marque_credential::Tools::parse(&grant).unwrap(),
            marque: marque_credential::MarqueClaims {
                task: "urn:task:t".parse().unwrap(),
                purpose: "test".into(),
                agent: marque_credential::AgentClaim {
                    did: agent.did(),
                    blueprint: "summarizer".parse().unwrap(),
                    sponsor: "team".parse().unwrap(),
                    manifest_hash: None,
                    vc_hash: marque_identity::Digest([0; 32]),
                },
            },
        },
    )
    .unwrap();
    let proof = marque_credential::make_proof(
        &agent,
        &root,
        &marque_credential::ProofRequest {
            jti: marque_identity::TokenId("proof".into()),
            iat: now,
            tool: "crm",
            args: &args,
            aud: None,
            nonce: None,
            seq: 1,
            prev: None,
            task: None,
            why: None,
            cause: None,
            traceparent: None,
            manifest_hash: None,
        },
    )
    .unwrap();
    let question = |customer: &str| {
        serde_json::json!({
            "chain": [root], "trust_anchors": [{"iss": "https://acme.example", "jwk": issuer.public().jwk()}],
            "tool": "crm", "args": {"customer": customer}, "pop": proof, "now": now,
        })
        .to_string()
    };
    let yes = fed(&["verify", "--stdin"], question("acme").as_bytes());
    assert_eq!((exit(&yes), stdout(&yes)), (0, "{\"decision\":\"permit\"}\n"));
    let no = fed(&["verify", "--stdin"], question("globex").as_bytes());
    let told = document(&no);
    assert_eq!((exit(&no), &told["decision"], &told["step"]), (1, &"deny".into(), &"6b".into()));
    assert_eq!(told["code"], "argument_refused");
    // The same token, decoded.
    let seen = document(&fed(&["-j", "token", "inspect", "-"], root.as_bytes()));
    assert_eq!((&seen["tokens"][0]["kind"], &seen["verified"]), (&"root token".into(), &false.into()));
    assert_eq!(seen["tokens"][0]["holder"], agent.did().to_string());
    assert_eq!(seen["tokens"][0]["claims"]["exp"], 1_704_067_560);
}

#[test]
fn inspect_decodes_or_says_what_it_cannot() {
    for input in [&b"x"[..], b"a.b.c", b"\xff", b"~", b"{\"a\":1}", b"[[[", b"{\"t\":\"a.b.c\"}"] {
        let output = fed(&["-j", "token", "inspect", "-"], input);
        assert_eq!(exit(&output), 1, "{input:?}");
        document(&output);
    }
    let oversize = vec![b'A'; 600 * 1024];
    assert_eq!(document(&fed(&["-j", "token", "inspect", "-"], &oversize))["error"]["code"], "oversize");
}

#[test]
fn bootstraps_once_and_never_over_anything() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("acme");
    let dir = dir.to_str().unwrap();
    let args = ["-j", "nats", "bootstrap", dir, "--host", "crm", "--attestor", "node-1", "--attestor", "node-2.acme"];
    let planned = document(&marque(&[&args[..], &["--dry-run"]].concat()));
    // Its older name is the same command.
    let older = [&["-j"][..], &args[2..], &["--dry-run"]].concat();
    assert_eq!(document(&marque(&older)), planned);
    let made = document(&marque(&args));
    assert_eq!(made["trust_domain"], "acme.example");
    let again = marque(&["-j", "nats", "bootstrap", dir]);
    assert_eq!((exit(&again), &document(&again)["error"]["code"]), (6, &"conflict".into()));
    for secret in [
        "keys/issuer.key",
        "keys/operator.key",
        "keys/host-crm.key",
        "keys/attestor-node-1.key",
        "keys/attestor-node-2.acme.key",
        "keys/bootstrap.key",
        "keys/account.key",
        "nats.conf",
    ] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(format!("{dir}/{secret}")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    for service in ["issuer", "verifier", "revocation-broadcaster", "audit-sink", "gatekeeper"] {
        let text = std::fs::read_to_string(format!("{dir}/config/{service}.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["bundle"]["pin"].as_str(), made["fingerprint"].as_str());
    }
    // What was planned is what was made.
    for file in planned["files"].as_array().unwrap() {
        assert!(std::path::Path::new(file.as_str().unwrap()).is_file(), "{file}");
    }
    // Each attestor's key speaks for its machine, and its configuration says so.
    let bundle = std::fs::read_to_string(format!("{dir}/bundle.jwt")).unwrap();
    let bundle = marque_signing::TrustBundle::open(bundle.trim(), None).unwrap();
    for name in ["node-1", "node-2.acme"] {
        let file = std::path::PathBuf::from(format!("{dir}/keys/attestor-{name}.key"));
        let key = marque_runtime::keys::read_signing_key(&file).unwrap();
        assert!(bundle.is_named(&key.did(), marque_signing::Role::Attestor, name));
        let text = std::fs::read_to_string(format!("{dir}/config/attestor-{name}.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["bundle"]["pin"].as_str(), made["fingerprint"].as_str());
        assert_eq!((table["attestor"]["host"].as_str(), table["key_file"].as_str()), (Some(name), file.to_str()));
    }
    assert_eq!(exit(&marque(&["-j", "nats", "bootstrap", dir, "--attestor", "../x"])), 2);
    // The operator's key invites; the token can be read by anyone.
    let invited = document(&marque(&["-j", "agent", "invite", "--blueprint", "summarizer", "--dir", dir]));
    let seen = document(&fed(&["-j", "token", "inspect", "-"], invited["join_token"].as_str().unwrap().as_bytes()));
    assert_eq!(
        (&seen["tokens"][0]["kind"], &seen["tokens"][0]["claims"]["aud"]),
        (&"join token".into(), &"acme.example".into())
    );
    // A bundle that was touched is not trusted.
    let bundle = format!("{dir}/bundle.jwt");
    let text = std::fs::read_to_string(&bundle).unwrap();
    std::fs::write(&bundle, text.replacen("eyJ", "eyK", 1)).unwrap();
    let refused = marque(&["-j", "agent", "invite", "--blueprint", "summarizer", "--dir", dir]);
    assert_eq!((exit(&refused), &document(&refused)["error"]["code"]), (1, &"bundle_untrusted".into()));
}

#[test]
fn checks_a_blueprint_before_it_is_installed() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/blueprints");
    for entry in std::fs::read_dir(examples).unwrap() {
        let file = entry.unwrap().path();
        let output = marque(&["-j", "blueprint", "check", file.to_str().unwrap()]);
        assert_eq!(exit(&output), 0, "{}: {}", file.display(), stdout(&output));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    std::fs::write(&file, "name = \"y\"\n").unwrap();
    let output = marque(&["-j", "blueprint", "check", file.to_str().unwrap()]);
    assert_eq!((exit(&output), &document(&output)["error"]["code"]), (2, &"config_invalid".into()));
}

#[test]
fn help_names_the_bootstrap_beside_what_else_concerns_the_broker() {
    let nats = marque(&["nats", "--help"]);
    let nats = stdout(&nats);
    for verb in ["bootstrap", "streams", "permissions", "server"] {
        assert!(nats.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {nats}");
    }
    // The older name works, and is not shown.
    let all = marque(&["--help"]);
    let all = stdout(&all);
    assert!(!all.lines().any(|line| line.trim_start().starts_with("bootstrap")), "{all}");
    assert_eq!(exit(&marque(&["bootstrap", "--help"])), 0);
}

#[test]
fn writes_completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = marque(&["completions", shell]);
        assert!(exit(&output) == 0 && stdout(&output).contains("bootstrap"), "{shell}");
    }
    assert_eq!(exit(&marque(&["completions", "tcsh"])), 2);
}

#[test]
fn a_context_of_the_nats_tool_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let contexts = folder.path().join("nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    std::fs::write(
        contexts.join("away.json"),
        r#"{"description":"","url":"nats://127.0.0.1:2","user":"u","password":"p"}"#,
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_marque"))
        .args(["-j", "revoke", "status", "--context", "away", "--timeout", "300ms"])
        .env_remove("MARQUE_DIR")
        .env_remove("NATS_URL")
        .env("XDG_CONFIG_HOME", folder.path())
        .output()
        .unwrap();
    let told = document(&output);
    assert_eq!(exit(&output), 3);
    assert!(told["error"]["message"].as_str().unwrap().contains("127.0.0.1:2"), "{told}");
}

#[test]
fn a_usage_error_has_a_code_and_the_arguments_name_in_each_form() {
    for (args, argument) in [
        (&["token", "issue", "--home", "h", "--purpose", "p", "--tools", "{}"][..], "--task <TASK>"),
        (&["audit", "query", "--limit", "many"], "--limit <LIMIT>"),
        (&["agent", "ls", "--lmit", "3"], "--lmit"),
        (&["agent", "lss"], "lss"),
        (&["revoke", "tokn", "x"], "<KIND>"),
    ] {
        let json = document(&marque(&[&["-j"], args].concat()));
        let error = &json["error"];
        assert_eq!((&error["code"], &error["exit"]), (&"usage".into(), &2.into()), "{json}");
        assert!(error["argument"].as_str().unwrap().contains(argument), "{json}");
        let named = argument.split(' ').next().unwrap();
        assert!(error["message"].as_str().unwrap().contains(named), "{json}");
        let human = marque(args);
        let said = String::from_utf8_lossy(&human.stderr).into_owned();
        assert_eq!((exit(&human), human.stdout.is_empty()), (2, true), "{said}");
        assert!(said.starts_with("error[usage]: ") && said.contains(named) && said.contains("hint: "), "{said}");
        assert!(!said.contains("schemas/"), "{said}");
    }
}

#[test]
fn trouble_with_a_local_file_names_the_file_and_is_no_system_that_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("file"), b"x").unwrap();
    for args in [
        &["-j", "log", "verify", &path("file")][..],
        &["-j", "log", "info", &path("file")],
        &["-j", "log", "export", &path("file"), "--from", "127.0.0.1:1", "--bundle", "none"],
        &["-j", "log", "export", &path("file"), "--from", "127.0.0.1:1", "--bundle", "none", "--dry-run"],
    ] {
        let said = marque(args);
        let error = document(&said)["error"].clone();
        assert_eq!((exit(&said), &error["code"]), (2, &"file_unusable".into()), "{args:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&path("file")) && message.contains("not a directory"), "{message}");
    }
    // A bundle that is no text.
    let dir = path("acme");
    assert_eq!(exit(&marque(&["nats", "bootstrap", &dir])), 0);
    std::fs::write(format!("{dir}/bundle.jwt"), b"\xff\xfe").unwrap();
    let said = marque(&["-j", "agent", "invite", "--blueprint", "summarizer", "--dir", &dir]);
    let error = document(&said)["error"].clone();
    assert_eq!((exit(&said), &error["code"]), (2, &"file_unusable".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("bundle.jwt"), "{error}");
    // A copy without a bundle, where nobody names one.
    std::fs::create_dir_all(path("copy")).unwrap();
    std::fs::write(path("copy/checkpoint"), b"x").unwrap();
    let error = document(&marque(&["-j", "log", "verify", &path("copy")]))["error"].clone();
    assert_eq!(error["code"], "usage", "{error}");
    assert!(error["message"].as_str().unwrap().contains(&path("copy/marque/bundle.jwt")), "{error}");
    // What is no key is not to be hidden from others, but named rightly.
    for (flag, word) in [("--creds", "no credentials file"), ("--nkey", "is not one line")] {
        let error = document(&marque(&["-j", "revoke", "ls", flag, "/etc/passwd"]))["error"].clone();
        assert_eq!((&error["code"], &error["exit"]), (&"file_unusable".into(), &2.into()), "{error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
        assert!(!error["hint"].as_str().unwrap().contains("chmod"), "{error}");
    }
    // A key that others may read is one, and is to be hidden.
    let key = format!("{dir}/keys/operator.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = document(&marque(&["-j", "revoke", "ls", "--nkey", &key]))["error"].clone();
    assert_eq!(error["exit"], 5, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("chmod 600"), "{error}");
}

#[test]
fn doctor_does_not_praise_keys_that_are_not_there_nor_send_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("acme").display().to_string();
    assert_eq!(exit(&marque(&["nats", "bootstrap", &dir])), 0);
    let look = || document(&marque(&["-j", "doctor", "--dir", &dir, "-s", "nats://127.0.0.1:1", "--timeout", "300ms"]));
    let keys = |document: &Value| {
        let findings = document["findings"].as_array().unwrap().iter();
        findings.into_iter().find(|finding| finding["name"] == "keys").unwrap().clone()
    };
    let well = look();
    assert_eq!(keys(&well)["standing"], "good", "{well}");
    for finding in well["findings"].as_array().unwrap() {
        assert!(!finding["hint"].to_string().contains("`marque doctor`"), "{finding}");
    }
    std::fs::remove_dir_all(format!("{dir}/keys")).unwrap();
    let none = keys(&look());
    assert_eq!(none["standing"], "unknown", "{none}");
    assert!(none["detail"].as_str().unwrap().contains(&format!("{dir}/keys")), "{none}");
}

#[test]
fn an_end_that_has_passed_is_refused_before_anything_is_said_or_signed() {
    // No directory, no broker: nothing of either is looked at first.
    for args in [
        &["suspend", "task", "urn:task:t", "--until", "2001-01-01T00:00:00Z"][..],
        &["narrow", "task", "urn:task:t", "--tools", "{}", "--until", "86400"],
        &["suspend", "task", "urn:task:t", "--until", "86400", "--dry-run"],
    ] {
        let said = marque(args);
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(exit(&said), 2, "{told}");
        assert!(told.starts_with("error[usage]: --until ") && told.contains("has passed"), "{told}");
    }
    let ahead = marque(&["suspend", "task", "urn:task:t", "--until", "+15m", "--dry-run"]);
    assert_eq!(exit(&ahead), 0, "{}", String::from_utf8_lossy(&ahead.stderr));
}

#[test]
fn an_invitation_is_for_a_blueprint_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("acme").display().to_string();
    assert_eq!(exit(&marque(&["nats", "bootstrap", &dir])), 0);
    let invite = |rest: &[&str]| marque(&[&["-j", "agent", "invite", "-s", "nats://127.0.0.1:1"], rest].concat());
    assert_eq!(exit(&invite(&["--blueprint", "summarizer", "--dir", &dir])), 0);
    let refused = invite(&["--blueprint", "nope", "--dir", &dir, "--timeout", "300ms"]);
    let error = document(&refused)["error"].clone();
    assert_eq!((exit(&refused), &error["code"]), (6, &"blueprint_unknown".into()), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("summarizer"), "{error}");
    // Where nobody can tell it is said, and the invitation is made.
    std::fs::remove_dir_all(format!("{dir}/blueprints")).unwrap();
    let unsure = invite(&["--blueprint", "nope", "--dir", &dir, "--timeout", "300ms"]);
    assert_eq!(exit(&unsure), 0);
    assert!(String::from_utf8_lossy(&unsure.stderr).contains("`nope` could not be learned"));
}

#[test]
fn a_sub_agents_key_is_made_once_and_told_of_without_a_credential() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("agent").display().to_string();
    let key = || marque(&["-j", "agent", "key", "--home", &home]);
    let (first, again) = (key(), key());
    assert_eq!((document(&first)["made"].clone(), document(&again)["made"].clone()), (true.into(), false.into()));
    assert_eq!(document(&first)["agent"], document(&again)["agent"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("had a key already"));
    let info = marque(&["-j", "agent", "info", "--home", &home]);
    assert_eq!((exit(&info), &document(&info)["agent"]), (0, &document(&first)["agent"]));
    assert!(stdout(&marque(&["agent", "info", "--home", &home])).contains("marque token delegate"));
    // Unreadable input of a call is about the command line.
    let chain = folder.path().join("chain").display().to_string();
    for bytes in [&b"\xff"[..], b"no chain", b"a.b.c~"] {
        std::fs::write(&chain, bytes).unwrap();
        let call = marque(&["-j", "call", "--home", &home, "--chain", &chain, "tools.x", "{}", "--dry-run"]);
        assert_eq!((exit(&call), &document(&call)["error"]["code"]), (2, &"malformed".into()), "{bytes:?}");
    }
}

#[test]
fn explain_takes_a_code_in_any_case() {
    let told = marque(&["-j", "explain", "NARROWED"]);
    assert_eq!((exit(&told), &document(&told)["code"]), (0, &"narrowed".into()));
}

#[test]
fn verify_refuses_a_demand_that_it_does_not_know() {
    let question =
        r#"{"chain":[],"trust_anchors":[],"tool":"t","args":{},"pop":"x","now":1,"require_pop_audiance":true}"#;
    let told = document(&fed(&["verify", "--stdin"], question.as_bytes()));
    assert!(told["message"].as_str().unwrap().contains("`require_pop_audiance`"), "{told}");
    assert_eq!((&told["code"], &told["blame"]), (&"malformed".into(), &"caller".into()));
    // So does the refusal of a line that is too long to be read.
    let oversize = document(&fed(&["verify", "--stdin"], &vec![b'x'; 3 * 1024 * 1024]));
    assert_eq!(oversize["blame"], "caller", "{oversize}");
}
