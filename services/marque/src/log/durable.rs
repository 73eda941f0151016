//! A copy's files, each whole or absent, that outlast a power cut: what [`Durable::settle`] was called after is on the
//! disk, bytes and names, so that a checkpoint written behind it covers nothing that could be gone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use marque_runtime::durable::{or_here, replace, settle};

use crate::Failure;
use crate::directory::make_private;

/// The folder of a copy, and which of its folders have names that are perhaps not on the disk yet.
pub(super) struct Durable<'a> {
    to: &'a Path,
    unsettled: BTreeSet<PathBuf>,
}

impl<'a> Durable<'a> {
    /// In this folder, which is made where it is not there.
    pub(super) fn at(to: &'a Path) -> Result<Self, Failure> {
        // The name of each folder that is made stands in the one above it.
        let mut unsettled = BTreeSet::new();
        for folder in to.ancestors() {
            let folder = or_here(folder);
            unsettled.insert(folder.to_owned());
            if folder.is_dir() {
                break;
            }
        }
        make_private(to)?;
        Ok(Self { to, unsettled })
    }

    /// Where a file of the copy is to lie; its folder is there then.
    pub(super) fn place(&mut self, path: &str) -> Result<PathBuf, Failure> {
        let file = self.to.join(path);
        if let Some(folder) = file.parent() {
            make_private(folder)?;
            let below = folder.ancestors().take_while(|above| above.starts_with(self.to));
            self.unsettled.extend(below.map(|folder| or_here(folder).to_owned()));
        }
        Ok(file)
    }

    /// Writes a file, whole or not at all: half a checkpoint would stand in the way of the next try. Gives its bytes.
    pub(super) fn write(&mut self, path: &str, bytes: &[u8]) -> Result<u64, Failure> {
        let file = self.place(path)?;
        let failed = |error| Failure::file(&file, &error);
        replace(&file, |writing| writing.write_all(bytes).map_err(failed), failed)?;
        Ok(bytes.len() as u64)
    }

    /// Gives a file that is whole, and on the disk, another name.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        std::fs::rename(from, &to).map_err(|error| Failure::file(&to, &error))
    }

    /// Takes a file that an earlier try has left, and perhaps not seen onto the disk.
    pub(super) fn adopt(&mut self, path: &str) -> Result<(), Failure> {
        let file = self.place(path)?;
        File::open(&file).and_then(|open| open.sync_all()).map_err(|error| Failure::file(&file, &error))
    }

    /// Sees every name onto the disk that was given since.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        for folder in std::mem::take(&mut self.unsettled) {
            settle(&folder).map_err(|error| Failure::file(&folder, &error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_got_a_name_is_settled_up_to_the_first_that_was_there() {
        let home = tempfile::tempdir().unwrap();
        let to = home.path().join("a/b");
        let mut files = Durable::at(&to).unwrap();
        assert_eq!(files.unsettled, BTreeSet::from([home.path().to_owned(), home.path().join("a"), to.clone()]));
        files.settle().unwrap();
        assert_eq!(files.write("tile/0/000", b"x").unwrap(), 1);
        assert_eq!(files.unsettled, BTreeSet::from([to.clone(), to.join("tile"), to.join("tile/0")]));
        files.settle().unwrap();
        assert!(files.unsettled.is_empty());
        files.adopt("tile/0/000").unwrap();
        assert!(files.unsettled.contains(&to.join("tile/0")));
        assert!(files.adopt("tile/0/001").is_err());
        // In a folder that is there, nothing above it has a new name.
        assert_eq!(Durable::at(&to).unwrap().unsettled, BTreeSet::from([to]));
    }
}
