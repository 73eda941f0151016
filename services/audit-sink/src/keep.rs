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
    write().map_err(|source| SinkError::Io { path: path.display().to_string(), source })
}
