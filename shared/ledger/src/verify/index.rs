//! The index of verdicts, read line by line beside the leaves.

use std::collections::HashMap;
use std::io::{BufRead, Read as _};

use marque_signing::sha256;

use super::{RecordCheck, Report};
use crate::Files;
use crate::layout::{CONFLICT, DUPLICATE, VALID, VERDICTS, VerdictLine};

/// The most that one line of the index can have: a record id of hostile length is cut off by the record's own limits.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Which records have been seen: a valid record's first leaf is canonical, later ones with its id are not.
///
/// A record takes 72 bytes here, however long its id is.
#[derive(Default)]
pub(super) struct Standing {
    /// By the digest of the id: its first leaf, and the digest of what stands there.
    first: HashMap<[u8; 32], (u64, [u8; 32])>,
}

impl Standing {
    pub(super) fn line(&mut self, leaf: u64, payload_digest: [u8; 32], check: RecordCheck) -> VerdictLine {
        let mut line = VerdictLine { leaf, record: check.record, verdict: check.verdict, first: None };
        if let (VALID, Some(id)) = (line.verdict.as_str(), &line.record) {
            let (first, digest) = *self.first.entry(sha256(id.as_bytes()).0).or_insert((leaf, payload_digest));
            if first != leaf {
                line.first = Some(first);
                line.verdict = if digest == payload_digest { DUPLICATE } else { CONFLICT }.to_owned();
            }
        }
        line
    }
}

/// The index as it stands in the directory.
pub(super) struct Index<'f> {
    lines: Option<Box<dyn BufRead + 'f>>,
    line: Vec<u8>,
    /// Leaves before this one were not looked at.
    from: u64,
    /// The leaf whose line is read next.
    at: u64,
}

impl<'f> Index<'f> {
    /// Opened at the line of leaf `from`.
    pub(super) fn open(files: &'f impl Files, from: u64, report: &mut Report) -> Self {
        let lines = match files.open(VERDICTS) {
            Ok(Some(lines)) => Some(lines),
            Ok(None) => {
                report.find(VERDICTS, None, "the file is missing");
                None
            }
            Err(why) => {
                report.find(VERDICTS, None, why);
                None
            }
        };
        let mut index = Self { lines, line: Vec::new(), from, at: 0 };
        index.skip_to(from, report);
        index
    }

    /// An index that nothing is compared with.
    pub(super) fn unread() -> Self {
        Self { lines: None, line: Vec::new(), from: 0, at: 0 }
    }

    /// Compares a leaf's line with what is due. Gives how the record stands: as is due, but where it repeats one that
    /// stands before the first leaf that was looked at, as the index says. Lines of leaves that could not be read are
    /// passed over: what is wrong with those was said of their files.
    pub(super) fn compare(&mut self, due: VerdictLine, report: &mut Report) -> VerdictLine {
        self.skip_to(due.leaf, report);
        if self.lines.is_none() || !self.next(due.leaf, report) || self.line == due.text().as_bytes() {
            return due;
        }
        let stated: Option<VerdictLine> = marque_json::from_slice(&self.line, marque_json::Limits::DEFAULT).ok();
        let what = match stated {
            Some(stated) if self.repeats_an_earlier(&stated, &due) => {
                report.repeats_unchecked += 1;
                return stated;
            }
            Some(stated) if stated.leaf == due.leaf && stated.verdict != due.verdict => {
                let stated = marque_identity::refusal::quoted(&stated.verdict);
                format!("the index says {stated}, the record is {}", due.verdict)
            }
            Some(_) | None => "the index's line is not this leaf's".to_owned(),
        };
        report.find(VERDICTS, Some(due.leaf), what);
        due
    }

    fn repeats_an_earlier(&self, stated: &VerdictLine, due: &VerdictLine) -> bool {
        let as_due = VerdictLine { verdict: VALID.to_owned(), first: None, ..stated.clone() };
        let earlier = stated.first.is_some_and(|first| first < self.from);
        as_due == *due
            && earlier
            && [DUPLICATE, CONFLICT].contains(&stated.verdict.as_str())
            && stated.text().as_bytes() == self.line
    }

    /// Nothing may stand behind the last leaf of a log of this size.
    pub(super) fn close(mut self, size: u64, report: &mut Report) {
        self.skip_to(size, report);
        let Some(lines) = &mut self.lines else { return };
        match lines.fill_buf() {
            Ok([]) => {}
            Ok(_) => report.find(VERDICTS, None, "lines behind the last leaf"),
            Err(error) => report.find(VERDICTS, None, error.to_string()),
        }
    }

    /// Passes over the lines of the leaves before this one.
    fn skip_to(&mut self, leaf: u64, report: &mut Report) {
        while self.at < leaf && self.next(self.at, report) {}
    }

    /// Reads the next line. Where there is none, says so once: one line too few shifts all behind it.
    fn next(&mut self, leaf: u64, report: &mut Report) -> bool {
        let Some(lines) = &mut self.lines else { return false };
        self.line.clear();
        let why = match lines.take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line) {
            Ok(0) => "the index ends before this leaf".to_owned(),
            Ok(_) => {
                self.at = leaf + 1;
                return true;
            }
            Err(error) => error.to_string(),
        };
        self.lines = None;
        report.find(VERDICTS, Some(leaf), why);
        false
    }
}
