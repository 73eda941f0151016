//! The connection: what every process of ours asks of its NATS client.

use std::time::Duration;

use crate::BusError;

/// How to reach the broker, and as whom.
#[derive(Clone)]
pub struct ConnectOptions {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) inbox_prefix: Option<String>,
    pub(crate) request_timeout: Duration,
}

impl ConnectOptions {
    /// To `url` (or several, separated by commas), under a name that `nats` tools show; an instance id is added.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        let _ = (url, name);
        todo!()
    }

    /// As this user.
    #[must_use]
    pub fn credentials(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let _ = (user, password);
        todo!()
    }

    /// With another prefix for inboxes than `_INBOX`, such as `_INBOX.<agent key>`.
    #[must_use]
    pub fn inbox_prefix(self, prefix: impl Into<String>) -> Self {
        let _ = prefix;
        todo!()
    }

    /// How long a request waits for its answer unless the call says otherwise. Default 5 s.
    #[must_use]
    pub fn request_timeout(self, timeout: Duration) -> Self {
        let _ = timeout;
        todo!()
    }
}

/// A connection to the broker. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: async_nats::Client,
}

impl Bus {
    /// Starts connecting and goes on trying in the background: a service starts without a broker and waits.
    pub async fn connect(options: ConnectOptions) -> Result<Self, BusError> {
        let _ = options;
        todo!()
    }

    /// Connects, or says within `deadline` why not. For commands, which do not wait for a broker.
    pub async fn connect_now(options: ConnectOptions, deadline: Duration) -> Result<Self, BusError> {
        let _ = (options, deadline);
        todo!()
    }

    /// Waits until the broker has been reached at least once and is connected now.
    pub async fn connected(&self) {
        todo!()
    }

    /// Whether there is a connection at this moment.
    pub fn is_connected(&self) -> bool {
        todo!()
    }

    /// The client, for what this room does not wrap (plain subscriptions and publishes).
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The instance id that the connection's name carries.
    pub fn instance(&self) -> &str {
        todo!()
    }

    /// Sends what is buffered and unsubscribes; no message is taken afterwards.
    pub async fn drain(&self) -> Result<(), BusError> {
        todo!()
    }
}
