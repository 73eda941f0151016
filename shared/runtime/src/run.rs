//! A service's `main`: command line, configuration, telemetry, signals, health page, exit code.

mod command;
mod healthcheck;

use std::future::Future;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Layers, Loaded};
use crate::{Clock, Common, ConfigError, Health, Shutdown, http, telemetry};
use command::{Command, ConfigCommand, Task};

/// `EX_CONFIG` of sysexits.h: restarting won't help.
const EXIT_BAD_CONFIGURATION: u8 = 78;
const EXIT_FAILED: u8 = 1;

/// What a service is called.
#[derive(Debug, Clone, Copy)]
pub struct ServiceSpec {
    /// The binary's name, such as `marque-issuer`.
    pub name: &'static str,
    /// The section in the configuration and the environment, such as `issuer`.
    pub section: &'static str,
    /// `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// One sentence.
    pub about: &'static str,
}

/// What a service is handed. Its duty runs until `shutdown` asks to drain.
pub struct Context<C> {
    /// The configuration.
    pub config: C,
    /// When to stop.
    pub shutdown: Shutdown,
    /// The clock.
    pub clock: Clock,
    /// What is pending, and metrics.
    pub health: Health,
}

/// Why a service ended otherwise than drained.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration can't be used: exit code 78, restarting won't help.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Anything else: exit code 1, restarting may help.
    #[error(transparent)]
    Fatal(Box<dyn std::error::Error + Send + Sync>),
}

/// Ends the process at once, with an error: for what can't be mended from inside. Nothing that was acknowledged is
/// lost by it (ARCHITECTURE promise 10).
pub fn abandon(why: &str) -> ! {
    tracing::error!(why, "ending, to be started again");
    std::process::exit(i32::from(EXIT_FAILED))
}

impl Failure {
    /// A fatal error.
    pub fn fatal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Fatal(error.into())
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(EXIT_BAD_CONFIGURATION),
            Self::Fatal(_) => ExitCode::from(EXIT_FAILED),
        }
    }
}

/// What a health page says by these bytes of an answer: nothing if it is well, or why not.
pub fn page_says(answer: &[u8]) -> Result<(), String> {
    healthcheck::says(answer)
}

/// Runs a service: `fn main() -> ExitCode { service(SPEC, |ctx: Context<Config>| serve(ctx)) }`.
///
/// Subcommands: `run` (default), `config show --origin`, `healthcheck`, and `--version`. Flags: `--config FILE`,
/// `--set key=value`. `C` flattens [`Common`] and shows it by `AsRef`.
/// The first SIGTERM or SIGINT asks to drain, the second stops at once. Exit codes: 0 drained, 78 bad configuration,
/// 1 failed.
pub fn service<C, D, F>(spec: ServiceSpec, duty: D) -> ExitCode
where
    C: Default + Serialize + DeserializeOwned + AsRef<Common>,
    D: FnOnce(Context<C>) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let command = match Command::parse(spec) {
        Ok(command) => command,
        // clap's own: usage on stderr with 2, `--help` and `--version` on stdout with 0.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_FAILED));
        }
    };
    let layers = Layers {
        service: spec.section.to_owned(),
        flags: command.set.clone(),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        file: command.config.clone(),
    };
    let outcome = layers.load::<C>().map_err(Failure::from).and_then(|loaded| match command.task {
        None | Some(Task::Run) => run(spec, loaded.config, duty),
        Some(Task::Config { command: ConfigCommand::Show { origin } }) => {
            show(&loaded, origin);
            Ok(())
        }
        Some(Task::Healthcheck { ready }) => {
            let listen = loaded.config.as_ref().http_listen.as_deref();
            let listen = listen.ok_or(ConfigError::Missing { key: "http_listen", how: "the health page's address" })?;
            healthcheck::ask(listen, if ready { "/readyz" } else { "/livez" }).map_err(Failure::fatal)
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}: {failure}", spec.name);
            failure.exit_code()
        }
    }
}

fn run<C, D, F>(spec: ServiceSpec, config: C, duty: D) -> Result<(), Failure>
where
    C: AsRef<Common>,
    D: FnOnce(Context<C>) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let _telemetry = telemetry::start(spec.name, &config.as_ref().log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::fatal)?;
    let outcome = runtime.block_on(async {
        let shutdown = on_signals()?;
        let health = Health::starting();
        if let Some(listen) = &config.as_ref().http_listen {
            let address = http::serve(listen, health.clone(), shutdown.clone())
                .await
                .map_err(|error| ConfigError::Value(format!("`http_listen` {listen} can't be used: {error}")))?;
            tracing::info!(%address, "health page");
        }
        tracing::info!(version = spec.version, "{} starts", spec.name);
        let forced = shutdown.clone();
        let duty = duty(Context { config, shutdown, clock: Clock::new(), health });
        tokio::select! {
            outcome = duty => outcome,
            () = forced.forced() => Err(Failure::fatal("stopped at once by a second signal")),
        }
    });
    if let Err(failure) = &outcome {
        tracing::error!(%failure, "{} fails", spec.name);
    }
    // Tasks that were left behind must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// The first SIGTERM or SIGINT asks to drain, the second to stop at once.
fn on_signals() -> Result<Shutdown, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::fatal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::fatal)?;
    let (trigger, shutdown) = Shutdown::manual();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            trigger.ask();
        }
    });
    Ok(shutdown)
}

fn show<C>(loaded: &Loaded<C>, with_origin: bool) {
    for origin in &loaded.origins {
        if with_origin {
            println!("{origin}");
        } else {
            println!("{} = {}", origin.key, origin.value);
        }
    }
}
