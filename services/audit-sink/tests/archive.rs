//! The log in a directory, and a new sink's log out of it.
#![allow(clippy::unwrap_used)]

mod house;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use house::admin::{administrator, api, purge_to_the_last};
use house::process::{Sink, publish};
use house::{House, ORIGIN, bundle, checked, key, mixed, wait_for_the_last};
use marque_audit_sink::archive::{Archived, archive};
use marque_audit_sink::files::LOG_FILE;
use marque_audit_sink::restore::restore;
use marque_audit_sink::seal::Sealer;
use marque_audit_sink::store::LogStore;
use marque_audit_sink::{AuditSink, SinkError};
use marque_bus::permissions::BusRole;
use marque_bus::streams::AUDIT;
use marque_identity::UnixSeconds;
use marque_ledger::{Checkpoint, KeyKind, Note, Policy, VerifierKey};
use marque_signing::{Role, ServiceKey, SigningKey};
use marque_test_support::{Broker, DEADLINE, eventually};
use serde_json::json;

/// The bundle's sink, and nobody else.
fn trusted() -> Vec<Policy> {
    vec![Policy::of_logs(vec![log_key(&key(3))])]
}

fn log_key(key: &SigningKey) -> VerifierKey {
    VerifierKey::new(ORIGIN, KeyKind::Ed25519, key.public()).unwrap()
}

