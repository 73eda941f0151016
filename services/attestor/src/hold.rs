//! A hold on the process that connected: while it is held and the process lives, its number names nobody else.

use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::UnixStream;

use crate::AttestError;

/// What `/proc/self/fdinfo` says of a process that has ended and was buried (pidfd_open(2)).
const BURIED: i64 = -1;
/// And of one that this namespace can't see.
const UNSEEN: i64 = 0;

/// The kernel's own handle of the process that connected (`SO_PEERPIDFD`, unix(7)). It goes on meaning that process,
/// whatever its number means by then.
#[derive(Debug, Default)]
pub(crate) struct Hold(Option<OwnedFd>);

impl Hold {
    /// Of the peer of a connection. Kernels before 6.5 have no such handle: there the number alone is known, and what
    /// changes between two looks at it.
    pub(crate) fn of(stream: &UnixStream) -> Result<Self, AttestError> {
        match getsockopt(stream, sockopt::PeerPidfd) {
            Ok(held) => Ok(Self(Some(held))),
            Err(Errno::ENOPROTOOPT) => Ok(Self(None)),
            // It was buried before it was asked for.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENODATA) => Err(AttestError::Gone),
            Err(errno) => Err(AttestError::Unreadable { what: "its handle", source: errno.into() }),
        }
    }

    /// Whether this kernel gives handles.
    pub(crate) fn is_given() -> bool {
        std::os::unix::net::UnixStream::pair().is_ok_and(|(own, _)| getsockopt(&own, sockopt::PeerPidfd).is_ok())
    }

    /// Refuses where the process does not bear this number, or none any more. Where it bears it still, it has borne it
    /// all the time: whatever was read under the number since it connected is of this process.
    pub(crate) fn check(&self, pid: u32) -> Result<(), AttestError> {
        let Some(held) = &self.0 else { return Ok(()) };
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", held.as_raw_fd()))
            .map_err(|source| AttestError::Unreadable { what: "what its handle says", source })?;
        match number(&info) {
            Some(BURIED) => Err(AttestError::Gone),
            Some(UNSEEN) => Err(AttestError::Nameless),
            Some(number) if number == i64::from(pid) => Ok(()),
            Some(_) => Err(AttestError::Changed { what: "its number" }),
            None => {
                let source = Error::from(ErrorKind::InvalidData);
                Err(AttestError::Unreadable { what: "what its handle says", source })
            }
        }
    }
}

/// The line `Pid:`.
fn number(info: &str) -> Option<i64> {
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{self, Peer};

    fn held(child: &std::process::Child) -> Hold {
        let pid = rustix::process::Pid::from_child(child);
        Hold(Some(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()))
    }

    #[tokio::test]
    async fn a_peer_that_lives_bears_its_number() {
        let (own, _other) = UnixStream::pair().unwrap();
        let hold = Hold::of(&own).unwrap();
        assert_eq!(hold.0.is_some(), Hold::is_given());
        hold.check(std::process::id()).unwrap();
    }

    /// A number that has gone to another process, which lives, runs a good executable and does not change between the
    /// looks: all that can be read under it is in order, and still it is not who connected.
    #[test]
    fn refuses_a_living_process_under_the_number_of_one_that_has_ended() {
        let heir = Peer { pid: std::process::id(), uid: process::user_of_self(), gid: 0 };
        let mut connected = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let hold = held(&connected);
        hold.check(connected.id()).unwrap();
        assert!(matches!(hold.check(heir.pid), Err(AttestError::Changed { what: "its number" })));
        connected.kill().unwrap();
        connected.wait().unwrap();
        let sighted = process::sight(heir).unwrap();
        process::look(heir, sighted, &Hold(None)).unwrap();
        assert!(matches!(process::look(heir, sighted, &hold), Err(AttestError::Gone)));
    }

    #[test]
    fn reads_the_number_that_the_kernel_tells() {
        assert_eq!(number("pos:\t0\nflags:\t02000002\nPid:\t42\nNSpid:\t42\n"), Some(42));
        assert_eq!(number("Pid:\t-1\n"), Some(BURIED));
        assert_eq!(number("NSpid:\t1\n"), None);
        assert_eq!(number(""), None);
    }
}
