//! A service's `main` in real processes: this test starts itself as the service.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use marque_runtime::nats_server::terminate;
use marque_runtime::{Common, Context, ServiceSpec, run};
use serde::{Deserialize, Serialize};

const CHILD: &str = "MARQUE_RUNTIME_TEST_CHILD";
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(flatten)]
    common: Common,
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// The service: ready when told, drains when asked unless it is stubborn.
fn service() -> ExitCode {
    let spec = ServiceSpec { name: "marque-test", section: "test", version: "1.2.3", about: "a test" };
    run::service(spec, |context: Context<Config>| async move {
        context.health.pending("bus", "not connected");
        context.health.serving();
        eprintln!("serving");
        context.shutdown.requested().await;
        eprintln!("draining");
        if std::env::var_os("STUBBORN").is_some() {
            std::future::pending::<()>().await;
        }
        Ok(())
    })
}

fn child(arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env(CHILD, "1")
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for its end, and kills it at the deadline.
fn end(mut child: Child) -> (ExitStatus, String, String) {
    let until = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("does not end");
        }
        std::thread::yield_now();
    };
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut err).unwrap();
    }
    (status, out, err)
}

fn ended(arguments: &[&str], environment: &[(&str, &str)]) -> (ExitStatus, String, String) {
    end(child(arguments, environment))
}

/// Reads stderr until it says something; gives the reader back, so that the pipe stays open.
fn hear(stderr: &mut impl BufRead, what: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(what) {
        assert!(stderr.read_line(&mut heard).unwrap() > 0, "ended before `{what}`: {heard}");
    }
    heard
}

fn drains_on_the_first_signal_and_stops_on_the_second() {
    let mut polite = child(&[], &[]);
    let mut stderr = BufReader::new(polite.stderr.take().unwrap());
    hear(&mut stderr, "serving");
    terminate(polite.id());
    hear(&mut stderr, "draining");
    assert_eq!(end(polite).0.code(), Some(0));

    let mut stubborn = child(&["run"], &[("STUBBORN", "1")]);
    let mut stderr = BufReader::new(stubborn.stderr.take().unwrap());
    hear(&mut stderr, "serving");
    terminate(stubborn.id());
    hear(&mut stderr, "draining");
    assert!(stubborn.try_wait().unwrap().is_none());
    terminate(stubborn.id());
    assert_eq!(end(stubborn).0.code(), Some(1));
}

fn a_bad_configuration_ends_with_78_and_says_what() {
    for environment in [("MARQUE_NATS__URLL", "x"), ("MARQUE_LOG__FORMAT", "loud"), ("MARQUE_CONFIG", "/nonexistent")] {
        let (status, _, said) = ended(&[], &[environment]);
        assert_eq!(status.code(), Some(78), "{environment:?}: {said}");
    }
    let (_, _, said) = ended(&[], &[("MARQUE_NATS__URLL", "x")]);
    assert!(said.contains("did you mean `nats.url`"), "{said}");
}

fn tells_its_version_and_its_configuration_without_secrets() {
    let (status, out, _) = ended(&["--version"], &[]);
    assert!(status.success() && out.contains("1.2.3"), "{out}");
    let (status, out, _) = ended(&["config", "show", "--origin"], &[("MARQUE_NATS__PASSWORD", "hunter2")]);
    assert!(status.success() && out.contains("MARQUE_NATS__PASSWORD") && !out.contains("hunter2"), "{out}");
}

fn is_alive_before_it_is_ready() {
    // Below the range from which a system takes ports for others: free now is free until the child listens.
    let begin = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let listen = format!("127.0.0.1:{}", (begin..begin + 1_000).find(is_free).unwrap());
    let listening = [("MARQUE__HTTP_LISTEN", listen.as_str())];
    assert_eq!(ended(&["healthcheck"], &listening).0.code(), Some(1));
    let mut service = child(&[], &listening);
    let mut stderr = BufReader::new(service.stderr.take().unwrap());
    hear(&mut stderr, "serving");
    assert_eq!(ended(&["healthcheck"], &listening).0.code(), Some(0));
    let (status, _, said) = ended(&["healthcheck", "--ready"], &listening);
    assert!(status.code() == Some(1) && said.contains("bus: not connected"), "{said}");
    terminate(service.id());
    hear(&mut stderr, "draining");
    assert_eq!(end(service).0.code(), Some(0));
}

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return service();
    }
    // The harness's own listing is answered with nothing, so that tools which ask go on.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    drains_on_the_first_signal_and_stops_on_the_second();
    a_bad_configuration_ends_with_78_and_says_what();
    tells_its_version_and_its_configuration_without_secrets();
    is_alive_before_it_is_ready();
    println!("run: ok");
    ExitCode::SUCCESS
}
