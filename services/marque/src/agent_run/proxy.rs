//! A NATS port for any client: the sidecar opens the broker's door with the key, then passes bytes.
//!
//! It answers the client's `CONNECT` with its own: the key, the signature over the broker's nonce, the chain. What the
//! client may do is what the broker grants the chain. When that is renewed, it is shown over the links that there are (see
//! `upstream`); one that can't be renewed so lives as long as the broker lets it, and the next one presents the chain as it
//! is then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use marque_identity::Code;
use marque_signing::{base64url, nkey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::handshake::{self, LINE_BYTES_MAX, Refused, Shown};
use super::holding::Holding;
use super::upstream::{Introduction, Upstream};
use crate::Failure;

/// Connections at once: one or two for each client, of a handful of clients.
const CONNECTIONS_MAX: usize = 64;
/// From the connection to the relay: as long as the broker's gatekeeper may take, and a little more.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// After a failed accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The kernel's list of connections: about 150 bytes each.
const CONNECTION_LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The listening port.
pub(super) struct Proxy {
    listener: TcpListener,
    address: SocketAddr,
    upstream: Arc<[String]>,
    holding: Arc<Holding>,
    user: u32,
    seats: Arc<Semaphore>,
}

impl Proxy {
    /// Takes the port on 127.0.0.1; 0: any free one.
    pub(super) async fn bind(port: u16, url: &str, holding: Arc<Holding>) -> Result<Self, Failure> {
        let upstream: Option<Vec<String>> = url.split(',').map(|server| host_and_port(server.trim())).collect();
        let upstream = upstream.ok_or_else(|| Failure::usage("--nats-port needs the broker as nats://host:port"))?;
        let failed = |error: std::io::Error| Failure::new(Code::Unavailable, format!("port {port}: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let own = std::fs::metadata("/proc/self").map_err(failed)?;
        let user = std::os::unix::fs::MetadataExt::uid(&own);
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok(Self { listener, address, upstream: upstream.into(), holding, user, seats })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    pub(super) async fn serve(self) {
        loop {
            let Ok(seat) = self.seats.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((client, peer)) => {
                    let (holding, upstream, own) = (self.holding.clone(), self.upstream.clone(), self.address);
                    let user = self.user;
                    tokio::spawn(async move {
                        pass(client, (peer, own), user, &upstream, &holding).await;
                        drop(seat);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// One client to its end.
async fn pass(
    mut client: TcpStream,
    (peer, own): (SocketAddr, SocketAddr),
    user: u32,
    upstream: &[String],
    holding: &Holding,
) {
    let opening = async {
        // A port of the loopback is open to every user of the machine; the agent's authority is not.
        let of = tokio::task::spawn_blocking(move || user_of(peer, own)).await.ok().flatten();
        if of != Some(user) {
            return Err(Refused::OtherUser);
        }
        open(&mut client, upstream, holding).await
    };
    match tokio::time::timeout(HANDSHAKE_TIME, opening).await.unwrap_or(Err(Refused::NoConnect)) {
        Ok(opened) => {
            // Either side ends it when it likes.
            let _ = relay(client, opened).await;
        }
        Err(refused) => {
            let _ = tokio::time::timeout(HANDSHAKE_TIME, async {
                client.write_all(format!("-ERR {refused}\r\n").as_bytes()).await?;
                client.shutdown().await
            })
            .await;
        }
    }
}

/// A client that the broker is told of.
struct Opened {
    broker: TcpStream,
    upstream: Upstream,
    /// What the client has sent behind its `CONNECT`.
    behind: Vec<u8>,
}

/// Passes bytes until both sides have ended, or one has broken off.
async fn relay(mut client: TcpStream, opened: Opened) -> std::io::Result<()> {
    let Opened { mut broker, upstream, behind } = opened;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_broker, mut to_broker) = broker.split();
    let downstream = async {
        tokio::io::copy(&mut from_broker, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(upstream.relay(&behind, &mut from_client, &mut to_broker), downstream)?;
    Ok(())
}

/// 1. The broker greets.
/// 2. The client is greeted, without what is ours.
/// 3. It answers with a `CONNECT` that carries no credentials.
/// 4. The broker gets it with the key, the signature over its nonce and the chain.
async fn open(client: &mut TcpStream, upstream: &[String], holding: &Holding) -> Result<Opened, Refused> {
    // 1.
    let mut broker = reach(upstream).await.ok_or(Refused::NoBroker)?;
    let (line, behind) = read_line(&mut broker).await.ok_or(Refused::NoBroker)?;
    if !behind.is_empty() {
        return Err(Refused::NoBroker);
    }
    let greeting = handshake::greeting(&line)?;
    let signature = holding.key().sign_nonce(greeting.nonce.as_bytes()).map_err(|_| Refused::NoBroker)?;
    // 2.
    client.write_all(greeting.told.as_bytes()).await.map_err(|_| Refused::NoConnect)?;
    // 3.
    let (line, behind) = read_line(client).await.ok_or(Refused::NoConnect)?;
    let chains = holding.chains(); // before the chain is read: none is missed in between
    let chain: Arc<str> = holding.commission().await.chain().into();
    let (nkey, signature) = (nkey::user_public(&holding.key().public()), base64url(&signature));
    let shown = Shown { nkey: &nkey, signature: &signature, chain: &chain };
    let connect = handshake::connect(&line, &shown)?;
    // 4.
    broker.write_all(connect.as_bytes()).await.map_err(|_| Refused::NoBroker)?;
    let upstream = Upstream::new(Introduction { line, nkey, signature }, chains, chain);
    Ok(Opened { broker, upstream, behind })
}

async fn reach(upstream: &[String]) -> Option<TcpStream> {
    for server in upstream {
        if let Ok(stream) = TcpStream::connect(server).await {
            // Small messages are not held back; a socket that can't be told so still serves.
            let _ = stream.set_nodelay(true);
            return Some(stream);
        }
    }
    None
}

/// A line without its end, and what came with it behind that.
async fn read_line(stream: &mut TcpStream) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let begin = bytes.len();
        if begin > LINE_BYTES_MAX || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(line) = handshake::take_line(&mut bytes, begin) {
            return Some((line, bytes));
        }
    }
}

/// `nats://host:port`, the port 4222 where none is named.
fn host_and_port(url: &str) -> Option<String> {
    let rest = match url.split_once("://") {
        Some(("nats", rest)) => rest,
        Some(_) => return None,
        None => url,
    };
    let host = rest.rsplit('@').next().unwrap_or(rest).trim_end_matches('/');
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    (!host.is_empty()).then(|| if has_port { host.to_owned() } else { format!("{host}:4222") })
}

/// The user at the other end of a connection on this machine, by the kernel's list (proc_net_tcp(5)).
fn user_of(peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    let mut list = String::new();
    let file = std::fs::File::open("/proc/net/tcp").ok()?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, CONNECTION_LIST_BYTES_MAX), &mut list).ok()?;
    listed_user(&list, &listed(peer)?, &listed(own)?)
}

/// Columns: number, local, remote, state, queues, timer, retransmissions, user.
fn listed_user(list: &str, local: &str, remote: &str) -> Option<u32> {
    list.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (here, there, user) = (columns.get(1)?, columns.get(2)?, columns.get(7)?);
        (*here == local && *there == remote).then(|| user.parse().ok())?
    })
}

/// An address as the list writes it: the four bytes as one number of this machine's order, and the port.
fn listed(address: SocketAddr) -> Option<String> {
    match address {
        SocketAddr::V4(v4) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())),
        SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_user_at_the_other_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_served, peer) = listener.accept().unwrap();
        let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
        assert_eq!(user_of(peer, listener.local_addr().unwrap()), Some(own));
        drop(client);
        assert_eq!(user_of("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()), None);
        assert_eq!(listed_user("nonsense\n\n1: A B\n", "A", "B"), None);
    }

    #[test]
    fn reads_plain_addresses_alone() {
        assert_eq!(host_and_port("nats://h:1"), Some("h:1".into()));
        assert_eq!(host_and_port("h"), Some("h:4222".into()));
        assert_eq!(host_and_port("tls://h:1"), None);
        assert_eq!(host_and_port(""), None);
    }
}
