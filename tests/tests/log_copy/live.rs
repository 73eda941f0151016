//! A proof of a running sink's log, and its page.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use marque_agent::CommissionRequest;
use marque_agent::enforce::Policy;
use marque_ledger::TlogProof;
use marque_tests::cast::{self, call};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

use super::answered;

/// What `audit prove` says of a record that is on its way into the log.
fn proven(system: &TestSystem, record: &str) -> Value {
    let until = Instant::now() + DEADLINE;
    loop {
        let (code, said) = system.marque(&["audit", "prove", record]);
        if code == 0 {
            return said;
        }
        assert!(code == 6 && Instant::now() < until, "{said}");
    }
}

/// The record that issued a token.
fn issued(system: &TestSystem, token: &str) -> String {
    let until = Instant::now() + DEADLINE;
    loop {
        let (code, rows) = system.marque(&["audit", "query", "--token", token, "--kind", "issued"]);
        if let Some(id) = rows[0]["record"]["id"].as_str() {
            return id.to_owned();
        }
        assert!(code == 0 && Instant::now() < until, "{rows}");
    }
}

/// The head of an answer to a HEAD.
fn head_of(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut head = String::new();
    stream.read_to_string(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    head.to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_just_stored_is_proven_and_checked_offline() {
    let system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let bus = cast::carrier(&system).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let agent = cast::enrol(&system).await;
    let commission = cast::commission(&agent).await;
    let record = call(&commission, &bus, 1).await.unwrap().record.unwrap();
    // Asked for at once: the sink may not have it yet, and no checkpoint may cover it.
    let said = proven(&system, &record);
    let text = said["proof"].as_str().unwrap();
    let proof = TlogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(proof.index, said["leaf"].as_u64().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.tlog-proof");
    std::fs::write(&file, text).unwrap();
    // By the sink's key as it states it, and by the bundle; neither command is told of a broker.
    let bundle = system.directory().bundle_file().display().to_string();
    let (code, said) = answered(&["audit", "check", &file.display().to_string(), "--bundle", &bundle]);
    assert_eq!((code, &said["verdict"], &said["record"]["id"]), (0, &"valid".into(), &record.clone().into()), "{said}");
    // By its leaf, too; and what is not there is not found.
    let (code, by_leaf) = system.marque(&["audit", "prove", "--leaf", &proof.index.to_string()]);
    assert_eq!((code, by_leaf["leaf"].as_u64()), (0, Some(proof.index)));
    assert_eq!(system.marque(&["audit", "prove", "no-such-record"]).0, 6);
    // An entry that is too large for the sink's answer comes from its page, or from a file.
    let values: Vec<String> = (0..60).map(|at| format!("{at}{}", "x".repeat(320))).collect();
    let wide =
        json!({ format!("nats:{}", cast::HOSTED): { "note": { "constraint_type": "one_of", "values": values } } });
    let request = CommissionRequest::new("urn:task:wide".parse().unwrap(), "to be long", cast::tools(wide));
    let root = agent.commission(&request).await.unwrap().root_digest().to_string();
    let large = issued(&system, &root);
    let said = proven(&system, &large);
    let text = said["proof"].as_str().unwrap();
    let entry = TlogProof::parse(text.as_bytes()).unwrap().extra.unwrap();
    assert!(entry.len() > 30_000, "{} bytes pass in the answer", entry.len());
    std::fs::write(&file, text).unwrap();
    assert_eq!(answered(&["audit", "check", &file.display().to_string(), "--bundle", &bundle]).0, 0);
    let entry_file = folder.path().join("entry");
    std::fs::write(&entry_file, &entry).unwrap();
    let entry_file = entry_file.display().to_string();
    assert_eq!(system.marque(&["audit", "prove", &large, "--entry", &entry_file]).0, 0);
    assert_eq!(system.marque(&["audit", "prove", &record, "--entry", &entry_file]).0, 1, "another's entry");
    // The sink's page says how long its files may be kept.
    let page = system.directory().sink_page().unwrap();
    for (path, kept) in [("checkpoint", "no-cache"), ("tile/0/000.p/1", "public, max-age=31536000, immutable")] {
        let head = head_of(&page, &format!("/log/{path}"));
        assert!(head.contains(&format!("cache-control: {kept}\r\n")), "{head}");
    }
    // The same log, taken home: it holds, and no chain in it is broken.
    let copy = folder.path().join("copy").display().to_string();
    let (code, copied) = system.marque(&["log", "export", &copy]);
    assert_eq!(code, 0, "{copied}");
    let (code, verified) = answered(&["log", "verify", &copy, "--bundle", &bundle]);
    let chains = &verified["chains"];
    assert_eq!((code, &chains["findings"], &chains["unsettled"]), (0, &json!([]), &json!(0)), "{verified}");
    assert!(chains["actions"].as_u64() >= Some(1), "{verified}");
    system.stop().await;
}
