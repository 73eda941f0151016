//! The broker itself, as the system account shows it: its events, its list of connections, and closing one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use marque_bus::async_nats::Subscriber;
use marque_bus::permissions::{Account, system};
use marque_bus::{Bus, BusError};
use marque_json::Limits;
use marque_judgement::record::Connection;
use serde::Deserialize;
use serde_json::json;

/// One answer to a kick, or to a page of the list, on a busy machine.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// After the first server has answered, the others of a cluster have so long.
const OTHERS_TIME: Duration = Duration::from_millis(250);
/// Connections on one page: some 500 bytes each, within the server's largest answer.
const PAGE_CONNECTIONS: u64 = 512;
/// Pages of one list: more than the agents' account may have connections.
const PAGES_MAX: u64 = 64;
/// A page, or an event, in bytes.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The broker.
#[derive(Clone)]
pub(crate) struct Server(Bus);

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
}

#[derive(Deserialize, Default)]
struct Counted {
    #[serde(default)]
    msgs: u64,
}

#[derive(Deserialize)]
struct Page {
    server: ServerInfo,
    #[serde(default)]
    data: PageData,
}

#[derive(Deserialize, Default)]
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

    /// Every agent's connects, and every disconnect.
    pub(crate) async fn events(&self) -> Result<(Subscriber, Subscriber), BusError> {
        let subscribe = async |subject: &'static str| {
            let subscribed = self.0.client().subscribe(subject).await;
            subscribed.map_err(|error| BusError::Unavailable(format!("{subject}: {error}")))
        };
        Ok((subscribe(system::CONNECT).await?, subscribe(system::DISCONNECT).await?))
    }

    /// Every disconnect once for all gatekeepers: for whoever records it.
    pub(crate) async fn shared_disconnects(&self, group: &str) -> Result<Subscriber, BusError> {
        let subscribed = self.0.client().queue_subscribe(system::DISCONNECT, group.to_owned()).await;
        subscribed.map_err(|error| BusError::Unavailable(error.to_string()))
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

    /// Every connection of the agents' account on every server that answers, and which those are.
    pub(crate) async fn list(&self) -> Result<(Vec<Listed>, BTreeSet<String>), BusError> {
        let (mut listed, mut servers) = (Vec::new(), BTreeSet::new());
        for page in 0..PAGES_MAX {
            let offset = page * PAGE_CONNECTIONS;
            let body = json!({
                "auth": true, "acc": Account::Agents.as_str(), "limit": PAGE_CONNECTIONS, "offset": offset,
            });
            let pages = self.ask_all(system::CONNECTIONS, body.to_string()).await?;
            servers.extend(pages.keys().cloned());
            let more = pages.values().any(|page| page.data.total > offset + PAGE_CONNECTIONS);
            listed.extend(pages.into_values().flat_map(of_agents));
            if !more {
                break;
            }
        }
        Ok((listed, servers))
    }

    /// Asks every server: the answers by server.
    async fn ask_all(&self, subject: &'static str, body: String) -> Result<BTreeMap<String, Page>, BusError> {
        let client = self.0.client();
        let unavailable = |error: &dyn std::fmt::Display| BusError::Unavailable(format!("{subject}: {error}"));
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| unavailable(&error))?;
        client.publish_with_reply(subject, inbox, body.into()).await.map_err(|error| unavailable(&error))?;
        let mut pages = BTreeMap::new();
        let mut wait = ANSWER_TIME;
        while let Ok(Some(message)) = tokio::time::timeout(wait, answers.next()).await {
            let page = page(&message.payload)?;
            pages.insert(page.server.id.clone(), page);
            wait = OTHERS_TIME;
        }
        if pages.is_empty() { Err(unavailable(&"no server answers")) } else { Ok(pages) }
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
    let (server, now) = (page.server.id, page.data.now);
    let agents = page.data.connections.into_iter().filter(|entry| entry.account == Account::Agents.as_str());
    let listed = |entry: Entry| Listed {
        connection: Connection { server: server.clone(), cid: entry.cid },
        name: entry.authorized_user,
        age: between(&entry.start, &now),
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

/// Reads an event; none if it is not one.
pub fn told(payload: &[u8]) -> Option<Told> {
    let event: Event = marque_json::from_slice(payload, Limits::bytes(MESSAGE_BYTES_MAX)).ok()?;
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
        }
    }
}
