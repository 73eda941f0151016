//! The connection: what every process of ours asks of its NATS client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{AuthError, ConnectErrorKind, Event, ServerError, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use marque_signing::{SigningKey, nkey};
use tokio::sync::{broadcast, watch};

use crate::{BusError, subjects};

/// A frozen server is noticed after three of these without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// One try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that wait for the connection; a publish beyond them waits in its caller.
const COMMANDS_MAX: usize = 1024;
/// Messages that wait in one subscription; more are dropped, and a gap shows.
const SUBSCRIPTION_MESSAGES_MAX: usize = 8192;
/// Between tries to reconnect: doubled from the first to the last.
const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_DELAY_LAST: Duration = Duration::from_secs(2);
/// Violations that a waiting publish may not have looked at yet.
const VIOLATIONS_KEPT: usize = 256;
/// A round trip takes a fraction of a millisecond; after this long it was lost.
const SETTLE_TRY: Duration = Duration::from_secs(2);
/// Tries of an agent that is cut off before its client gives up: about a minute of them.
const AGENT_RECONNECTS_MAX: usize = 32;
/// Messages after which a subscription ends. Our client counts up to them, so it keeps the subscription; the server reads
/// nine digits at the most (`parseSize`), so it ends it at once.
const ENDS_IN_THE_SERVER_ALONE: u64 = u64::MAX;
/// Events can be lost: the state is looked at again after this long.
const STATE_RECHECK: Duration = Duration::from_millis(250);

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented")
    }
}

/// How to reach the broker, and as whom.
#[derive(Clone)]
pub struct ConnectOptions {
    url: String,
    name: String,
    identity: Identity,
    inbox_prefix: Option<String>,
    request_timeout: Duration,
}

/// Proof of who one is towards the broker.
#[derive(Clone)]
enum Identity {
    None,
    Password(String, String),
    /// The text of a credentials file: a user JWT and its seed.
    Credentials(String),
    /// A user seed, `SU…`.
    Nkey(String),
    /// A key of ours, which signs the server's nonce, and what an agent shows beside it.
    Key(Arc<SigningKey>, Option<Presented>),
}

/// What an agent shows the gatekeeper in order to connect: a chain, an identity credential, or the word `enrol`.
///
/// Clones share it: what is [`replace`](Self::replace)d is shown from the next connect on, so that a connection which
/// the gatekeeper ends with its chain's life comes back with the renewed chain.
#[derive(Clone)]
pub struct Presented(Arc<RwLock<Arc<str>>>);

impl Presented {
    /// Nothing yet but the wish to enrol.
    pub const ENROL: &'static str = "enrol";

    /// This.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(RwLock::new(text.into())))
    }

    /// Another from now on.
    pub fn replace(&self, text: impl Into<Arc<str>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// What is shown.
    pub fn text(&self) -> Arc<str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ConnectOptions {
    /// To `url` (or several, separated by commas), under a name that `nats` tools show; an instance id is added.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            identity: Identity::None,
            inbox_prefix: None,
            request_timeout: REQUEST_TIMEOUT,
        }
    }

    /// As this user.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.identity = Identity::Password(user.into(), password.into());
        self
    }

    /// By the text of a `.creds` file, as the `nats` tool takes it.
    #[must_use]
    pub fn credentials_text(mut self, text: impl Into<String>) -> Self {
        self.identity = Identity::Credentials(text.into());
        self
    }

    /// By a user's nkey seed, `SU…`.
    #[must_use]
    pub fn nkey_seed(mut self, seed: impl Into<String>) -> Self {
        self.identity = Identity::Nkey(seed.into());
        self
    }

    /// By a key of ours. It signs the server's nonce unless that is shaped like something else that it signs.
    #[must_use]
    pub fn signing_key(mut self, key: Arc<SigningKey>) -> Self {
        self.identity = Identity::Key(key, None);
        self
    }

    /// As an agent: by its key and what it presents, with inboxes of its own. Its replies come to
    /// `_INBOX.<key>.…`, which no other agent may read.
    #[must_use]
    pub fn agent(mut self, key: Arc<SigningKey>, presented: Presented) -> Self {
        self.inbox_prefix = Some(subjects::inbox_prefix(&key.did()));
        self.identity = Identity::Key(key, Some(presented));
        self
    }

    /// With another prefix for inboxes than `_INBOX`, such as `_INBOX.<agent key>`.
    #[must_use]
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.inbox_prefix = Some(prefix.into());
        self
    }

    /// How long a request waits for its answer unless the call says otherwise. Default 5 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }
}

