//! A proof of a running sink's log, and its page.

use marque_agent::enforce::Policy;
use marque_ledger::TlogProof;
use marque_tests::cast::{self, call};
use marque_tests::system::TestSystem;
use serde_json::Value;

use super::answered;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_just_stored_is_proven_and_checked_offline() {
    let system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let bus = cast::carrier(&system).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let commission = cast::commission(&cast::enrol(&system).await).await;
    call(&commission, &bus, 1).await.unwrap();
    let agent = commission.key().did().to_string();
    let ids = |rows: Value| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| row["record"]["id"].as_str().unwrap().to_owned()).collect()
    };
    // The index follows the stream: the record is asked for until it is there.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let record = loop {
        let (code, rows) = system.marque(&["audit", "query", "--agent", &agent, "--kind", "decided"]);
        assert_eq!(code, 0, "{rows}");
        if let Some(record) = ids(rows).pop() {
            break record;
        }
        assert!(std::time::Instant::now() < until, "the decision is not in the log");
        tokio::task::yield_now().await;
    };
    // Asked for at once: no checkpoint may cover it yet.
    let (code, proven) = system.marque(&["audit", "prove", &record]);
    assert_eq!(code, 0, "{proven}");
    let text = proven["proof"].as_str().unwrap();
    let proof = TlogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(proof.index, proven["leaf"].as_u64().unwrap());
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
    // The same log, taken home: it holds, and its files say how long they may be kept.
    let copy = folder.path().join("copy").display().to_string();
    let (code, copied) = system.marque(&["log", "export", &copy]);
    assert_eq!(code, 0, "{copied}");
    let (code, verified) = answered(&["log", "verify", &copy, "--bundle", &bundle]);
    assert_eq!((code, &verified["chains"]["findings"]), (0, &serde_json::json!([])), "{verified}");
    system.stop().await;
}
