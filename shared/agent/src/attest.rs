//! Asking the machine's attestor for evidence of the own process.

use std::path::Path;
use std::time::Duration;

use marque_credential::evidence::{AttestRequest, EVIDENCE_BYTES_MAX};
use marque_identity::{Code, Refusal, TokenId, TrustDomain};
use marque_json::Limits;
use marque_runtime::Clock;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::{AgentError, AgentKey, Denial};

/// The attestor has 30 s to hash the executable, and an answer to write.
const ATTEST_TIME: Duration = Duration::from_secs(45);
/// The evidence, in its frame.
const ANSWER_BYTES_MAX: usize = EVIDENCE_BYTES_MAX + 1024;

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Evidence { evidence: String },
    Refused { code: Code, message: String, hint: String },
}

/// Evidence of this process for this key (a `marque-process+jwt`), by the attestor that listens on `socket`. It is good
/// for a minute, with the issuers of `domain`.
///
/// Ask from the process that holds the key, and from no child of it: the attestor looks at the process that opened the
/// connection.
pub async fn attest(socket: &Path, key: &AgentKey, domain: &TrustDomain) -> Result<String, AgentError> {
    let request = AttestRequest { aud: domain.clone(), iat: Clock::new().unix(), jti: TokenId::generate() };
    let request = request.sign(key.signing())?;
    let answer = tokio::time::timeout(ATTEST_TIME, exchange(socket, &request)).await;
    let unanswered = |why: String| {
        let message = format!("no answer from the attestor at `{}`: {why}", socket.display());
        AgentError::Unanswered(Refusal::new(Code::Unavailable, message))
    };
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unanswered(error.to_string())),
        Err(_) => return Err(unanswered(format!("none within {} s", ATTEST_TIME.as_secs()))),
    };
    match marque_json::from_slice(&answer, Limits::bytes(ANSWER_BYTES_MAX)).map_err(AgentError::Reply)? {
        Line::Evidence { evidence } => Ok(evidence),
        Line::Refused { code, message, hint } => {
            let denial = Denial { code, step: None, message, blame: code.blame(), hint, record: None };
            Err(AgentError::Refused(Box::new(denial)))
        }
    }
}

/// One line there, one line back. An attestor that refuses at once (it is full, the process has ended) answers and closes
/// before it has read the line, so that sending fails while the answer waits: the answer is what counts.
async fn exchange(socket: &Path, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let line = format!("{}\n", serde_json::json!({ "request": request }));
    let sent = stream.write_all(line.as_bytes()).await;
    let mut answer = Vec::new();
    let bytes_max = u64::try_from(ANSWER_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let read = BufReader::new(stream.take(bytes_max)).read_until(b'\n', &mut answer).await;
    if answer.is_empty() {
        sent?;
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end answers and is gone before a line is sent.
    #[tokio::test]
    async fn an_answer_that_came_before_the_line_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let busy = "{\"code\":\"unavailable\",\"message\":\"full\",\"hint\":\"later\"}\n";
        let hasty = async {
            for _ in 0..32 {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(busy.as_bytes()).await.unwrap();
            }
        };
        let asking = async {
            for _ in 0..32 {
                assert_eq!(exchange(&path, &"x".repeat(4096)).await.unwrap(), busy.as_bytes());
            }
        };
        tokio::join!(hasty, asking);
    }
}
