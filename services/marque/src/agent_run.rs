//! `marque agent run -- CMD…`: a sidecar that holds the key, and acts for a command that sees no credential.
//!
//! ```text
//!  CMD ── JSON lines, MARQUE_AGENT_SOCKET ──► Desk ──► Holding: the commission, renewed before it ends ──► broker
//!   └──── NATS, NATS_URL (--nats-port) ─────► Proxy ── signs the nonce, presents the chain, each later one ► broker
//! ```
//!
//! The command's arguments and environment hold no secret, and nothing that the sidecar answers does: a chain is of no
//! use without the key. TRUST: it keeps secrets from what the command says and shows, such as a model's context. It is
//! no wall between two processes of one user: the same user reads the home's files and traces its processes. Where
//! the command itself is hostile, the home must be another user's.

mod child;
mod desk;
mod frames;
mod handshake;
mod holding;
mod line;
mod proxy;
mod upstream;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use marque_agent::{CommissionRequest, Evidence, RuntimeClaim};
use marque_identity::{Code, TaskId};
use serde_json::json;

use crate::agent::{HomeArgs, enrol_key, invitation, join_argument};
use crate::agent_home::AgentHome;
use crate::cli::{Common, duration};
use crate::output::{Answer, Output};
use crate::{Exit, Failure, tools_arg};
use child::{Running, Surroundings};
use desk::Desk;
use holding::Holding;
use proxy::Proxy;

/// Whether a line of the command's is one that the sidecar acts on.
pub fn takes(line: &[u8]) -> bool {
    line::read(line).is_ok()
}

/// The line by which a client is told of a broker that greets the sidecar's NATS port with these bytes; none where the
/// sidecar does not go on with it.
pub fn greets(broker: &[u8]) -> Option<String> {
    let mut behind = broker.to_vec();
    let line = handshake::take_line(&mut behind, 0).filter(|_| behind.is_empty())?;
    handshake::greeting(&line).ok().map(|greeting| greeting.told)
}

/// What the broker gets for a client that sends the sidecar's NATS port these bytes, if anything, with `nkey`, `sig` and
/// `chain` for what the sidecar shows.
pub fn connects(client: &[u8]) -> Option<Vec<u8>> {
    let mut behind = client.to_vec();
    let line = handshake::take_line(&mut behind, 0)?;
    let shown = handshake::Shown { nkey: "nkey", signature: "sig", chain: "chain" };
    let connect = handshake::connect(&line, &shown).ok()?;
    Some([connect.as_bytes(), &behind].concat())
}

/// Where a client's bytes, which come in pieces that end at `cuts` at the latest, have a command's end behind which the
/// sidecar may show the broker another chain.
pub fn boundaries(client: &[u8], cuts: &[usize]) -> Vec<usize> {
    let (mut frames, mut told, mut at) = (frames::Frames::default(), Vec::new(), 0);
    for end in cuts.iter().copied().chain([client.len()]) {
        while let Some(piece) = client.get(at..end).filter(|piece| !piece.is_empty()) {
            at += frames.take(piece);
            told.extend(frames.at_boundary().then_some(at));
        }
    }
    told
}

/// The owner's alone.
const FOLDER_MODE: u32 = 0o700;

/// What to run, and under what.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The agent's folder; a key is made in it if there is none.
    #[command(flatten)]
    home: HomeArgs,
    /// A join token, or `-` for stdin: enrols where the home has no credential.
    #[arg(long, value_name = "TOKEN", requires = "model")]
    join: Option<String>,
    /// The model that the command runs, as the blueprint lists it; for --join.
    #[arg(long)]
    model: Option<String>,
    /// This machine's attestor: its word on this process goes with the enrolment, and with each renewal.
    #[arg(long, value_name = "SOCKET", conflicts_with = "chain")]
    attestor: Option<PathBuf>,
    /// A ready chain, for this agent's key. The file is read again before the chain ends: whoever delegates renews it
    /// there.
    #[arg(long, value_name = "FILE", conflicts_with = "task")]
    chain: Option<String>,
    /// The task, a URN, to be commissioned with.
    #[arg(long, required_unless_present = "chain", requires_all = ["tools", "purpose"])]
    task: Option<TaskId>,
    /// Why, in words.
    #[arg(long)]
    purpose: Option<String>,
    /// The tools as JSON, or @FILE.
    #[arg(long)]
    tools: Option<String>,
    /// How long each commission lives; it is renewed before it ends.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// How many links may be derived below it.
    #[arg(long, value_name = "LINKS")]
    depth: Option<u64>,
    /// Offer a NATS port on 127.0.0.1 to any client, without a secret; 0: a free one. NATS_URL tells it to the command.
    #[arg(long, value_name = "PORT")]
    nats_port: Option<u16>,
    /// Say what would be done; make no key, ask for nothing, run nothing.
    #[arg(long)]
    dry_run: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs it; the command's exit code is passed on.
