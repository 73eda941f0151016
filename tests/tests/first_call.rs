//! The walk of `services/marque/README.md`, as a person types it: `marque dev` in one terminal, the commands in another.
//! What the page says they answer is held to what they answer.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::Path;
use std::process::Command;

use marque::directory::Directory;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, ConnectOptions, streams, subjects};
use marque_test_support::{ChildGuard, eventually, free_port};
use marque_tests::binaries;
use marque_tests::system::DEADLINE;
use serde_json::Value;

const PAGE: &str = include_str!("../../services/marque/README.md");
/// What opens a block of the page.
const OPENING: &str = "```console\n";
/// Stands for anything on a line, and alone on a line for any lines.
const ANYTHING: &str = "…";

/// A command of the page, and what it says that the command answers.
#[derive(Debug)]
struct Typed {
    command: String,
    answer: Vec<String>,
}

/// The page's blocks, each a list of commands.
fn blocks(page: &str) -> Vec<Vec<Typed>> {
    let block = |text: &str| {
        let mut typed: Vec<Typed> = Vec::new();
        let mut goes_on = false;
        for line in text.split("\n```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), typed.last_mut()) {
                (Some(command), _) => typed.push(Typed { command: command.to_owned(), answer: Vec::new() }),
                (None, Some(last)) if goes_on => last.command = format!("{}\n{line}", last.command),
                (None, Some(last)) => last.answer.push(line.to_owned()),
                (None, None) => panic!("a block begins with a command: {line}"),
            }
            goes_on = line.ends_with('\\');
        }
        typed
    };
    page.split(OPENING).skip(1).map(block).collect()
}

/// Whether these lines are what the page says.
fn is_told(told: &[String], said: &[&str]) -> bool {
    match (told, said) {
        ([], []) => true,
        ([line, rest @ ..], said) if line == ANYTHING => {
            (0..=said.len()).any(|skipped| is_told(rest, &said[skipped..]))
        }
        ([line, rest @ ..], [first, others @ ..]) => is_line(line, first) && is_told(rest, others),
        ([], _) | (_, []) => false,
    }
}

fn is_line(told: &str, said: &str) -> bool {
    match told.split_once(ANYTHING) {
        None => told == said,
        Some((before, after)) => said.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| is_line(after, &rest[at..]))
        }),
    }
}

#[test]
fn a_page_is_read_as_it_is_written() {
    let page = "a\n```console\n$ one \\\n    'x'\nhere …\n…\nend\n$ two\n```\nb\n";
    let [block] = &blocks(page)[..] else { panic!() };
    assert_eq!((block[0].command.as_str(), block[1].command.as_str()), ("one \\\n    'x'", "two"));
    let told = &block[0].answer;
    for said in [&["here it is", "end"][..], &["here ", "a", "b", "end"]] {
        assert!(is_told(told, said), "{said:?}");
    }
    for said in [&["there it is", "end"][..], &["here it is"], &["here it is", "end", "more"], &[]] {
        assert!(!is_told(told, said), "{said:?}");
    }
}

/// `marque dev` as the page's first command has it, in this folder; ended by SIGTERM.
struct Dev {
    child: ChildGuard,
    directory: Directory,
}

impl Dev {
    async fn start(folder: &Path, command: &str) -> Self {
        let args = command.strip_prefix("cargo marque ").expect("it is run by cargo");
        let args: Vec<&str> = args.split(' ').collect();
        let ["dev", "--dir", name] = args[..] else { panic!("{command}") };
        let mut dev = Command::new(binaries::path("marque"));
        // Two that start in the same moment would both find the default port free.
        dev.args(&args)
            .args(["--port", &free_port().to_string()])
            .current_dir(folder)
            .env_remove("MARQUE_DIR")
            .env_remove("NATS_URL");
        let mut child = ChildGuard::spawn(&mut dev, &folder.join("dev.said"));
        eventually("the system is ready", DEADLINE, || {
            let ready = child.said().contains("ctrl-c ends it");
            assert!(ready || child.is_running(), "{}", child.said());
            std::future::ready(if ready { Ok(()) } else { Err(child.said()) })
        })
        .await;
        Self { child, directory: Directory::at(folder.join(name)) }
    }

    async fn operator(&self) -> Bus {
        let key = self.directory.key(BusRole::Operator.as_str()).unwrap();
        let options = ConnectOptions::new(self.directory.nats_url().unwrap(), "test").signing_key(key.into());
        Bus::connect_now(options, DEADLINE).await.unwrap()
    }

    /// Waits until all that the stream holds is in the log, under a signed checkpoint.
    async fn all_logged(&self, operator: &Bus) {
        eventually("the log has what the stream has", DEADLINE, || async {
            let stored = operator.stream_state(streams::AUDIT).await.map_err(|error| error.to_string())?.last_sequence;
            let asked = operator.request(subjects::AUDIT_CHECKPOINT, Default::default(), Vec::new(), DEADLINE).await;
            let standing: Value = serde_json::from_slice(&asked.map_err(|error| error.to_string())?.payload).unwrap();
            if standing["checkpoint_size"] == stored { Ok(()) } else { Err(format!("{stored} of {standing}")) }
        })
        .await;
    }

