//! The broker itself, as the system account shows it: its events, its list of connections, and closing one.

mod gathering;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use marque_bus::async_nats::Subscriber;
use marque_bus::permissions::{Account, system};
use marque_bus::{Bus, BusError};
use marque_json::Limits;
use marque_judgement::record::Connection;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use self::gathering::Gathering;

/// One answer to a kick, or to a page of the list, on a busy machine.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// After the first server has answered, the others of a cluster have so long.
const OTHERS_TIME: Duration = Duration::from_millis(250);
/// Whatever comes, a page is not waited for any longer: nobody who answers in place of servers holds up the next one.
const PAGE_TIME_MAX: Duration = Duration::from_secs(5);
/// Nor is a list: forty pages, which is as many as the account's connections fill, of servers that are slow to answer.
const LIST_TIME_MAX: Duration = Duration::from_secs(120);
/// Connections on one page: some 500 bytes each, within the server's largest answer.
const PAGE_CONNECTIONS: u64 = 512;
/// Pages of one list: more than the agents' account may have connections.
const PAGES_MAX: u64 = 64;
/// Why the server closes a client whose CONNECT, or what it sends in its place, is longer than `max_control_line`.
const OVERLONG: &str = "Maximum Control Line Exceeded";
/// A page, or an event, in bytes.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The broker.
#[derive(Clone)]
pub(crate) struct Server(Bus);

/// What the server tells as it happens.
pub(crate) struct Events {
    /// Every agent's connect.
    pub(crate) connects: Subscriber,
    /// Every agent's disconnect.
    pub(crate) disconnects: Subscriber,
    /// Every disconnect of a client that was not let in: an agent's, too, where it was being judged once more.
    pub(crate) strangers: Subscriber,
}

/// What came of a kick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KickOutcome {
    /// It was there and is closed.
    Closed,
    /// It was not there.
    Gone,
}

/// A connection in the server's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub connection: Connection,
    /// The name that it was let in under.
    pub name: String,
    /// How long it has been there, by the server's own clock.
    pub age: Duration,
}

/// The server tells of an agent's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub connection: Connection,
    /// The name that it was let in under.
    pub name: String,
    /// Its end: why, and how many messages the agent sent and was sent.
    pub end: Option<End>,
}

/// A client that the server closed before it was let in, since a line of its was too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlong {
    /// Which.
    pub connection: Connection,
    /// Where it came from: an address, as the server saw it.
    pub host: String,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// In the server's words.
    pub reason: String,
    /// Messages that the agent sent.
    pub sent: u64,
    /// Messages that it was sent.
    pub received: u64,
}

#[derive(Deserialize)]
struct Event {
    server: ServerInfo,
    client: Client,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    sent: Counted,
    #[serde(default)]
    received: Counted,
}

#[derive(Deserialize)]
struct ServerInfo {
    id: String,
}

#[derive(Deserialize)]
struct Client {
    id: u64,
    #[serde(default)]
    user: String,
    #[serde(default)]
    host: String,
}

#[derive(Deserialize, Default)]
struct Counted {
    #[serde(default)]
    msgs: u64,
}

#[derive(Deserialize)]
struct Page {
    server: ServerInfo,
    /// None where the server answers with an error.
    #[serde(default)]
    data: Option<PageData>,
}

#[derive(Deserialize)]
struct PageData {
    #[serde(default)]
    connections: Vec<Entry>,
    #[serde(default)]
    total: u64,
    /// When the list was made, RFC 3339.
    #[serde(default)]
    now: String,
}

#[derive(Deserialize)]
struct Entry {
    cid: u64,
    #[serde(default)]
    authorized_user: String,
    #[serde(default)]
    account: String,
    /// When it came, RFC 3339.
    #[serde(default)]
    start: String,
}

#[derive(Deserialize)]
struct Kicked {
    #[serde(default)]
    error: Option<serde_json::Value>,
}

impl Server {
    /// Over a connection of the system account.
    pub(crate) fn new(bus: Bus) -> Self {
        Self(bus)
    }