/// A connection to the broker. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Bus {
    client: async_nats::Client,
    presented: Option<Presented>,
    instance: Arc<str>,
    signals: Signals,
    /// Ends with the task that drives the connection.
    alive: watch::Receiver<()>,
    drained: Arc<AtomicBool>,
}

/// What the client's events tell. They are lossy (128 deep): hints, never the truth.
#[derive(Clone)]
struct Signals {
    /// Counts connects, disconnects and slow consumers: each may have left a gap.
    disturbances: watch::Sender<u64>,
    /// Counts connects.
    connects: watch::Sender<u64>,
    /// Counts refusals of what we connect by.
    refusals: watch::Sender<u64>,
    violations: broadcast::Sender<Arc<str>>,
    slow_consumers: Arc<AtomicU64>,
}

impl Bus {
    /// Starts connecting and goes on trying in the background: a service starts without a broker and waits.
    pub async fn connect(options: ConnectOptions) -> Result<Self, BusError> {
        Self::open(options, true, Arc::default()).await
    }

    /// Connects, or says within `deadline` why not. For commands, which do not wait for a broker.
    ///
    /// An agent to which the broker says neither yes nor no, as it does while no gatekeeper answers, gets
    /// [`BusError::NotAdmitted`].
    pub async fn connect_now(options: ConnectOptions, deadline: Duration) -> Result<Self, BusError> {
        let url = without_user(&options.url);
        let until = tokio::time::Instant::now() + deadline;
        let undecided = || BusError::NotAdmitted(format!("{url}: no word within {deadline:?}"));
        let greeted = Arc::new(AtomicBool::new(false));
        let is_agent = matches!(options.identity, Identity::Key(_, Some(_)));
        let bus = match tokio::time::timeout_at(until, Self::open(options, false, greeted.clone())).await {
            Ok(opened) => opened?,
            Err(_) if is_agent && greeted.load(Ordering::Acquire) => return Err(undecided()),
            Err(_) => return Err(BusError::Unavailable(format!("{url}: no connection within {deadline:?}"))),
        };
        if bus.presented.is_some() {
            match tokio::time::timeout_at(until, bus.let_in(&url)).await {
                Ok(let_in) => let_in?,
                Err(_) => return Err(undecided()),
            }
        }
        Ok(bus)
    }

    /// Waits until the broker has let us in, by a message to ourselves.
    ///
    /// While the gatekeeper is asked the server pings, which async-nats 0.51 takes for its yes.
    async fn let_in(&self, url: &str) -> Result<(), BusError> {
        let mut refusals = self.signals.refusals.subscribe();
        refusals.mark_unchanged();
        if !self.is_connected() {
            return Err(BusError::Forbidden(format!("{url}: the broker does not let us in")));
        }
        tokio::select! {
            settled = self.settle() => settled,
            Ok(()) = refusals.changed() => Err(BusError::Forbidden(format!("{url}: the broker does not let us in"))),
        }
    }

