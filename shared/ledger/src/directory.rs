//! The files of an exported log.

use std::io::{BufRead, BufReader, Cursor, Read as _};
use std::path::{Path, PathBuf};

/// Where an exported log's files are read.
pub trait Files {
    /// The file at this path of the layout; none if it is not there; why, if it can't be read or is over the limit.
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String>;

    /// The same to be read piece by piece, by a caller that bounds what it takes.
    fn open(&self, path: &str) -> Result<Option<Box<dyn BufRead + '_>>, String> {
        Ok(self.read(path, u64::MAX)?.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn BufRead>))
    }

    /// Tells `each` the names in a folder of the layout, in no order, until it says that it wants no more; none where the
    /// folder is not there.
    fn names(&self, folder: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), String>;
}

/// A log in a directory.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The log under this directory.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }

    fn file(&self, path: &str) -> Result<Option<std::fs::File>, String> {
        match std::fs::File::open(self.0.join(path)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Files for Directory {
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > bytes_max { Err(format!("longer than {bytes_max} bytes")) } else { Ok(Some(bytes)) }
    }
    fn open(&self, path: &str) -> Result<Option<Box<dyn BufRead + '_>>, String> {
        Ok(self.file(path)?.map(|file| Box::new(BufReader::new(file)) as Box<dyn BufRead>))
    }

    fn names(&self, folder: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), String> {
        let entries = match std::fs::read_dir(self.0.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        for entry in entries {
            let name = entry.map_err(|error| error.to_string())?.file_name();
            if !each(&name.to_string_lossy()) {
                break;
            }
        }
        Ok(())
    }
}
