//! The command line: `marque <noun> <verb>`, and the flags that every command takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::output::{Color, Format};
use crate::{agent, audit, bootstrap, call, check, dev, directive, doctor, explain, log, nats, token, tour, verify};

/// Marque: who an agent is, what it may do, and what it did.
#[derive(Debug, Parser)]
#[command(name = "marque", version, propagate_version = true, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Data goes to stdout, talk to stderr. With -j there is one JSON document on stdout, success or failure.
Exit codes: 0 yes · 1 a definite no · 2 usage · 3 undecided, nothing changed · 4 outcome unknown, retry with the key
            5 no permission · 6 not found or conflict";

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Form of the data on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t, help_heading = "Output")]
    pub output: Format,
    /// Short for `--output json`.
    #[arg(short, long, global = true, conflicts_with = "output", help_heading = "Output")]
    pub json: bool,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Output")]
    pub color: Color,
    /// How to reach the broker.
    #[command(flatten)]
    pub connection: ConnectionFlags,
}

impl Common {
    /// The form that was asked for.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// Connection flags, as the `nats` tool has them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionFlags {
    /// The directory that `marque nats bootstrap` made: bundle and keys are read from it.
    #[arg(long, global = true, env = "MARQUE_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// NATS server URLs, comma-separated.
    #[arg(short, long, visible_alias = "url", global = true, env = "NATS_URL", value_name = "NATS_URL")]
    pub server: Option<String>,
    /// User name.
    #[arg(long, global = true, env = "NATS_USER")]
    pub user: Option<String>,
    /// Password; a command line is visible to others, prefer --password-file.
    #[arg(long, global = true, env = "NATS_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// File that holds the password on one line.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// NATS credentials file.
    #[arg(long, global = true, env = "NATS_CREDS", value_name = "FILE")]
    pub creds: Option<PathBuf>,
    /// File that holds a NATS user seed (`SU…`).
    #[arg(long, global = true, env = "NATS_NKEY", value_name = "FILE")]
    pub nkey: Option<PathBuf>,
    /// A context of the `nats` tool, out of its configuration directory.
    #[arg(long, global = true, env = "NATS_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// How long to wait for an answer: `500ms`, `5s`, `1m`.
    #[arg(long, global = true, env = "NATS_TIMEOUT", value_parser = duration, default_value = "5s")]
    pub timeout: Duration,
}

/// A duration as the `nats` tool writes it: a number and `ms`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write `500ms`, `5s`, `15m` or `1h`");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// How many at most: one that asks for none asks nothing.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("`{text}` is no number")),
    }
}

/// The nouns and verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole system on loopback: broker and services as real processes. For development.
    Dev(dev::DevArgs),
    /// The tool host of `dev`.
    #[command(hide = true)]
    DevHost(dev::example::HostArgs),
    /// Tell the whole story on a running system, each step measured.
    Tour(tour::TourArgs),
    /// The same as `nats bootstrap`.
    #[command(hide = true)]
    Bootstrap(bootstrap::BootstrapArgs),
    /// The broker: bootstrap a domain's keys and configuration, create its streams, show permissions.
    #[command(subcommand)]
    Nats(nats::NatsVerb),
    /// Agents: invite, enrol, ls, info, tree.
    #[command(subcommand)]
    Agent(agent::AgentVerb),
    /// Blueprints: the kinds of agents that may be enrolled.
    #[command(subcommand)]
    Blueprint(crate::blueprint::BlueprintVerb),
    /// Tokens: issue, delegate, inspect, verify.
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Call a tool through a commission.
    Call(call::CallArgs),
    /// End something for good; or list the directives in force.
    Revoke(directive::RevokeArgs),
    /// Stop something until it is resumed.
    Suspend(directive::TightenArgs),
    /// Allow less, at once, to everything below a target.
    Narrow(directive::NarrowArgs),
    /// End a narrowing or a suspension.
    Lift(directive::LoosenArgs),
    /// End a suspension.
    Resume(directive::LoosenArgs),
    /// Ask the audit log: query, explain, prove, check, completeness; timeline, tree, replay, blast-radius; erase.
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Copies of the audit log: export, verify, serve, events.
    #[command(subcommand)]
    Log(log::LogVerb),
    /// Look at everything that has to work, and say what to do about what does not.
    Doctor(doctor::DoctorArgs),
    /// One look at one thing, for a monitoring system.
    Check(check::CheckArgs),
    /// What a code means and what to do about it.
    Explain(explain::ExplainArgs),
    /// Judge presentations by AAT §8 steps 1 to 8: JSON lines in, JSON lines out.
    Verify(verify::VerifyArgs),
    /// A completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}
