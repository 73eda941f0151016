//! The real process, with its own key and state, on a broker of a test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use marque_audit_sink::step::{KILL_AT, Step};
use marque_bus::Bus;
use marque_bus::permissions::BusRole;
use marque_judgement::record::Verb;
use marque_ledger::{Checkpoint, Note, layout};
use marque_test_support::{Broker, ChildGuard, DEADLINE, eventually, free_port};
use tempfile::TempDir;

use super::{bundle_text, decided, key};

pub struct Sink {
    pub directory: TempDir,
    page: String,
    url: String,
}

impl Sink {
    pub fn new(broker: &Broker) -> Self {
        Self::of(broker, 3, &bundle_text())
    }

    /// One with this key under this bundle.
    pub fn of(broker: &Broker, seed: u8, bundle: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| private(&directory.path().join(name), text);
        write("key", &marque_signing::base64url(key(seed).seed().as_slice()));
        write("nats-key", &marque_signing::base64url(Broker::key(BusRole::Sink).seed().as_slice()));
        write("bundle.jwt", bundle);
        Self { page: format!("127.0.0.1:{}", free_port()), url: broker.url(), directory }
    }

    pub fn start(&self) -> ChildGuard {
        self.start_with(&[])
    }

    /// What it is told, without what a test adds.
    pub fn settings(&self) -> Vec<String> {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        vec![
            format!("key_file={}", path("key")),
            format!("bundle.file={}", path("bundle.jwt")),
            format!("state_dir={}", path("state")),
            format!("http_listen={}", self.page),
            format!("nats.url={}", self.url),
            format!("nats.key_file={}", path("nats-key")),
            "audit_sink.checkpoint_interval_ms=100".into(),
        ]
    }

    pub fn start_with(&self, more: &[&str]) -> ChildGuard {
        ChildGuard::spawn(&mut self.command(more), &self.directory.path().join("sink.log"))
    }

    /// One that ends as by `kill -9` at this step.
    pub fn start_killed_at(&self, more: &[&str], step: Step) -> ChildGuard {
        let mut command = self.command(more);
        ChildGuard::spawn(command.env(KILL_AT, step.name()), &self.directory.path().join("sink.log"))
    }

    /// A verb of the command line, on what the service is told.
    pub fn verb(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
        command.env_clear().args(verb);
        command.args(self.settings().iter().flat_map(|setting| ["--set", setting.as_str()]));
        command
    }

    fn command(&self, more: &[&str]) -> Command {
        let settings = self.settings();
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
        let settings = settings.iter().map(String::as_str).chain(more.iter().copied());
        command.env_clear().args(settings.flat_map(|setting| ["--set", setting]));
        command
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("sink.log")).unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        let mut stream = TcpStream::connect(&self.page).map_err(|error| error.to_string())?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n")
            .map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no head")?;
        if answer.starts_with(b"HTTP/1.1 200") {
            Ok(answer.split_off(head + 4))
        } else {
            Err(String::from_utf8_lossy(&answer).into_owned())
        }
    }

    pub fn metric(&self, name: &str) -> Option<u64> {
        let page = String::from_utf8(self.get("/metrics").ok()?).ok()?;
        let line = page.lines().find(|line| line.split(' ').next().is_some_and(|word| word.starts_with(name)))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub fn checkpoint(&self) -> Result<Checkpoint, String> {
        let note = Note::parse(&self.get("/log/checkpoint")?).map_err(|error| error.to_string())?;
        Checkpoint::parse(note.text()).map_err(|error| error.to_string())
    }

    pub async fn reaches(&self, size: u64) -> Checkpoint {
        eventually("a checkpoint over every record", DEADLINE, || async {
            match self.checkpoint() {
                Ok(checkpoint) if checkpoint.size == size => Ok(checkpoint),
                Ok(checkpoint) => Err(format!("at {}", checkpoint.size)),
                Err(why) => Err(why),
            }
        })
        .await
    }

    /// Copies the log by its files alone.
    pub async fn copy(&self, to: &Path, size: u64) {
        for path in layout::files(size) {
            let bytes =
                eventually(&path, DEADLINE, || async { self.get(&format!("/log/{path}?tree_size={size}")) }).await;
            let file = to.join(&path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
    }
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

pub async fn publish(verifier: &Bus, count: usize, tool: &str) -> Vec<String> {
    let agent = key(10).did();
    let mut ids = Vec::new();
    for _ in 0..count {
        let record = decided(agent, &[], tool, Verb::Permit);
        let compact = record.seal(&key(2)).unwrap();
        verifier.publish_record("decided", Some(&agent), &compact).await.unwrap();
        ids.push(record.id);
    }
    ids
}