    /// All that every gatekeeper hears.
    pub(crate) async fn events(&self) -> Result<Events, BusError> {
        let subscribe = async |subject: &'static str| {
            let subscribed = self.0.client().subscribe(subject).await;
            subscribed.map_err(|error| BusError::Unavailable(format!("{subject}: {error}")))
        };
        Ok(Events {
            connects: subscribe(system::CONNECT).await?,
            disconnects: subscribe(system::DISCONNECT).await?,
            strangers: subscribe(system::STRANGER_DISCONNECT).await?,
        })
    }

    /// Every disconnect once for all gatekeepers: for whoever records it.
    pub(crate) async fn shared_disconnects(&self, group: &str) -> Result<Subscriber, BusError> {
        self.shared(system::DISCONNECT, group).await
    }

    /// Every disconnect of a client that was not let in, once for all gatekeepers.
    pub(crate) async fn strangers(&self, group: &str) -> Result<Subscriber, BusError> {
        self.shared(system::STRANGER_DISCONNECT, group).await
    }

    async fn shared(&self, subject: &'static str, group: &str) -> Result<Subscriber, BusError> {
        let subscribed = self.0.client().queue_subscribe(subject, group.to_owned()).await;
        subscribed.map_err(|error| BusError::Unavailable(format!("{subject}: {error}")))
    }

    /// Closes a connection. An error: it may be open still.
    pub(crate) async fn kick(&self, connection: &Connection) -> Result<KickOutcome, BusError> {
        let body = json!({ "cid": connection.cid }).to_string();
        let asked = self.0.client().request(system::kick(&connection.server), body.into());
        let answered = tokio::time::timeout(ANSWER_TIME, asked).await;
        let message = answered
            .map_err(|_| BusError::OutcomeUnknown("no answer to a kick".into()))?
            .map_err(|error| BusError::OutcomeUnknown(error.to_string()))?;
        kicked(&message.payload)
    }

    /// Every connection of the agents' account on every server that answers, and the servers that have answered to the
    /// last of theirs. What is cut off, by time or by number, is as if its server had not answered.
    pub(crate) async fn list(&self) -> Result<(Vec<Listed>, BTreeSet<String>), BusError> {
        let until = Instant::now() + LIST_TIME_MAX;
        let mut gathered = Gathering::default();
        for number in 0..PAGES_MAX {
            let body = json!({
                "auth": true, "acc": Account::Agents.as_str(), "limit": PAGE_CONNECTIONS,
                "offset": number * PAGE_CONNECTIONS,
            });
            let asked = self.ask_all(system::CONNECTIONS, body.to_string(), |page| gathered.take(number, page));
            let answered = match tokio::time::timeout_at(until, asked).await {
                Ok(answered) => answered?,
                Err(_) => 0,
            };
            if number == 0 && answered == 0 {
                return Err(BusError::Unavailable(format!("{}: no server answers", system::CONNECTIONS)));
            }
            if answered == 0 || !gathered.wants_more(number) {
                break;
            }
        }
        if gathered.is_cut() {
            tracing::warn!(
                "the list of the broker's connections is not whole: servers were slow, or answered too much"
            );
        }
        Ok(gathered.done())
    }

    /// Asks every server, and hands on each answer that can be read. Gives how many were taken; others are as if they had
    /// not come.
    async fn ask_all(
        &self,
        subject: &'static str,
        body: String,
        mut take: impl FnMut(Page) -> bool,
    ) -> Result<usize, BusError> {
        let client = self.0.client();
        let unavailable = |error: &dyn std::fmt::Display| BusError::Unavailable(format!("{subject}: {error}"));
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| unavailable(&error))?;
        client.publish_with_reply(subject, inbox, body.into()).await.map_err(|error| unavailable(&error))?;
        let page_until = Instant::now() + PAGE_TIME_MAX;
        let mut until = Instant::now() + ANSWER_TIME;
        let mut taken = 0;
        // Looked at each time: answers that come without a pause would never let the clock have its turn.
        while Instant::now() < until.min(page_until)
            && let Ok(Some(message)) = tokio::time::timeout_at(until.min(page_until), answers.next()).await
        {
            if page(&message.payload).is_ok_and(&mut take) {
                taken += 1;
                until = Instant::now() + OTHERS_TIME;
            }
        }
        Ok(taken)
    }
}

/// Reads the answer to a kick.
pub fn kicked(payload: &[u8]) -> Result<KickOutcome, BusError> {
    let kicked: Kicked = marque_json::from_slice(payload, Limits::bytes(MESSAGE_BYTES_MAX))
        .map_err(|error| BusError::Malformed(error.to_string()))?;
    Ok(if kicked.error.is_none() { KickOutcome::Closed } else { KickOutcome::Gone })
}

/// Reads the agents' connections on a page of a server's list.
pub fn listed(payload: &[u8]) -> Result<Vec<Listed>, BusError> {
    page(payload).map(of_agents)
}

