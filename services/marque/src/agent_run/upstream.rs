//! The client's half of a relay: its bytes as they come, and between two commands of it the chain as it is by then.
//!
//! The broker takes another `CONNECT` over the same link, by the nonce it gave at first: it has the new chain judged, and
//! the link lives on under that. It forgets the link's subscriptions (2.15.1), so that they are sent again behind it. A
//! client whose bytes are not understood, or whom the broker would answer, is left alone: its link ends in its time. One that
//! sends a `CONNECT` of its own is cut off: it holds no key, and what it shows is not the sidecar's.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::frames::Frames;
use super::handshake::{self, LINE_BYTES_MAX, Shown};

/// Bytes of a client's that are read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Who the broker is told that this client is, at first and again.
#[derive(Debug)]
pub(super) struct Introduction {
    /// The client's own `CONNECT`.
    pub(super) line: Vec<u8>,
    /// The key, as a user of NATS.
    pub(super) nkey: String,
    /// Its signature over the broker's nonce.
    pub(super) signature: String,
}

/// The client's half of a relay.
#[derive(Debug)]
pub(super) struct Upstream {
    introduction: Introduction,
    /// The chain, whenever there is another one.
    chains: watch::Receiver<Arc<str>>,
    /// The one that the broker has been shown.
    shown: Arc<str>,
    frames: Frames,
    /// Whether the client expects no answer to a `CONNECT`.
    is_quiet: bool,
    /// Another chain is there, and waits for a boundary.
    is_due: bool,
}

impl Upstream {
    /// Of a client that has been introduced by this chain. `chains` was there before it was read.
    pub(super) fn new(introduction: Introduction, chains: watch::Receiver<Arc<str>>, shown: Arc<str>) -> Self {
        let is_quiet = handshake::is_quiet(&introduction.line);
        Self { introduction, chains, shown, frames: Frames::default(), is_quiet, is_due: false }
    }

    /// Passes these bytes, then all that the client sends, to its end.
    pub(super) async fn relay(
        mut self,
        behind: &[u8],
        client: &mut (impl AsyncRead + Unpin),
        broker: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        self.pass(behind, broker).await?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            tokio::select! {
                // A chain that is there goes ahead of bytes that come.
                biased;
                Ok(()) = self.chains.changed(), if self.is_understood() => {
                    self.is_due = *self.chains.borrow_and_update() != self.shown;
                    self.pass(&[], broker).await?;
                }
                read = client.read(&mut piece) => match read? {
                    0 => return broker.shutdown().await,
                    count => self.pass(piece.get(..count).unwrap_or_default(), broker).await?,
                },
            }
        }
    }

    fn is_understood(&self) -> bool {
        self.is_quiet && self.frames.knows_subscriptions()
    }

    /// Passes bytes on, unless the client introduces itself anew; at the first boundary, where one is due, what the broker is to be shown.
    async fn pass(&mut self, bytes: &[u8], broker: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut rest = bytes;
        let mut taken = 0;
        loop {
            if self.is_due && self.frames.at_boundary() {
                let (before, behind) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
                broker.write_all(before).await?;
                (rest, taken) = (behind, 0);
                self.present(broker).await?;
            }
            if self.frames.connects() {
                return Err(io::Error::other("a CONNECT of the client's own"));
            }
            match rest.get(taken..) {
                Some(more) if !more.is_empty() => taken += self.frames.take(more),
                _ => return broker.write_all(rest).await,
            }
        }
    }

    /// Shows the broker the chain as it is now, and what the client has subscribed to.
    async fn present(&mut self, broker: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        self.is_due = false;
        let Introduction { line, nkey, signature } = &self.introduction;
        let Some(subscriptions) = self.frames.subscriptions() else { return Ok(()) };
        let chain = self.chains.borrow().clone();
        let connect = handshake::connect(line, &Shown { nkey, signature, chain: &chain });
        // One that is too long for the broker's line would end the link.
        if let Some(connect) = connect.ok().filter(|connect| connect.len() <= LINE_BYTES_MAX) {
            broker.write_all(&[connect.as_bytes(), &subscriptions].concat()).await?;
            self.shown = chain;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
