//! One GET: of a health page, or of a file of the log. Nothing more of HTTP is needed here.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A health page: its metrics are some hundred lines.
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What an answer has beside its body: a head, and the frames of a body in chunks.
const ENVELOPE_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody answers, or not in HTTP.
    Unavailable(String),
    /// It has more than was asked for; the rest was not read.
    Oversize(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unavailable(why) | Self::Oversize(why)) = self;
        f.write_str(why)
    }
}

/// Status and body of `GET path` at `address` (`host:port`), or why there is none.
pub async fn get(address: &str, path: &str, timeout: Duration) -> Result<(u16, String), String> {
    let (status, body) = get_bytes(address, path, PAGE_BYTES_MAX, timeout).await.map_err(|why| why.to_string())?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The same with the body's bytes as they are, at most so many.
pub async fn get_bytes(
    address: &str,
    path: &str,
    bytes_max: u64,
    timeout: Duration,
) -> Result<(u16, Vec<u8>), NoAnswer> {
    let answer_bytes_max = bytes_max.saturating_add(ENVELOPE_BYTES_MAX);
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(answer_bytes_max.saturating_add(1)).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let unavailable = NoAnswer::Unavailable;
    let answer = tokio::time::timeout(timeout, exchange).await;
    let answer = answer.map_err(|_| unavailable(format!("{address} did not answer in time")))?;
    let answer = answer.map_err(|error| unavailable(format!("{address}: {error}")))?;
    let oversize = || NoAnswer::Oversize(format!("{address} answers {path} with more than {bytes_max} bytes"));
    if answer.len() as u64 > answer_bytes_max {
        return Err(oversize());
    }
    let (status, body) = parse(&answer).ok_or_else(|| unavailable(format!("{address} does not speak HTTP")))?;
    if body.len() as u64 > bytes_max { Err(oversize()) } else { Ok((status, body)) }
}

/// Status and body of an answer that has come whole; none where it is no HTTP, or broke off.
pub fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&answer[..end]).ok()?, &answer[end + 4..]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?;
    // A number would be read from `+20` too.
    let status = status.bytes().all(|digit| digit.is_ascii_digit()).then(|| status.parse().ok())??;
    let header = |name: &str| {
        let line = lines.clone().find_map(|line| line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)));
        line.map(|(_, value)| value.trim().to_owned())
    };
    if header("transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
        return Some((status, dechunk(body)?));
    }
    // A body that broke off is no body.
    let length = header("content-length").map(|length| length.parse::<usize>());
    match length {
        Some(Ok(length)) if body.len() >= length => Some((status, body[..length].to_vec())),
        Some(_) => None,
        None => Some((status, body.to_vec())),
    }
}

fn dechunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&body[..end]).ok()?.split(';').next()?.trim();
        let size =
            size.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| usize::from_str_radix(size, 16).ok())??;
        if size == 0 {
            return Some(out);
        }
        let rest = &body[end + 2..];
        out.extend_from_slice(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_and_chunked_answers() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nok"), Some((200, b"ok".to_vec())));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"), None);
        let chunked = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((503, b"abcde".to_vec())));
        assert_eq!(parse(&chunked[..60]), None);
        let signed = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parse(signed), None);
        for noise in
            ["", "HTTP/1.", "HTTP/1.1 2\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n", "HTTP/1.é00\r\n\r\n", "SSH-2.0\r\n\r\n"]
        {
            assert_eq!(parse(noise.as_bytes()), None, "{noise}");
        }
    }
}
