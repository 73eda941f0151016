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
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split_ascii_whitespace().nth(1) {
        Some("200") => Ok(()),
        Some(_) | None => Err(format!("http://{listen}{path}: {}", body.trim().replace('\n', "; "))),
    }
}
