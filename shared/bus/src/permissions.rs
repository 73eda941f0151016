//! Who may do what on the bus: the nats-server's configuration, drawn from the table of subjects.
//!
//! Allow-lists only: deny rules have had bypasses. Agents stand in an account of their own and reach the services
//! by import, so that their reply subjects are rewritten and can't be aimed at a stream. No role but the bootstrap
//! creates a stream; none updates or deletes one.

use std::fmt::Write;

use marque_signing::{PublicKey, nkey};

use crate::streams::{AUDIT, CHECKPOINTS, DIRECTIVES, PROOFS, SEALED, SEALING_KEYS};
use crate::subjects::{self, SUBJECTS, Subject, SubjectKind};

/// A user of the broker, by what it is there for.
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
    /// The gatekeeper, among the services.
    Gatekeeper,
    /// The gatekeeper, where the server asks whom to let in.
    Callout,
    /// The gatekeeper, where connections are seen and closed.
    Kicker,
    /// A tool host that enforces in its own process.
    Host,
    /// A person with the command line.
    Operator,
    /// An agent. Let in by the gatekeeper; a user of its own only where a room is tried without one.
    Agent,
}

/// An account: what one may not name in another's can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The server's own.
    System,
    /// The callout's alone: whoever stands here hears every credential.
    Auth,
    /// Services, hosts, operators, streams.
    Marque,
    /// Agents. What they reach of ours they import.
    Agents,
}

impl Account {
    /// Its name in the server's configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "SYS",
            Self::Auth => "AUTH",
            Self::Marque => "MARQUE",
            Self::Agents => "AGENTS",
        }
    }
}

