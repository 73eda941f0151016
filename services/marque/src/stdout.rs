//! The one door to stdout: what went through it has arrived, or the command says that it has not.
//!
//! A reader that went away (`| head`) has seen what it wanted, and is no failure. Everything else is: a full disk, a
//! descriptor that takes no writes. Absent: a stdout that was closed before the program began. The runtime puts
//! `/dev/null` in its place before `main`, and that takes every byte.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd as _;

use marque_identity::Code;

use crate::Failure;

/// The descriptor itself: the standard library's handle calls a write that ends in EBADF a success.
pub(crate) struct Stdout(File);

impl Stdout {
    /// Opens the door.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub(crate) fn open() -> Result<Self, Failure> {
        let own = io::stdout().as_fd().try_clone_to_owned();
        own.map(|own| Self(own.into())).map_err(|error| lost(&error))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes a text and a newline.
pub(crate) fn put(text: &str) -> Result<(), Failure> {
    let written = Stdout::open()?.write_all(format!("{text}\n").as_bytes());
    arrived(written).map(drop)
}

/// What became of a write through the door: whether somebody still reads.
pub(crate) fn arrived(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(lost(&error)),
    }
}

/// Whether a person looks at it.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

fn lost(error: &io::Error) -> Failure {
    Failure::new(Code::OutputLost, format!("stdout can't be written: {error}"))
}
