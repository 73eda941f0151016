//! The socket of the command: JSON lines in, JSON lines out, in order for each connection.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marque_identity::Code;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::holding::Holding;
use super::line::{self, Asked, LINE_BYTES_MAX};
use crate::Failure;

/// The command's user, and nobody else. The folder around it is as private.
const SOCKET_MODE: u32 = 0o600;
/// Connections at once: as many as a command may act in parallel. More wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// After a failed accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening socket.
pub(super) struct Desk {
    listener: UnixListener,
    holding: Arc<Holding>,
    seats: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn bind(path: &Path, holding: Arc<Holding>) -> Result<Self, Failure> {
        let failed = |error| Failure::file(path, &error);
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self { listener, holding, seats: Arc::new(Semaphore::new(CONNECTIONS_MAX)) })
    }

    /// Serves for ever.
    pub(super) async fn serve(self) {
        loop {
            let Ok(seat) = self.seats.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let holding = self.holding.clone();
                    tokio::spawn(async move {
                        // A connection that breaks is the command's to open again.
                        let _ = converse(stream, &holding).await;
                        drop(seat);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// Answers each line, whatever it holds. A line that is too long ends the connection: where it ends can't be told.
async fn converse(stream: UnixStream, holding: &Holding) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let limit = u64::try_from(LINE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    loop {
        let mut line = Vec::new();
        if (&mut read).take(limit).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let ends = line.pop_if(|byte| *byte == b'\n').is_some();
        let answer = match ends || line.len() <= LINE_BYTES_MAX {
            true => answer(&line, holding).await,
            false => line::error(&Failure::new(Code::Oversize, format!("a line has at most {LINE_BYTES_MAX} bytes"))),
        };
        write.write_all(format!("{answer}\n").as_bytes()).await?;
        if !ends {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], holding: &Holding) -> Value {
    let answered = async {
        Ok::<_, Failure>(match line::read(line)? {
            Asked::Call { subject, args, why, gate } => line::reply(holding.call(&subject, args, why, gate).await?),
            Asked::Delegate { to, grant } => {
                let (chain, recorded) = holding.delegate(&to, grant).await?;
                json!({ "chain": chain, "recorded": recorded })
            }
            Asked::Whoami => {
                let commission = holding.commission().await;
                json!({
                    "agent": holding.key().did(), "task": commission.task(), "trust_domain": commission.domain(),
                    "expires_at": commission.expires_at(), "depth_left": commission.depth_left(),
                    "inbox_prefix": holding.inbox_prefix(), "actions_signed": holding.key().history().signed,
                })
            }
        })
    };
    answered.await.unwrap_or_else(|failure| line::error(&failure))
}
