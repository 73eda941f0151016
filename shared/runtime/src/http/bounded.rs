//! A listener that holds so many connections at once, and none that is idle for long.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at once; further ones wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 32;
/// A connection on which nothing moves for so long is closed: also one whose request never ends.
pub const IDLE_MAX: Duration = Duration::from_secs(20);
/// A connection is closed after this, whatever moves on it: the largest tile takes no longer on a slow line. An index of a
/// gigabyte needs 2 MB/s.
pub const LIFE_MAX: Duration = Duration::from_secs(10 * 60);

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// With nothing that moves.
    pub(super) idle: Duration,
    /// In all.
    pub(super) life: Duration,
}

impl Patience {
    /// For files of any size.
    pub(super) const FILES: Self = Self { idle: IDLE_MAX, life: LIFE_MAX };
    /// For a page that is small and asked for by probes of the same network: whoever dawdles keeps a probe waiting, and
    /// an unanswered probe restarts a service.
    pub(super) const PROBES: Self = Self { idle: Duration::from_secs(5), life: Duration::from_secs(10) };
}

/// The listener.
pub(super) struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
    patience: Patience,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, patience: Patience) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)), patience }
    }
}

impl Listener for Bounded {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        // The semaphore is never closed: an error has no way to come.
        let place = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let Patience { idle: idle_max, life } = self.patience;
        let (idle, ends) = (Box::pin(tokio::time::sleep(idle_max)), Instant::now() + life);
        (Held { stream, idle, idle_max, ends, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, which gives its place back when it ends.
pub(super) struct Held {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    ends: Instant,
    _place: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// The same outcome, unless nothing has moved for too long.
    fn timed<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let now = Instant::now();
        if now >= self.ends {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if moved.is_ready() {
            let until = (now + self.idle_max).min(self.ends);
            self.idle.as_mut().reset(until);
            return moved;
        }
        self.idle.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        self.timed(cx, read)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::AsyncReadExt as _;

    async fn listening() -> (Bounded, SocketAddr) {
        let bounded = Bounded::new(TcpListener::bind("127.0.0.1:0").await.unwrap(), Patience::FILES);
        let address = bounded.local_addr().unwrap();
        (bounded, address)
    }

    #[tokio::test]
    async fn holds_so_many_connections_and_takes_the_next_when_one_ends() {
        let (mut bounded, address) = listening().await;
        let (mut clients, mut held) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS_MAX {
            clients.push(TcpStream::connect(address).await.unwrap());
            held.push(bounded.accept().await.0);
        }
        // One more is there, and waits for a place.
        clients.push(TcpStream::connect(address).await.unwrap());
        {
            let next = std::pin::pin!(bounded.accept());
            assert!(next.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        held.pop();
        held.push(bounded.accept().await.0);
        assert_eq!(held.len(), CONNECTIONS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_ends() {
        let (mut bounded, address) = listening().await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let (mut held, _) = bounded.accept().await;
        let begun = Instant::now();
        let ended = held.read_u8().await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= IDLE_MAX);
    }
}