    /// `greeted` becomes true once the broker has told us its nonce.
    async fn open(options: ConnectOptions, retry: bool, greeted: Arc<AtomicBool>) -> Result<Self, BusError> {
        let instance: Arc<str> = uuid::Uuid::now_v7().simple().to_string().split_off(20).into();
        let signals = Signals {
            disturbances: watch::Sender::new(0),
            connects: watch::Sender::new(0),
            refusals: watch::Sender::new(0),
            violations: broadcast::Sender::new(VIOLATIONS_KEPT),
            slow_consumers: Arc::default(),
        };
        let told = signals.clone();
        let presented = match &options.identity {
            Identity::Key(_, presented) => presented.clone(),
            Identity::None | Identity::Password(..) | Identity::Credentials(_) | Identity::Nkey(_) => None,
        };
        let (life, alive) = watch::channel(());
        let nats = match &options.identity {
            Identity::Key(key, presented) => with_key(key.clone(), presented.clone(), greeted),
            Identity::None | Identity::Password(..) | Identity::Credentials(_) | Identity::Nkey(_) => {
                async_nats::ConnectOptions::new()
            }
        };
        let mut nats = nats
            .name(format!("{}-{instance}", options.name))
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(options.request_timeout))
            .client_capacity(COMMANDS_MAX)
            .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                // Dropped with the callback, when nobody drives the connection any more.
                let _ = &life;
                told.take(event);
                std::future::ready(())
            });
        nats = match options.identity {
            Identity::None | Identity::Key(_, None) => nats,
            // Refused for good, it must not ask for ever.
            Identity::Key(_, Some(_)) => nats.max_reconnects(AGENT_RECONNECTS_MAX),
            Identity::Password(user, password) => nats.user_and_password(user, password),
            Identity::Credentials(text) => nats
                .credentials(&text)
                .map_err(|error| BusError::Refused(format!("the credentials can't be read: {error}")))?,
            Identity::Nkey(seed) => nats.nkey(seed),
        };
        if let Some(prefix) = options.inbox_prefix {
            nats = nats.custom_inbox_prefix(prefix);
        }
        if retry {
            nats = nats.retry_on_initial_connect();
        }
        let servers: Vec<&str> = options.url.split(',').map(str::trim).collect();
        let client = nats.connect(servers.as_slice()).await.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                BusError::Forbidden(format!("{}: {error}", without_user(&options.url)))
            }
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Dns
            | ConnectErrorKind::Tls
            | ConnectErrorKind::Io
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::MaxReconnects => {
                BusError::Unavailable(format!("{}: {error}", without_user(&options.url)))
            }
        })?;
        Ok(Self { client, presented, instance, signals, alive, drained: Arc::default() })
    }

    /// Shows the gatekeeper this from now on, and connects anew with it: an agent's connection may then do what that
    /// grants. Does nothing on a connection that presents nothing.
    pub async fn present(&self, text: impl Into<Arc<str>>, deadline: Duration) -> Result<(), BusError> {
        let Some(presented) = &self.presented else { return Ok(()) };
        presented.replace(text);
        let mut connects = self.signals.connects.subscribe();
        connects.mark_unchanged();
        self.client.force_reconnect().await.map_err(|error| BusError::Unavailable(error.to_string()))?;
        let again = async {
            connects.changed().await.map_err(|_| BusError::Unavailable("closed".into()))?;
            self.let_in("again").await
        };
        match tokio::time::timeout(deadline, again).await {
            Ok(outcome) => outcome,
            Err(_) => Err(BusError::Forbidden(format!("the broker did not let us in again within {deadline:?}"))),
        }
    }

    /// Shows the gatekeeper this from the next connect on.
    pub fn present_next(&self, text: impl Into<Arc<str>>) {
        if let Some(presented) = &self.presented {
            presented.replace(text);
        }
    }

    /// Waits until the broker is connected.
    pub async fn connected(&self) {
        let mut disturbed = self.signals.disturbances.subscribe();
        while !self.is_connected() {
            // Woken by an event or, should one be lost, by the clock.
            let _ = tokio::time::timeout(STATE_RECHECK, disturbed.changed()).await;
        }
    }

    /// Waits until there is no connection.
    pub(crate) async fn cut_off(&self) {
        let mut disturbed = self.signals.disturbances.subscribe();
        while self.is_connected() {
            let _ = tokio::time::timeout(STATE_RECHECK, disturbed.changed()).await;
        }
    }

    /// Does `then` once nobody drives the connection any more though it was not drained: its task has panicked, as
    /// async-nats 0.51 does on a header with a bare carriage return, and it never comes back. A service can only end,
    /// so that whoever supervises it starts it again.
    pub fn when_lost(&self, then: impl FnOnce() + Send + 'static) {
        let (mut alive, drained) = (self.alive.clone(), self.drained.clone());
        tokio::spawn(async move {
            while alive.changed().await.is_ok() {}
            if !drained.load(Ordering::Acquire) {
                then();
            }
        });
    }

    /// Whether there is a connection at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Why nothing reaches the broker at this moment; none while there is a connection. For a health page, which asks
    /// each time: it needs no event, and events can be lost. A broker that is frozen shows once its pings are missed.
    pub fn pending(&self) -> Option<&'static str> {
        match self.client.connection_state() {
            State::Connected => None,
            State::Pending => Some("not connected yet"),
            State::Disconnected => Some("the connection is lost, and tried again"),
        }
    }

    /// The client, for what this room does not wrap (plain subscriptions and publishes).
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The instance id that the connection's name carries.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Messages that were dropped because a subscription's buffer was full.
    pub fn slow_consumers(&self) -> u64 {
        self.signals.slow_consumers.load(Ordering::Relaxed)
    }

    /// Changes whenever something may have been missed: a reconnect, a slow consumer.
    pub fn disturbances(&self) -> watch::Receiver<u64> {
        self.signals.disturbances.subscribe()
    }

    /// The server's words on every permission that it denied, from now on.
    pub fn violations(&self) -> broadcast::Receiver<Arc<str>> {
        self.signals.violations.subscribe()
    }

    /// Sends what is buffered and unsubscribes; no message is taken afterwards.
    pub async fn drain(&self) -> Result<(), BusError> {
        self.drained.store(true, Ordering::Release);
        self.client.drain().await.map_err(|error| BusError::Unavailable(error.to_string()))
    }

    /// Waits until everything that was sent so far is in the socket. Says nothing about the server having read it.
    pub async fn flush(&self) -> Result<(), BusError> {
        self.client.flush().await.map_err(|error| BusError::Unavailable(error.to_string()))
    }

    /// Waits, for a broker too, until the server has handled everything that was sent so far: subscriptions stand.
    ///
    /// By a message to ourselves, since the client has no ping of its own; for those who may publish to their inboxes: the
    /// roles that serve, and agents. Others get [`BusError::Forbidden`].
    pub async fn settle(&self) -> Result<(), BusError> {
        let unavailable = |error: &dyn std::fmt::Display| BusError::Unavailable(error.to_string());
        loop {
            self.connected().await;
            let mut violations = self.violations();
            let inbox = self.client.new_inbox();
            let mut echo = self.client.subscribe(inbox.clone()).await.map_err(|error| unavailable(&error))?;
            self.client.publish(inbox.clone(), Bytes::new()).await.map_err(|error| unavailable(&error))?;
            let until = tokio::time::Instant::now() + SETTLE_TRY;
            loop {
                tokio::select! {
                    message = echo.next() => match message {
                        Some(_) => return Ok(()),
                        None => return Err(BusError::Unavailable("closed".into())),
                    },
                    Ok(text) = violations.recv() => if is_about(&text, &inbox) {
                        return Err(BusError::Forbidden(text.to_string()));
                    },
                    // The connection was lost in between.
                    () = tokio::time::sleep_until(until) => break,
                }
            }
        }
    }
}

