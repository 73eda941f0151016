//! Where the story plays: connections, and the tools that its agents call.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use marque_agent::enforce::{Enforcer, Invocation, Policy, ServedTool, Tier, ToolError, ToolRule};
use marque_agent::{AgentKey, Commission};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, Feed, FeedOptions, Presented};
use marque_identity::{Code, TrustDomain};
use marque_signing::SigningKey;
use marque_signing::bundle::{Role, TrustBundle};
use serde_json::{Value, json};

use crate::connection::{Connection, Identity};
use crate::dev::heard::until_heard;
use crate::directory::Directory;
use crate::{Failure, bus_failure};

/// A tool whose host enforces in its own process.
pub(super) const CRM: &str = "tools.crm.query";
/// Another one, marked as side-effecting: its proofs are accepted once in the whole cluster.
pub(super) const MAIL: &str = "tools.mail.send";
/// A tool that knows nothing of us; only the verifier's gate reaches it.
pub(super) const ARCHIVE: &str = "gated.archive.search";

/// A view is fresh after a heartbeat (250 ms) once the feed has caught up.
const FRESH_TIME: Duration = Duration::from_secs(20);
/// How long the commands of the story wait for the broker.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Enough for a story, also for the critical tool: the machine it is told on may stand still for a moment. A verifier's
/// default for standard tools.
const TOOL_STALENESS: Duration = Duration::from_secs(15);

/// A running system.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its bootstrap directory.
    pub directory: Directory,
    /// Its broker.
    pub url: String,
    /// The sink's page.
    pub(super) sink_page: String,
}

/// Everything that is on stage.
pub(super) struct Stage {
    /// The trust bundle.
    pub bundle: TrustBundle,
    /// The trust domain.
    pub domain: TrustDomain,
    /// The operator's connection.
    pub operator_bus: Bus,
    /// The broker, for agents who connect by their own keys.
    pub url: String,
    /// The operator's key.
    pub operator: SigningKey,
    _tools: Vec<ServedTool>,
    archive: tokio::task::JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.archive.abort();
    }
}

impl Place {
    /// Connects as one of the directory's users.
    pub(super) async fn connect(&self, role: BusRole, name: &str) -> Result<Bus, Failure> {
        let identity = Identity::Nkey(self.directory.key_file(role.as_str()));
        Connection { url: self.url.clone(), identity, timeout: CONNECT_TIME }.connect(name).await
    }

    /// Connects everyone and serves the tools.
    pub(super) async fn set(&self) -> Result<Stage, Failure> {
        let bundle = self.directory.bundle()?;
        let domain = bundle.trust_domain.clone();
        let host_bus = self.connect(BusRole::Host, "marque tour: tool host").await?;
        let key = Arc::new(self.directory.key("host")?);
        let key_did = key.did();
        let options = FeedOptions { ack_key: Some(key.clone()), ..FeedOptions::default() };
        let feed = Feed::start(&host_bus, bundle.keys(Role::Broadcaster), options).await.map_err(bus_failure)?;
        tokio::time::timeout(FRESH_TIME, feed.fresh(TOOL_STALENESS)).await.map_err(|_| {
            Failure::new(Code::ViewStale, "the tool host's view of the directives did not become fresh")
        })?;
        let policy = Policy::new(domain.clone()).with_bounds(TOOL_STALENESS, TOOL_STALENESS).with(ToolRule {
            pattern: format!("nats:{MAIL}"),
            tier: Some(Tier::Critical),
            side_effecting: true,
        });
        let enforcer = Enforcer::new(&host_bus, key, &bundle, feed, policy);
        let tools = vec![
            enforcer.serve_tool(CRM, |call| answer(call, customers)).await.map_err(bus_failure)?,
            enforcer.serve_tool(MAIL, |call| answer(call, |_| json!({ "sent": true }))).await.map_err(bus_failure)?,
        ];
        let operator_bus = self.connect(BusRole::Operator, "marque tour: operator").await?;
        until_heard(&operator_bus, &key_did).await?;
        Ok(Stage {
            bundle,
            domain,
            operator_bus,
            url: self.url.clone(),
            operator: self.directory.key("operator")?,
            _tools: tools,
            archive: serve_archive(&host_bus).await?,
        })
    }
}

impl Stage {
    /// An agent's connection: by its key and what it presents.
    pub(super) async fn connect(&self, key: &AgentKey, presented: impl Into<Arc<str>>) -> Result<Bus, Failure> {
        let options = key.connect_options(&self.url, "marque tour: agent", Presented::new(presented));
        Bus::connect_now(options, CONNECT_TIME).await.map_err(bus_failure)
    }

    /// The connection of a commission's holder.
    pub(super) async fn connect_by(&self, commission: &Commission) -> Result<Bus, Failure> {
        self.connect(commission.key(), commission.chain()).await
    }
}

/// A tool of few words: reads its arguments, answers JSON.
async fn answer(call: Invocation, tool: fn(&Value) -> Value) -> Result<bytes::Bytes, ToolError> {
    let args: Value = serde_json::from_slice(&call.args).map_err(|error| ToolError(error.to_string()))?;
    Ok(tool(&args).to_string().into())
}

fn customers(args: &Value) -> Value {
    json!({ "customer": args.get("customer"), "open_invoices": 3 })
}

/// A plain responder: it has never heard of chains or proofs.
async fn serve_archive(bus: &Bus) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let client = bus.client().clone();
    let calls = client.subscribe(ARCHIVE).await;
    let mut calls = calls.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
    client.flush().await.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
    Ok(tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            if let Some(reply) = call.reply {
                // Whoever asked may be gone; that is theirs.
                let _ = client.publish(reply, r#"{"found":["minutes-2026-03.pdf"]}"#.into()).await;
            }
        }
    }))
}