pub(crate) async fn run(args: &RunArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let home = AgentHome::at(&args.home.home);
    if args.dry_run {
        return would_run(args, &home);
    }
    // 1. The key, held by this process alone.
    let held = if args.join.is_some() { home.key_or_new()? } else { home.key()? };
    // 2. A credential.
    if let (Some(join), Some(model)) = (&args.join, &args.model)
        && !home.credential_file().exists()
    {
        let runtime = RuntimeClaim { model_id: model.clone(), manifest_hash: None };
        let join = join_argument(join)?;
        let (domain, _) = invitation(&join)?;
        let process = match &args.attestor {
            Some(socket) => Some(marque_agent::attest(socket, held.key(), &domain).await?),
            None => None,
        };
        let evidence = Evidence { process, ..Evidence::from(join) };
        enrol_key(&home, held.key(), &domain, evidence, &runtime, common).await?;
    }
    // 3. A commission, and a connection that presents it.
    let url = common.connection.resolve_agent(held.key(), "")?.url;
    let holding = match &args.chain {
        Some(file) => Holding::ready(held, file, common).await?,
        None => Holding::commissioned(held, home, args.attestor.clone(), request(args)?, common).await?,
    };
    let holding = Arc::new(holding);
    // 4. What the command is offered: a socket, and on request a port.
    let folder = private_folder()?;
    let socket: PathBuf = folder.path().join("agent.sock");
    let desk = Desk::bind(&socket, holding.clone())?;
    let proxy = match args.nats_port {
        Some(port) => Some(Proxy::bind(port, &url, holding.clone()).await?),
        None => None,
    };
    let surroundings = Surroundings {
        socket,
        nats_url: proxy.as_ref().map(|proxy| format!("nats://{}", proxy.address())),
        inbox_prefix: holding.inbox_prefix(),
    };
    // 5. The command runs; the sidecar serves it until it ends.
    let mut running = Running::start(&args.command, &surroundings)?;
    let code = tokio::select! {
        code = running.wait() => code?,
        () = desk.serve() => return Err(ended()),
        () = serve_proxy(proxy) => return Err(ended()),
        () = holding.renew_for_ever(out) => return Err(ended()),
    };
    // 6. What was signed is written down already, after each action.
    holding.close().await;
    Ok(Answer::silent().exit(Exit::OfCommand(code)))
}

fn would_run(args: &RunArgs, home: &AgentHome) -> Result<Answer, Failure> {
    let enrols = args.join.is_some() && !home.credential_file().exists();
    let tools = match &args.chain {
        Some(file) => tools_arg::chain(file).map(|_| None)?,
        None => Some(request(args)?.tools.to_json()),
    };
    let command: Vec<String> = args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let enrolling = if enrols { "enrol, then " } else { "" };
    let under = match &args.task {
        Some(task) => format!("a commission for {task}"),
        None => "the chain that is given".to_owned(),
    };
    let text =
        format!("would {enrolling}run `{}` under {under}, its key in {}", command.join(" "), home.path().display());
    let data = json!({ "dry_run": true, "enrol": enrols, "task": args.task, "tools": tools, "command": command });
    Ok(Answer::yes(data, text))
}

/// What serves for ever has ended.
fn ended() -> Failure {
    Failure::new(Code::Internal, "the sidecar serves no more")
}

async fn serve_proxy(proxy: Option<Proxy>) {
    match proxy {
        Some(proxy) => proxy.serve().await,
        None => std::future::pending().await,
    }
}

fn request(args: &RunArgs) -> Result<CommissionRequest, Failure> {
    let (Some(task), Some(tools), Some(purpose)) = (&args.task, &args.tools, &args.purpose) else {
        return Err(Failure::usage("a commission needs --task, --tools and --purpose; or --chain names a ready one"));
    };
    let mut request = CommissionRequest::new(task.clone(), purpose, tools_arg::parse(tools)?);
    if let Some(ttl) = args.ttl {
        request = request.ttl_seconds(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
    }
    if let Some(links) = args.depth {
        request = request.depth_max(links);
    }
    Ok(request)
}

/// A folder that its owner alone can enter; it goes with the sidecar.
fn private_folder() -> Result<tempfile::TempDir, Failure> {
    // Said outright: without it the folder's mode is the umask's to choose.
    let private = std::os::unix::fs::PermissionsExt::from_mode(FOLDER_MODE);
    let made = tempfile::Builder::new().prefix("marque-agent-").permissions(private).tempdir();
    made.map_err(|error| Failure::file(&std::env::temp_dir(), &error))
}