fn page(payload: &[u8]) -> Result<Page, BusError> {
    marque_json::from_slice(payload, Limits::bytes(MESSAGE_BYTES_MAX))
        .map_err(|error| BusError::Malformed(error.to_string()))
}

fn of_agents(page: Page) -> Vec<Listed> {
    let Page { server: ServerInfo { id: server }, data: Some(data) } = page else { return Vec::new() };
    let agents = data.connections.into_iter().filter(|entry| entry.account == Account::Agents.as_str());
    let listed = |entry: Entry| Listed {
        connection: Connection { server: server.clone(), cid: entry.cid },
        name: entry.authorized_user,
        age: between(&entry.start, &data.now),
    };
    agents.map(listed).collect()
}

/// From one moment of a server's clock to another; none where it does not say them.
fn between(start: &str, now: &str) -> Duration {
    let (Ok(start), Ok(now)) = (start.parse::<jiff::Timestamp>(), now.parse::<jiff::Timestamp>()) else {
        return Duration::ZERO;
    };
    Duration::try_from(now.duration_since(start)).unwrap_or(Duration::ZERO)
}

/// Reads the end of a client that was not let in; none if it ended by anything but a line that was too long.
pub fn overlong(payload: &[u8]) -> Option<Overlong> {
    let Event { server, client, reason, .. } = event(payload)?;
    let connection = Connection { server: server.id, cid: client.id };
    (reason.as_deref() == Some(OVERLONG)).then_some(Overlong { connection, host: client.host })
}

fn event(payload: &[u8]) -> Option<Event> {
    marque_json::from_slice(payload, Limits::bytes(MESSAGE_BYTES_MAX)).ok()
}

/// Reads an event; none if it is not one.
pub fn told(payload: &[u8]) -> Option<Told> {
    let event = event(payload)?;
    let end = event.reason.map(|reason| End { reason, sent: event.sent.msgs, received: event.received.msgs });
    Some(Told {
        connection: Connection { server: event.server.id, cid: event.client.id },
        name: event.client.user,
        end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_age_by_the_servers_own_clock() {
        let page = r#"{"server":{"id":"N"},"data":{"now":"2026-11-25T00:33:04.5Z","total":2,"connections":[
            {"cid":7,"authorized_user":"z6Mk@4","account":"AGENTS","start":"2026-11-25T00:32:04Z"},
            {"cid":8,"authorized_user":"z6Mk@5","account":"AGENTS","start":"2026-11-25T00:34:00Z"},
            {"cid":9,"authorized_user":"z6Mk@6","account":"AGENTS","start":"soon"},
            {"cid":5,"account":"MARQUE","start":"2026-11-25T00:32:04Z"}]}}"#;
        let ages: Vec<_> = listed(page.as_bytes()).unwrap().into_iter().map(|one| one.age.as_millis()).collect();
        assert_eq!(ages, [60_500, 0, 0]);
    }

    #[test]
    fn reads_what_the_server_tells() {
        let event = r#"{"type":"io.nats.server.advisory.v1.client_disconnect","server":{"name":"t","id":"NA5","flags":7},
            "client":{"start":"2026","id":10,"acc":"AGENTS","user":"z6Mk@4","rtt":71},"sent":{"msgs":2,"bytes":2},
            "received":{"msgs":1,"bytes":64},"reason":"Kicked"}"#;
        let end = End { reason: "Kicked".into(), sent: 2, received: 1 };
        let connection = Connection { server: "NA5".into(), cid: 10 };
        assert_eq!(told(event.as_bytes()), Some(Told { connection, name: "z6Mk@4".into(), end: Some(end) }));
        for noise in [&b""[..], b"{}", b"\xff", br#"{"server":{"id":"N"},"client":{"id":-1}}"#] {
            assert_eq!(told(noise), None);
            assert_eq!(overlong(noise), None);
        }
    }

    #[test]
    fn tells_a_line_that_was_too_long_from_other_ends() {
        let event = |reason: &str| {
            let client = r#"{"start":"2026","host":"10.0.0.7","id":8,"acc":"$G"}"#;
            format!(r#"{{"server":{{"id":"NA5"}},"client":{client},"reason":"{reason}"}}"#)
        };
        let overlong_by = |reason: &str| overlong(event(reason).as_bytes());
        let connection = Connection { server: "NA5".into(), cid: 8 };
        assert_eq!(overlong_by(OVERLONG), Some(Overlong { connection, host: "10.0.0.7".into() }));
        for other in ["Authentication Failure", "Authentication Timeout", "Client Closed", ""] {
            assert_eq!(overlong_by(other), None, "{other}");
        }
    }
}