    fn until_ended(mut self) -> (Option<i32>, String) {
        self.child.terminate();
        let status = self.child.wait(DEADLINE);
        (status.code(), self.child.said())
    }
}

/// The other terminal.
struct Shell<'s> {
    folder: &'s Path,
    /// What was typed and sets a variable, to be typed again: each command has a shell of its own.
    set: String,
}

impl Shell<'_> {
    /// What a command answers, both channels as a terminal shows them.
    fn types(&mut self, command: &str) -> String {
        let script = format!("{}exec 2>&1\n{command}\n", self.set);
        let path = std::env::join_paths(
            [binaries::folder().to_owned()]
                .into_iter()
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(script).current_dir(self.folder).env("PATH", path.unwrap());
        for name in ["NATS_URL", "NATS_CONTEXT", "MARQUE_AGENT_HOME"] {
            shell.env_remove(name);
        }
        let output = shell.env("XDG_CONFIG_HOME", "/nonexistent").output().expect("bash");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Remembers what a command sets, with the value that it had.
    fn keeps(&mut self, command: &str, value: &str) {
        self.set.push_str(&format!("{command}{value}\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_users_walk_goes_as_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks(PAGE);
    let [[dev], walk @ ..] = &blocks.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] else {
        panic!("the page begins with `marque dev`: {blocks:?}");
    };
    // 1. The system, in one terminal.
    let system = Dev::start(folder.path(), &dev.command).await;
    let said = system.child.said();
    assert!(is_told(&dev.answer, &said.lines().collect::<Vec<_>>()), "the page: {:#?}\nsaid: {said}", dev.answer);
    let operator = system.operator().await;
    // 2. Each command, in another.
    let mut shell = Shell { folder: folder.path(), set: String::new() };
    let typed: Vec<&Typed> = walk.iter().flat_map(|block| block.iter()).collect();
    for verb in ["invite", "enrol", "issue", "delegate", "call", "revoke", "explain", "check"] {
        assert!(typed.iter().any(|typed| typed.command.contains(verb)), "the walk has no `{verb}`");
    }
    for Typed { command, answer } in typed {
        if command.contains("marque audit") {
            system.all_logged(&operator).await;
        }
        let variable = command.split_once('=').filter(|(name, _)| name.bytes().all(|c| c.is_ascii_lowercase()));
        let said = match variable {
            None => shell.types(command),
            Some((name, _)) => {
                let file = format!("{name}.value");
                let said = shell.types(&format!("{command}\nprintf '%s' \"${name}\" > {file}"));
                let value = std::fs::read_to_string(folder.path().join(file)).unwrap();
                assert!(!value.is_empty() && !value.contains('\''), "{command}: {value}");
                shell.keeps(&format!("{name}="), &format!("'{value}'"));
                said
            }
        };
        assert!(is_told(answer, &said.lines().collect::<Vec<_>>()), "{command}\nthe page: {answer:#?}\nsaid: {said}");
        if command.starts_with("export ") {
            shell.keeps(command, "");
        }
    }
    // 3. It ends as it should.
    drop(operator);
    let (code, said) = system.until_ended();
    assert_eq!(code, Some(0), "{said}");
}

/// What ends by itself is started again, and told: a service, the example's tool host, the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_is_started_again_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let system = Dev::start(folder.path(), "cargo marque dev --dir d").await;
    let directory = system.directory.path().display().to_string();
    let marks = [
        ("issuer", format!("{directory}/config/issuer.toml")),
        ("example tool host", format!("dev-host --dir {directory}")),
        ("nats-server", format!("{directory}/nats.conf")),
    ];
    for (name, mark) in &marks {
        let first = pid_of(mark).unwrap();
        assert!(Command::new("kill").args(["-KILL", &first.to_string()]).status().unwrap().success());
        let (ended, again) = (format!("{name} ended"), format!("{name} runs again"));
        eventually(name, DEADLINE, || {
            let said = system.child.said();
            std::future::ready(if said.contains(&ended) && said.contains(&again) { Ok(()) } else { Err(said) })
        })
        .await;
        assert_ne!(pid_of(mark), Some(first), "{name}");
    }
    // All of them work together again.
    eventually("all is well", DEADLINE, || async {
        let mut doctor = Command::new(binaries::path("marque"));
        let output = doctor.args(["--dir", &directory, "doctor"]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
    })
    .await;
    // Nothing of it is left.
    let (code, said) = system.until_ended();
    assert_eq!(code, Some(0), "{said}");
    for (name, mark) in &marks {
        assert_eq!(pid_of(mark), None, "{name} is left");
    }
}

/// The process whose command line has this, of those that are no shell's or ours.
fn pid_of(mark: &str) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(mark)
    })
}