impl Bus {
    /// Ends a subscription without losing a message: what the server had sent before it heard of the end comes out of
    /// `subscription`, and then nothing more. For those who may [`settle`](Self::settle).
    ///
    /// async-nats 0.51 alone can't: drained, a subscription is forgotten at the connection's next turn, which does not
    /// wait for the server's answer (`ConnectionHandler::process`, `drain_pings`), and what comes later is dropped.
    pub async fn retire(&self, subscription: &mut Subscriber) -> Result<(), BusError> {
        let unavailable = |error: async_nats::UnsubscribeError| BusError::Unavailable(error.to_string());
        // 1. The server ends it, and gives the next message to another.
        subscription.unsubscribe_after(ENDS_IN_THE_SERVER_ALONE).await.map_err(unavailable)?;
        // 2. Once it has told us of a later message, it has told us of everything before; without a connection it
        //    tells nothing.
        let settled = tokio::select! {
            settled = self.settle() => settled,
            () = self.cut_off() => Ok(()),
        };
        // 3. Our client ends it. Said twice to the server, should it learn to count further.
        subscription.drain().await.map_err(unavailable)?;
        settled
    }

    /// The next message of a subscription that was [retired](Self::retire); none where nothing more can come, also since
    /// there is no connection: then nobody hears of the end, and the client does not end it by itself.
    pub async fn rest(&self, retired: &mut Subscriber) -> Option<async_nats::Message> {
        tokio::select! {
            biased;
            message = retired.next() => message,
            () = self.cut_off() => None,
        }
    }
}

