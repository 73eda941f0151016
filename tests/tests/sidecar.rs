//! The sidecar, end to end: a command acts through it over its socket and over NATS, and sees no secret.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::Ordering;

use marque::service_config::Service;
use marque_agent::enforce::Policy;
use marque_agent::{AgentKey, Delegation};
use marque_signing::PublicKey;
use marque_test_support::eventually;
use marque_tests::cast::{self, GATED, HOSTED};
use marque_tests::system::TestSystem;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The blueprint and model of the cast.
const BLUEPRINT: &str = "tester";
const MODEL: &str = "test/model-1";

/// What each script begins with: the socket, a line there and back, and waiting for a thing.
const PRELUDE: &str = r#"
import base64, json, os, socket, sys, time
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["MARQUE_AGENT_SOCKET"])
    return s.makefile("rwb")
desk = connect()
def raw(line, desk=desk):
    desk.write(line + b"\n"); desk.flush()
    return json.loads(desk.readline())
def ask(question):
    return raw(json.dumps(question).encode())
def wait(what, is_so):
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
out = {}
"#;

/// When the credential in a home ends, and waiting until the one that was there first has been renewed and is over.
const CREDENTIAL: &str = r#"
def credential_ends(home):
    claims = open(home + "/credential.jwt").read().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
def outlive_credential(home, first):
    wait("the first credential ends, renewed", lambda: credential_ends(home) > first and time.time() > first)
"#;

/// A raw NATS client.
const NATS: &str = r#"
def nats(options):
    host, port = os.environ["NATS_URL"][len("nats://"):].split(":")
    n = socket.create_connection((host, int(port))).makefile("rwb")
    out["info"] = n.readline().decode()
    n.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n"); n.flush()
    while (line := n.readline().decode()).startswith("INFO"): pass
    return n, line
"#;

/// An agent's folder, made by the sidecar when it first runs.
struct Home {
    dir: TempDir,
    join: String,
}