impl BusRole {
    /// Every role.
    pub const ALL: &'static [BusRole] = &[
        Self::Bootstrap,
        Self::Issuer,
        Self::Broadcaster,
        Self::Verifier,
        Self::Sink,
        Self::Gatekeeper,
        Self::Callout,
        Self::Kicker,
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
            Self::Gatekeeper => "gatekeeper",
            Self::Callout => "callout",
            Self::Kicker => "kicker",
            Self::Host => "host",
            Self::Operator => "operator",
            Self::Agent => "agent",
        }
    }

    /// Where it stands.
    pub fn account(self) -> Account {
        match self {
            Self::Callout => Account::Auth,
            Self::Kicker => Account::System,
            Self::Agent => Account::Agents,
            Self::Bootstrap
            | Self::Issuer
            | Self::Broadcaster
            | Self::Verifier
            | Self::Sink
            | Self::Gatekeeper
            | Self::Host
            | Self::Operator => Account::Marque,
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

/// The server's own subjects, for the gatekeeper alone.
pub mod system {
    /// The server asks whom to let in.
    pub const AUTH_CALLOUT: &str = "$SYS.REQ.USER.AUTH";
    /// Where it waits for the answer.
    pub const AUTH_REPLIES: &str = "$SYS._INBOX.>";
    /// An agent has connected.
    pub const CONNECT: &str = "$SYS.ACCOUNT.AGENTS.CONNECT";
    /// An agent's connection has ended.
    pub const DISCONNECT: &str = "$SYS.ACCOUNT.AGENTS.DISCONNECT";
    /// A client's connection has ended before it was let in: until then the server has it in its own account.
    pub const STRANGER_DISCONNECT: &str = "$SYS.ACCOUNT.$G.DISCONNECT";
    /// Every server's connections.
    pub const CONNECTIONS: &str = "$SYS.REQ.SERVER.PING.CONNZ";
    /// Closes a connection of some server.
    pub const KICK_ALL: &str = "$SYS.REQ.SERVER.*.KICK";

    /// Closes a connection of this server.
    pub fn kick(server: &str) -> String {
        format!("$SYS.REQ.SERVER.{server}.KICK")
    }
}

/// Replies to requests: an inbox in the same account, or the server's rewritten reply of a service import.
const REPLIES: [&str; 2] = ["_INBOX.>", "_R_.>"];

/// The allow-lists of a role, drawn from the table.
pub fn allowed(role: BusRole) -> Allowed {
    let mut publish: Vec<String> = Vec::new();
    let mut subscribe: Vec<String> = vec!["_INBOX.>".into()];
    let mut serves = false;
    for subject in SUBJECTS {
        let pattern = if role == BusRole::Agent { imported_as(subject) } else { subject.wildcard() };
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
    subscribe.extend(heard(role));
    publish.sort();
    publish.dedup();
    subscribe.sort();
    subscribe.dedup();
    Allowed { publish, subscribe }
}

/// What a subject of ours is called in the agents' account.
fn imported_as(subject: &Subject) -> String {
    let ours = subject.wildcard();
    if ours == subjects::STATEMENTS_ALL { subjects::AGENT_RECORDS.to_owned() } else { ours }
}

/// What the server itself tells a role.
fn heard(role: BusRole) -> Vec<String> {
    let heard: &[&str] = match role {
        BusRole::Callout => &[system::AUTH_CALLOUT],
        BusRole::Kicker => &[system::CONNECT, system::DISCONNECT, system::STRANGER_DISCONNECT],
        BusRole::Bootstrap
        | BusRole::Issuer
        | BusRole::Broadcaster
        | BusRole::Verifier
        | BusRole::Sink
        | BusRole::Gatekeeper
        | BusRole::Host
        | BusRole::Operator
        | BusRole::Agent => &[],
    };
    heard.iter().map(|subject| (*subject).to_owned()).collect()
}

/// What of the JetStream API a role may use: looking and reading, of its own streams alone. And of the server's own:
/// to answer the callout, to list and close connections.
fn api(role: BusRole) -> Vec<String> {
    let info = |stream: &str| format!("$JS.API.STREAM.INFO.{stream}");
    let get = |stream: &str| format!("$JS.API.DIRECT.GET.{stream}");
    // The last message of such a subject, by a request that names it: no private key, no payload.
    let public_keys = || format!("{}.{}", get(SEALING_KEYS), subjects::SEALING_PUBLIC_ALL);
    let streams = [DIRECTIVES, AUDIT, CHECKPOINTS, PROOFS, SEALED, SEALING_KEYS];
    match role {
        BusRole::Bootstrap => streams.iter().flat_map(|s| [info(s), format!("$JS.API.STREAM.CREATE.{s}")]).collect(),
        // Whoever publishes a record reads it back where the broker says `duplicate`.
        BusRole::Issuer | BusRole::Broadcaster => [DIRECTIVES, AUDIT].iter().flat_map(|s| [info(s), get(s)]).collect(),
        BusRole::Gatekeeper => [DIRECTIVES, AUDIT].iter().flat_map(|s| [info(s), get(s)]).collect(),
        // The server's question comes with a reply subject of its own making.
        BusRole::Callout => vec!["_INBOX.>".into(), system::AUTH_REPLIES.into()],
        BusRole::Kicker => vec![system::KICK_ALL.into(), system::CONNECTIONS.into()],
        BusRole::Verifier | BusRole::Host => {
            let mut all: Vec<String> =
                [DIRECTIVES, AUDIT, PROOFS, CHECKPOINTS].iter().flat_map(|s| [info(s), get(s)]).collect();
            all.push(public_keys());
            all
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
            // Explaining an erasable action, and erasing. No other stream lets anything be deleted.
            all.extend([
                get(SEALED),
                get(SEALING_KEYS),
                public_keys(),
                format!("$JS.API.STREAM.PURGE.{SEALED}"),
                format!("$JS.API.STREAM.MSG.DELETE.{SEALING_KEYS}"),
            ]);
            all
        }
        BusRole::Agent => Vec::new(),
    }
}

/// A user: its key, and what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// What it is there for.
    pub role: BusRole,
    /// The key that signs the server's nonce.
    pub key: PublicKey,
}

/// Who lets agents in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalloutSettings {
    /// The key that signs users: `A…`. TRUST: whoever holds it can be anybody, in any account.
    pub issuer: PublicKey,
    /// The key that questions are sealed for: `X…`.
    pub xkey: String,
    /// How long the server waits for an answer, in seconds; as long as a connect may take when all agents come at once.
    pub timeout_seconds: u32,
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
    /// Every user.
    pub users: Vec<User>,
    /// Who lets agents in. Without it an agent is a user like others: for trying one room alone.
    pub callout: Option<CalloutSettings>,
}

/// The text of the nats-server's configuration file. No secret stands in it.
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
    let offered: Vec<&Subject> = SUBJECTS.iter().filter(|s| s.publishers.contains(&BusRole::Agent)).collect();
    writeln!(out, "accounts {{")?;
    for account in [Account::System, Account::Auth, Account::Marque, Account::Agents] {
        writeln!(out, "  {} {{", account.as_str())?;
        match account {
            Account::System | Account::Auth => {}
            Account::Marque => {
                writeln!(out, "    jetstream: enabled\n    exports: [")?;
                for subject in &offered {
                    let agents = Account::Agents.as_str();
                    writeln!(out, "      {{ service: {}, accounts: [{agents}] }}", quoted(&subject.wildcard()))?;
                }
                writeln!(out, "    ]")?;
            }
            Account::Agents => {
                writeln!(out, "    limits {{\n      max_connections: 20000\n      max_payload: 64KB")?;
                writeln!(out, "      max_subscriptions: 64000\n    }}\n    imports: [")?;
                for subject in &offered {
                    write_import(out, subject)?;
                }
                writeln!(out, "    ]")?;
            }
        }
        writeln!(out, "    users: [")?;
        for user in settings.users.iter().filter(|user| user.role.account() == account) {
            write_user(out, user)?;
        }
        writeln!(out, "    ]\n  }}")?;
    }
    writeln!(out, "}}\nsystem_account: {}", Account::System.as_str())?;
    settings.callout.as_ref().map_or(Ok(()), |callout| write_callout(out, callout, &settings.users))
}

