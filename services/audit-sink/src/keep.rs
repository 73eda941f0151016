//! A small file that is there whole or as it was before, and stays: written beside, synced, renamed, synced.

use std::io::Write as _;
use std::path::Path;

use crate::SinkError;

/// Keeps bytes under this path; durable when this returns.
pub(crate) fn keep(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), SinkError> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&next)?;
        file.write_all(bytes.as_ref())?;
        file.sync_all()?;
        std::fs::rename(&next, path)?;
        // The name is durable when its directory is.
        path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
    };
    write().map_err(SinkError::at(path))
}

/// What a file holds, if it is there.
pub(crate) fn kept(path: &Path) -> Result<Option<String>, SinkError> {
    if_there(std::fs::read_to_string(path)).map_err(SinkError::at(path))
}

/// Removes a file, if it is there.
pub(crate) fn forget(path: &Path) -> Result<(), SinkError> {
    if_there(std::fs::remove_file(path)).map(drop).map_err(SinkError::at(path))
}

fn if_there<T>(done: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
