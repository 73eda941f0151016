//! The sink killed between any two of its steps, as a real process on a real broker: the log goes on where it was, never
//! forks, and every checkpoint that was ever shown is one of its roots.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use marque::dev::http;
use marque::service_config::Service;
use marque_audit_sink::seal::{COSIGNED_FILE, cosigner};
use marque_audit_sink::step::{KILL_AT, Step};
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_identity::Did;
use marque_ledger::{Checkpoint, Directory, Files, LedgerError, Note, TileId, TileSource, root_at, verify_cosignature};
use marque_tests::system::{DEADLINE, TestSystem};

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Checkpoints come often, so that each step is soon taken.
const SETTINGS: &str = "[audit_sink]\ncheckpoint_interval_ms = 50";

/// One more directive, hence one more record at least.
fn write(system: &TestSystem, n: usize) {
    let (code, said) = system.marque(&["suspend", "task", &format!("urn:task:t{n}"), "--reason", "a record"]);
    assert_eq!(code, 0, "{said}");
}

async fn until_dead(system: &mut TestSystem, step: Step) {
    let deadline = Instant::now() + DEADLINE;
    let mut n = 0;
    while system.is_running(Service::Sink) {
        assert!(Instant::now() < deadline, "the sink does not come to {}", step.name());
        write(system, 1000 + n);
        n += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    system.kill(Service::Sink);
}

/// The checkpoint that is shown, if one is.
async fn shown(page: &str) -> Option<Checkpoint> {
    let (status, note) = http::get(page, "/log/checkpoint", DEADLINE).await.ok()?;
    let note = Note::parse(note.as_bytes()).ok().filter(|_| status == 200)?;
    Some(Checkpoint::parse(note.text()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_it_goes_on_where_it_was() {
    let mut system = TestSystem::start_with(&[], &[(Service::Sink, SETTINGS)]).await.unwrap();
    let page = std::fs::read_to_string(system.directory().sink_page_file()).unwrap().trim().to_owned();
    let mut seen: Vec<Checkpoint> = Vec::new();
    // Cosigning takes another sink: see below.
    let steps = Step::SERVING.into_iter().filter(|step| *step != Step::Cosigned);
    for (n, step) in steps.enumerate() {
        write(&system, n);
        seen.extend(shown(&page).await);
        // The first time and a later one: with an empty batch behind it, and with one on its way.
        for nth in [1, 2] {
            system.kill(Service::Sink);
            system.start_service_with(Service::Sink, &[(KILL_AT, &format!("{}:{nth}", step.name()))]);
            until_dead(&mut system, step).await;
        }
        system.start_service(Service::Sink);
        system.until_ready(Service::Sink).await.unwrap();
    }
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert_eq!(copy.records.len() as u64, system.stream_size().await.unwrap());
    // Nothing was logged twice: each leaf is another record.
    let mut ids: Vec<&str> = copy.records.iter().flatten().map(|record| record.id.as_str()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    // Whatever was shown at any time is a root of what stands now.
    let folder = tempfile::tempdir().unwrap();
    let (code, _) = system.marque(&["log", "export", &folder.path().display().to_string()]);
    assert_eq!(code, 0);
    assert!(seen.len() > 4);
    for checkpoint in seen {
        let root = root_at(&Tiles(Directory::new(folder.path())), checkpoint.size).unwrap();
        assert_eq!(root, checkpoint.root, "at size {}", checkpoint.size);
    }
    system.stop().await;
}

/// With two sinks: each asks the other, and what was cosigned before the kill binds whoever starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_when_it_has_cosigned_it_cosigns_no_other_root() {
    let settings = format!("{SETTINGS}\ncosignatures = 1");
    let mut system = TestSystem::start_with(&[], &[(Service::Sink, &settings)]).await.unwrap();
    let first = std::fs::read_to_string(system.directory().sink_page_file()).unwrap().trim().to_owned();
    let own = system.directory().key(Service::Sink.key()).unwrap().did();
    let told = Cosigned::listen(&system, &own).await;
    let second = system.start_second_sink(&[]).await.unwrap();
    let mut kept = Vec::new();
    // The first time and a later one: with nothing cosigned before, and with something.
    for nth in [1, 2] {
        system.kill(Service::Sink);
        let at = format!("{}:{nth}", Step::Cosigned.name());
        system.start_service_with(Service::Sink, &[(KILL_AT, &at)]);
        until_dead(&mut system, Step::Cosigned).await;
        // It is on disk, and the other has not heard of it.
        let state = system.directory().path().join("state").join(Service::Sink.name());
        kept.push(std::fs::read_to_string(state.join(COSIGNED_FILE)).unwrap());
        system.start_service(Service::Sink);
        system.until_ready(Service::Sink).await.unwrap();
        // What comes after it becomes final with both again.
        write(&system, nth);
        let logged = system.stream_size().await.unwrap();
        for page in [&first, &second] {
            until_shown(page, logged).await;
        }
    }
    let told = told.heard();
    let copy = tempfile::tempdir().unwrap();
    until_shown(&first, system.stream_size().await.unwrap()).await;
    assert_eq!(system.marque(&["log", "export", &copy.path().display().to_string()]).0, 0);
    let (code, report) = system.marque(&["log", "verify", &copy.path().display().to_string()]);
    assert_eq!(code, 0, "{report}");
    // Kept or told, whatever it cosigned is a root of the log: no two for one size.
    let kept = kept.iter().map(|note| Checkpoint::parse(Note::parse(note.as_bytes()).unwrap().text()).unwrap());
    let mut count = 0;
    for checkpoint in told.into_iter().chain(kept) {
        let root = root_at(&Tiles(Directory::new(copy.path())), checkpoint.size).unwrap();
        assert_eq!(root, checkpoint.root, "at size {}", checkpoint.size);
        count += 1;
    }
    assert!(count > 2, "it told of nothing");
    system.stop().await;
}

async fn until_shown(page: &str, size: u64) {
    let deadline = Instant::now() + DEADLINE;
    while shown(page).await.is_none_or(|checkpoint| checkpoint.size < size) {
        assert!(Instant::now() < deadline, "no final checkpoint over {size} leaves is shown");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a sink tells the others that it has cosigned.
struct Cosigned(Arc<Mutex<Vec<Checkpoint>>>);

impl Cosigned {
    async fn listen(system: &TestSystem, sink: &Did) -> Self {
        let heard = Self(Arc::default());
        let key = cosigner(&marque_ledger::origin(system.domain()), sink).unwrap();
        let bus = system.bus(BusRole::Sink).await.unwrap();
        let mut messages = bus.client().subscribe(subjects::witness(sink)).await.unwrap();
        let keeps = heard.0.clone();
        tokio::spawn(async move {
            // The connection ends with the broker.
            let _bus = bus;
            while let Some(message) = messages.next().await {
                let note = Note::parse(&message.payload).unwrap();
                if verify_cosignature(&note, &key).is_some() {
                    keeps.lock().unwrap().push(Checkpoint::parse(note.text()).unwrap());
                }
            }
        });
        heard
    }

    fn heard(&self) -> Vec<Checkpoint> {
        self.0.lock().unwrap().clone()
    }
}

struct Tiles(Directory);

impl TileSource for Tiles {
    /// A tile as the copy has it: a smaller tree's is the beginning of a fuller one.
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        let unreadable = |why: String| LedgerError::TileUnreadable { path: id.path(), why };
        let fuller = (id.width..=256).map(|width| TileId { width, ..id });
        for id in fuller {
            if let Some(bytes) = self.0.read(&id.path(), 1 << 20).map_err(unreadable)? {
                return Ok(bytes);
            }
        }
        Err(unreadable("it is not there".into()))
    }
}
