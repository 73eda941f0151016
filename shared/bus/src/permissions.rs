//! Who may do what on the bus: the nats-server's configuration, drawn from the table of subjects.
//!
//! Allow-lists only: deny rules have had bypasses. Agents stand in an account of their own and reach the services
//! by import, so that their reply subjects are rewritten and can't be aimed at a stream. No role but the bootstrap
//! creates a stream; none updates or deletes one.

use std::fmt::Write;

use crate::streams::{AUDIT, CHECKPOINTS, DIRECTIVES, PROOFS};
use crate::subjects::{SUBJECTS, Subject, SubjectKind};

/// A user of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BusRole {
    /// Creates the streams, once; kept offline.
    Bootstrap,
    /// The issuer.
    Issuer,
    /// The revocation broadcaster.
    Broadcaster,
    /// The verifier service.
    Verifier,
    /// The audit sink.
    Sink,
    /// A tool host that enforces in its own process.
    Host,
    /// A person with the command line.
    Operator,
    /// An agent, in an account of its own.
    Agent,
}

impl BusRole {
    /// Every role.
    pub const ALL: &'static [BusRole] = &[
        Self::Bootstrap,
        Self::Issuer,
        Self::Broadcaster,
        Self::Verifier,
        Self::Sink,
        Self::Host,
        Self::Operator,
        Self::Agent,
    ];

    /// The user's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Issuer => "issuer",
            Self::Broadcaster => "broadcaster",
            Self::Verifier => "verifier",
            Self::Sink => "sink",
            Self::Host => "host",
            Self::Operator => "operator",
            Self::Agent => "agent",
        }
    }
}

/// What a role may publish and subscribe to, as NATS patterns, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Publish.
    pub publish: Vec<String>,
    /// Subscribe.
    pub subscribe: Vec<String>,
}

/// Replies to requests: an inbox in the same account, or the server's rewritten reply of a service import.
const REPLIES: [&str; 2] = ["_INBOX.>", "_R_.>"];

/// The allow-lists of a role, drawn from the table.
pub fn allowed(role: BusRole) -> Allowed {
    let mut publish: Vec<String> = Vec::new();
    let mut subscribe: Vec<String> = vec!["_INBOX.>".into()];
    let mut serves = false;
    for subject in SUBJECTS {
        let pattern = subject.wildcard();
        if subject.publishers.contains(&role) {
            publish.push(pattern.clone());
        }
        if subject.readers.contains(&role) {
            // A stream's reader looks at its live subject too: the raw path, and a sink's wake-up.
            subscribe.push(pattern);
            serves |= subject.kind == SubjectKind::Service;
        }
    }
    if serves {
        publish.extend(REPLIES.map(str::to_owned));
        subscribe.push("$SRV.>".into());
    }
    publish.extend(api(role));
    publish.sort();
    publish.dedup();
    subscribe.sort();
    subscribe.dedup();
    Allowed { publish, subscribe }
}

/// What of the JetStream API a role may use: looking and reading. Of its own streams alone.
fn api(role: BusRole) -> Vec<String> {
    let info = |stream: &str| format!("$JS.API.STREAM.INFO.{stream}");
    let get = |stream: &str| format!("$JS.API.DIRECT.GET.{stream}");
    let streams = [DIRECTIVES, AUDIT, CHECKPOINTS, PROOFS];
    match role {
        BusRole::Bootstrap => streams.iter().flat_map(|s| [info(s), format!("$JS.API.STREAM.CREATE.{s}")]).collect(),
        // Whoever publishes a record reads it back where the broker says `duplicate`.
        BusRole::Issuer | BusRole::Broadcaster => [DIRECTIVES, AUDIT].iter().flat_map(|s| [info(s), get(s)]).collect(),
        BusRole::Verifier | BusRole::Host => {
            [DIRECTIVES, AUDIT, PROOFS, CHECKPOINTS].iter().flat_map(|s| [info(s), get(s)]).collect()
        }
        BusRole::Sink => {
            let mut all: Vec<String> =
                [DIRECTIVES, AUDIT, CHECKPOINTS].iter().flat_map(|s| [info(s), get(s)]).collect();
            // An ephemeral pull consumer of the audit stream, for bulk.
            all.extend([
                format!("$JS.API.CONSUMER.CREATE.{AUDIT}.>"),
                format!("$JS.API.CONSUMER.INFO.{AUDIT}.>"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{AUDIT}.>"),
                format!("$JS.API.CONSUMER.DELETE.{AUDIT}.>"),
                format!("$JS.ACK.{AUDIT}.>"),
            ]);
            all
        }
        BusRole::Operator => {
            let mut all: Vec<String> = streams.iter().map(|s| info(s)).collect();
            all.extend([get(CHECKPOINTS), get(DIRECTIVES), "$SRV.>".into()]);
            all
        }
        BusRole::Agent => Vec::new(),
    }
}

/// What the server's configuration depends on.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// `host:port`; port -1 lets the server choose.
    pub listen: String,
    /// JetStream's directory.
    pub store_dir: String,
    /// Sync each write to disk before it is acknowledged: survives power loss. Without it, survives `kill -9`.
    pub sync_always: bool,
    /// `host:port` of the server's own monitoring page, if any.
    pub monitor: Option<String>,
    /// The password of each role; a role that is absent gets no user.
    pub passwords: Vec<(BusRole, String)>,
}

