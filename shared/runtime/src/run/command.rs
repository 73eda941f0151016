//! A service's command line.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::ServiceSpec;

/// Flags and subcommand.
#[derive(Debug, Parser)]
pub(super) struct Command {
    /// The configuration file (TOML)
    #[arg(long, short, global = true, env = "MARQUE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Sets one key, such as nats.url=nats://127.0.0.1:4222; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, String)>,
    #[command(subcommand)]
    pub(super) task: Option<Task>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Serve until SIGTERM (the default)
    Run,
    /// The configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Ask the running service's health page: exit code 0 if it answers well
    Healthcheck {
        /// Ask whether it is ready, not only alive
        #[arg(long)]
        ready: bool,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every key; secrets are not shown
    Show {
        /// With where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

impl Command {
    pub(super) fn parse(spec: ServiceSpec) -> Result<Self, clap::Error> {
        let command = Self::command().name(spec.name).version(spec.version).about(spec.about);
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}
