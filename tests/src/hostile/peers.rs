//! What stands at the other end of a socket: a broker and a client of the sidecar's NATS port, and pages over HTTP.

use marque::agent_run;
use marque::dev::http;
use marque_runtime::run;
use serde_json::{Map, Value};

/// What a client is not told: what is the sidecar's, and what leads past it.
const NOT_TOLD: [&str; 4] = ["nonce", "connect_urls", "ws_connect_urls", "xkey"];
/// What stands in a line for the broker, by whom it is: the sidecar, and nobody else.
const SHOWN: [(&str, &str); 3] = [("nkey", "nkey"), ("sig", "sig"), ("auth_token", "chain")];

/// The object of one line, and no more than one line.
fn object(line: &str, verb: &str) -> Map<String, Value> {
    let json = line.strip_prefix(verb).and_then(|rest| rest.strip_suffix("\r\n")).expect("a verb and a line's end");
    assert!(!json.contains(['\r', '\n']), "two lines");
    serde_json::from_str(json).expect("an object")
}

/// What a broker says to the sidecar's NATS port before anything else: whatever it is, a client is told nothing of it
/// that is the sidecar's.
pub fn proxy_greeting(data: &[u8]) {
    if let Some(told) = agent_run::greets(data) {
        let told = object(&told, "INFO ");
        assert_eq!(told["auth_required"], false);
        assert!(NOT_TOLD.iter().all(|name| !told.contains_key(*name)));
    }
}

/// What a client says to that port: whatever it is, the broker is shown the sidecar's credentials, once, and no others.
pub fn proxy_connect(data: &[u8]) {
    let Some(relayed) = agent_run::connects(data) else { return };
    let end = relayed.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    assert!(data.ends_with(&relayed[end..]), "what came behind is another");
    let options = object(std::str::from_utf8(&relayed[..end]).expect("JSON is UTF-8"), "CONNECT ");
    for (name, value) in SHOWN {
        let named = options.keys().filter(|key| key.to_lowercase() == name);
        assert_eq!((named.count(), options[name].as_str()), (1, Some(value)));
    }
    assert!(["user", "pass", "jwt"].iter().all(|name| options.keys().all(|key| key.to_lowercase() != *name)));
}

/// What a client says over that port once it is let through, in pieces of whatever length: behind each command that ends
/// the sidecar may show another chain, and nowhere else. A message's end is the broker's to find by the length that stands
/// in its line: whatever the pieces, it is the same, and is one byte behind an end of line.
pub fn proxy_frames(data: &[u8]) {
    let whole = agent_run::boundaries(data, &[]);
    let cuts: Vec<usize> = data
        .iter()
        .scan(0, |at, byte| {
            Some({
                *at += usize::from(*byte) + 1;
                *at
            })
        })
        .collect();
    assert_eq!(agent_run::boundaries(data, &cuts), whole, "by how it came");
    let mut begin = 0;
    for end in whole {
        let frame = &data[begin..end];
        let line = frame.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        let text = std::str::from_utf8(&frame[..line]).expect("a line is UTF-8").strip_suffix("\r\n").expect("its end");
        let payload = if text.starts_with("PUB ") || text.starts_with("HPUB ") {
            text.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok()).expect("a size") + 2
        } else {
            0
        };
        assert!(frame.len() == line + payload && frame.ends_with(b"\r\n"), "a boundary within a message");
        begin = end;
    }
}

/// An answer to a GET, of a sink or of anybody at its address.
pub fn http_answer(data: &[u8]) {
    if let Some((status, body)) = http::parse(data) {
        assert!(status <= 999);
        assert!(body.len() < data.len(), "a body out of nothing");
    }
}

/// What answers `healthcheck`.
pub fn health_answer(data: &[u8]) {
    match run::page_says(data) {
        Ok(()) => assert!(data.starts_with(b"HTTP/1.")),
        Err(why) => assert!(!why.contains(['\r', '\n']), "more than one line"),
    }
}

/// A valid sample for each target of this module.
pub(super) fn sample(target: &str) -> Vec<u8> {
    let sample: &[u8] = match target {
        "proxy_greeting" => {
            b"INFO {\"server_id\":\"N\",\"version\":\"2.12.1\",\"headers\":true,\"auth_required\":true,\
              \"max_payload\":1048576,\"nonce\":\"abc\",\"connect_urls\":[\"127.0.0.1:4222\"],\"xkey\":\"X\"}\r\n"
        }
        "proxy_connect" => {
            b"CONNECT {\"verbose\":false,\"user\":\"\",\"jwt\":null,\"lang\":\"go\",\"headers\":true}\r\nPING\r\n"
        }
        "proxy_frames" => {
            b"PING\r\nSUB a.> q 1\r\nPUB a.b 12\r\n\r\nPING\r\nPONG\r\nHPUB a _INBOX.x 12 14\r\nNATS/1.0\r\n\r\nhi\r\nUNSUB 1\r\n"
        }
        "http_answer" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        _ => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 20\r\n\r\nnats: not connected\n",
    };
    sample.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_taken() {
        assert!(agent_run::greets(&sample("proxy_greeting")).is_some());
        assert!(agent_run::connects(&sample("proxy_connect")).is_some_and(|relayed| relayed.ends_with(b"PING\r\n")));
        let frames = sample("proxy_frames");
        assert_eq!(agent_run::boundaries(&frames, &[]), [6, 19, 45, 84, 93]);
        assert_eq!(http::parse(&sample("http_answer")), Some((200, b"abcde".to_vec())));
        assert_eq!(run::page_says(&sample("health_answer")), Err("nats: not connected".into()));
    }
}
