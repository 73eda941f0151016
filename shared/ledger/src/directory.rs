//! The files of an exported log.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where an exported log's files are read.
pub trait Files {
    /// The file at this path of the layout; none if it is not there; why, if it can't be read or is over the limit.
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String>;
}

/// A log in a directory.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The log under this directory.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }
}

impl Files for Directory {
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let file = match std::fs::File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > bytes_max { Err(format!("longer than {bytes_max} bytes")) } else { Ok(Some(bytes)) }
    }
}
