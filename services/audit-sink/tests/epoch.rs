//! A log whose stream lost records: it halts, stays halted, and goes on in a new epoch when its operator says so.
#![allow(clippy::unwrap_used)]

mod house;

use std::path::Path;
use std::process::{Command, Output};

use house::admin::{administrator, keep_the_last_of_each_subject, purge_to_the_last};
use house::process::{Sink, publish};
use house::{ORIGIN, bundle, checked, decided, key};
use marque_audit_sink::epoch::{EPOCH_FILE, GENESIS_FILE};
use marque_audit_sink::restore::restore;
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_judgement::record::Verb;
use marque_ledger::epoch::{Genesis, Lost};
use marque_ledger::verify::goes_on;
use marque_ledger::{Checkpoint, Directory, Hash, KeyKind, Policy, VerifierKey};
use marque_signing::{Role, ServiceKey};
use marque_test_support::{Broker, DEADLINE, eventually};

const QUIET: &str = "audit_sink.heads_interval_ms=3600000";
const SECOND: &str = "acme.example/audit/e2";

fn command(sink: &Sink, verb: &[&str]) -> Output {
    sink.verb(verb).output().unwrap()
}

fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{output:?}");
}

/// A bundle with another sink beside that of key 3.
fn two_sinks() -> String {
    let mut bundle = bundle();
    let other = ServiceKey { role: Role::Sink, name: "other".into(), did: key(6).did() };
    bundle.services.push(other);
    bundle.sign(&key(1)).unwrap()
}

/// It ends, and says why.
async fn halts(sink: &Sink, why: &str) {
    let said = || sink.log().matches(why).count();
    let before = said();
    let mut child = sink.start_with(&[QUIET]);
    eventually("an end", DEADLINE, || async { if said() > before { Ok(()) } else { Err(sink.log()) } }).await;
    child.kill();
}

fn stated(copy: &Path) -> Checkpoint {
    Checkpoint::stated(&std::fs::read(copy.join("checkpoint")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_stream_halts_the_log_until_its_operator_begins_a_new_epoch() {
    let mut broker = Broker::start().await;
    let admin = administrator(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    let (sink, bundle) = (Sink::of(&broker, 3, &two_sinks()), two_sinks());
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
        halts(&sink, "are missing").await;
    }
    // 3. Its operator says so, with a reason.
    for usage in [&["new-epoch"][..], &["new-epoch", "--reason"], &["new-epoch", "--because", "x"]] {
        refused(&command(&sink, usage), "usage");
    }
    refused(&command(&sink, &["new-epoch", "--reason", " "]), "no reason");
    assert!(!state.join(EPOCH_FILE).exists());
    // What a try that broke off has left is not in the way.
    std::fs::create_dir_all(state.join("e2/audit.redb.making")).unwrap();
    let left = state.join("e2.aside-1/audit.redb.making");
    let told = command(&sink, &reason);
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && said.contains("records 21 to 23 are lost") && left.exists(), "{told:?}");
    // 4. It goes on from what the stream holds.
    let archive = sink.directory.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    std::fs::write(archive.join("checkpoint"), std::fs::read(state.join("checkpoint")).unwrap()).unwrap();
    let child = sink.start_with(&[QUIET, &format!("audit_sink.archive_dir={}", archive.display())]);
    assert_eq!(sink.reaches(3).await.origin, SECOND);
    // Beside that of the epoch before, which is left as it is.
    eventually("an archive", DEADLINE, || async {
        if archive.join("e2/checkpoint").exists() { Ok(()) } else { Err(sink.log()) }
    })
    .await;
    assert_eq!((stated(&archive.join("e2")).origin.as_str(), stated(&archive)), (SECOND, old.clone()));
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
    let other = Sink::of(&broker, 6, &bundle);
    std::fs::create_dir(other.directory.path().join("state")).unwrap();
    std::fs::copy(state.join("audit.redb"), other.directory.path().join("state/audit.redb")).unwrap();
    let handed = state.join("e2").join(GENESIS_FILE).display().to_string();
    let forged = other.directory.path().join("forged.json").display().to_string();
    let note = Checkpoint { origin: ORIGIN.into(), ..old }.sign(&key(9)).unwrap();
    let genesis = Genesis::after(note, genesis.reason, genesis.at_ms, genesis.first_sequence, genesis.lost).unwrap();
    std::fs::write(&forged, serde_json::to_vec(&genesis).unwrap()).unwrap();
    refused(&command(&other, &["new-epoch", "--genesis", &forged]), "no sink of this log signed");
    let followed = command(&other, &["new-epoch", "--genesis", &handed]);
    assert!(followed.status.success(), "{followed:?}");
    refused(&command(&other, &["new-epoch", "--genesis", &handed]), "no new epoch is needed");
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

/// The stream begins early enough and reaches far enough, and the log's last message is there: yet it can't go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_behind_the_logs_end_is_a_reason_and_the_last_checkpoint_agrees_with_what_was_published() {
    let mut broker = Broker::start().await;
    let admin = administrator(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    let sink = Sink::new(&broker);
    let state = sink.directory.path().join("state");
    let reason = ["new-epoch", "--reason", "four messages are gone"];
    // 1. The twentieth is of another agent: it stays the only one on its subject.
    publish(&verifier, 19, "nats:tools.one").await;
    let agent = key(11).did();
    let record = decided(agent, &[], "nats:tools.one", Verb::Permit).seal(&key(2)).unwrap();
    verifier.publish_record("decided", Some(&agent), &record).await.unwrap();
    let mut child = sink.start_with(&[QUIET]);
    let old = sink.reaches(20).await;
    child.kill();
    publish(&verifier, 5, "nats:tools.two").await;
    keep_the_last_of_each_subject(&admin).await;
    halts(&sink, "goes from sequence 20 to 25").await;
    // 2. What this key has published is agreed with, or there is no last checkpoint.
    let publish_note = async |note: String| {
        admin.request(subjects::checkpoint(&key(3).did()), note.into()).await.unwrap();
    };
    let signed = std::fs::read_to_string(state.join("checkpoint")).unwrap();
    for (size, why) in [(21, "21 were signed"), (20, "two roots are signed")] {
        let other = Checkpoint { origin: ORIGIN.into(), size, root: Hash::leaf(b"other") };
        publish_note(other.sign(&key(3)).unwrap()).await;
        refused(&command(&sink, &reason), why);
    }
    publish_note(Checkpoint { origin: SECOND.into(), ..old.clone() }.sign(&key(3)).unwrap()).await;
    refused(&command(&sink, &reason), "a later epoch than");
    assert!(!state.join(EPOCH_FILE).exists() && !state.join("e2").exists());
    publish_note(signed).await;
    // 3. It is seen, and said what is lost.
    let told = command(&sink, &reason);
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && said.contains("records 21 to 24 are lost"), "{told:?}");
    let _child = sink.start_with(&[QUIET]);
    assert_eq!(sink.reaches(2).await.origin, SECOND);
}