impl Signals {
    fn take(&self, event: Event) {
        match event {
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                self.slow_consumers.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("a subscription's buffer was full: messages were dropped");
            }
            Event::ServerError(ServerError::Other(text)) => {
                tracing::warn!(%text, "the broker reports");
                let _ = self.violations.send(text.into());
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                tracing::error!("the broker refuses the credentials");
                self.refusals.send_modify(|count| *count = count.wrapping_add(1));
            }
            Event::Disconnected => tracing::warn!("disconnected from the broker"),
            Event::Connected => {
                tracing::info!("connected to the broker");
                self.connects.send_modify(|count| *count = count.wrapping_add(1));
            }
            Event::ClientError(error) => tracing::warn!(%error, "the client reports"),
            Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
        self.disturbances.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Signs each server's nonce, and shows what an agent presents.
fn with_key(
    key: Arc<SigningKey>,
    presented: Option<Presented>,
    greeted: Arc<AtomicBool>,
) -> async_nats::ConnectOptions {
    async_nats::ConnectOptions::with_auth_callback(move |nonce| {
        greeted.store(true, Ordering::Release);
        let mut auth = async_nats::Auth::new();
        auth.nkey = Some(nkey::user_public(&key.public()));
        auth.token = presented.as_ref().map(|presented| presented.text().to_string());
        let signed = nkey::sign_nonce(&key, &nonce);
        std::future::ready(match signed {
            Ok(signature) => {
                auth.signature = Some(signature.to_vec());
                Ok(auth)
            }
            Err(refused) => {
                tracing::error!(%refused, "the server's nonce is not signed");
                Err(AuthError::new(refused))
            }
        })
    })
}

/// The addresses as they may be shown: a password may stand in a URL (promise 7).
fn without_user(url: &str) -> String {
    let shown = |server: &str| {
        let (scheme, rest) = server.split_once("://").unwrap_or(("", server));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
    };
    url.split(',').map(|server| shown(server.trim())).collect::<Vec<_>>().join(",")
}

fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    RECONNECT_DELAY_FIRST.saturating_mul(1 << doublings).min(RECONNECT_DELAY_LAST)
}

/// Whether the server's word on a violation is about `subject`.
pub(crate) fn is_about(violation: &str, subject: &str) -> bool {
    violation.contains("Permissions Violation") && violation.split('"').any(|part| part == subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_password_of_a_url() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://agent:p@ss@a:1, tls://token@b", "nats://a:1,tls://b"),
            ("agent:secret@a", "a"),
            ("", ""),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }
}
