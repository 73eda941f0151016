//! The example tool host of `marque dev`: one tool, a process of its own, enforcement within it. A tool host of your own
//! is made of the same steps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use marque_agent::enforce::{Enforcer, Invocation, Policy, ToolError};
use marque_bus::{Bus, ConnectOptions, Feed, FeedOptions};
use marque_identity::Did;
use marque_signing::bundle::Role;
use serde_json::{Value, json};

use super::process::Recipe;
use super::stop_signal;
use crate::cli::Common;
use crate::directory::{Directory, write_new};
use crate::output::{Answer, Output};
use crate::{Failure, bus_failure};

/// The host's name in the trust bundle.
pub(super) const HOST: &str = "example";
/// What its process is called.
pub(super) const PROCESS: &str = "example tool host";
/// The command that runs it.
pub(super) const COMMAND: &str = "dev-host";
/// Its tool's bus subject.
pub(super) const TOOL: &str = "tools.invoice.list";
/// The kind of agent that may call it.
pub(super) const BLUEPRINT: &str = "assistant";
/// The same as it is written for the issuer.
const BLUEPRINT_TEXT: &str = include_str!("assistant.toml");
/// How long calls in hand may take when it is asked to end.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Nothing to choose: `--dir` names the system.
#[derive(Debug, Args)]
pub struct HostArgs {}

/// Writes the blueprint into a directory that was just made.
pub(super) fn write_blueprint(directory: &Directory) -> Result<(), Failure> {
    write_new(&directory.blueprints().join(format!("{BLUEPRINT}.toml")), BLUEPRINT_TEXT.as_bytes(), 0o644)
}

/// Who it is in this directory; none where the directory was made without it.
pub(super) fn did(directory: &Directory) -> Result<Option<Did>, Failure> {
    if !directory.key_file(&key_name()).exists() {
        return Ok(None);
    }
    Ok(Some(directory.key(&key_name())?.did()))
}

fn key_name() -> String {
    format!("host-{HOST}")
}

/// How it is run: our own executable, once more.
pub(super) fn recipe(directory: &Directory, logs: &Path) -> Result<Recipe, Failure> {
    let binary = std::env::current_exe().map_err(|error| Failure::file(Path::new("/proc/self/exe"), &error))?;
    let args = vec![COMMAND.into(), "--dir".into(), directory.path().into()];
    Ok(Recipe { name: PROCESS, binary, args, log_file: logs.join(format!("{HOST}.log")) })
}

/// Serves the tool until it is asked to stop.
pub(crate) async fn run(_args: &HostArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let directory = common.connection.directory()?;
    let stop = stop_signal()?;
    // 1. Whom to believe, and who we are: the bundle names this key as a tool host's.
    let bundle = directory.bundle()?;
    let key = Arc::new(directory.key(&key_name())?);
    // 2. The broker, which is waited for.
    let options = ConnectOptions::new(directory.nats_url()?, PROCESS).signing_key(key.clone());
    let bus = Bus::connect(options).await.map_err(bus_failure)?;
    let lost = Arc::new(tokio::sync::Notify::new());
    let tell = lost.clone();
    bus.when_lost(move || tell.notify_one());
    // 3. The directives, which the broadcaster hears that we apply. A view that is not fresh denies.
    let options = FeedOptions { ack_key: Some(key.clone()), ..FeedOptions::default() };
    let feed = Feed::start(&bus, bundle.keys(Role::Broadcaster), options).await.map_err(bus_failure)?;
    // 4. The tool. It runs only once its decision is in the log.
    let policy = Policy::new(bundle.trust_domain.clone());
    let enforcer = Enforcer::new(&bus, key, &bundle, feed, policy);
    let served = enforcer.serve_tool(TOOL, list_invoices).await.map_err(bus_failure)?;
    out.talk(format!("serves nats:{TOOL}"));
    // 5. Until it is asked to stop.
    tokio::select! {
        () = stop => {}
        () = lost.notified() => out.talk("the connection to the broker is lost for good"),
    }
    served.drain(DRAIN_TIME).await;
    Ok(Answer::silent())
}

/// The tool itself: it is handed arguments that the caller's chain grants, and decides nothing.
async fn list_invoices(call: Invocation) -> Result<bytes::Bytes, ToolError> {
    let args: Value = serde_json::from_slice(&call.args).map_err(|error| ToolError(error.to_string()))?;
    let customer = args.get("customer").and_then(Value::as_str).unwrap_or_default();
    let open = match customer {
        "acme" => json!([{ "number": "A-17", "due": "2026-12-01" }, { "number": "A-21", "due": "2027-01-15" }]),
        "globex" => json!([{ "number": "G-4", "due": "2026-11-30" }]),
        other => return Err(ToolError(format!("no customer `{other}`"))),
    };
    Ok(json!({ "customer": customer, "open": open }).to_string().into())
}
