//! Asking a health page: one plain HTTP request, for images that contain nothing but the service.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Asks for `path`; an answer other than 200 is an error with what the page says.
pub(super) fn ask(listen: &str, path: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("http://{listen}{path}: {error}");
    // Listening on every address is asked for on loopback.
    let asked = listen.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
    let address = asked.to_socket_addrs().map_err(failed)?.next().ok_or("no address")?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {asked}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    says(&answer).map_err(|why| format!("http://{listen}{path}: {why}"))
}

/// What a page's answer says: nothing for a 200, or why not, on one line.
pub(super) fn says(answer: &[u8]) -> Result<(), String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|line| line.split_ascii_whitespace().nth(1));
    if status == Some("200") { Ok(()) } else { Err(body.trim().replace(['\r', '\n'], "; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_200_alone_is_well() {
        assert_eq!(says(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nok\n"), Ok(()));
        let pending = b"HTTP/1.1 503 Service Unavailable\r\n\r\nnats: not connected\nview: cold\n";
        assert_eq!(says(pending), Err("nats: not connected; view: cold".into()));
        for other in [&b""[..], b"200 200", b"SSH-2.0 200 x", b"HTTP/1.1 \xff", b"HTTP/1.1 2000 x", b"HTTP/1.1"] {
            assert!(says(other).is_err());
        }
    }
}
