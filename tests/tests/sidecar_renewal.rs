//! The sidecar's NATS port across a renewal of the commission: a client keeps the link that it has.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use marque_identity::Digest;
use marque_judgement::record::{Body, Shown};
use marque_tests::cast;
use marque_tests::system::TestSystem;
use serde_json::{Value, json};

const BLUEPRINT: &str = "tester";
const MODEL: &str = "test/model-1";

/// Sends a numbered message and hears it, until the commission has been renewed twice; keeps all that the port sends.
const SCRIPT: &str = r#"
import json, os, socket, sys, time
desk = socket.socket(socket.AF_UNIX)
desk.connect(os.environ["MARQUE_AGENT_SOCKET"])
desk = desk.makefile("rwb")
def ends():
    desk.write(b'{"whoami": {}}\n'); desk.flush()
    return json.loads(desk.readline())["expires_at"]
host, port = os.environ["NATS_URL"][len("nats://"):].split(":")
n = socket.create_connection((host, int(port))).makefile("rwb")
come = []
def line():
    while True:
        text = n.readline()
        assert text, b"".join(come[-5:]).decode()
        come.append(text)
        if text == b"PING\r\n":
            n.write(b"PONG\r\n"); n.flush()
        elif not text.startswith(b"INFO"):
            return text.decode()
line_of_info = n.readline(); come.append(line_of_info)
options = {"verbose": False, "pedantic": False, "lang": "test", "version": "1", "protocol": 1}
n.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nSUB agents.chat.room 1\r\nSUB agents.chat.room q 2\r\nUNSUB 2\r\nPING\r\n"); n.flush()
while line() != "PONG\r\n": pass
sent, renewals, first = 0, 0, ends()
deadline = time.monotonic() + 60
while renewals < 2:
    assert time.monotonic() < deadline, renewals
    # The answer to a PING: by then the broker has read all that came before, and the message has come, if it comes.
    word = b"%d" % sent
    n.write(b"PUB agents.chat.room %d\r\n%s\r\nPING\r\n" % (len(word), word)); n.flush()
    heard = []
    while (text := line()) != "PONG\r\n": heard.append(text)
    assert heard == ["MSG agents.chat.room 1 %d\r\n" % len(word), word.decode() + "\r\n"], (sent, heard)
    sent += 1
    now = ends()
    if now > first:
        renewals, first = renewals + 1, now
    time.sleep(0.01)
# One of its own: it is cut off by the port, and the broker is not asked.
n.write(b"CONNECT {}\r\n"); n.flush()
come.append(n.read())
print(json.dumps({"sent": sent, "come": b"".join(come).decode()}))
"#;

async fn system() -> TestSystem {
    let (name, mut text) = cast::blueprint();
    text.push_str(
        "[tools.\"nats:publish\"]\nsubject = { constraint_type = \"nats_subject\", pattern = \"agents.chat.>\" }\n\
         [tools.\"nats:subscribe\"]\nsubject = { constraint_type = \"nats_subject\", pattern = \"agents.chat.>\" }\n",
    );
    TestSystem::start(&[(name, text)]).await.unwrap()
}

/// Commissions of 12 s: two renewals in place, over one link, and each message is heard once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_keeps_its_one_link_over_the_renewals_of_the_commission() {
    let system = system().await;
    let home = tempfile::tempdir().unwrap();
    let join = system.join_token(BLUEPRINT).unwrap();
    let pattern = json!({ "subject": { "constraint_type": "nats_subject", "pattern": "agents.chat.>" } });
    let tools = json!({ "nats:publish": pattern, "nats:subscribe": pattern });

    let mut sidecar = system.marque_command(&["agent", "run", "--home"]);
    sidecar.arg(home.path().join("home")).args(["--join", &join, "--model", MODEL, "--task", "urn:task:kept"]);
    sidecar.args(["--purpose", "to be tested", "--tools", &tools.to_string(), "--ttl", "12s", "--nats-port", "0"]);
    sidecar.args(["--", "python3", "-c", SCRIPT]);
    sidecar.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || sidecar.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    // What the client was sent holds nothing that is the sidecar's.
    let come = told["come"].as_str().unwrap();
    for secret in ["eyJ", "auth_token", "CONNECT", "\"sig\"", "-ERR"] {
        assert!(!come.contains(secret), "{secret}: {come}");
    }
    // By the log: one link was let in once more at each renewal, by another chain each time; the sidecar's own connects anew.
    let log = system.copy_log().await.unwrap();
    let mut shown: BTreeMap<u64, Vec<Digest>> = BTreeMap::new();
    for record in log.records.iter().flatten() {
        if let Body::Connected(connected) = &record.body
            && connected.shown == Shown::Chain
        {
            shown.entry(connected.connection.cid).or_default().extend(record.token);
        }
    }
    let kept: Vec<_> = shown.values().filter(|tokens| tokens.len() > 1).collect();
    assert_eq!(kept.len(), 1, "{shown:?}");
    assert!(kept[0].len() >= 3 && kept[0].iter().collect::<BTreeSet<_>>().len() == kept[0].len(), "{shown:?}");
    system.stop().await;
}
