//! `marque dev`: a whole system on loopback, out of the real processes. For development, and it says so.

mod backoff;
pub mod build;
pub mod example;
pub(crate) mod heard;
pub mod http;
mod process;
pub mod system;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use marque_identity::TrustDomain;
use serde_json::json;

use crate::Failure;
use crate::cli::Common;
use crate::output::{Answer, Format, Output, Paint, facts};
use crate::time::measured;
pub use system::{System, SystemPlan};

/// How to run a system for development.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// The broker's port; the default is 4222, or another one where that is taken.
    #[arg(long)]
    port: Option<u16>,
    /// The trust domain's name.
    #[arg(long, default_value = "acme.example")]
    domain: TrustDomain,
    /// Run the binaries as they are, even where cargo could build them.
    #[arg(long)]
    no_build: bool,
}

/// Runs until it is asked to stop.
pub async fn run(args: &DevArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let begun = Instant::now();
    out.talk(out.paint(
        Paint::Yellow,
        "DEVELOPMENT MODE: everything on this machine, keys in plain files, one operator for all.",
    ));
    let (folder, temporary) = folder(common)?;
    let plan = SystemPlan {
        folder,
        domain: args.domain.clone(),
        port: Some(args.port.unwrap_or_else(|| system::port_or_free(PORT_DEFAULT))),
        build: !args.no_build,
        example: true,
    };
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let mut system = tokio::select! {
        started = System::start(&plan, out) => started?,
        () = &mut stop => return Ok(Answer::yes(json!({ "stopped": true }), "")),
    };
    announce(&system, begun.elapsed(), temporary.is_some(), out)?;
    // Whoever reads JSON gets the one document now: there is no other moment at which it is of use.
    if common.format() != Format::Human {
        out.tell(&Answer::yes(description(&system)?, ""))?;
    }
    loop {
        tokio::select! {
            () = &mut stop => break,
            told = system.next_event() => out.talk(out.paint(Paint::Yellow, &told)),
        }
    }
    out.talk("stopping");
    system.stop().await;
    Ok(Answer::silent())
}

const PORT_DEFAULT: u16 = 4222;

/// The folder that `--dir` names, or one that goes with the command.
fn folder(common: &Common) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    if let Some(folder) = &common.connection.dir {
        let folder = std::path::absolute(folder).map_err(|error| Failure::file(folder, &error))?;
        return Ok((folder, None));
    }
    let temporary = temporary_folder("marque-dev-")?;
    Ok((temporary.path().to_path_buf(), Some(temporary)))
}

/// A folder that goes with the command.
pub fn temporary_folder(prefix: &str) -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new().prefix(prefix).tempdir().map_err(|error| Failure::file(&std::env::temp_dir(), &error))
}

/// Resolves when the process is asked to end: ctrl-c or SIGTERM.
pub fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let no_signals = |error: std::io::Error| {
        Failure::new(marque_identity::Code::Unavailable, format!("signals can't be watched: {error}"))
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn description(system: &System) -> Result<serde_json::Value, Failure> {
    let example = system.has_example().then(|| json!({ "tool": example::TOOL, "blueprint": example::BLUEPRINT }));
    Ok(json!({
        "development": true,
        "directory": system.directory().path(),
        "nats_url": system.url(),
        "trust_domain": system.domain(),
        "fingerprint": system.fingerprint(),
        "log_keys": log_keys(system)?,
        "attestor": system.attestor(),
        "example": example,
        "http": system.http_addresses().iter().map(|(service, address)| json!({ "service": service.name(), "listen": address })).collect::<Vec<_>>(),
    }))
}

/// The keys that the log's checkpoints are signed by.
fn log_keys(system: &System) -> Result<Vec<String>, Failure> {
    Ok(crate::trust::log_keys(&system.directory().bundle()?, 1)?.iter().map(ToString::to_string).collect())
}

fn announce(system: &System, took: Duration, temporary: bool, out: &Output) -> Result<(), Failure> {
    let folder = system.directory().path().display();
    out.talk(format!("{} in {}", out.paint(Paint::Green, "ready"), measured(took)));
    out.talk(facts(&[
        ("  broker", system.url().to_owned()),
        ("  trust domain", system.domain().to_string()),
        ("  fingerprint", system.fingerprint().to_string()),
        ("  log key", log_keys(system)?.join(" ")),
        (
            "  attestor",
            system.attestor().map_or_else(|| "none in this directory".to_owned(), |path| path.display().to_string()),
        ),
        (
            "  directory",
            format!("{folder}{}", if temporary { "  (gone when this ends; keep one with --dir)" } else { "" }),
        ),
    ]));
    let program = program();
    out.talk("next, in another terminal, the whole story on this system:");
    out.talk(out.paint(Paint::Cyan, &format!("  {program} tour --dir {folder}")));
    if system.has_example() {
        let (tool, blueprint) = (example::TOOL, example::BLUEPRINT);
        out.talk(format!("or an agent of your own: nats:{tool} is served, and `{blueprint}` is who may call it"));
        out.talk(out.paint(Paint::Cyan, &format!("  export MARQUE_DIR={folder}")));
        out.talk(out.paint(Paint::Cyan, &format!("  {program} agent invite --blueprint {blueprint}")));
    }
    out.talk("ctrl-c ends it");
    Ok(())
}

/// How this program is called from where the person stands.
pub fn program() -> String {
    let Ok(exe) = std::env::current_exe() else { return "marque".to_owned() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("marque") == exe));
    if on_path {
        return "marque".to_owned();
    }
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| exe.strip_prefix(here).ok().map(|path| format!("./{}", path.display())));
    relative.unwrap_or_else(|| exe.display().to_string())
}