impl Home {
    fn new(system: &TestSystem) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), join: system.join_token(BLUEPRINT).unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The sidecar for a script of its own, on a chain in a file.
    fn on_chain(&self, system: &TestSystem, chain: &Path, more: &[&str], script: &str) -> Command {
        let mut command = system.marque_command(&["agent", "run", "--home"]);
        command.arg(self.path()).arg("--chain").arg(chain).args(more).args(["--", "python3", "-c", script]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The sidecar for a script of its own, commissioned with the hosted tool for accounts up to 9, and the gated one.
    fn sidecar(&self, system: &TestSystem, more: &[&str], script: &str) -> Command {
        let tools = json!({
            format!("nats:{HOSTED}"): { "account": { "constraint_type": "range", "max": 9 } },
            format!("nats:{GATED}"): {},
            "nats:publish": { "subject": { "constraint_type": "nats_subject", "pattern": "agents.chat.>" } },
            "nats:subscribe": { "subject": { "constraint_type": "nats_subject", "pattern": "agents.chat.>" } },
        });
        let mut command = system.marque_command(&["agent", "run", "--home"]);
        command.arg(self.path()).args(["--join", &self.join, "--model", MODEL, "--task", "urn:task:sidecar"]);
        command.args(["--purpose", "to be tested", "--depth", "2", "--tools", &tools.to_string()]).args(more);
        command.args(["--", "python3", "-c", script]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, system: &TestSystem, more: &[&str], script: &str) -> Output {
        let mut command = self.sidecar(system, more, script);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs it and reads the one document that the script prints.
    async fn told(&self, system: &TestSystem, more: &[&str], script: &str) -> Value {
        let output = self.run(system, more, script).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }
}

async fn system() -> TestSystem {
    system_of(3600).await
}

/// One whose credentials live for so long.
async fn system_of(credential_life_seconds: u32) -> TestSystem {
    system_with(credential_life_seconds, "").await
}

/// And whose blueprint demands this evidence.
async fn system_with(credential_life_seconds: u32, attest: &str) -> TestSystem {
    let (name, text) = cast::blueprint();
    let life = format!("max_life_seconds = {credential_life_seconds}\n");
    let mut text = text.replace("max_life_seconds = 3600\n", &life);
    assert!(text.contains(&life));
    text.push_str(
        "[tools.\"nats:publish\"]\nsubject = { constraint_type = \"nats_subject\", pattern = \"agents.chat.>\" }\n\
         [tools.\"nats:subscribe\"]\nsubject = { constraint_type = \"nats_subject\", pattern = \"agents.chat.>\" }\n",
    );
    text.push_str(attest);
    TestSystem::start(&[(name, text)]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_acts_through_its_socket_and_sees_no_secret() {
    let system = system().await;
    let host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let gated = cast::plain_tool(&system).await;
    let home = Home::new(&system);
    let sub_agent = AgentKey::generate().unwrap();
    let sub_agent_did = sub_agent.did();
    let script = format!(
        r#"{PRELUDE}
out["whoami"] = ask({{"whoami": {{}}}})
out["granted"] = ask({{"call": "{HOSTED}", "args": {{"account": 5}}, "why": "the test says so"}})
out["denied"] = ask({{"call": "{HOSTED}", "args": {{"account": 10}}}})
out["other"] = ask({{"call": "tools.mail.send", "args": {{}}}})
out["gated"] = ask({{"call": "{GATED}", "args": {{"q": 1}}, "gate": True, "cause": out["granted"]["action"]}})
tools = {{"nats:{HOSTED}": {{"account": {{"constraint_type": "exact", "value": 5}}}}}}
to = {{"to": "{did}", "tools": tools, "ttl_seconds": 60, "depth": 0}}
out["delegated"] = ask({{"delegate": to}})
out["widened"] = ask({{"delegate": dict(to, tools={{"nats:{HOSTED}": {{}}}})}})
out["hostile"] = [raw(b"\xff\xfe"), raw(b'{{"call":"a","call":"b"}}'), raw(b'{{"call":' + b"[" * 500), raw(b"")]
out["long"] = raw(b" " * 200000, connect())
out["after"] = ask({{"call": "{HOSTED}", "args": {{"account": 6}}}})
out["environ"] = open("/proc/self/environ").read()
out["argv"] = open("/proc/self/cmdline").read()
path = os.environ["MARQUE_AGENT_SOCKET"]
out["modes"] = [os.stat(path).st_mode & 0o777, os.stat(os.path.dirname(path)).st_mode & 0o777]
print(json.dumps(out))
"#,
        did = sub_agent.did()
    );
    let told = home.told(&system, &[], &script).await;

    assert_eq!(told["granted"]["reply"]["account"], 5, "{told}");
    assert!(told["granted"]["record"].is_string());
    assert_eq!(told["denied"]["error"]["code"], "argument_refused");
    assert_eq!(told["denied"]["error"]["step"], "6b");
    assert!(told["other"]["error"]["code"].is_string() && told["other"]["reply"].is_null());
    assert_eq!(told["gated"]["reply"]["q"], 1, "{}", told["gated"]);
    assert_eq!(told["after"]["reply"]["account"], 6);
    assert_eq!((host.runs.load(Ordering::SeqCst), gated.load(Ordering::SeqCst)), (2, 1));
    // The sub-agent's chain is its own, and narrower.
    let chain = told["delegated"]["chain"].as_str().unwrap();
    let child = marque_agent::Commission::adopt(sub_agent, chain).unwrap();
    assert_eq!(child.depth(), 1);
    assert_eq!(told["widened"]["error"]["code"], "authority_widened");
    // Which the log has by its parent's own word, before it is used.
    assert_eq!(told["delegated"]["recorded"], true, "{told}");
    let stated = eventually("the log has it", marque_tests::system::DEADLINE, || async {
        let (_, found) = system.marque(&["audit", "query", "--kind", "delegated"]);
        if found.as_array().is_some_and(|rows| !rows.is_empty()) { Ok(found) } else { Err(found.to_string()) }
    });
    let stated = stated.await;
    let record = &stated[0]["record"];
    assert_eq!((&record["by"], &record["agent"]), (&told["whoami"]["agent"], &json!(sub_agent_did)));
    assert_eq!(record["token"], json!(child.leaf_digest()));
    // Hostile lines have their errors and stop nothing.
    let codes: Vec<&str> =
        told["hostile"].as_array().unwrap().iter().map(|answer| answer["error"]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["malformed", "duplicate_member", "too_deep", "malformed"]);
    assert_eq!(told["long"]["error"]["code"], "oversize");
    // No secret in what the command is started with, nor in anything that it was told.
    let seen = told.to_string();
    let seed = home.file("agent.key");
    for secret in [seed.trim(), home.file("credential.jwt").trim(), home.join.as_str()] {
        assert!(secret.len() > 20 && !seen.contains(secret));
    }
    let environ = told["environ"].as_str().unwrap();
    for name in ["MARQUE_DIR=", "MARQUE_AGENT_HOME=", "NATS_URL=", "NATS_PASSWORD=", "eyJ"] {
        assert!(!environ.contains(name), "{name}");
    }
    assert!(!told["argv"].as_str().unwrap().contains("eyJ"));
    assert_eq!(told["modes"], json!([0o600, 0o700]));
    // The history goes on where it stopped: each action that was signed, denied ones too.
    let history: Value = serde_json::from_str(&home.file("history.json")).unwrap();
    let signed = history["signed"].as_u64().unwrap();
    assert_eq!(signed, 5, "{history}");
    let again = home.told(&system, &[], &format!("{PRELUDE}print(json.dumps(ask({{\"whoami\": {{}}}})))")).await;
    assert_eq!(again["actions_signed"], signed);
    assert_eq!(again["agent"], told["whoami"]["agent"]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_nats_client_works_through_the_port_without_a_secret() {
    let system = system().await;
    let home = Home::new(&system);
    let script = format!(
        r#"{PRELUDE}{NATS}
n, out["pong"] = nats({{"verbose": False, "pedantic": False, "lang": "test", "version": "1", "protocol": 1}})
n.write(b"SUB agents.chat.room 1\r\nPUB agents.chat.room 5\r\nhello\r\n"); n.flush()
def heard():
    # The server tells of itself again whenever it likes.
    while (line := n.readline().decode()).startswith("INFO"): pass
    return line
out["msg"] = heard() + heard()
n.write(b"PUB marque.directive.token.x 2\r\nno\r\n"); n.flush()
out["forbidden"] = heard()
for name in ["user", "pass", "auth_token", "jwt", "nkey", "sig"]:
    _, out[name] = nats({{name: "mine"}})
_, out["tls"] = nats({{"tls_required": True}})
print(json.dumps(out))
"#
    );
    let told = home.told(&system, &["--nats-port", "0"], &script).await;
    assert_eq!(told["pong"], "PONG\r\n", "{told}");
    assert_eq!(told["msg"], "MSG agents.chat.room 1 5\r\nhello\r\n");
    assert!(told["forbidden"].as_str().unwrap().contains("Permissions Violation"), "{told}");
    for name in ["user", "pass", "auth_token", "jwt", "nkey", "sig"] {
        assert_eq!(told[name], "-ERR 'connect without credentials: this port holds the key'\r\n");
    }
    assert!(told["tls"].as_str().unwrap().starts_with("-ERR"));
    assert!(!told["info"].as_str().unwrap().contains("nonce"));
    system.stop().await;
}

/// Commissions of 20 s: whoever acts longer acts under a second one, with the same key and history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commission_is_renewed_before_it_ends() {
    let system = system().await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let home = Home::new(&system);
    let script = format!(
        r#"{PRELUDE}
first = ask({{"whoami": {{}}}})["expires_at"]
wait("it is renewed", lambda: ask({{"whoami": {{}}}})["expires_at"] > first)
wait("the first one ends", lambda: time.time() > first)
out["granted"] = ask({{"call": "{HOSTED}", "args": {{"account": 5}}}})
print(json.dumps(out))
"#
    );
    let told = home.told(&system, &["--ttl", "20s"], &script).await;
    assert_eq!(told["granted"]["reply"]["account"], 5, "{told}");
    system.stop().await;
}

/// Runs a sidecar to its end, and reads the one document that its script prints.
async fn said(mut sidecar: Command) -> Value {
    let output = tokio::task::spawn_blocking(move || sidecar.output().unwrap()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

/// The chain of a sub-agent that was never enrolled, by its parent's word alone: renewed in its file, over one socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_a_parent_gave_is_used_and_renewed_in_its_file() {
    let system = system().await;
    let host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let parent = cast::commission(&cast::enrol(&system).await).await;
    let home = Home::new(&system);
    let (code, made) = system.marque(&["agent", "key", "--home", &home.path().display().to_string()]);
    let sub: PublicKey = PublicKey::from_did(&made["agent"].as_str().unwrap().parse().unwrap()).unwrap();
    assert_eq!(code, 0, "{made}");
    let delegated = |to: &PublicKey, seconds| {
        let account = json!({ "account": { "constraint_type": "range", "max": 9 } });
        let grant = cast::tools(json!({ format!("nats:{HOSTED}"): account }));
        parent.delegate(to, Delegation::new(grant).ttl_seconds(seconds)).unwrap()
    };
    let (chain, begun) = (home.dir.path().join("chain"), home.dir.path().join("begun"));
    let replace = |text: &str| {
        let fresh = home.dir.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, &chain).unwrap();
    };
    // Bound to another's key: nothing runs.
    replace(&delegated(&AgentKey::generate().unwrap().public(), 60));
    let mut stolen = home.on_chain(&system, &chain, &[], &format!("open({:?}, 'w')", begun.display().to_string()));
    let refused = tokio::task::spawn_blocking(move || stolen.output().unwrap()).await.unwrap();
    let refusal: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), &refusal["error"]["code"]), (Some(5), &json!("possession_unproven")));
    assert!(!begun.exists());

    let first = delegated(&sub, 20);
    replace(&first);
    let script = format!(
        r#"{PRELUDE}
out["whoami"] = ask({{"whoami": {{}}}})
out["granted"] = ask({{"call": "{HOSTED}", "args": {{"account": 5}}}})
out["denied"] = ask({{"call": "{HOSTED}", "args": {{"account": 10}}}})
out["parents"] = ask({{"call": "{GATED}", "args": {{}}, "gate": True}})
open({begun:?}, "w").close()
first = out["whoami"]["expires_at"]
wait("it is renewed, and the first ends", lambda: ask({{"whoami": {{}}}})["expires_at"] > first and time.time() > first)
out["renewed"] = ask({{"call": "{HOSTED}", "args": {{"account": 6}}}})
print(json.dumps(out))
"#,
        begun = begun.display().to_string(),
    );
    let telling = tokio::spawn(said(home.on_chain(&system, &chain, &[], &script)));
    let until = std::time::Instant::now() + marque_tests::system::DEADLINE;
    while !begun.exists() && !telling.is_finished() {
        assert!(std::time::Instant::now() < until, "the command does not run");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // What is no chain for this key does no harm while the first one lives.
    replace("no chain");
    replace(&delegated(&sub, 300));
    let told = telling.await.unwrap();
    assert_eq!((&told["whoami"]["agent"], &told["whoami"]["depth_left"]), (&made["agent"], &json!(0)), "{told}");
    assert_eq!(told["granted"]["reply"]["account"], 5, "{told}");
    assert_eq!(told["denied"]["error"]["code"], "argument_refused");
    assert!(told["parents"]["error"]["code"].is_string() && told["parents"]["reply"].is_null(), "{told}");
    assert_eq!(told["renewed"]["reply"]["account"], 6, "{told}");
    assert_eq!(host.runs.load(Ordering::SeqCst), 2);
    assert!(!told.to_string().contains(&first), "the command is told no chain");
    system.stop().await;
}

/// Credentials of 24 s and commissions of 12: the child's socket outlives both, its NATS client reconnects by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_ends_is_renewed_with_the_commission() {
    let system = system_of(24).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let home = Home::new(&system);
    let script = format!(
        r#"{PRELUDE}{NATS}{CREDENTIAL}
options = {{"verbose": False, "pedantic": False, "lang": "test", "version": "1", "protocol": 1}}
first = credential_ends({home:?})
n, out["pong"] = nats(options)
while n.readline(): pass
n, out["pong_again"] = nats(options)
n.write(b"SUB agents.chat.room 1\r\nPUB agents.chat.room 5\r\nhello\r\n"); n.flush()
while (line := n.readline().decode()).startswith("INFO"): pass
out["msg"] = line
outlive_credential({home:?}, first)
out["granted"] = ask({{"call": "{HOSTED}", "args": {{"account": 5}}}})
print(json.dumps(out))
"#,
        home = home.path().display().to_string(),
    );
    let told = home.told(&system, &["--nats-port", "0", "--ttl", "12s"], &script).await;
    assert_eq!((&told["pong"], &told["pong_again"]), (&json!("PONG\r\n"), &json!("PONG\r\n")), "{told}");
    assert_eq!(told["msg"], "MSG agents.chat.room 1 5\r\n", "{told}");
    assert_eq!(told["granted"]["reply"]["account"], 5, "{told}");
    system.stop().await;
}

/// The issuer is down when the commission ends: the broker's connection ends with it, and both come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commission_that_has_ended_is_renewed_once_the_issuer_is_back() {
    let mut system = system().await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let home = Home::new(&system);
    let (begun, ended) = (home.dir.path().join("begun"), home.dir.path().join("ended"));
    let script = format!(
        r#"{PRELUDE}
first = ask({{"whoami": {{}}}})["expires_at"]
open({begun:?}, "w").close()
def has_ended():
    out["ended"] = ask({{"call": "{HOSTED}", "args": {{"account": 4}}}})
    return "error" in out["ended"]
wait("it ends", has_ended)
out["in_time"] = time.time() <= first
open({ended:?}, "w").close()
wait("it is renewed", lambda: ask({{"whoami": {{}}}})["expires_at"] > first)
out["granted"] = ask({{"call": "{HOSTED}", "args": {{"account": 5}}}})
print(json.dumps(out))
"#,
        begun = begun.display().to_string(),
        ended = ended.display().to_string(),
    );
    let telling = tokio::spawn(said(home.sidecar(&system, &["--ttl", "12s"], &script)));
    let until = std::time::Instant::now() + marque_tests::system::DEADLINE;
    for (file, then_down) in [(begun, true), (ended, false)] {
        while !file.exists() && !telling.is_finished() {
            assert!(std::time::Instant::now() < until, "{} is not there", file.display());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        match then_down {
            true => system.kill(Service::Issuer),
            false => {
                system.start_service(Service::Issuer);
                system.until_ready(Service::Issuer).await.unwrap();
            }
        }
    }
    let told = telling.await.unwrap();
    assert!(told["ended"]["error"]["code"].is_string() && told["in_time"] == false, "{told}");
    assert_eq!(told["granted"]["reply"]["account"], 5, "{told}");
    system.stop().await;
}

/// A blueprint that demands an attestor's word on the command line's own binary: the sidecar has it given anew at each
/// renewal, and another binary with the same home gets no further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_is_attested_anew_at_renewal_and_a_substituted_binary_is_not_renewed() {
    let binary = marque_tests::binaries::path("marque");
    let measured = marque_signing::sha256(&std::fs::read(&binary).unwrap());
    let attest =
        format!("[attest]\nrequire = [\"join_token\", \"process\"]\n[attest.process]\nexe_sha256 = [\"{measured}\"]\n");
    let mut system = system_with(24, &attest).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let attestor = system.start_attestor().await.unwrap().display().to_string();
    let home = Home::new(&system);
    let script = format!(
        r#"{PRELUDE}{CREDENTIAL}
outlive_credential({home:?}, credential_ends({home:?}))
out["granted"] = ask({{"call": "{HOSTED}", "args": {{"account": 5}}}})
print(json.dumps(out))
"#,
        home = home.path().display().to_string(),
    );
    let told = home.told(&system, &["--ttl", "12s", "--attestor", &attestor], &script).await;
    assert_eq!(told["granted"]["reply"]["account"], 5, "{told}");

    // The same home, by the same binary and by a substituted one.
    let at = home.path().display().to_string();
    let renew = |more: &[&str]| system.marque(&[&["agent", "renew", "--home", &at], more].concat());
    assert_eq!(renew(&[]).1["error"]["code"], "evidence_missing");
    let (code, renewed) = renew(&["--attestor", &attestor]);
    assert_eq!(code, 0, "{renewed}");
    let copy = home.dir.path().join("marque");
    std::fs::copy(&binary, &copy).unwrap();
    std::io::Write::write_all(&mut std::fs::File::options().append(true).open(&copy).unwrap(), b"\0").unwrap();
    let genuine = system.marque_command(&["agent", "renew", "--home", &at, "--attestor", &attestor]);
    let substituted = Command::new(&copy).args(genuine.get_args()).output().unwrap();
    let refusal: Value = serde_json::from_slice(&substituted.stdout).unwrap();
    assert_eq!((substituted.status.code(), &refusal["error"]["code"]), (Some(1), &json!("evidence_mismatch")));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_inherits_no_secret_by_environment_argument_or_descriptor() {
    let system = system().await;
    let home = Home::new(&system);
    let script = format!(
        r#"{PRELUDE}
out["environ"] = dict(os.environ)
out["argv"] = open("/proc/self/cmdline").read()
fds = ["/proc/self/fd/" + fd for fd in os.listdir("/proc/self/fd")]
out["files"] = [os.readlink(fd) for fd in fds if os.path.islink(fd)]
folder = os.path.dirname(os.environ["MARQUE_AGENT_SOCKET"])
out["folder"] = os.listdir(folder)
out["cwd"] = os.listdir(".")
print(json.dumps(out))
"#
    );
    let mut sidecar = home.sidecar(&system, &["--nats-port", "0"], &script);
    let empty = tempfile::tempdir().unwrap();
    sidecar.current_dir(empty.path()).env("PLAIN", "passed-on");
    let planted = ["NATS_TOKEN", "MARQUE_AGENT_TOKEN", "MARQUE_ISSUER__KEY_FILE", "NATS_SOMETHING_NEW"];
    sidecar.envs(planted.map(|name| (name, "planted-secret")));
    let told = said(sidecar).await;
    let environ = told["environ"].as_object().unwrap();
    let ours = environ.keys().filter(|name| name.starts_with("NATS_") || name.starts_with("MARQUE_"));
    assert_eq!(ours.collect::<Vec<_>>(), ["MARQUE_AGENT_SOCKET", "MARQUE_INBOX_PREFIX", "NATS_URL"]);
    assert_eq!(environ["PLAIN"], "passed-on");
    let seen = told.to_string();
    let held = home.path().display().to_string();
    for secret in [held.as_str(), "planted-secret", "eyJ", home.file("agent.key").trim(), home.join.as_str()] {
        assert!(!seen.contains(secret), "{secret}: {told}");
    }
    assert_eq!((&told["folder"], &told["cwd"]), (&json!(["agent.sock"]), &json!([])));
    system.stop().await;
}

/// Waits until the script has said that it runs.
fn until_exists(path: &Path, sidecar: &mut Child) {
    let deadline = std::time::Instant::now() + marque_tests::system::DEADLINE;
    while !path.exists() {
        assert!(sidecar.try_wait().unwrap().is_none(), "the sidecar ended");
        assert!(std::time::Instant::now() < deadline, "the command does not run");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_code_and_signals_are_passed() {
    let system = system().await;
    let home = Home::new(&system);
    assert_eq!(home.run(&system, &[], "import sys; sys.exit(37)").await.status.code(), Some(37));
    assert_eq!(home.run(&system, &[], "import os; os.kill(os.getpid(), 9)").await.status.code(), Some(128 + 9));
    for (name, caught) in [("SIGTERM", 15), ("SIGINT", 2)] {
        let running = home.dir.path().join(name);
        let script = format!(
            "import signal, sys, time\nsignal.signal(signal.{name}, lambda n, _: sys.exit(40 + n))\n\
             open({path:?}, 'w').close()\nwhile True: time.sleep(0.05)",
            path = running.display().to_string()
        );
        let mut sidecar = home.sidecar(&system, &[], &script).spawn().unwrap();
        tokio::task::spawn_blocking(move || {
            until_exists(&running, &mut sidecar);
            let kill = Command::new("kill").arg(format!("-{caught}")).arg(sidecar.id().to_string()).status().unwrap();
            assert!(kill.success());
            assert_eq!(sidecar.wait().unwrap().code(), Some(40 + caught));
        })
        .await
        .unwrap();
    }
    system.stop().await;
}
