//! `new-epoch` and `bootstrap` killed after each of their durable writes: run again, they end as if nothing had been.
#![allow(clippy::unwrap_used)]

mod house;

use std::collections::BTreeMap;
use std::path::Path;

use house::ORIGIN;
use house::admin::{administrator, purge_to_the_last};
use house::process::{Sink, publish};
use marque_audit_sink::epoch::{EPOCH_FILE, GENESIS_FILE, standing};
use marque_audit_sink::finality::FINAL_FILE;
use marque_audit_sink::seal::CHECKPOINT_FILE;
use marque_audit_sink::step::{KILL_AT, Step};
use marque_audit_sink::store::LogStore;
use marque_bus::permissions::BusRole;
use marque_ledger::Checkpoint;
use marque_ledger::epoch::Genesis;
use marque_test_support::{Broker, DEADLINE, eventually};

const QUIET: &str = "audit_sink.heads_interval_ms=3600000";
const SECOND: &str = "acme.example/audit/e2";
const NEW_EPOCH: [&str; 3] = ["new-epoch", "--reason", "an operator purged the stream"];

/// Copies a stopped sink's state.
fn copy_state(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_state(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}

/// Runs a verb that is killed at this step. It must come to it.
fn killed(sink: &Sink, verb: &[&str], step: Step) {
    let output = sink.verb(verb).env(KILL_AT, step.name()).output().unwrap();
    assert_eq!(output.status.code(), None, "{}: {output:?}", step.name());
}

fn told(sink: &Sink, verb: &[&str]) -> Result<String, String> {
    let output = sink.verb(verb).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// What was signed, by log and size. Two notes for one are no log.
#[derive(Default)]
struct Signed(BTreeMap<(String, u64), String>);

impl Signed {
    fn look(&mut self, state: &Path) {
        for file in [CHECKPOINT_FILE, FINAL_FILE].map(|name| state.join(name)) {
            let Ok(note) = std::fs::read_to_string(file) else { continue };
            let Checkpoint { origin, size, .. } = Checkpoint::stated(note.as_bytes()).unwrap();
            let known = self.0.entry((origin, size)).or_insert_with(|| note.clone());
            assert_eq!(*known, note);
        }
    }
}

/// A sink with this key's log whose stream has lost messages; its newest leaves are not signed.
async fn broken(broker: &mut Broker) -> Sink {
    let admin = administrator(broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    let sink = Sink::new(broker);
    publish(&verifier, 20, "nats:tools.one").await;
    let mut child = sink.start_with(&[QUIET]);
    sink.reaches(20).await;
    child.kill();
    let mut child = sink.start_killed_at(&[QUIET], Step::Rooted);
    publish(&verifier, 5, "nats:tools.two").await;
    child.wait(DEADLINE);
    publish(&verifier, 5, "nats:tools.three").await;
    purge_to_the_last(&admin, 2).await;
    sink
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_a_new_epoch_is_begun_once() {
    let mut broker = Broker::start().await;
    let frozen = broken(&mut broker).await;
    let mut last = None;
    for step in Step::NEW_EPOCH {
        let sink = Sink::new(&broker);
        let state = sink.directory.path().join("state");
        copy_state(&frozen.directory.path().join("state"), &state);
        if step == Step::SetAside {
            // Only where there is something to put aside.
            killed(&sink, &NEW_EPOCH, Step::Begun);
        }
        let mut signed = Signed::default();
        signed.look(&state);
        // 1. Killed: until its last step nothing else is the log.
        killed(&sink, &NEW_EPOCH, step);
        signed.look(&state);
        assert_eq!(state.join(EPOCH_FILE).exists(), step == Step::Entered, "{}", step.name());
        // 2. Run again, it ends well; or it has ended already, and says so.
        match told(&sink, &NEW_EPOCH) {
            Ok(said) => assert!(said.contains(SECOND) && step != Step::Entered, "{said}"),
            Err(said) => assert!(said.contains("no new epoch is needed") && step == Step::Entered, "{said}"),
        }
        signed.look(&state);
        // 3. One epoch, with one genesis, after the one last checkpoint of the epoch before.
        let standing = standing(&state, ORIGIN).unwrap();
        assert_eq!((standing.epoch, standing.origin.as_str()), (2, SECOND), "{}", step.name());
        assert!(!state.join("e3").exists());
        let genesis = Genesis::parse(&std::fs::read(standing.folder.join(GENESIS_FILE)).unwrap()).unwrap();
        {
            let before = LogStore::open(&state.join("audit.redb"), ORIGIN).unwrap().head();
            let store = LogStore::open(&standing.folder.join("audit.redb"), SECOND).unwrap();
            assert_eq!(store.head().size, 1);
            assert_eq!(store.view().unwrap().entry(0).unwrap(), genesis.entry().unwrap());
            let stated = genesis.before().unwrap();
            assert_eq!((stated.size, stated.root), (before.size, before.root));
        }
        assert_eq!(std::fs::read_to_string(state.join(CHECKPOINT_FILE)).unwrap(), genesis.previous);
        assert!(told(&sink, &NEW_EPOCH).unwrap_err().contains("no new epoch is needed"));
        last = Some(sink);
    }
    // 4. The service goes on in it.
    let sink = last.unwrap();
    let _child = sink.start_with(&[QUIET]);
    assert_eq!(sink.reaches(3).await.origin, SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_a_bootstrap_is_finished_by_the_next() {
    let mut broker = Broker::start().await;
    let old = broken(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    told(&old, &NEW_EPOCH).unwrap();
    // 1. An archive of the second epoch, and one that it was before.
    let archive = old.directory.path().join("archive");
    let archived = async |size: u64| {
        eventually("an archive", DEADLINE, || async {
            let note = std::fs::read(archive.join("e2/checkpoint")).map_err(|error| error.to_string())?;
            let stated = Checkpoint::stated(&note).unwrap();
            if stated.size == size { Ok(stated.root) } else { Err(format!("at {}", stated.size)) }
        })
        .await
    };
    let archiving = format!("audit_sink.archive_dir={}", archive.display());
    let mut child = old.start_with(&[QUIET, &archiving]);
    let smaller = old.directory.path().join("smaller");
    archived(3).await;
    copy_state(&archive.join("e2"), &smaller);
    publish(&verifier, 300, "nats:tools.four").await;
    let root = archived(303).await;
    child.kill();
    let (larger, smaller) = (archive.join("e2").display().to_string(), smaller.display().to_string());
    let verb = ["bootstrap", "--from-archive", larger.as_str()];
    let holds = |sink: &Sink| {
        let place = standing(&sink.directory.path().join("state"), ORIGIN).unwrap();
        let head = LogStore::open(&place.folder.join("audit.redb"), SECOND).unwrap().head();
        assert_eq!((place.epoch, head.size, head.root), (2, 303, root));
    };
    for step in Step::BOOTSTRAP {
        let sink = Sink::new(&broker);
        killed(&sink, &verb, step);
        // 2. The next try finishes it; a finished one is not begun again.
        match told(&sink, &verb) {
            Ok(said) => assert!(said.contains("303 leaves") && step != Step::Entered, "{said}"),
            Err(said) => assert!(said.contains("is there already") && step == Step::Entered, "{said}"),
        }
        holds(&sink);
        assert!(told(&sink, &verb).unwrap_err().contains("is there already"));
    }
    // 3. What was left is of an older archive: it lies aside, and the log is the newer one's.
    let sink = Sink::new(&broker);
    killed(&sink, &["bootstrap", "--from-archive", &smaller], Step::Restored);
    assert!(told(&sink, &verb).unwrap().contains("303 leaves"));
    holds(&sink);
    assert!(sink.directory.path().join("state/e2.aside-1/audit.redb").exists());
    // 4. An archive of the first epoch is not for a directory that has begun to be the second's.
    let sink = Sink::new(&broker);
    killed(&sink, &verb, Step::Restored);
    let first = archive_of_first(&old);
    assert!(told(&sink, &["bootstrap", "--from-archive", &first]).unwrap_err().contains("is there already"));
    let _child = {
        assert!(told(&sink, &verb).unwrap().contains("303 leaves"));
        sink.start_with(&[QUIET])
    };
    sink.reaches(303).await;
}

/// An archive of the first epoch, of the stopped sink.
fn archive_of_first(old: &Sink) -> String {
    let to = old.directory.path().join("first").display().to_string();
    let state = old.directory.path().join("state").display().to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
    assert!(command.env_clear().args(["archive", &state, &to]).status().unwrap().success());
    to
}
