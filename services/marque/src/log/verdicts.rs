//! The index of verdicts, copied page by page: it grows with the log, and neither end holds the whole of it.
//!
//! The pages go into a file of another name, which gets its own when all are there. A copy that broke off goes on behind
//! the last whole line that it has, if the sink says the same of that leaf; else it begins anew.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use marque_identity::Code;
use marque_ledger::layout::VERDICTS;

use super::fetch_when_there;
use crate::Failure;

/// Leaves that one page has, if no other number is asked for; the sink may give fewer.
pub(super) const PAGE_LEAVES: u64 = 1 << 16;
/// A copy on its way.
const NEXT: &str = "marque/verdicts.jsonl.next";
/// A longer line is none of the index.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What a copy on its way has: whole lines.
#[derive(Debug, Default)]
struct Kept {
    leaves: u64,
    bytes: u64,
    last: Vec<u8>,
}

/// Copies the index of a log of `size` leaves, so many to a page; gives its bytes.
pub(super) async fn copy(from: &str, to: &Path, size: u64, page_leaves: u64) -> Result<u64, Failure> {
    let next = to.join(NEXT);
    let wrong = |error: &std::io::Error| Failure::file(&next, error);
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&next);
    let mut file = options.map_err(|error| wrong(&error))?;
    // 1. What it has already.
    let mut kept = Kept::read(&file).map_err(|error| wrong(&error))?;
    if kept.leaves > size || (kept.leaves > 0 && page(from, size, kept.leaves - 1, 1).await?.1 != kept.last) {
        kept = Kept::default();
    }
    file.set_len(kept.bytes).and_then(|()| file.seek(SeekFrom::Start(kept.bytes))).map_err(|error| wrong(&error))?;
    // 2. What it lacks.
    let (mut leaf, mut bytes) = (kept.leaves, kept.bytes);
    while leaf < size {
        let (lines, text) = page(from, size, leaf, page_leaves).await?;
        file.write_all(&text).map_err(|error| wrong(&error))?;
        leaf += lines;
        bytes += text.len() as u64;
    }
    // 3. It is whole.
    let whole = to.join(VERDICTS);
    std::fs::rename(&next, &whole).map_err(|error| Failure::file(&whole, &error))?;
    Ok(bytes)
}

impl Kept {
    fn read(file: &File) -> std::io::Result<Self> {
        let (mut kept, mut lines) = (Self::default(), BufReader::new(file));
        loop {
            let mut line = Vec::new();
            (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            // The end, or a line that broke off.
            if line.last() != Some(&b'\n') {
                return Ok(kept);
            }
            kept = Self { leaves: kept.leaves + 1, bytes: kept.bytes + line.len() as u64, last: line };
        }
    }
}

/// Whole lines from a leaf on, and how many: at least one, and no more than were asked for.
async fn page(from: &str, size: u64, leaf: u64, leaves: u64) -> Result<(u64, Vec<u8>), Failure> {
    let leaves = leaves.min(size - leaf).max(1);
    let text = fetch_when_there(from, &format!("{VERDICTS}?tree_size={size}&from={leaf}&leaves={leaves}")).await?;
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    if text.last() == Some(&b'\n') && lines <= leaves {
        return Ok((lines, text));
    }
    Err(Failure::new(Code::Unavailable, format!("the sink at {from} gives no page of its index from leaf {leaf} on")))
}
