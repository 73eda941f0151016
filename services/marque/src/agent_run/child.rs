//! The command: what it is told, how it is signalled, how it ends.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;

use marque_identity::Code;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Exit, Failure};

/// Where the socket lies.
const SOCKET: &str = "MARQUE_AGENT_SOCKET";
/// The prefix of inboxes that the broker lets this agent read; NATS clients take it as an option.
const INBOX_PREFIX: &str = "MARQUE_INBOX_PREFIX";
/// What the sidecar may have been told by, and the command is not: passwords, keys, tokens and the way to them. Whole
/// prefixes, so that a variable that is added later is not forgotten here.
const NOT_PASSED_ON: [&str; 2] = ["NATS_", "MARQUE_"];
/// What shells say of a command that a signal ended.
const SIGNALLED: i32 = 128;
/// What shells say of a command that is not there.
const NOT_FOUND: u8 = 127;
/// What shells say of a command that is there and can't be run.
const NOT_EXECUTABLE: u8 = 126;

/// What the command finds in its environment.
pub(super) struct Surroundings {
    pub(super) socket: PathBuf,
    pub(super) nats_url: Option<String>,
    pub(super) inbox_prefix: String,
}

/// The command as it runs; killed if the sidecar ends first.
pub(super) struct Running {
    child: Child,
    terminate: Signal,
    interrupt: Signal,
}

impl Running {
    /// Starts it. Signals are caught before: one that comes in between must not end the sidecar alone.
    pub(super) fn start(command: &[OsString], surroundings: &Surroundings) -> Result<Self, Failure> {
        let uncaught =
            |error: std::io::Error| Failure::new(Code::Internal, format!("signals can't be caught: {error}"));
        let terminate = signal(SignalKind::terminate()).map_err(uncaught)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(uncaught)?;
        let (program, arguments) =
            command.split_first().ok_or_else(|| Failure::usage("what to run is named behind `--`"))?;
        let mut command = Command::new(program);
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| is_ours(name.as_encoded_bytes())) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env(SOCKET, &surroundings.socket)
            .env(INBOX_PREFIX, &surroundings.inbox_prefix)
            .stdin(Stdio::inherit())
            .kill_on_drop(true);
        if let Some(url) = &surroundings.nats_url {
            command.env("NATS_URL", url);
        }
        let child = command.spawn().map_err(|error| not_run(program, &error))?;
        Ok(Self { child, terminate, interrupt })
    }

    /// Waits for its end and passes SIGTERM and SIGINT on to it: its exit code, or 128 and the signal that ended it.
    pub(super) async fn wait(&mut self) -> Result<u8, Failure> {
        let lost = |error| Failure::new(Code::Internal, format!("the command is lost: {error}"));
        let pid = self.child.id();
        loop {
            let name = tokio::select! {
                ended = self.child.wait() => {
                    let status = ended.map_err(lost)?;
                    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
                    return Ok(u8::try_from(code.unwrap_or(SIGNALLED)).unwrap_or(u8::MAX));
                }
                _ = self.terminate.recv() => "-TERM",
                _ = self.interrupt.recv() => "-INT",
            };
            if let Some(pid) = pid {
                // The standard library has no call for it, and we have no unsafe code. What has ended needs no signal.
                let _ = Command::new("kill").arg(name).arg(pid.to_string()).stderr(Stdio::null()).status().await;
            }
        }
    }
}

/// A command that can't be run: the exit code is the shell's for it.
fn not_run(program: &OsStr, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    let why = format!("the command can't be run: {}: {error}", program.display());
    Failure { exit: Exit::OfCommand(exit), ..Failure::new(Code::FileUnusable, why) }
        .hint("behind `--` stands a program, by its path or as PATH has it, then its arguments")
}

fn is_ours(name: &[u8]) -> bool {
    NOT_PASSED_ON.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_can_not_be_run_ends_as_in_a_shell() {
        for (kind, code) in [(std::io::ErrorKind::NotFound, 127), (std::io::ErrorKind::PermissionDenied, 126)] {
            let failure = not_run("/nonexistent".as_ref(), &kind.into());
            assert_eq!(failure.exit.code(), code);
            assert!(failure.message.contains("/nonexistent"), "{failure:?}");
        }
    }
}
