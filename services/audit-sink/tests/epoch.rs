//! A log whose stream lost records: it halts, stays halted, and goes on in a new epoch when its operator says so.
#![allow(clippy::unwrap_used)]

mod house;

use std::path::Path;
use std::process::{Command, Output};

use house::admin::{administrator, purge_to_the_last};
use house::process::{Sink, publish};
use house::{ORIGIN, bundle, key};
use marque_audit_sink::epoch::{EPOCH_FILE, GENESIS_FILE};
use marque_audit_sink::restore::restore;
use marque_bus::permissions::BusRole;
use marque_ledger::epoch::{Genesis, Lost};
use marque_ledger::verify::{RecordCheck, Report, goes_on, verify};
use marque_ledger::{Checkpoint, Directory, KeyKind, Policy, VerifierKey};
use marque_test_support::{Broker, DEADLINE, eventually};

const QUIET: &str = "audit_sink.heads_interval_ms=3600000";
const SECOND: &str = "acme.example/audit/e2";

fn command(sink: &Sink, verb: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
    command.env_clear().args(verb);
    command.args(sink.settings().iter().flat_map(|setting| ["--set", setting.as_str()])).output().unwrap()
}

fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{output:?}");
}

/// It ends, and says why.
async fn halts(sink: &Sink, why: &str) {
    let said = || sink.log().matches(why).count();
    let before = said();
    let mut child = sink.start_with(&[QUIET]);
    eventually("an end", DEADLINE, || async { if said() > before { Ok(()) } else { Err(sink.log()) } }).await;
    child.kill();
}

fn checked(copy: &Path, origin: &str) -> Report {
    let key = VerifierKey::new(origin, KeyKind::Ed25519, key(3).public()).unwrap();
    let bundle = bundle();
    let check = |entry: &marque_ledger::Entry<'_>| {
        let judged = marque_judgement::record::judge(entry.payload, &bundle);
        RecordCheck { record: judged.id, verdict: judged.verdict }
    };
    verify(&Directory::new(copy), &[key], 2, &check)
}

fn stated(copy: &Path) -> Checkpoint {
    Checkpoint::stated(&std::fs::read(copy.join("checkpoint")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_stream_halts_the_log_until_its_operator_begins_a_new_epoch() {
    let mut broker = Broker::start().await;
    let admin = administrator(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    let sink = Sink::new(&broker);
    let state = sink.directory.path().join("state");
    let reason = ["new-epoch", "--reason", "an operator purged the stream"];
    refused(&command(&sink, &reason), "holds no log");
    // 1. A log of 20; while nothing is wrong, or it runs, there is no other epoch.
    publish(&verifier, 20, "nats:tools.one").await;
    let mut child = sink.start_with(&[QUIET]);
    let old = sink.reaches(20).await;
    refused(&command(&sink, &reason), "store");
    child.kill();
    refused(&command(&sink, &reason), "no new epoch is needed");
    // 2. Three records are lost before it is back: it halts, and halts again.
    publish(&verifier, 5, "nats:tools.two").await;
    purge_to_the_last(&admin, 2).await;
    for _ in 0..2 {
        halts(&sink, "records are lost").await;
    }
    // 3. Its operator says so, with a reason.
    for usage in [&["new-epoch"][..], &["new-epoch", "--reason"], &["new-epoch", "--because", "x"]] {
        refused(&command(&sink, usage), "usage");
    }
    refused(&command(&sink, &["new-epoch", "--reason", " "]), "no reason");
    assert!(!state.join(EPOCH_FILE).exists());
    // What a try that broke off has left is not in the way.
    std::fs::create_dir_all(state.join("e2/audit.redb.making")).unwrap();
    let told = command(&sink, &reason);
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && said.contains("records 21 to 23 are lost"), "{told:?}");
    // 4. It goes on from what the stream holds.
    let child = sink.start_with(&[QUIET]);
    assert_eq!(sink.reaches(3).await.origin, SECOND);
    publish(&verifier, 300, "nats:tools.three").await;
    sink.reaches(303).await;
    let copy = sink.directory.path().join("copy");
    sink.copy(&copy, 303).await;
    drop(child);
    let report = checked(&copy, SECOND);
    assert!(report.is_ok() && report.leaves_checked == 303 && report.verdicts["valid"] == 302, "{report:?}");
    let genesis = report.genesis.unwrap();
    assert_eq!((genesis.first_sequence, genesis.lost), (24, Some(Lost { from: 21, to: 23 })));
    assert_eq!(genesis.reason, "an operator purged the stream");
    // 5. The epoch before is there as it was, and is what the new one names.
    assert_eq!(genesis.before().unwrap(), old);
    let before = sink.directory.path().join("before");
    let mut export = Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
    assert!(export.env_clear().arg("export").arg(&state).arg(&before).status().unwrap().success());
    assert!(checked(&before, ORIGIN).is_ok());
    goes_on(&Directory::new(&before), &genesis.before().unwrap(), &stated(&before)).unwrap();
    // 6. Another sink of the log begins alike, and comes to the same root.
    let other = Sink::new(&broker);
    std::fs::create_dir(other.directory.path().join("state")).unwrap();
    std::fs::copy(state.join("audit.redb"), other.directory.path().join("state/audit.redb")).unwrap();
    let handed = state.join("e2").join(GENESIS_FILE).display().to_string();
    assert!(command(&other, &["new-epoch", "--genesis", &handed]).status.success());
    let _other = other.start_with(&[QUIET]);
    assert_eq!(other.reaches(303).await, stated(&copy));
    // 7. An archive of the new epoch is one, too.
    let new = tempfile::tempdir().unwrap();
    let log = VerifierKey::new(SECOND, KeyKind::Ed25519, key(3).public()).unwrap();
    assert_eq!(restore(&copy, new.path(), &[Policy::of_logs(vec![log])]).unwrap().root, stated(&copy).root);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_epoch_names_the_one_before() {
    let mut broker = Broker::start().await;
    let admin = administrator(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    let sink = Sink::new(&broker);
    publish(&verifier, 5, "nats:tools.one").await;
    let mut child = sink.start_with(&[QUIET]);
    let mut before = sink.reaches(5).await;
    for epoch in [2, 3] {
        child.kill();
        publish(&verifier, 5, "nats:tools.two").await;
        purge_to_the_last(&admin, 1).await;
        let told = command(&sink, &["new-epoch", "--reason", "again"]);
        assert!(told.status.success(), "{told:?}");
        let text = std::fs::read(sink.directory.path().join(format!("state/e{epoch}")).join(GENESIS_FILE)).unwrap();
        assert_eq!(Genesis::parse(&text).unwrap().before().unwrap(), before);
        child = sink.start_with(&[QUIET]);
        before = sink.reaches(2).await;
        assert_eq!(before.origin, format!("{ORIGIN}/e{epoch}"));
    }
}