/// Brings an archive to everything that a house has.
fn archived(house: &House, to: &Path) -> Result<Archived, SinkError> {
    house.sealer.seal(&house.intake.store).unwrap();
    archive(&house.intake.store.view().unwrap(), &house.sealer.last().unwrap().note, to)
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                // One that was renamed or dropped meanwhile is none.
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

#[tokio::test]
async fn an_archive_grows_with_the_log_and_makes_a_sink_with_the_same_root() {
    let (home, to, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = mixed(1000);
    let house = House::open(home.path());
    // 1. In rounds, past the ends of tiles: full tiles are written once, and what is there is one log's files.
    let mut full = BTreeMap::new();
    for size in [1, 200, 256, 300, 511, 512, 700] {
        house.take_in(&stream[..size]).await.unwrap();
        let done = archived(&house, to.path()).unwrap();
        assert_eq!(done.size, size as u64);
        assert_eq!(archived(&house, to.path()).unwrap(), Archived { files: 0, ..done }, "twice is as once");
        let now = files(to.path());
        let names: Vec<String> = now.keys().map(|path| path.display().to_string()).collect();
        let mut due: Vec<String> = marque_ledger::TileId::all(size as u64).map(|id| id.path()).collect();
        due.push("checkpoint".into());
        due.sort();
        assert_eq!(names, due, "at {size}");
        for (path, bytes) in now.into_iter().filter(|(path, _)| !path.to_string_lossy().contains(".p/")) {
            let first = full.entry(path.clone()).or_insert_with(|| bytes.clone());
            assert!(path.ends_with("checkpoint") || *first == bytes, "{path:?} was written anew");
        }
    }
    // 2. A new log out of it, which goes on with the stream and comes to the old one's root.
    let head = restore(to.path(), new.path(), &trusted()).unwrap();
    assert_eq!(head, house.intake.store.head());
    let young = House::open(new.path());
    for house in [&house, &young] {
        house.take_in(&stream).await.unwrap();
    }
    assert_eq!(young.intake.store.head(), house.intake.store.head());
    assert_eq!(young.sealer.seal(&young.intake.store).unwrap(), house.sealer.seal(&house.intake.store).unwrap());
    let rows = |house: &House| house.read().index.page(0, 1000, usize::MAX).unwrap().1;
    assert_eq!(rows(&young), rows(&house), "the verdicts, too");
}

#[tokio::test]
async fn refuses_an_archive_with_a_flipped_byte_anywhere_or_a_file_missing() {
    let (home, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let house = House::open(home.path());
    house.take_in(&mixed(300)).await.unwrap();
    archived(&house, to.path()).unwrap();
    let refused = |what: &str| {
        let new = tempfile::tempdir().unwrap();
        let outcome = restore(to.path(), new.path(), &trusted());
        assert!(matches!(outcome, Err(SinkError::Archive(_))), "{what}: {outcome:?}");
        assert!(!new.path().join(LOG_FILE).exists(), "{what}: it left a log");
        // Mended, the same directory is filled.
        new
    };
    for (path, whole) in files(to.path()) {
        let file = to.path().join(&path);
        // Large files at some places, small ones at each.
        let step = if whole.len() > 2000 { whole.len() / 7 } else { whole.len() / 40 + 1 };
        let mut last = None;
        for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            let mut touched = whole.clone();
            touched[at] ^= 0x04;
            std::fs::write(&file, touched).unwrap();
            last = Some(refused(&format!("{path:?} at {at}")));
        }
        for cut in [0, whole.len() - 1] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            refused(&format!("{path:?} cut at {cut}"));
        }
        std::fs::remove_file(&file).unwrap();
        refused(&format!("without {path:?}"));
        std::fs::write(&file, &whole).unwrap();
        let head = restore(to.path(), last.unwrap().path(), &trusted()).unwrap();
        assert_eq!(head, house.intake.store.head());
    }
}

#[tokio::test]
async fn refuses_a_checkpoint_that_nobody_vouches_for_and_a_place_that_has_a_log() {
    let (home, to, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let house = House::open(home.path());
    house.take_in(&mixed(20)).await.unwrap();
    archived(&house, to.path()).unwrap();
    // Another key's word for the very same log; and a quorum that is not there.
    let checkpoint = to.path().join("checkpoint");
    let own = std::fs::read_to_string(&checkpoint).unwrap();
    let stated = Checkpoint::parse(Note::parse(own.as_bytes()).unwrap().text()).unwrap();
    std::fs::write(&checkpoint, stated.sign(&key(9)).unwrap()).unwrap();
    assert!(matches!(restore(to.path(), new.path(), &trusted()), Err(SinkError::Archive(_))));
    std::fs::write(&checkpoint, own).unwrap();
    let witness = marque_audit_sink::seal::cosigner(ORIGIN, &key(4).did()).unwrap();
    let witness = marque_ledger::Witness { name: witness.name().to_owned(), key: witness, url: None };
    let cosigned = Policy::at_least(vec![log_key(&key(3))], 1, vec![witness]).unwrap();
    assert!(matches!(restore(to.path(), new.path(), &[cosigned]), Err(SinkError::Archive(_))));
    assert!(matches!(restore(to.path(), new.path(), &[]), Err(SinkError::Archive(_))));
    restore(to.path(), new.path(), &trusted()).unwrap();
    assert!(matches!(restore(to.path(), new.path(), &trusted()), Err(SinkError::ForeignStore(_))), "it has a log");
    // Another log's archive is not touched.
    let other = tempfile::tempdir().unwrap();
    let house = House::open(other.path());
    house.take_in(&mixed(30)).await.unwrap();
    let before = files(to.path());
    assert!(matches!(archived(&house, to.path()), Err(SinkError::Archive(_))));
    assert_eq!(files(to.path()), before);
    // One that states more than this log has can't be compared with it: it stays as it is, and that is said.
    let (behind, ahead) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (stream, late) = (mixed(40), House::open(behind.path()));
    house_at(ahead.path(), &stream, to.path().join("ahead")).await;
    late.take_in(&stream[..10]).await.unwrap();
    let before = files(&to.path().join("ahead"));
    assert!(matches!(archived(&late, &to.path().join("ahead")), Err(SinkError::Archive(why)) if why.contains("40")));
    assert_eq!(files(&to.path().join("ahead")), before);
}

/// Who has no log yet believes any sink of the bundle, or one that so many of the others have cosigned.
#[test]
fn believes_a_sink_that_enough_of_the_others_have_cosigned() {
    let mut bundle = bundle();
    let second = ServiceKey { role: Role::Sink, name: "second".into(), did: key(6).did() };
    bundle.services.push(second);
    let asking = |cosignatures: usize| AuditSink { cosignatures, ..AuditSink::default() }.trusted(ORIGIN, &bundle);
    let believed = |cosignatures: usize, note: &Note| {
        let policies = asking(cosignatures).unwrap();
        policies.iter().any(|policy| policy.open(note.to_string().as_bytes()).is_ok())
    };
    let stated = Checkpoint { origin: ORIGIN.into(), size: 1, root: marque_ledger::Hash::leaf(b"a") };
    let signed = |seed: u8| Note::parse(stated.sign(&key(seed)).unwrap().as_bytes()).unwrap();
    let cosign = |mut note: Note, seed: u8| {
        let name = marque_audit_sink::seal::cosigner(ORIGIN, &key(seed).did()).unwrap().name().to_owned();
        note.add(marque_ledger::cosign(&stated.text(), &name, &key(seed), UnixSeconds(1_700_000_000)).unwrap());
        note
    };
    for (own, other) in [(3, 6), (6, 3)] {
        assert!(believed(0, &signed(own)));
        assert!(!believed(1, &signed(own)), "nobody cosigned it");
        assert!(!believed(1, &cosign(signed(own), own)), "nobody cosigns its own");
        assert!(!believed(1, &cosign(signed(own), 9)), "a stranger did");
        assert!(believed(1, &cosign(signed(own), other)));
    }
    assert!(!believed(0, &signed(9)), "no sink of the bundle");
    assert!(asking(2).is_err(), "there are not so many others");
}

async fn house_at(home: &Path, stream: &[marque_bus::Stored], to: PathBuf) {
    let house = House::open(home);
    house.take_in(stream).await.unwrap();
    archived(&house, &to).unwrap();
}

/// Each file, and each name under which it is begun, is in the way once: the round breaks off there, as a kill would.
#[tokio::test]
async fn a_round_that_breaks_off_leaves_the_archive_of_its_checkpoint() {
    let (home, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = mixed(600);
    let house = House::open(home.path());
    house.take_in(&stream[..300]).await.unwrap();
    archived(&house, to.path()).unwrap();
    let before = house.intake.store.head();
    let had = files(to.path());
    house.take_in(&stream).await.unwrap();
    house.sealer.seal(&house.intake.store).unwrap();
    let due = marque_ledger::TileId::all(600).map(|id| id.path()).chain(["checkpoint".to_owned()]);
    for path in due.filter(|path| path == "checkpoint" || !had.contains_key(Path::new(path))) {
        let begun = to.path().join(format!("{path}.next"));
        std::fs::create_dir_all(&begun).unwrap();
        assert!(matches!(archived(&house, to.path()), Err(SinkError::Io { .. })), "{path}");
        std::fs::remove_dir(&begun).unwrap();
        let new = tempfile::tempdir().unwrap();
        assert_eq!(restore(to.path(), new.path(), &trusted()).unwrap(), before, "broken off at {path}");
    }
    archived(&house, to.path()).unwrap();
    let new = tempfile::tempdir().unwrap();
    assert_eq!(restore(to.path(), new.path(), &trusted()).unwrap(), house.intake.store.head());
    wait_for_the_last(house);
}

/// Killed when so many of its files are there, again and again, on the way from one checkpoint to the next.
#[test]
fn a_killed_archiving_leaves_the_archive_of_its_checkpoint() {
    let (home, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = LogStore::open(&home.path().join(LOG_FILE), ORIGIN).unwrap();
    let sealer = Sealer::open(home.path(), ORIGIN, key(3), None).unwrap();
    let frame = |leaf: u64| {
        let entry = marque_ledger::Entry { stream_seq: leaf + 1, broker_ts_ns: 7, bus_subject: "a", payload: b"b" };
        entry.encode().unwrap()
    };
    let grow = |upto: u64| {
        let first = store.head().size;
        store.append(first, &(first..upto).map(frame).collect::<Vec<_>>()).unwrap();
        sealer.seal(&store).unwrap();
        store.head()
    };
    let before = grow(1000);
    archive(&store.view().unwrap(), &sealer.last().unwrap().note, to.path()).unwrap();
    let after = grow(9000);
    drop((store, sealer));
    let had = files(to.path()).len();
    let mut killed = 0;
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
        command.env_clear().arg("archive").arg(home.path()).arg(to.path());
        command.spawn().unwrap()
    };
    for more in [1, 2, 5, 9, 14, 20, 30, 45] {
        let mut child = run();
        let until = Instant::now() + DEADLINE;
        while files(to.path()).len() < had + more && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "nothing is written");
        }
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        let new = tempfile::tempdir().unwrap();
        let head = restore(to.path(), new.path(), &trusted()).unwrap();
        assert!([before, after].contains(&head), "{head:?}");
    }
    assert!(killed >= 2, "nothing was interrupted");
    assert!(run().wait().unwrap().success());
    let new = tempfile::tempdir().unwrap();
    assert_eq!(restore(to.path(), new.path(), &trusted()).unwrap(), after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_its_head_and_an_archive_are_a_sink_with_the_old_ones_root() {
    let mut broker = Broker::start().await;
    let admin = administrator(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    // 1. A sink that archives, and goes on without the archive.
    let old = Sink::new(&broker);
    let to = old.directory.path().join("archive");
    let quiet = "audit_sink.heads_interval_ms=3600000";
    let archiving = format!("audit_sink.archive_dir={}", to.display());
    publish(&verifier, 300, "nats:tools.one").await;
    let mut child = old.start_with(&[quiet, &archiving]);
    let archived = |size: u64| {
        let note = std::fs::read(to.join("checkpoint")).map_err(|error| error.to_string())?;
        let stated = Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap();
        if stated.size == size { Ok(()) } else { Err(format!("at {}", stated.size)) }
    };
    eventually("the archive", Duration::from_secs(60), || async { archived(300) }).await;
    child.kill();
    let mut child = old.start_with(&[quiet]);
    publish(&verifier, 20, "nats:tools.two").await;
    let root = old.reaches(320).await;
    child.kill();
    // 2. The head goes, up to the archive's last message, which stays: by it the stream is known again.
    purge_to_the_last(&admin, 21).await;
    let state = verifier.stream_state(AUDIT).await.unwrap();
    assert_eq!((state.first_sequence, state.last_sequence), (300, 320));
    // 3. Without the archive there is no sink: messages are missing.
    let new = Sink::new(&broker);
    let mut lost = new.start_with(&[quiet]);
    eventually("an end", DEADLINE, || async {
        if new.log().contains("are missing") { Ok(()) } else { Err(new.log()) }
    })
    .await;
    lost.kill();
    std::fs::remove_dir_all(new.directory.path().join("state")).unwrap();
    // 4. With it there is one, with the old one's root, which the service comes to by itself.
    let bootstrap = |sink: &Sink| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
        command.env_clear().args(["bootstrap", "--from-archive"]).arg(&to);
        command.args(sink.settings().iter().flat_map(|setting| ["--set", setting.as_str()])).output().unwrap()
    };
    let told = bootstrap(&new);
    assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).contains("300 leaves"), "{told:?}");
    let _new = new.start_with(&[quiet]);
    assert_eq!(new.reaches(320).await, root);
    let copy = new.directory.path().join("copy");
    new.copy(&copy, 320).await;
    let report = checked(&copy, ORIGIN);
    assert!(report.is_ok() && report.leaves_checked == 320, "{report:?}");
    // 5. Purged one message too far, the stream can't be compared with the archive: refused.
    purge_to_the_last(&admin, 20).await;
    let third = Sink::new(&broker);
    assert!(bootstrap(&third).status.success());
    let _third = third.start_with(&[quiet]);
    eventually("an end", DEADLINE, || async {
        if third.log().contains("no longer holds message 300") { Ok(()) } else { Err(third.log()) }
    })
    .await;
}

/// A limit that is lowered below what the stream holds pushes publishers back; it drops nothing.
#[tokio::test]
async fn lowering_a_limit_drops_nothing() {
    let mut broker = Broker::start().await;
    let admin = administrator(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    publish(&verifier, 10, "nats:tools.one").await;
    let mut settings = api(&admin, format!("$JS.API.STREAM.INFO.{AUDIT}"), json!({})).await["config"].clone();
    for (name, limit) in [("max_msgs", 3), ("max_bytes", 1000)] {
        settings[name] = json!(limit);
        api(&admin, format!("$JS.API.STREAM.UPDATE.{AUDIT}"), settings.clone()).await;
        let state = verifier.stream_state(AUDIT).await.unwrap();
        assert_eq!((state.first_sequence, state.last_sequence, state.messages), (1, 10, 10), "{name}");
    }
    verifier.expect_stream(AUDIT).await.unwrap();
}
