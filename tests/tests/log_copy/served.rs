//! `marque log serve`: only the layout's paths, to be read only, with headers that a cache can rely on.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use marque_ledger::layout::{self, VERDICTS};
use marque_runtime::http::{CONNECTIONS_MAX, PATH_BYTES_MAX};
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

    /// A connection that has asked for a file, and has read nothing yet.
    fn asking(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(READ_TIME)).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        stream
    }

    /// The most memory that it has had, in bytes.
    fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
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
fn serves_a_kept_checkpoint_for_good_and_no_other_file_beside_it() {
    let exported = Exported::sound(3);
    std::fs::create_dir(exported.copy().join(layout::KEPT_CHECKPOINTS)).unwrap();
    for name in ["2", "2.part", "02", "x"] {
        std::fs::write(exported.copy().join(layout::KEPT_CHECKPOINTS).join(name), name).unwrap();
    }
    let served = Served::begin(&exported);
    let (head, body) = served.get("GET", &format!("/{}", layout::kept_checkpoint(2)));
    assert!(head.starts_with("http/1.1 200") && head.contains("immutable") && body == b"2", "{head}");
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    for name in ["2.part", "02", "x", "", "1", "../verdicts.jsonl"] {
        assert_eq!(served.status("GET", &format!("/{}/{name}", layout::KEPT_CHECKPOINTS)), 404, "{name}");
    }
}

/// An index of any size is sent in pieces: to clients that dawdle, that go away, and to the one that reads it all.
#[test]
fn an_index_larger_than_memory_is_for_is_served_whole_and_held_by_nobody() {
    const BYTES: u64 = 256 * 1024 * 1024 + 4097;
    const HELD_MAX: u64 = 96 * 1024 * 1024;
    const END: &[u8] = b"the end\n";
    let exported = Exported::sound(3);
    let mut index = std::fs::File::create(exported.copy().join(VERDICTS)).unwrap();
    index.set_len(BYTES - END.len() as u64).unwrap();
    index.seek(SeekFrom::End(0)).unwrap();
    index.write_all(END).unwrap();
    let served = Served::begin(&exported);
    let (head, nothing) = served.get("HEAD", &format!("/{VERDICTS}"));
    assert!(head.contains(&format!("content-length: {BYTES}")) && nothing.is_empty(), "{head}");
    // As many as it takes at once go away in the middle, one after another, and some stay and read nothing.
    for _ in 0..2 * CONNECTIONS_MAX {
        let mut gone = served.asking(VERDICTS);
        gone.read_exact(&mut [0; 1000]).unwrap();
    }
    let dawdling: Vec<TcpStream> = (0..8).map(|_| served.asking(VERDICTS)).collect();
    let (mut all, mut piece) = (served.asking(VERDICTS), vec![0; 1 << 20]);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(0);
        all.read_exact(head.last_mut().map(std::slice::from_mut).unwrap()).unwrap();
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("cache-control: no-cache"), "{head}");
    let (mut bytes, mut end) = (0, Vec::new());
    loop {
        let read = all.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        bytes += read as u64;
        end.extend_from_slice(&piece[read.saturating_sub(END.len())..read]);
        end.drain(..end.len().saturating_sub(END.len()));
    }
    assert_eq!((bytes, &end[..]), (BYTES, END));
    assert!(served.memory_peak() < HELD_MAX, "{} bytes", served.memory_peak());
    drop(dawdling);
    assert_eq!(served.get("GET", "/checkpoint").1, exported.read(layout::CHECKPOINT));
}

/// What was promised and is no longer there is not made up: the answer ends before its length.
#[test]
fn an_index_that_is_cut_while_it_is_served_is_not_whole() {
    const BYTES: u64 = 64 * 1024 * 1024;
    let exported = Exported::sound(3);
    let index = std::fs::File::create(exported.copy().join(VERDICTS)).unwrap();
    index.set_len(BYTES).unwrap();
    let served = Served::begin(&exported);
    let mut asking = served.asking(VERDICTS);
    asking.read_exact(&mut [0; 1000]).unwrap();
    index.set_len(0).unwrap();
    let mut rest = Vec::new();
    let _ = asking.read_to_end(&mut rest);
    assert!((rest.len() as u64) < BYTES / 2, "{} bytes", rest.len());
    assert_eq!(served.status("GET", "/checkpoint"), 200);
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
