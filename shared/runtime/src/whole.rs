//! Files that are there whole or not at all: a store that was being made when the process was killed, or the power
//! went, does not stand in the way of the next start.

use std::io::ErrorKind;
use std::path::Path;

use crate::durable::{settle_name, unless};

/// What a file is called while it is made.
const MAKING: &str = "making";

/// Makes `path` where there is no such file: `make` makes it under another name, complete and synced, and then it gets
/// its own. What an earlier try left under the other name is dropped.
///
/// Never replaces a file: of two processes that make the same one, both go on with the first. The file system must know
/// hard links.
pub fn make_whole<E>(
    path: &Path,
    make: impl FnOnce(&Path) -> std::result::Result<(), E>,
    failed: impl Fn(std::io::Error) -> E,
) -> std::result::Result<(), E> {
    if path.try_exists().map_err(&failed)? {
        return Ok(());
    }
    let making = path.with_added_extension(MAKING);
    unless(ErrorKind::NotFound, std::fs::remove_file(&making)).map_err(&failed)?;
    make(&making)?;
    let name = || {
        unless(ErrorKind::AlreadyExists, std::fs::hard_link(&making, path))?;
        std::fs::remove_file(&making)?;
        settle_name(path)
    };
    name().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Result;

    use super::*;

    fn written(text: &'static str) -> impl FnOnce(&Path) -> Result<()> {
        move |path| std::fs::write(path, text)
    }

    #[test]
    fn a_making_that_breaks_off_leaves_no_file_and_the_next_one_makes_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let broken = make_whole(
            &path,
            |making| {
                std::fs::write(making, "hal")?;
                Err(std::io::Error::other("killed"))
            },
            |error| error,
        );
        assert_eq!(broken.unwrap_err().to_string(), "killed");
        assert!(!path.exists());
        make_whole(&path, written("whole"), |error| error).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
        let names = std::fs::read_dir(directory.path()).unwrap();
        assert_eq!(names.count(), 1, "nothing lies beside it");
    }

    #[test]
    fn a_file_that_is_there_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        // Another process makes it while we do.
        let late = |making: &Path| {
            std::fs::write(making, "ours")?;
            std::fs::write(&path, "theirs")
        };
        make_whole(&path, late, |error| error).unwrap();
        make_whole(&path, written("ours"), |error| error).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
    }
}
