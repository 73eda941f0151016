//! Bytes that no service may stumble over, and a connection that sends what no client library would.

use std::time::Duration;

use marque_bus::permissions::BusRole;
use marque_signing::{SigningKey, base64url, nkey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::hostile;
use crate::system::{DEADLINE, TestSystem};

/// The broker's `max_payload`, headers included.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// What one read of the broker's words holds.
const WORDS_BYTES_MAX: usize = 8 * 1024;

/// Bodies of every kind of noise; none is a valid request, record, directive, heartbeat or ack of the system.
pub fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        &b"\xff\xfe\x00"[..],
        b"null",
        b"[]",
        b"{\"a\":1,\"a\":2}",
        b"{\"subject\":{},\"subject\":{}}",
        b"\"\\ud800\"",
        b"1e999999999",
        b"a.b.c",
        b"..",
        b"\r\n\r\nPUB x 0\r\n",
        b"\xef\xbb\xbf{}",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    bodies.push(b"[".repeat(50_000));
    bodies.push([b"{\"a\":".repeat(200), b"1".to_vec(), b"}".repeat(200)].concat());
    bodies.push(vec![b'A'; 9 * 1024]);
    // What the library's parsers are given, cut and changed: strangers' keys signed it, or nobody.
    for target in ["chain", "proof", "verify_plumbing", "note"] {
        let sample = hostile::sample(target);
        bodies.push(sample[..sample.len() / 2].to_vec());
        let mut changed = sample.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        bodies.push(changed);
        bodies.push(sample);
    }
    // Deterministic noise (xorshift).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in [1, 7, 64, 1000] {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        };
        bodies.push((0..length).map(|_| next()).collect());
    }
    bodies
}

fn user(key: &SigningKey) -> String {
    nkey::user_public(&key.public())
}

/// A connection in a role, below any client library.
pub struct RawClient {
    stream: TcpStream,
    nonce: String,
    /// The server's id, and this connection's number there.
    pub place: (String, u64),
}

impl RawClient {
    /// Connects as this role and waits for the broker's first answer.
    pub async fn connect(system: &TestSystem, role: BusRole) -> Result<Self, String> {
        let key = system.directory().key(role.as_str()).map_err(|failure| format!("{failure:?}"))?;
        Self::connect_by(system, &key, None).await
    }

    /// Connects by this key, presenting this, and waits for the broker's first answer.
    pub async fn connect_by(system: &TestSystem, key: &SigningKey, presents: Option<&str>) -> Result<Self, String> {
        let mut client = Self::greeted(system).await?;
        client.present(key, presents).await?;
        Ok(client)
    }

    /// The same with this signature, whatever the nonce; or with none.
    pub async fn connect_with(
        system: &TestSystem,
        key: &SigningKey,
        signature: Option<&[u8; 64]>,
        presents: Option<&str>,
    ) -> Result<Self, String> {
        let mut client = Self::greeted(system).await?;
        client
            .present_with(
                json!({ "nkey": user(key), "sig": signature.map(|sig| base64url(sig)), "auth_token": presents }),
            )
            .await?;
        Ok(client)
    }

    /// The broker's greeting: its nonce.
    async fn greeted(system: &TestSystem) -> Result<Self, String> {
        let stream = TcpStream::connect(system.address()).await.map_err(|error| error.to_string())?;
        let mut client = Self { stream, nonce: String::new(), place: Default::default() };
        let info = client.line().await?;
        let info: serde_json::Value =
            serde_json::from_str(info.trim_start_matches("INFO ")).map_err(|e| e.to_string())?;
        let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
        client.place = (text("server_id"), info["client_id"].as_u64().unwrap_or_default());
        client.nonce = info["nonce"].as_str().ok_or("the broker sends no nonce")?.to_owned();
        Ok(client)
    }

    /// Presents this by this key, at first or over the link that it has. Gives what the broker said until it had judged
    /// that.
    pub async fn present(&mut self, key: &SigningKey, presents: Option<&str>) -> Result<String, String> {
        let signature = nkey::sign_nonce(key, self.nonce.as_bytes()).map_err(|error| error.to_string())?;
        self.present_with(json!({ "nkey": user(key), "sig": base64url(&signature), "auth_token": presents })).await
    }

    /// Presents these options, beside those that any client has.
    pub async fn present_with(&mut self, more: Value) -> Result<String, String> {
        let mut options = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
        });
        if let (Value::Object(options), Value::Object(more)) = (&mut options, more) {
            options.extend(more);
        }
        self.send(format!("CONNECT {options}\r\n").as_bytes()).await?;
        self.settle().await
    }

    /// Waits until the broker has closed the connection; answers its pings meanwhile.
    pub async fn closed(&mut self) {
        let mut piece = vec![0; WORDS_BYTES_MAX];
        loop {
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) if piece[..length].windows(4).any(|word| word == b"PING") => {
                    let _ = self.send(b"PONG\r\n").await;
                }
                Ok(_) => {}
            }
        }
    }

    /// What the broker says first.
    async fn line(&mut self) -> Result<String, String> {
        let read = async {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") && line.len() < WORDS_BYTES_MAX {
                line.push(self.stream.read_u8().await.map_err(|error| error.to_string())?);
            }
            String::from_utf8(line).map_err(|error| error.to_string())
        };
        tokio::time::timeout(DEADLINE, read).await.map_err(|error| error.to_string())?
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|error| error.to_string())
    }

    /// A publish with these raw bytes for its subject, its reply subject and its headers.
    pub async fn publish(&mut self, subject: &[u8], reply: &[u8], headers: &[u8], body: &[u8]) -> Result<(), String> {
        let sizes = match headers.len() {
            0 => format!(" {}\r\n", body.len()),
            length => format!(" {length} {}\r\n", length + body.len()),
        };
        let verb: &[u8] = if headers.is_empty() { b"PUB " } else { b"HPUB " };
        self.send(&[verb, subject, b" ", reply, sizes.as_bytes(), headers, body, b"\r\n"].concat()).await
    }

    /// Waits until the broker has handled everything sent so far. Gives what it said meanwhile; an error if it closed
    /// the connection.
    pub async fn settle(&mut self) -> Result<String, String> {
        self.send(b"PING\r\n").await?;
        let mut heard = Vec::new();
        let listen = async {
            let mut piece = vec![0; WORDS_BYTES_MAX];
            loop {
                let text = String::from_utf8_lossy(&heard).into_owned();
                if text.contains("PONG\r\n") {
                    return Ok(text);
                }
                match self.stream.read(&mut piece).await {
                    Ok(0) | Err(_) => return Err(text),
                    Ok(length) => heard.extend_from_slice(&piece[..length]),
                }
            }
        };
        tokio::time::timeout(DEADLINE.min(Duration::from_secs(10)), listen).await.map_err(|error| error.to_string())?
    }
}
