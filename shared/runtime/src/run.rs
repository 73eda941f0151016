//! A service's `main`: command line, configuration, telemetry, signals, health page, exit code.

use std::future::Future;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Clock, ConfigError, Health, Shutdown};

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

impl Failure {
    /// A fatal error.
    pub fn fatal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Fatal(error.into())
    }
}

/// Runs a service: `fn main() -> ExitCode { service(SPEC, |ctx: Context<Config>| serve(ctx)) }`.
///
/// Subcommands: `run` (default), `config show --origin`, `healthcheck`, and `--version`. Flags: `--config FILE`,
/// `--set key=value`. `Config` flattens [`Common`](crate::Common), of which `common` shows the place.
/// The first SIGTERM or SIGINT asks to drain, the second stops at once. Exit codes: 0 drained, 78 bad configuration,
/// 1 failed.
pub fn service<C, D, F>(spec: ServiceSpec, duty: D) -> ExitCode
where
    C: Default + Serialize + DeserializeOwned + AsRef<crate::Common>,
    D: FnOnce(Context<C>) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let _ = (spec, duty);
    todo!()
}
