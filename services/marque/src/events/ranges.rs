//! A directory of Parquet files, each of a range of leaves and named by it: `<first>-<end>.parquet`, `end` not among
//! them. Held by one writer at a time.
//!
//! A Parquet file cannot be appended to, so the directory is the cursor: the next range begins where the last file
//! ends. Killed within a range: a `.next` file is left, which is deleted when the directory is opened again, and the
//! range is written anew. Killed behind the rename: the range is there, whole. Earlier files may be moved away.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use marque_identity::Code;

use super::hold;
use crate::Failure;

/// A file ends at the latest at a multiple of this: 256 tiles of entries, some 200 MB of Parquet.
const FILE_LEAVES: u64 = 65_536;

const WHOLE: &str = ".parquet";
const BEGUN: &str = ".parquet.next";

/// The directory.
pub(super) struct Ranges {
    folder: PathBuf,
    // The lock, and what makes a rename durable.
    held: File,
    last: Option<Range<u64>>,
    deleted: u64,
}

impl Ranges {
    /// Opens it, or makes it, and deletes what was begun and not finished. Where its ranges do not join, or a Parquet
    /// file is not ours, nothing is touched.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::file(folder, &error);
        fs::create_dir_all(folder).map_err(failed)?;
        let held = File::open(folder).map_err(failed)?;
        hold(&held, folder)?;
        let (mut whole, mut begun) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(stem) = name.strip_suffix(WHOLE) {
                whole.push(range(stem).ok_or_else(|| {
                    Failure::new(Code::Conflict, format!("{}/{name} is no file of events", folder.display()))
                        .hint("write to another directory")
                })?);
            } else if let Some(range) = name.strip_suffix(BEGUN).and_then(range) {
                begun.push(range);
            }
        }
        whole.sort_by_key(|range| range.start);
        for (before, after) in whole.iter().zip(whole.iter().skip(1)) {
            if before.end != after.start {
                let why = format!("{}: {} and {} do not join", folder.display(), stem(before), stem(after));
                return Err(Failure::new(Code::Conflict, why)
                    .hint("bring back what lay between, or delete the later files to have them written again"));
            }
        }
        let ranges = Self { folder: folder.to_owned(), held, last: whole.pop(), deleted: begun.len() as u64 };
        for range in &begun {
            let path = ranges.begun(range);
            fs::remove_file(&path).map_err(|error| Failure::file(&path, &error))?;
        }
        Ok(ranges)
    }

    /// The last range, as it was found.
    pub(super) fn last(&self) -> Option<&Range<u64>> {
        self.last.as_ref()
    }

    /// How many files that were not finished it deleted.
    pub(super) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Where a range is when it is whole.
    pub(super) fn whole(&self, range: &Range<u64>) -> PathBuf {
        self.folder.join(stem(range) + WHOLE)
    }

    /// Where it is written.
    pub(super) fn begun(&self, range: &Range<u64>) -> PathBuf {
        self.folder.join(stem(range) + BEGUN)
    }

    /// The file of a range that is whole is on disk, under its name, when this returns.
    pub(super) fn finish(&self, range: &Range<u64>, file: &File) -> Result<(), Failure> {
        let (begun, whole) = (self.begun(range), self.whole(range));
        let finished = file.sync_all().and_then(|()| fs::rename(&begun, &whole)).and_then(|()| self.held.sync_all());
        finished.map_err(|error| Failure::file(&whole, &error))
    }
}

/// The range that begins with this leaf of a log of `size`.
pub(super) fn following(first: u64, size: u64) -> Option<Range<u64>> {
    let full = (first / FILE_LEAVES).saturating_add(1).saturating_mul(FILE_LEAVES);
    let range = first..full.min(size);
    (!range.is_empty()).then_some(range)
}

/// As wide as any index, so that names sort as leaves do.
fn stem(range: &Range<u64>) -> String {
    format!("{:020}-{:020}", range.start, range.end)
}

fn range(name: &str) -> Option<Range<u64>> {
    let (first, end) = name.split_once('-')?;
    let range = first.parse().ok()?..end.parse().ok()?;
    (!range.is_empty() && stem(&range) == name).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(folder: &Path) -> Option<Code> {
        Ranges::open(folder).err().map(|failure| failure.code)
    }

    #[test]
    fn a_range_ends_with_the_log_or_at_a_multiple() {
        let all = |mut first: u64, size: u64| {
            let mut ranges = Vec::new();
            while let Some(range) = following(first, size) {
                first = range.end;
                ranges.push(range);
            }
            ranges
        };
        assert_eq!(all(0, 0), []);
        assert_eq!(all(7, 7), []);
        assert_eq!(all(9, 7), []);
        assert_eq!(all(3, 2 * FILE_LEAVES), [3..FILE_LEAVES, FILE_LEAVES..2 * FILE_LEAVES]);
        assert_eq!(all(0, FILE_LEAVES + 1), [0..FILE_LEAVES, FILE_LEAVES..FILE_LEAVES + 1]);
        assert_eq!(following(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn goes_on_behind_the_last_whole_file_and_deletes_only_what_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made");
        let ranges = Ranges::open(&folder).unwrap();
        assert_eq!((ranges.last(), ranges.deleted()), (None, 0));
        for range in [4..9, 9..12] {
            ranges.finish(&range, &File::create_new(ranges.begun(&range)).unwrap()).unwrap();
        }
        File::create_new(ranges.begun(&(12..20))).unwrap();
        drop(ranges);
        for foreign in ["notes.next", "1-2.parquet.next", "README"] {
            fs::write(folder.join(foreign), foreign).unwrap();
        }
        let ranges = Ranges::open(&folder).unwrap();
        assert_eq!((ranges.last(), ranges.deleted()), (Some(&(9..12)), 1));
        assert!(!ranges.begun(&(12..20)).exists());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 5, "the foreign ones are left");
    }

    #[test]
    fn refuses_gaps_overlaps_and_foreign_files_and_touches_nothing() {
        for names in [[0..5, 6..9], [0..5, 4..9], [0..5, 0..9]] {
            let folder = tempfile::tempdir().unwrap();
            names.iter().for_each(|range| fs::write(folder.path().join(stem(range) + WHOLE), "").unwrap());
            let begun = folder.path().join(stem(&(9..10)) + BEGUN);
            fs::write(&begun, "").unwrap();
            assert_eq!(refusal(folder.path()), Some(Code::Conflict), "{names:?}");
            assert!(begun.exists());
        }
        for name in ["mine", "0-5", "00000000000000000005-00000000000000000005", "-", "00000000000000000000-1e9"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name.to_owned() + WHOLE), "").unwrap();
            assert_eq!(refusal(folder.path()), Some(Code::Conflict), "{name}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(refusal(file.path()), Some(Code::Conflict));
    }

    #[test]
    fn has_one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Ranges::open(folder.path()).unwrap();
        assert_eq!(refusal(folder.path()), Some(Code::Conflict));
        drop(first);
        Ranges::open(folder.path()).unwrap();
    }
}
