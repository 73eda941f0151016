//! The command line: one file for each noun.
//!
//! In scope: flags, words, exit codes, the bootstrap of a trust domain ([`bootstrap`]), and running a whole system
//! for development ([`dev`]). Out of scope: everything a service or a tool host needs; those link the rooms below.
//!
//! A command ends in an [`output::Answer`] or a [`Failure`]; [`output`] alone decides where the words go, and what goes
//! to stdout passes one door (`stdout`).

#![deny(clippy::print_stdout, clippy::disallowed_methods)]

pub mod agent_run;
pub mod bootstrap;
pub mod cli;
pub mod connection;
pub mod dev;
pub mod directory;
mod exit;
mod failure;
pub mod inspect;
pub mod log;
pub mod output;
pub mod service_config;

mod agent;
mod agent_home;
mod arguments;
mod audit;
mod blueprint;
mod call;
mod check;
mod directive;
mod doctor;
mod events;
mod explain;
mod forensics;
mod lines;
mod nats;
mod nats_permissions;
mod probe;
mod progress;
mod stdout;
mod time;
mod token;
mod tools_arg;
mod tour;
pub mod trust;
mod verify;
mod view;

pub use exit::Exit;
pub use failure::Failure;

use std::ffi::OsString;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::{CommandFactory, FromArgMatches};
use marque_identity::Code;

use cli::{Cli, Command};
use output::{Answer, Output};

/// Runs one command line, the program's name first, and answers its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let (cli, words) = match parse(&args) {
        Ok(parsed) => parsed,
        Err(error) => return arguments::refuse(&args, &error),
    };
    let out = Output::new(cli.common.format(), cli.common.color);
    // A panic is our fault, and still gets its one document.
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(&cli, &out)));
    match outcome.unwrap_or_else(|_| Err(Failure::new(Code::Internal, "the command panicked; stderr says where"))) {
        Ok(answer) => out.answer(&answer),
        Err(failure) => out.failure(&failure.met_in(&words)),
    }
}

/// The command line, and its command's words: `token issue`.
fn parse(args: &[OsString]) -> Result<(Cli, String), clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(args)?;
    let mut words = Vec::new();
    let mut at = matches.subcommand();
    while let Some((word, below)) = at {
        words.push(word.to_owned());
        at = below.subcommand();
    }
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((cli, words.join(" ")))
}

fn dispatch(cli: &Cli, out: &Output) -> Result<Answer, Failure> {
    let common = &cli.common;
    match &cli.command {
        Command::Dev(args) => block_on(dev::run(args, common, out)),
        Command::DevHost(args) => block_on(dev::example::run(args, common, out)),
        Command::Tour(args) => block_on(tour::run(args, common, out)),
        Command::Bootstrap(args) => block_on(bootstrap::run(args, common, out)),
        Command::Nats(verb) => block_on(nats::run(verb, common, out)),
        Command::Agent(verb) => block_on(agent::run(verb, common, out)),
        Command::Blueprint(verb) => block_on(blueprint::run(verb, common, out)),
        Command::Token(verb) => block_on(token::run(verb, common, out)),
        Command::Call(args) => block_on(call::run(args, common, out)),
        Command::Revoke(args) => block_on(directive::revoke(args, common, out)),
        Command::Suspend(args) => block_on(directive::suspend(args, common, out)),
        Command::Narrow(args) => block_on(directive::narrow(args, common, out)),
        Command::Lift(args) => block_on(directive::lift(args, common, out)),
        Command::Resume(args) => block_on(directive::resume(args, common, out)),
        Command::Audit(verb) => block_on(audit::run(verb, common, out)),
        Command::Log(verb) => block_on(log::run(verb, common, out)),
        Command::Doctor(args) => block_on(doctor::run(args, common, out)),
        Command::Check(args) => block_on(check::run(args, common, out)),
        Command::Explain(args) => explain::run(args, out),
        Command::Verify(args) => verify::run(args),
        Command::Completions { shell } => Ok(completions(*shell)),
    }
}

/// Runs a command that touches the world.
fn block_on(command: impl Future<Output = Result<Answer, Failure>>) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Unavailable, format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(command);
    // Background reconnects must not hold the exit up.
    runtime.shutdown_background();
    outcome
}

fn completions(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "marque", &mut script);
    let script = String::from_utf8_lossy(&script).trim_end().to_owned();
    Answer::yes(serde_json::json!({ "shell": shell.to_string(), "script": script }), script)
}

/// What the bus could not do, as a failure.
pub(crate) fn bus_failure(error: marque_bus::BusError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

/// What a service refused or did not answer, as a failure.
pub(crate) fn call_failure(error: marque_bus::CallError) -> Failure {
    match error {
        marque_bus::CallError::Refused(refusal) => wire_failure(refusal),
        marque_bus::CallError::Foreign { code, message } => {
            Failure::new(Code::ToolFailed, format!("the tool answered with error {code}: {message}"))
        }
        marque_bus::CallError::Unanswered(refusal) => refusal.into(),
    }
}

/// The same of a question that changes nothing, whatever becomes of it: without an answer it is undecided.
pub(crate) fn question_failure(error: marque_bus::CallError) -> Failure {
    match error {
        marque_bus::CallError::Unanswered(refusal) if refusal.code == Code::OutcomeUnknown => {
            Failure::new(Code::Unavailable, refusal.message)
        }
        marque_bus::CallError::Unanswered(_)
        | marque_bus::CallError::Refused(_)
        | marque_bus::CallError::Foreign { .. } => call_failure(error),
    }
}

/// A refusal that came over the wire.
pub(crate) fn wire_failure(refusal: marque_bus::WireRefusal) -> Failure {
    let failure = Failure { step: refusal.step, blame: refusal.blame, ..Failure::new(refusal.code, refusal.message) };
    if refusal.hint.is_empty() { failure } else { failure.hint(refusal.hint) }
}
