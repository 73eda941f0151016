//! The attestor and those who ask it, all in real processes: this test starts itself as each of them.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use marque_agent::{AgentError, AgentKey, attest};
use marque_credential::evidence::{ATTEST_LINE_BYTES_MAX, AttestRequest, ProcessEvidence};
use marque_identity::{Code, Digest, TokenId, TrustDomain, UnixSeconds};
use marque_runtime::Clock;
use marque_runtime::nats_server::terminate;
use marque_signing::{Anchor, Role, ServiceKey, SigningKey, TrustBundle, base64url, sha256};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Says as whom this executable is started.
const ROLE: &str = "MARQUE_ATTESTOR_TEST_ROLE";
const SOCKET: &str = "MARQUE_ATTESTOR_TEST_SOCKET";
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

/// An attestor's process, in a folder of its own.
struct Attestor {
    child: Child,
    dir: TempDir,
}

impl Attestor {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (issuer, key) = (SigningKey::from_seed(&[1; 32]), Self::key());
        let bundle = TrustBundle {
            trust_domain: domain(),
            version: 1,
            issued_at: UnixSeconds(1_700_000_000),
            issuers: vec![Anchor { iss: "https://acme.example".into(), did: issuer.did() }],
            services: vec![ServiceKey { role: Role::Attestor, name: "node-1".into(), did: key.did() }],
            operators: vec![],
        };
        std::fs::write(dir.path().join("bundle.jwt"), bundle.sign(&issuer).unwrap()).unwrap();
        let seed = dir.path().join("attestor.key");
        std::fs::write(&seed, base64url(key.seed().as_ref())).unwrap();
        std::fs::set_permissions(&seed, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let child = Self::spawn(dir.path());
        let mut attestor = Self { child, dir };
        attestor.until_served();
        attestor
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[2; 32])
    }

    fn spawn(dir: &Path) -> Child {
        Command::new(env!("CARGO_BIN_EXE_marque-attestor"))
            .args(["--set", "attestor.host=node-1", "--set"])
            .arg(format!("attestor.socket={}", dir.join("a.sock").display()))
            .arg("--set")
            .arg(format!("key_file={}", dir.join("attestor.key").display()))
            .arg("--set")
            .arg(format!("bundle.file={}", dir.join("bundle.jwt").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("a.sock")
    }

    fn until_served(&mut self) {
        let until = Instant::now() + DEADLINE;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(self.child.try_wait().unwrap().is_none(), "the attestor ended");
            assert!(Instant::now() < until, "the attestor does not listen");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Sends these bytes as they are: the answer.
    fn send(&self, bytes: &[u8]) -> Value {
        serde_json::from_str(&ask(UnixStream::connect(self.socket()).unwrap(), bytes)).unwrap_or(Value::Null)
    }
}

impl Drop for Attestor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends these bytes: the line that came back. The attestor may have answered, and closed, before it has read them all;
/// what it has answered is read all the same.
fn ask(mut stream: UnixStream, bytes: &[u8]) -> String {
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    let _ = BufReader::new(stream).read_line(&mut answer);
    answer
}

/// Starts `exe` in this role and waits for its end.
fn play(exe: &Path, role: &str, attestor: &Attestor) -> Output {
    Command::new(exe).env(ROLE, role).env(SOCKET, attestor.socket()).output().unwrap()
}

fn own_exe() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn line(agent: &SigningKey) -> String {
    let request = AttestRequest { aud: domain(), iat: Clock::new().unix(), jti: TokenId::generate() };
    format!("{}\n", json!({ "request": request.sign(agent).unwrap() }))
}

fn open(evidence: &str) -> ProcessEvidence {
    ProcessEvidence::open(evidence.trim(), &[Attestor::key().public()]).unwrap()
}

// The cast.

/// Asks as an agent does, and says what it got, behind its own key's name.
fn agent() -> ExitCode {
    let key = AgentKey::generate().unwrap();
    let socket = PathBuf::from(std::env::var_os(SOCKET).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{}", key.did());
    println!("{}", runtime.block_on(attest(&socket, &key, &domain())).unwrap());
    ExitCode::SUCCESS
}

/// Opens the connection, leaves it to a child, and ends.
#[allow(clippy::zombie_processes, reason = "the child is meant to outlive it")]
fn parent() -> ExitCode {
    let stream = UnixStream::connect(std::env::var_os(SOCKET).unwrap()).unwrap();
    let mut heir = Command::new(own_exe());
    heir.env(ROLE, "heir").env("PARENT", std::process::id().to_string()).stdin(OwnedFd::from(stream));
    heir.spawn().unwrap();
    ExitCode::SUCCESS
}

/// Holds its dead parent's connection and asks over it.
fn heir() -> ExitCode {
    let parent: u32 = std::env::var("PARENT").unwrap().parse().unwrap();
    while parent_id() == parent {
        std::thread::sleep(LOOK_EVERY);
    }
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    println!("{}", ask(stream, line(&SigningKey::from_seed(&[9; 32])).as_bytes()));
    ExitCode::SUCCESS
}

// What must hold.

fn an_agent_gets_evidence_of_its_own_process(attestor: &Attestor) {
    let output = play(&own_exe(), "agent", attestor);
    let said = String::from_utf8(output.stdout).unwrap();
    let (did, evidence) =
        said.split_once('\n').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let evidence = open(evidence);
    assert_eq!(evidence.sub.to_string(), did);
    assert_eq!((evidence.aud, evidence.host.as_str()), (domain(), "node-1"));
    assert_eq!(evidence.exp.0 - evidence.iat.0, 60);
    assert_eq!(evidence.process.exe_sha256, digest_of(&own_exe()));
    assert_eq!(Path::new(&evidence.process.exe), own_exe());
    assert_eq!(evidence.process.command_line, [own_exe().display().to_string()]);
    let other = SigningKey::from_seed(&[3; 32]).public();
    assert!(ProcessEvidence::open(said.lines().last().unwrap(), &[other]).is_err());
}

fn a_substituted_binary_has_another_digest(attestor: &Attestor) {
    let copy = attestor.dir.path().join("copy");
    std::fs::copy(own_exe(), &copy).unwrap();
    std::fs::OpenOptions::new().append(true).open(&copy).unwrap().write_all(&[0]).unwrap();
    let output = play(&copy, "agent", attestor);
    let evidence = open(String::from_utf8(output.stdout).unwrap().lines().last().unwrap());
    assert_ne!(evidence.process.exe_sha256, digest_of(&own_exe()));
    assert_eq!(evidence.process.exe_sha256, digest_of(&copy));
}

fn a_swapped_path_does_not_matter(attestor: &Attestor) {
    let copy = attestor.dir.path().join("swapped");
    std::fs::copy(own_exe(), &copy).unwrap();
    let mut running = Command::new(&copy);
    running.env(ROLE, "agent-when-told").env(SOCKET, attestor.socket()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = running.spawn().unwrap();
    // It runs the copy once its entry names it; then the path is given to another file.
    let exe = PathBuf::from(format!("/proc/{}/exe", running.id()));
    let until = Instant::now() + DEADLINE;
    while std::fs::read_link(&exe).ok().as_deref() != Some(copy.as_path()) {
        assert!(Instant::now() < until, "it does not run");
        std::thread::sleep(LOOK_EVERY);
    }
    std::fs::write(attestor.dir.path().join("harmless"), "harmless").unwrap();
    std::fs::rename(attestor.dir.path().join("harmless"), &copy).unwrap();
    running.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = running.wait_with_output().unwrap();
    let evidence = open(String::from_utf8(output.stdout).unwrap().lines().last().unwrap());
    assert_eq!(evidence.process.exe_sha256, digest_of(&own_exe()));
    assert!(evidence.process.exe.ends_with(" (deleted)"), "{}", evidence.process.exe);
}

fn a_key_without_its_proof_gets_nothing(attestor: &Attestor) {
    let (victim, thief) = (SigningKey::from_seed(&[4; 32]), SigningKey::from_seed(&[5; 32]));
    let claims = AttestRequest { aud: domain(), iat: Clock::new().unix(), jti: TokenId::generate() };
    let posing = marque_signing::jws::sign_json(
        &thief,
        marque_credential::evidence::ATTEST_REQUEST_TYPE,
        Some(&victim.did().url()),
        &claims,
    );
    let answer = attestor.send(format!("{}\n", json!({ "request": posing.unwrap() })).as_bytes());
    assert_eq!(answer["code"], Code::PossessionUnproven.as_str(), "{answer}");
    assert!(answer["evidence"].is_null() && answer["hint"].is_string());
}

fn a_peer_that_has_ended_is_refused_though_its_child_asks(attestor: &Attestor) {
    // Its output ends with the heir, which holds it.
    let output = play(&own_exe(), "parent", attestor);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["code"], Code::NotFound.as_str(), "{answer}");
    assert!(answer["evidence"].is_null());
}

fn hostile_lines_get_errors_and_stop_nothing(attestor: &Attestor) {
    let agent = SigningKey::from_seed(&[6; 32]);
    let good = line(&agent);
    let code = |bytes: &[u8]| attestor.send(bytes)["code"].as_str().unwrap_or("no code").to_owned();
    assert_eq!(code(&[b' '; ATTEST_LINE_BYTES_MAX + 1]), "oversize");
    assert_eq!(code(b"{\"request\":\"\xff\xfe\"}\n"), "malformed");
    assert_eq!(code(good.replace("{\"request\"", "{\"request\":\"\",\"request\"").as_bytes()), "duplicate_member");
    assert_eq!(code(format!("{}1{}\n", "[".repeat(500), "]".repeat(500)).as_bytes()), "too_deep");
    assert_eq!(code(b"{\"request\":{\"a\":{}}}\n"), "too_deep");
    assert_eq!(code(b"\n"), "malformed");
    assert_eq!(code(b"GET / HTTP/1.1\n"), "malformed");
    // Whoever hangs up gets no answer, and hurts nobody.
    drop(UnixStream::connect(attestor.socket()).unwrap());
    let mut half = UnixStream::connect(attestor.socket()).unwrap();
    half.write_all(&good.as_bytes()[..20]).unwrap();
    drop(half);
    let answer = attestor.send(good.as_bytes());
    assert_eq!(open(answer["evidence"].as_str().unwrap()).sub, agent.did());
}

fn another_time_or_domain_is_refused(attestor: &Attestor) {
    let agent = SigningKey::from_seed(&[6; 32]);
    let now = Clock::new().unix();
    let ask = |aud: &str, iat: UnixSeconds| {
        let request = AttestRequest { aud: aud.parse().unwrap(), iat, jti: TokenId::generate() };
        attestor.send(format!("{}\n", json!({ "request": request.sign(&agent).unwrap() })).as_bytes())["code"].clone()
    };
    assert_eq!(ask("acme.example", now.plus(-3600)), "request_stale");
    assert_eq!(ask("acme.example", now.plus(3600)), "request_stale");
    assert_eq!(ask("other.example", now), "not_authorized");
}

/// Half of the seats of one user, so that what earlier tests left behind takes none from them.
const AT_ONCE: usize = 32;

fn many_ask_at_once(attestor: &Attestor) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let socket = attestor.socket();
    let keys: Vec<AgentKey> = (0..AT_ONCE).map(|_| AgentKey::generate().unwrap()).collect();
    let evidence: Vec<Result<String, AgentError>> = runtime.block_on(async {
        let asking = keys.iter().cloned().map(|key| {
            let socket = socket.clone();
            tokio::spawn(async move { attest(&socket, &key, &domain()).await })
        });
        let asking: Vec<_> = asking.collect();
        let mut evidence = Vec::new();
        for one in asking {
            evidence.push(one.await.unwrap());
        }
        evidence
    });
    for (key, evidence) in keys.iter().zip(evidence) {
        assert_eq!(open(&evidence.unwrap()).sub, key.did());
    }
}

fn a_stale_socket_is_replaced_and_a_live_one_is_not(mut attestor: Attestor) {
    let refused = Attestor::spawn(attestor.dir.path()).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another attestor serves it"), "{said}");
    attestor.until_served();
    // Killed, it leaves its socket; the next one takes its place.
    attestor.child.kill().unwrap();
    attestor.child.wait().unwrap();
    assert!(attestor.socket().exists());
    attestor.child = Attestor::spawn(attestor.dir.path());
    attestor.until_served();
    let agent = SigningKey::from_seed(&[6; 32]);
    assert!(attestor.send(line(&agent).as_bytes())["evidence"].is_string());
    // Asked to stop, it drains and takes its socket away.
    terminate(attestor.child.id());
    assert_eq!(attestor.child.wait().unwrap().code(), Some(0));
    assert!(!attestor.socket().exists());
}

fn a_bad_configuration_ends_with_78() {
    let run = |set: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marque-attestor"));
        for pair in set {
            command.args(["--set", pair]);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&[]);
    assert!(code == Some(78) && said.contains("key_file"), "{said}");
    let (code, said) = run(&["attestor.sockte=/x"]);
    assert!(code == Some(78) && said.contains("attestor.socket"), "{said}");
}

fn digest_of(path: &Path) -> Digest {
    sha256(&std::fs::read(path).unwrap())
}

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("agent") => return agent(),
        Ok("agent-when-told") => {
            let _ = std::io::stdin().read(&mut [0]).unwrap();
            return agent();
        }
        Ok("parent") => return parent(),
        Ok("heir") => return heir(),
        Ok(other) => panic!("no such role: {other}"),
        Err(_) => {}
    }
    // The harness's own listing is answered with nothing, so that tools which ask go on.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let attestor = Attestor::start();
    an_agent_gets_evidence_of_its_own_process(&attestor);
    a_substituted_binary_has_another_digest(&attestor);
    a_swapped_path_does_not_matter(&attestor);
    a_key_without_its_proof_gets_nothing(&attestor);
    a_peer_that_has_ended_is_refused_though_its_child_asks(&attestor);
    hostile_lines_get_errors_and_stop_nothing(&attestor);
    another_time_or_domain_is_refused(&attestor);
    many_ask_at_once(&attestor);
    a_stale_socket_is_replaced_and_a_live_one_is_not(attestor);
    a_bad_configuration_ends_with_78();
    println!("processes: ok");
    ExitCode::SUCCESS
}
