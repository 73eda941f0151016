//! The index of verdicts, copied page by page: it grows with the log, and neither end holds the whole of it.
//!
//! The pages go into a file of another name, which gets its own when all are there. A copy that broke off goes on behind
//! the last whole line that it has, if the sink says the same of that leaf; else it begins anew. So it does where the
//! sink has another trust bundle meanwhile: verdicts under two bundles are no index.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};

use marque_identity::Code;
use marque_ledger::layout::{BUNDLE, VERDICTS, VerdictLine};

use super::durable::Durable;
use super::{fetch_when_there, not_the_logs};
use crate::Failure;

/// Leaves that one page has, if no other number is asked for; the sink may give fewer.
pub(super) const PAGE_LEAVES: u64 = 1 << 16;
/// What one page may have: a sink ends its pages at 4 MiB.
pub(super) const PAGE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A copy on its way.
const NEXT: &str = "marque/verdicts.jsonl.next";
/// The bundle under which its verdicts were made.
const NEXT_BUNDLE: &str = "marque/bundle.jwt.next";
/// A longer line is none of the index.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// What a line has beside the record's id, which stands in the entry and is no longer here: two numbers, a verdict.
const LINE_REST_BYTES_MAX: u64 = 256;
/// How often the sink may change its bundle while it is copied from. Whoever rotates keys does it once.
const BUNDLE_CHANGES_MAX: usize = 3;

/// From where, and how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages<'a> {
    /// The sink.
    pub from: &'a str,
    /// Leaves of the log.
    pub size: u64,
    /// Leaves that one page is asked to have.
    pub leaves: u64,
    /// Bytes of the log's entries: the index can't outgrow them by much.
    pub entry_bytes: u64,
}

/// What was copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    /// Bytes of the index.
    pub bytes: u64,
    /// Bytes of the bundle that it was made under.
    pub bundle_bytes: u64,
}

/// What a copy on its way has: whole lines.
#[derive(Debug, Default)]
struct Kept {
    leaves: u64,
    bytes: u64,
    last: Vec<u8>,
}

impl Pages<'_> {
    /// Copies the index, and the bundle that all of it was made under.
    pub(super) async fn copy(self, to: &mut Durable<'_>) -> Result<Copied, Failure> {
        let mut bundle = self.bundle().await?;
        for _ in 0..=BUNDLE_CHANGES_MAX {
            match self.copy_under(to, &bundle).await? {
                Ok(copied) => return Ok(copied),
                Err(another) => bundle = another,
            }
        }
        let why = format!("the sink at {} changed its trust bundle {BUNDLE_CHANGES_MAX} times meanwhile", self.from);
        Err(Failure::new(Code::Unavailable, why).hint("export again when it is at rest"))
    }

    /// Copies the index as it is under this bundle; the other bundle, if the sink has come to have one.
    async fn copy_under(self, to: &mut Durable<'_>, bundle: &[u8]) -> Result<Result<Copied, Vec<u8>>, Failure> {
        let (next, next_bundle) = (to.place(NEXT)?, to.place(NEXT_BUNDLE)?);
        let wrong = |error: &std::io::Error| Failure::file(&next, error);
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&next);
        let mut file = options.map_err(|error| wrong(&error))?;
        // 1. What it has already, under the same bundle. INVARIANT: the lines go before their bundle does.
        let mut kept = Kept::default();
        if std::fs::read(&next_bundle).is_ok_and(|had| had == bundle) {
            kept = Kept::read(&file).map_err(|error| wrong(&error))?;
            if kept.leaves > self.size
                || kept.bytes > self.bytes_max()
                || (kept.leaves > 0 && self.page(kept.leaves - 1, 1).await?.1 != kept.last)
            {
                kept = Kept::default();
            }
        }
        file.set_len(kept.bytes)
            .and_then(|()| file.seek(SeekFrom::Start(kept.bytes)))
            .map_err(|error| wrong(&error))?;
        to.write(NEXT_BUNDLE, bundle)?;
        // 2. What it lacks.
        let (mut leaf, mut bytes) = (kept.leaves, kept.bytes);
        while leaf < self.size {
            let (lines, text) = self.page(leaf, self.leaves).await?;
            bytes += text.len() as u64;
            if bytes > self.bytes_max() {
                return Err(not_the_logs(self.from, format!("its index has more than {} bytes", self.bytes_max())));
            }
            file.write_all(&text).map_err(|error| wrong(&error))?;
            leaf += lines;
            let now = self.bundle().await?;
            if now != bundle {
                return Ok(Err(now));
            }
        }
        // 3. It is whole, and on the disk.
        file.sync_all().map_err(|error| wrong(&error))?;
        to.rename(NEXT_BUNDLE, BUNDLE)?;
        to.rename(NEXT, VERDICTS)?;
        Ok(Ok(Copied { bytes, bundle_bytes: bundle.len() as u64 }))
    }

    fn bytes_max(self) -> u64 {
        self.entry_bytes.saturating_add(self.size.saturating_mul(LINE_REST_BYTES_MAX))
    }

    async fn bundle(self) -> Result<Vec<u8>, Failure> {
        fetch_when_there(self.from, &format!("{BUNDLE}?tree_size={}", self.size)).await
    }

    /// Whole lines from a leaf on, and how many: at least one, and no more than were asked for.
    async fn page(self, leaf: u64, leaves: u64) -> Result<(u64, Vec<u8>), Failure> {
        let Self { from, size, .. } = self;
        let leaves = leaves.min(size - leaf).max(1);
        let text = fetch_when_there(from, &format!("{VERDICTS}?tree_size={size}&from={leaf}&leaves={leaves}")).await?;
        match lines_from(leaf, &text) {
            Some(lines) if lines <= leaves => Ok((lines, text)),
            _ => Err(not_the_logs(from, format!("it gives no page of its index from leaf {leaf} on"))),
        }
    }
}

/// How many lines of the index these are, each of the next leaf from this one on; none where they are not.
pub fn lines_from(leaf: u64, text: &[u8]) -> Option<u64> {
    let mut lines = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let of_the_index = line.last() == Some(&b'\n') && line.len() as u64 <= LINE_BYTES_MAX;
        let read: VerdictLine =
            marque_json::from_slice(line, marque_json::Limits::DEFAULT).ok().filter(|_| of_the_index)?;
        if read.leaf != leaf + lines {
            return None;
        }
        lines += 1;
    }
    (lines > 0).then_some(lines)
}

impl Kept {
    fn read(file: &File) -> std::io::Result<Self> {
        let (mut kept, mut lines) = (Self::default(), BufReader::new(file));
        loop {
            let mut line = Vec::new();
            (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            // The end, a line that broke off, or what is none of the index.
            if lines_from(kept.leaves, &line).is_none() {
                return Ok(kept);
            }
            kept = Self { leaves: kept.leaves + 1, bytes: kept.bytes + line.len() as u64, last: line };
        }
    }
}