/// Agents are let in by the gatekeeper, and they alone: users of other accounts don't wait for it.
fn write_callout(out: &mut String, callout: &CalloutSettings, users: &[User]) -> std::fmt::Result {
    let answers = users.iter().filter(|user| user.role == BusRole::Callout).map(|user| nkey::user_public(&user.key));
    let answers: Vec<String> = answers.collect();
    writeln!(out, "authorization {{\n  timeout: {}\n  auth_callout {{", callout.timeout_seconds)?;
    writeln!(out, "    issuer: {}", nkey::public(nkey::Kind::Account, &callout.issuer))?;
    writeln!(out, "    account: {}\n    auth_users: [{}]", Account::Auth.as_str(), answers.join(", "))?;
    writeln!(out, "    allowed_accounts: [{}]\n    xkey: {}", Account::Agents.as_str(), callout.xkey)?;
    writeln!(out, "  }}\n}}")
}

fn write_import(out: &mut String, subject: &Subject) -> std::fmt::Result {
    let (ours, theirs) = (subject.wildcard(), imported_as(subject));
    write!(out, "      {{ service: {{ account: MARQUE, subject: {} }}", quoted(&ours))?;
    if ours != theirs {
        // Each wildcard by its place.
        let mut place = 0;
        let tokens = theirs.split('.').map(|token| match token {
            "*" => {
                place += 1;
                format!("${place}")
            }
            token => token.to_owned(),
        });
        write!(out, ", to: {}", quoted(&tokens.collect::<Vec<_>>().join(".")))?;
    }
    writeln!(out, " }}")
}

fn write_user(out: &mut String, user: &User) -> std::fmt::Result {
    let allowed = allowed(user.role);
    let list = |patterns: &[String]| patterns.iter().map(|p| quoted(p)).collect::<Vec<_>>().join(", ");
    writeln!(out, "      # {}", user.role.as_str())?;
    writeln!(out, "      {{ nkey: {}, permissions: {{", nkey::user_public(&user.key))?;
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
            assert_eq!(may_publish(*role, "marque.raw.key.x"), is_broadcaster, "{role:?}");
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
