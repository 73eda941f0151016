//! `marque log serve`: only the layout's paths, to be read only, with headers that a cache can rely on.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use marque_ledger::layout;
use marque_runtime::http::PATH_BYTES_MAX;
use marque_tests::exported::Exported;
use serde_json::Value;

use super::{answered, marque};

/// Longer than anything here takes: a test that hangs fails.
const READ_TIME: Duration = Duration::from_secs(30);

struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn begin(exported: &Exported) -> Self {
        let copy = exported.copy().display().to_string();
        let mut child = marque(&["-o", "ndjson", "log", "serve", &copy]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, address }
    }

    /// The answer to a request as it is written: head and body.
    fn ask(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(READ_TIME)).unwrap();
        // It may close before it has read all.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|at| at == b"\r\n\r\n").expect("an answer has a head");
        (String::from_utf8(answer[..end].to_ascii_lowercase()).unwrap(), answer[end + 4..].to_vec())
    }

    fn get(&self, method: &str, path: &str) -> (String, Vec<u8>) {
        self.ask(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    }

    fn status(&self, method: &str, path: &str) -> u16 {
        self.get(method, path).0[9..12].parse().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serves_every_file_of_the_layout_with_its_type_and_its_life() {
    let exported = Exported::sound(300);
    let served = Served::begin(&exported);
    for path in layout::files(300) {
        let (head, body) = served.get("GET", &format!("/{path}"));
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert_eq!(body, exported.read(&path), "{path}");
        let tile = path.starts_with("tile/");
        let life = if tile { "cache-control: public, max-age=31536000, immutable" } else { "cache-control: no-cache" };
        assert!(head.contains(life), "{path}: {head}");
        assert_eq!(head.contains("content-type: application/octet-stream"), tile, "{path}: {head}");
        // A HEAD tells the same, and brings nothing.
        let (asked, nothing) = served.get("HEAD", &format!("/{path}"));
        assert!(asked.contains(&format!("content-length: {}", body.len())) && nothing.is_empty(), "{path}: {asked}");
    }
    let (head, _) = served.get("GET", "/checkpoint");
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
}

#[test]
fn refuses_every_path_that_is_not_the_layouts() {
    let exported = Exported::sound(3);
    std::fs::write(exported.copy().join("secret"), "secret").unwrap();
    std::fs::write(exported.copy().join("tile/secret"), "secret").unwrap();
    let served = Served::begin(&exported);
    for path in [
        "/",
        "/secret",
        "/tile/secret",
        "/tile/",
        "/tile/0/001",
        "/tile/0/../../secret",
        "/../copy/secret",
        "/tile/../secret",
        "/%2e%2e/secret",
        "/tile/0/%2e%2e/secret",
        "//etc/passwd",
        "/checkpoint/",
        "/checkpoint%00",
        "/marque/",
        "/marque/../secret",
        "/tile/0/000.p/3/",
        "/tile/0/000.p/03",
    ] {
        assert_eq!(served.status("GET", path), 404, "{path}");
    }
    // A query changes nothing.
    assert_eq!(served.status("GET", "/checkpoint?tree_size=1"), 200);
    let (head, _) = served.get("GET", "/tile/0/000");
    assert!(head.contains("cache-control: no-store"), "what is not there yet may come: {head}");
}

#[test]
fn refuses_what_writes_and_what_is_too_large() {
    let exported = Exported::sound(3);
    let served = Served::begin(&exported);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(served.status(method, "/checkpoint"), 405, "{method}");
    }
    assert_eq!(served.status("GET", &format!("/{}", "a".repeat(PATH_BYTES_MAX - 1))), 404);
    assert_eq!(served.status("GET", &format!("/{}", "a".repeat(PATH_BYTES_MAX))), 414);
    let with = |header: &str| served.ask(&format!("GET /checkpoint HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n")).0;
    assert!(with("Content-Length: 1").starts_with("http/1.1 413"));
    assert!(with("Transfer-Encoding: chunked").starts_with("http/1.1 413"));
    assert!(with("Connection: close").starts_with("http/1.1 200"));
    // A head without end is cut off, and the next request is served.
    let endless = served.ask(&format!("GET /checkpoint HTTP/1.1\r\n{}", "x: y\r\n".repeat(200_000))).0;
    assert!(endless.starts_with("http/1.1 431"), "{endless}");
    assert_eq!(served.status("GET", "/checkpoint"), 200);
}

#[test]
fn a_folder_without_a_log_is_not_found_and_a_stop_is_a_good_end() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(answered(&["log", "serve", &folder.path().display().to_string()]).0, 6);
    let exported = Exported::sound(3);
    let copy = exported.copy().display().to_string();
    assert_eq!(answered(&["log", "serve", &copy, "--listen", "nonsense"]).0, 3);
    let mut served = Served::begin(&exported);
    let asked = std::process::Command::new("kill").args(["-TERM", &served.child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}
