//! A small file that is there whole or as it was before, and stays: written beside, synced, renamed, synced.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use marque_runtime::durable::{replace, settle, settle_name, unless};

use crate::SinkError;

/// Keeps bytes under this path; durable when this returns.
pub(crate) fn keep(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), SinkError> {
    keep_written(path, |file| file.write_all(bytes.as_ref()).map_err(SinkError::at(path)))
}

/// The same of what is written piece by piece.
pub(crate) fn keep_written(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), SinkError>,
) -> Result<(), SinkError> {
    let failed = SinkError::at(path);
    replace(path, write, &failed)?;
    settle_name(path).map_err(failed)
}

/// Gives a file another name in its folder; durable when this returns.
pub(crate) fn renamed(from: &Path, to: &Path) -> Result<(), SinkError> {
    std::fs::rename(from, to).and_then(|()| settle_name(to)).map_err(SinkError::at(to))
}

/// Makes the folder that a file is to lie in, and those above it, each durable.
pub(crate) fn make_room(file: &Path) -> Result<(), SinkError> {
    file.parent().map_or(Ok(()), |folder| make_folder(folder).map_err(SinkError::at(folder)))
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    make_folder(above)?;
    unless(ErrorKind::AlreadyExists, std::fs::create_dir(folder))?;
    settle(above)
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
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
