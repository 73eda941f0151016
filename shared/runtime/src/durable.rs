//! Files that outlast a power cut: bytes that are there whole or as they were before, and names that stay.
//!
//! Replaces a file; see [`whole`](crate::whole) for one that is only made where there is none.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::path::Path;

/// What a file is called while it is written.
const NEXT: &str = "next";

/// Has `write` write a file, and gives it this path once it is whole and on the disk; what was there until then is
/// gone. The name itself stays when its folder is [`settle`]d.
pub fn replace<E>(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::result::Result<(), E>,
    failed: impl Fn(std::io::Error) -> E,
) -> std::result::Result<(), E> {
    let next = path.with_added_extension(NEXT);
    let mut file = File::create(&next).map_err(&failed)?;
    write(&mut file)?;
    file.sync_all().and_then(|()| std::fs::rename(&next, path)).map_err(failed)
}

/// Sees the names in a folder onto the disk.
pub fn settle(folder: &Path) -> Result<()> {
    File::open(or_here(folder))?.sync_all()
}

/// Sees a file's own name onto the disk.
pub fn settle_name(file: &Path) -> Result<()> {
    file.parent().map_or(Ok(()), settle)
}

/// A folder as it is opened: the one above a bare name is this one.
pub fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// What was done, unless it failed for this reason.
pub fn unless(kind: ErrorKind, done: Result<()>) -> Result<()> {
    done.or_else(|error| if error.kind() == kind { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        replace(path, |file| file.write_all(bytes), |error| error)
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_one_that_was_there() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("checkpoint");
        write(&path, b"old").unwrap();
        let broken = replace(
            &path,
            |file| {
                file.write_all(b"ne")?;
                Err(std::io::Error::other("killed"))
            },
            |error| error,
        );
        assert_eq!(broken.unwrap_err().to_string(), "killed");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        // What the earlier try left is no part of the next one.
        write(&path, b"n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"n");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing lies beside it");
        std::fs::create_dir(home.path().join("checkpoint.next")).unwrap();
        assert!(write(&path, b"newer").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"n");
    }

    #[test]
    fn settles_what_is_there_alone() {
        let home = tempfile::tempdir().unwrap();
        settle(home.path()).unwrap();
        settle_name(&home.path().join("any")).unwrap();
        settle_name(Path::new("a-bare-name")).unwrap();
        assert!(settle(&home.path().join("absent")).is_err());
    }
}
