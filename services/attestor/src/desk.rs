//! One connection: a line in, a line out.

use std::sync::Arc;
use std::time::Duration;

use marque_credential::evidence::{
    ATTEST_LINE_BYTES_MAX, EVIDENCE_BYTES_MAX, EVIDENCE_LIFE_SECONDS, Process, ProcessEvidence,
};
use marque_identity::{TokenId, TrustDomain};
use marque_runtime::Clock;
use marque_signing::{PublicKey, SigningKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::AttestError;
use crate::hold::Hold;
use crate::line::read_request;
use crate::metrics::Metrics;
use crate::process::{self, Peer};
use crate::seats::{Seat, Seats};

/// A process of this machine sends its line at once.
const LINE_TIME: Duration = Duration::from_secs(5);
/// The largest executable, half a gigabyte, at 20 MB/s; or smaller ones beside many that are hashed at once.
const LOOK_TIME: Duration = Duration::from_secs(30);
/// An answer fits the socket's buffer; whoever does not read it is not waited for.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// What answers connections.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

struct Inner {
    key: SigningKey,
    domain: TrustDomain,
    host: String,
    clock: Clock,
    seats: Seats,
    metrics: Metrics,
}

impl Desk {
    pub(crate) fn new(key: SigningKey, domain: TrustDomain, host: String, clock: Clock, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { key, domain, host, clock, seats: Seats::default(), metrics }))
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, mut stream: UnixStream) {
        let began = self.0.clock.monotonic();
        let outcome = self.evidence(&mut stream).await;
        let refused = outcome.as_ref().err().map(AttestError::code);
        let mut answer = match &outcome {
            Ok(evidence) => serde_json::json!({ "evidence": evidence }).to_string(),
            Err(error) => {
                tracing::info!(code = error.code().as_str(), %error, "refused");
                serde_json::json!({ "code": error.code().as_str(), "message": error.to_string(), "hint": error.hint() })
                    .to_string()
            }
        };
        answer.push('\n');
        let send = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        };
        // Who has gone, or does not read, needs no answer.
        let _ = tokio::time::timeout(ANSWER_TIME, send).await;
        self.0.metrics.answered(refused, self.0.clock.monotonic().saturating_sub(began));
    }

    /// 1. The kernel says who connected, and holds on to it.
    /// 2. The user has a seat.
    /// 3. The process is sighted, before its line is read.
    /// 4. Its one line is read.
    /// 5. The line proves whose key the evidence is about.
    /// 6. The process is looked at, and is the one that was sighted.
    /// 7. Somebody still holds the other end.
    /// 8. The evidence is signed.
    async fn evidence(&self, stream: &mut UnixStream) -> Result<String, AttestError> {
        // 1.
        let credentials =
            stream.peer_cred().map_err(|source| AttestError::Unreadable { what: "its credentials", source })?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let peer = Peer { pid: pid.ok_or(AttestError::Nameless)?, uid: credentials.uid(), gid: credentials.gid() };
        let hold = Hold::of(stream)?;
        // 2.
        let seat = self.0.seats.take(peer.uid).ok_or(AttestError::Busy)?;
        // 3.
        let (seat, sighted) = aside(seat, move || process::sight(peer)).await?;
        // 4.
        let late = |_| AttestError::LineLate { seconds: LINE_TIME.as_secs() };
        let line = tokio::time::timeout(LINE_TIME, read_line(stream)).await.map_err(late)??;
        // 5.
        let agent = read_request(&line, &self.0.domain, self.0.clock.unix())?;
        // 6.
        let (_, process) = aside(seat, move || process::look(peer, sighted, &hold)).await?;
        // 7.
        if is_gone(stream) {
            return Err(AttestError::Gone);
        }
        // 8.
        self.sign(agent, process)
    }

    fn sign(&self, agent: PublicKey, process: Process) -> Result<String, AttestError> {
        let iat = self.0.clock.unix();
        let evidence = ProcessEvidence {
            jti: TokenId::generate(),
            iss: self.0.key.did(),
            aud: self.0.domain.clone(),
            sub: agent.did(),
            iat,
            exp: iat.plus(EVIDENCE_LIFE_SECONDS),
            host: self.0.host.clone(),
            process,
        };
        let signed = evidence.sign(&self.0.key).map_err(AttestError::Sign)?;
        // The command line is bounded; a path may be long, and of control characters.
        if signed.len() > EVIDENCE_BYTES_MAX {
            return Err(AttestError::EvidenceTooLarge { bytes_max: EVIDENCE_BYTES_MAX });
        }
        Ok(signed)
    }
}

/// A look, on a thread of its own. The seat is taken until it has really ended: a file that never answers (on a
/// filesystem of the process's own making, which the first sight would wait for too) costs its user a seat, and nobody
/// else.
async fn aside<T, F>(seat: Seat, look: F) -> Result<(Seat, T), AttestError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, AttestError> + Send + 'static,
{
    let task = tokio::task::spawn_blocking(move || {
        let looked = look();
        (seat, looked)
    });
    match tokio::time::timeout(LOOK_TIME, task).await {
        Ok(Ok((seat, looked))) => Ok((seat, looked?)),
        Ok(Err(_)) => Err(AttestError::Panicked),
        Err(_) => Err(AttestError::LookLate { seconds: LOOK_TIME.as_secs() }),
    }
}

/// The line without its newline.
async fn read_line(stream: &mut UnixStream) -> Result<Vec<u8>, AttestError> {
    let mut line = Vec::with_capacity(1024);
    loop {
        let room = (ATTEST_LINE_BYTES_MAX + 1).saturating_sub(line.len());
        if room == 0 {
            return Err(AttestError::LineTooLong { bytes_max: ATTEST_LINE_BYTES_MAX });
        }
        let begin = line.len();
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let read = (&mut *stream).take(room).read_buf(&mut line).await;
        match read {
            Ok(0) => return Err(AttestError::LineUnfinished),
            Ok(_) => {}
            Err(_) => return Err(AttestError::Gone),
        }
        if let Some(at) = line.iter().skip(begin).position(|byte| *byte == b'\n').map(|at| begin + at) {
            if at + 1 < line.len() {
                return Err(AttestError::MoreThanOneLine);
            }
            line.truncate(at);
            return Ok(line);
        }
    }
}

/// Whether nobody holds the other end any more. A process that waits for its answer has nothing to send.
fn is_gone(stream: &UnixStream) -> bool {
    let mut byte = [0];
    match stream.try_read(&mut byte) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}
