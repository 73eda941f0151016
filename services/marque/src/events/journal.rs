//! A file of lines that goes on where it ends. Held by one writer at a time.
//!
//! Killed within a write: the file ends in whole lines and at most one torn one, because lines are only appended. The
//! torn one is cut off when it is opened again.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use marque_identity::Code;
use serde_json::Value;

use super::hold;
use crate::Failure;

/// How far back the end of the last whole line is looked for at a time.
const STEP_BYTES: u64 = 64 * 1024;
/// A line is a leaf of at most 65,535 bytes, told twice and escaped.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The last line's leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Last {
    /// Its index.
    pub leaf: u64,
    /// Its hash, base64.
    pub leaf_hash: String,
}

/// The file.
pub(super) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    last: Option<Last>,
    cut: u64,
}

impl Journal {
    /// Opens it, or begins it, and cuts off a torn last line, which begins like every line with `opening`. A file whose
    /// last line `leaf_of` does not know, or whose end is not ours, is not touched.
    pub(super) fn open(path: &Path, opening: &str, leaf_of: impl Fn(&Value) -> Option<Last>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::file(path, &error);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        hold(&file, path)?;
        let size = file.metadata().map_err(failed)?.len();
        let whole = last_newline(&mut file, size).map_err(failed)?;
        let last = match whole {
            0 => None,
            whole => {
                let begin = last_newline(&mut file, whole - 1).map_err(failed)?;
                let line = read_range(&mut file, begin, whole - 1, path)?;
                let known = serde_json::from_slice(&line).ok().and_then(|line| leaf_of(&line));
                Some(known.ok_or_else(|| {
                    Failure::new(Code::Conflict, format!("{} ends in a line of another kind", path.display()))
                        .hint("write to another file, or choose the format that it was begun with")
                })?)
            }
        };
        if whole < size {
            let torn = read_range(&mut file, whole, size, path)?;
            let begun = torn.len().min(opening.len());
            if torn.get(..begun) != opening.as_bytes().get(..begun) {
                return Err(no_events(path));
            }
            file.set_len(whole).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), last, cut: size - whole })
    }

    /// The leaf of its last line, as it was found.
    pub(super) fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }

    /// Appends a line.
    pub(super) fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(line).and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| Failure::file(&self.path, &error))
    }

    /// Everything is on disk when this returns: how many torn bytes were cut off at the beginning.
    pub(super) fn finish(mut self) -> Result<u64, Failure> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| Failure::file(&self.path, &error))?;
        Ok(self.cut)
    }
}

/// Where the last line that ends before `end` is over: behind its newline, or 0.
fn last_newline(file: &mut File, end: u64) -> std::io::Result<u64> {
    let mut upto = end;
    while upto > 0 {
        let from = upto.saturating_sub(STEP_BYTES);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        Read::by_ref(file).take(upto - from).read_to_end(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        upto = from;
    }
    Ok(0)
}

fn read_range(file: &mut File, from: u64, to: u64, path: &Path) -> Result<Vec<u8>, Failure> {
    if to - from > LINE_BYTES_MAX {
        return Err(no_events(path));
    }
    let mut bytes = Vec::new();
    let mut read = || {
        file.seek(SeekFrom::Start(from))?;
        Read::by_ref(file).take(to - from).read_to_end(&mut bytes)
    };
    read().map_err(|error| Failure::file(path, &error))?;
    Ok(bytes)
}

fn no_events(path: &Path) -> Failure {
    Failure::new(Code::Conflict, format!("{} is no file of events", path.display())).hint("write to another file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OPENING: &str = r#"{"leaf":"#;

    fn leaf_of(line: &Value) -> Option<Last> {
        Some(Last { leaf: line.get("leaf")?.as_u64()?, leaf_hash: String::new() })
    }

    fn line(leaf: u64) -> Vec<u8> {
        serde_json::to_vec(&json!({ "leaf": leaf, "pad": "x".repeat(40 * leaf as usize) })).unwrap()
    }

    #[test]
    fn goes_on_after_the_last_whole_line_wherever_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let write = |leaves: std::ops::Range<u64>| {
            let mut journal = Journal::open(&path, OPENING, leaf_of).unwrap();
            leaves.for_each(|leaf| journal.write(&line(leaf)).unwrap());
            journal.finish().unwrap()
        };
        write(0..6);
        let whole = std::fs::read(&path).unwrap();
        for torn in 0..=whole.len() {
            std::fs::write(&path, &whole[..torn]).unwrap();
            let next = Journal::open(&path, OPENING, leaf_of).unwrap().last().map_or(0, |last| last.leaf + 1);
            write(next..6);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "torn at {torn}");
        }
    }

    #[test]
    fn refuses_another_kind_of_file_and_leaves_it_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let mut ours = line(0);
        ours.extend_from_slice(b"\nand so");
        for foreign in [b"dear diary\nand so".as_slice(), b"dear diary", b"{}\n", &ours] {
            std::fs::write(&path, foreign).unwrap();
            let refused = Journal::open(&path, OPENING, leaf_of);
            assert_eq!(refused.err().map(|failure| failure.code), Some(Code::Conflict));
            assert_eq!(std::fs::read(&path).unwrap(), foreign);
        }
        // One long line that has not ended is nothing that we tore.
        std::fs::write(&path, vec![b'x'; LINE_BYTES_MAX as usize + 1]).unwrap();
        assert!(Journal::open(&path, OPENING, leaf_of).is_err());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), LINE_BYTES_MAX + 1);
    }

    #[test]
    fn has_one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let first = Journal::open(&path, OPENING, leaf_of).unwrap();
        assert_eq!(Journal::open(&path, OPENING, leaf_of).err().map(|failure| failure.code), Some(Code::Conflict));
        first.finish().unwrap();
        Journal::open(&path, OPENING, leaf_of).unwrap();
    }
}
