//! The `marque` binary on a live system: every noun, in each form of output, and the exit codes of EXPERIENCE.md.
//! What needs no system is tested beside the binary (`services/marque/tests/cli`).

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod agent;
mod audit;
mod call;
mod directive;
mod exits;
mod log;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use marque_agent::enforce::Policy;
use marque_judgement::record::Record;
use marque_tests::binaries;
use marque_tests::cast::{self, GATED, HOSTED, Hosted};
use marque_tests::system::TestSystem;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The blueprint and model of the cast.
const BLUEPRINT: &str = "tester";
const MODEL: &str = "test/model-1";
const TASK: &str = "urn:task:by-hand";

/// A system, a tool host, and a folder for what commands write.
struct Stage {
    system: TestSystem,
    /// None once a test has ended it.
    host: Option<Hosted>,
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// The one document on stdout.
    fn document(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no document: {error}: {self:?}"))
    }

    /// One document on each line of stdout.
    fn lines(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.out.lines().map(line).collect()
    }
}

impl Stage {
    async fn start() -> Self {
        let system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
        let host = cast::host(&system, Policy::new(system.domain().clone())).await;
        Self { system, host: Some(host), folder: tempfile::tempdir().unwrap() }
    }

    /// A path in the stage's folder.
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A file of this content in the stage's folder.
    fn file(&self, name: &str, content: &str) -> String {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self.path(name)
    }

    /// A command in this form of output, with the system's directory.
    fn said(&self, form: &str, args: &[&str]) -> Said {
        let dir = self.system.directory().path().display().to_string();
        said(&[&["-o", form, "--dir", &dir], args].concat(), b"")
    }

    /// A command's document, where it ends in a yes.
    fn yes(&self, args: &[&str]) -> Value {
        let said = self.said("json", args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        let document = said.document();
        assert!(document.get("error").is_none(), "{args:?}: {document}");
        document
    }

    /// The error of a command that fails with this exit code, in JSON; people get the same words on stderr.
    fn refused(&self, code: i32, args: &[&str]) -> Value {
        let said = self.said("json", args);
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        let error = said.document()["error"].clone();
        assert_eq!(error["exit"], code, "{args:?}: {said:?}");
        assert!(["code", "message", "why", "blame", "hint"].iter().all(|member| error[member].is_string()), "{said:?}");
        error
    }

    /// What people read on stdout, where a command ends in a yes.
    fn human(&self, args: &[&str]) -> String {
        let said = self.said("human", args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    }

    /// How many such records the log holds, once it holds all that is in the stream now.
    async fn recorded(&self, is_such: impl Fn(&Record) -> bool) -> usize {
        let copy = self.system.copy_log().await.unwrap();
        copy.records.iter().flatten().filter(|record| is_such(record)).count()
    }

    /// An agent of this name, enrolled by the command line: its home.
    fn enrolled(&self, name: &str) -> String {
        let home = self.path(name);
        let join = self.system.join_token(BLUEPRINT).unwrap();
        self.yes(&["agent", "enrol", "--home", &home, "--model", MODEL, "--join", &join]);
        home
    }

    /// An agent's key as the log names it.
    fn did(&self, home: &str) -> String {
        self.yes(&["agent", "info", "--home", home])["agent"].as_str().unwrap().to_owned()
    }

    /// A chain for an agent in its home, as a file: both tools of the cast.
    fn issued(&self, home: &str) -> String {
        let tools = both_tools().to_string();
        let args = [
            "token",
            "issue",
            "--home",
            home,
            "--task",
            TASK,
            "--purpose",
            "by hand",
            "--tools",
            &tools,
            "--depth",
            "2",
        ];
        let chain = self.human(&args);
        let file = format!("{home}/chain");
        std::fs::write(&file, chain).unwrap();
        file
    }

    /// A call of the hosted tool by hand.
    fn call<'a>(home: &'a str, chain: &'a str, args: &'a str) -> Vec<&'a str> {
        vec!["call", "--home", home, "--chain", chain, HOSTED, args]
    }

    /// How often the hosted tool ran.
    fn runs(&self) -> u64 {
        self.host.as_ref().map_or(0, |host| host.runs.load(Ordering::SeqCst))
    }

    async fn stop(self) {
        drop(self.host);
        self.system.stop().await;
    }
}

fn both_tools() -> Value {
    json!({ format!("nats:{HOSTED}"): {}, format!("nats:{GATED}"): {} })
}

/// Runs the binary on these arguments alone, with this on stdin, in an environment that says nothing.
fn said(args: &[&str], input: &[u8]) -> Said {
    let mut child = Command::new(binary())
        .args(args)
        .env_remove("MARQUE_DIR")
        .env_remove("MARQUE_AGENT_HOME")
        .env_remove("NATS_URL")
        .env_remove("NATS_CONTEXT")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // What is fed here fits the pipe; a command that does not read it ends before.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn binary() -> PathBuf {
    binaries::path("marque")
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