/// The text of the nats-server's configuration file.
///
/// The passwords stand in it as they are: the file is a secret.
pub fn server_config(settings: &ServerSettings) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_config(&mut text, settings);
    text
}

fn write_config(out: &mut String, settings: &ServerSettings) -> std::fmt::Result {
    writeln!(out, "# Drawn from the table of subjects; change that, then draw it again.")?;
    writeln!(out, "server_name: marque\nlisten: {}", quoted(&settings.listen))?;
    if let Some(monitor) = &settings.monitor {
        writeln!(out, "http: {}", quoted(monitor))?;
    }
    // A chain rides in CONNECT and in headers: the default control line of 4,096 bytes refuses a chain of three.
    writeln!(out, "max_payload: 64KB\nmax_control_line: 64KB\nmax_pending: 16MB")?;
    writeln!(out, "write_deadline: \"2s\"\nping_interval: \"20s\"")?;
    let sync = if settings.sync_always { "always" } else { "\"2m\"" };
    writeln!(out, "jetstream {{\n  store_dir: {}\n  sync_interval: {sync}\n}}", quoted(&settings.store_dir))?;
    writeln!(out, "accounts {{\n  SYS {{\n    users: []\n  }}")?;

    writeln!(out, "  MARQUE {{\n    jetstream: enabled\n    users: [")?;
    for (role, password) in settings.passwords.iter().filter(|(role, _)| *role != BusRole::Agent) {
        write_user(out, *role, password)?;
    }
    writeln!(out, "    ]\n    exports: [")?;
    let offered: Vec<&Subject> = SUBJECTS.iter().filter(|s| s.publishers.contains(&BusRole::Agent)).collect();
    for subject in &offered {
        writeln!(out, "      {{ service: {}, accounts: [AGENTS] }}", quoted(&subject.wildcard()))?;
    }
    writeln!(out, "    ]\n  }}")?;

    writeln!(out, "  AGENTS {{\n    limits {{\n      max_connections: 20000\n      max_payload: 64KB")?;
    writeln!(out, "      max_subscriptions: 64000\n    }}\n    users: [")?;
    for (role, password) in settings.passwords.iter().filter(|(role, _)| *role == BusRole::Agent) {
        write_user(out, *role, password)?;
    }
    writeln!(out, "    ]\n    imports: [")?;
    for subject in &offered {
        writeln!(out, "      {{ service: {{ account: MARQUE, subject: {} }} }}", quoted(&subject.wildcard()))?;
    }
    writeln!(out, "    ]\n  }}\n}}\nsystem_account: SYS")
}

fn write_user(out: &mut String, role: BusRole, password: &str) -> std::fmt::Result {
    let allowed = allowed(role);
    let list = |patterns: &[String]| patterns.iter().map(|p| quoted(p)).collect::<Vec<_>>().join(", ");
    writeln!(out, "      {{ user: {}, password: {}, permissions: {{", quoted(role.as_str()), quoted(password))?;
    writeln!(out, "          publish: {{ allow: [{}] }}", list(&allowed.publish))?;
    writeln!(out, "          subscribe: {{ allow: [{}] }} }} }}", list(&allowed.subscribe))
}

/// A string of the configuration's language, with its escapes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subjects::matches;

    fn may_publish(role: BusRole, subject: &str) -> bool {
        allowed(role).publish.iter().any(|pattern| matches(pattern, subject))
    }

    #[test]
    fn only_the_broadcaster_publishes_directives_and_nobody_what_the_server_republishes() {
        for role in BusRole::ALL {
            let is_broadcaster = *role == BusRole::Broadcaster;
            assert_eq!(may_publish(*role, "marque.directive.key.x"), is_broadcaster, "{role:?}");
            assert_eq!(may_publish(*role, "marque.directive.heartbeat"), is_broadcaster, "{role:?}");
            assert!(!may_publish(*role, "marque.committed.key.x"), "{role:?}");
        }
    }

    #[test]
    fn only_the_bootstrap_creates_streams_and_nobody_changes_them() {
        for role in BusRole::ALL {
            assert_eq!(may_publish(*role, "$JS.API.STREAM.CREATE.MARQUE_AUDIT"), *role == BusRole::Bootstrap);
            for verb in ["UPDATE", "DELETE", "PURGE", "MSG.DELETE", "RESTORE", "SNAPSHOT"] {
                assert!(!may_publish(*role, &format!("$JS.API.STREAM.{verb}.MARQUE_AUDIT")), "{role:?} {verb}");
            }
        }
    }

    #[test]
    fn an_agent_has_no_part_of_the_stream_api() {
        let agent = allowed(BusRole::Agent);
        assert!(agent.publish.iter().all(|pattern| !pattern.starts_with('$') && !pattern.starts_with('_')));
        assert_eq!(agent.subscribe, ["_INBOX.>"]);
        assert!(!may_publish(BusRole::Agent, "gated.mail.send"));
        assert!(may_publish(BusRole::Agent, "marque.gate.gated.mail.send"));
    }
}
