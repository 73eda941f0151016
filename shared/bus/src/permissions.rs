//! Who may do what on the bus: the nats-server's configuration, drawn from the table of subjects.

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
pub fn server_config(settings: &ServerSettings) -> String {
    let _ = settings;
    todo!()
}
