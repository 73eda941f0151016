//! The command line: one file for each noun.
//!
//! In scope: flags, words, exit codes, the bootstrap of a trust domain ([`bootstrap`]), and running a whole system
//! for development ([`dev`]). Out of scope: everything a service or a tool host needs; those link the rooms below.
//!
//! A command ends in an [`output::Answer`] or a [`Failure`]; [`output`] alone decides where the words go.

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

use clap::{CommandFactory, Parser};
use marque_identity::Code;

use cli::{Cli, Command};
use output::{Answer, Color, Format, Output};

/// Runs one command line, the program's name first, and answers its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&args, &error),
    };
    let out = Output::new(cli.common.format(), cli.common.color);
    // A panic is our fault, and still gets its one document.
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(&cli, &out)));
    match outcome.unwrap_or_else(|_| Err(Failure::new(Code::Internal, "the command panicked; stderr says where"))) {
        Ok(answer) => out.answer(&answer),
        Err(failure) => out.failure(&failure),
    }
}

fn dispatch(cli: &Cli, out: &Output) -> Result<Answer, Failure> {
    let common = &cli.common;
    match &cli.command {
        Command::Dev(args) => block_on(dev::run(args, common, out)),
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

/// Help and versions are answers; anything else that clap stops at is a usage failure.
fn refuse_arguments(args: &[OsString], error: &clap::Error) -> Exit {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let format = wanted_format(args);
    let out = Output::new(format, Color::Auto);
    let answers = matches!(error.kind(), DisplayHelp | DisplayVersion);
    match (answers, format) {
        (true, Format::Human) => {
            let _ = error.print();
            Exit::Yes
        }
        (true, Format::Json | Format::Ndjson) => {
            let text = error.render().to_string();
            out.answer(&Answer::yes(serde_json::json!({ "help": text }), ""))
        }
        (false, Format::Human) => {
            let _ = error.print();
            if error.kind() != DisplayHelpOnMissingArgumentOrSubcommand {
                out.talk("  hint: `marque help` lists the commands");
            }
            Exit::Usage
        }
        (false, Format::Json | Format::Ndjson) => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or("wrong arguments");
            let what = match error.kind() {
                // Its text is the help, whose first line is no error.
                DisplayHelpOnMissingArgumentOrSubcommand => "what shall be done? a command or its verb is missing",
                _ => first.strip_prefix("error: ").unwrap_or(first),
            };
            out.failure(&Failure::usage(what))
        }
    }
}

/// The form asked for on a command line that could not be read.
fn wanted_format(args: &[OsString]) -> Format {
    let texts: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--").collect();
    let follows = |word: &str| {
        texts.windows(2).any(|pair| matches!(pair[0], "-o" | "--output") && pair[1] == word)
            || texts.iter().any(|arg| {
                arg.strip_prefix("--output=")
                    .or_else(|| arg.strip_prefix("-o"))
                    .map(|rest| rest.trim_start_matches('='))
                    == Some(word)
            })
    };
    if follows("ndjson") {
        Format::Ndjson
    } else if follows("json") || texts.iter().any(|arg| matches!(*arg, "-j" | "--json")) {
        Format::Json
    } else {
        Format::Human
    }
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
