//! Leaves as the rows of a Parquet file: what is asked for most has a column of its own, and the whole OCSF event
//! stands beside it as text.
//!
//! Every column is a member of that event, so that the two cannot differ. Uncompressed: the codecs are in other crates.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use marque_identity::Code;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{FooterTail, KeyValue, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use serde_json::Value;

use super::{Last, canonical};
use crate::Failure;

/// A row group is held in memory until it is written: at most this many leaves …
const GROUP_ROWS_MAX: usize = 2_048;
/// … and no further leaf once their cells are this large. The writer holds the largest column once more.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// A file of 65,536 leaves, each as large as may be, has at most 4,096 row groups of a few hundred bytes a column.
const FOOTER_BYTES_MAX: usize = 64 << 20;
/// In the file's metadata: the hash of its last leaf, base64, which says of which log it is.
const LAST_LEAF_HASH: &str = "marque.last_leaf_hash";

/// A column, and where in the event it is read: a JSON pointer (RFC 6901).
struct Column {
    name: &'static str,
    kind: Kind,
    at: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    /// Milliseconds since 1970.
    Time,
    Text,
    /// Null where the event has no such member.
    TextOrNull,
    /// Canonical, as in the JSON lines.
    Json,
}

const fn column(name: &'static str, kind: Kind, at: &'static str) -> Column {
    Column { name, kind, at }
}

/// The columns, in their order. New ones go to the end.
const COLUMNS: [Column; 12] = [
    column("leaf", Kind::Number, "/unmapped/marque/leaf"),
    column("time", Kind::Time, "/time"),
    column("kind", Kind::Text, "/activity_name"),
    column("agent", Kind::TextOrNull, "/ai_agent/uid"),
    column("task", Kind::TextOrNull, "/metadata/correlation_uid"),
    column("tool", Kind::TextOrNull, "/unmapped/marque/record/tool"),
    column("decision", Kind::TextOrNull, "/actor/authorizations/0/decision"),
    column("outcome", Kind::Text, "/status"),
    column("reason", Kind::TextOrNull, "/status_code"),
    column("record_id", Kind::TextOrNull, "/metadata/original_event_uid"),
    column("verdict", Kind::Text, "/unmapped/marque/verdict"),
    column("event", Kind::Json, ""),
];
const LEAF_HASH: &str = "/unmapped/marque/leaf_hash";

/// A column's cells of the row group that is gathered.
enum Cells {
    Numbers(Vec<i64>),
    Texts(Vec<ByteArray>),
    /// The values that are there, and for each row 1 if it has one.
    Optional(Vec<ByteArray>, Vec<i16>),
}

/// A file that is being written.
pub(super) struct Rows {
    path: PathBuf,
    file: SerializedFileWriter<File>,
    cells: [Cells; COLUMNS.len()],
    rows: usize,
    bytes: usize,
    last_leaf_hash: Option<String>,
}

impl Rows {
    /// Begins it; there must be none.
    pub(super) fn begin(path: PathBuf) -> Result<Self, Failure> {
        let file = File::create_new(&path).map_err(|error| Failure::file(&path, &error))?;
        let file = writer(file).map_err(|error| failed(&path, &error))?;
        let cells = COLUMNS.map(|column| match column.kind {
            Kind::Number | Kind::Time => Cells::Numbers(Vec::new()),
            Kind::Text | Kind::Json => Cells::Texts(Vec::new()),
            Kind::TextOrNull => Cells::Optional(Vec::new(), Vec::new()),
        });
        Ok(Self { path, file, cells, rows: 0, bytes: 0, last_leaf_hash: None })
    }

    /// Adds an event of [`super::ocsf`].
    pub(super) fn push(&mut self, event: &Value) -> Result<(), Failure> {
        for (column, cells) in COLUMNS.iter().zip(&mut self.cells) {
            let value = event.pointer(column.at);
            let missing = || Failure::new(Code::Internal, format!("an event without its {}", column.name));
            match cells {
                Cells::Numbers(numbers) => {
                    numbers.push(value.and_then(Value::as_i64).ok_or_else(missing)?);
                    self.bytes += size_of::<i64>();
                }
                Cells::Texts(texts) => {
                    let value = value.ok_or_else(missing)?;
                    let text = match column.kind {
                        Kind::Json => canonical(value)?,
                        _ => value.as_str().ok_or_else(missing)?.into(),
                    };
                    self.bytes += text.len();
                    texts.push(text.into());
                }
                Cells::Optional(texts, there) => {
                    let text = value.and_then(Value::as_str);
                    self.bytes += text.map_or(0, str::len);
                    there.push(text.is_some().into());
                    texts.extend(text.map(ByteArray::from));
                }
            }
        }
        self.last_leaf_hash = event.pointer(LEAF_HASH).and_then(Value::as_str).map(str::to_owned);
        self.rows += 1;
        if self.rows >= GROUP_ROWS_MAX || self.bytes >= GROUP_BYTES_MAX { self.write() } else { Ok(()) }
    }

    /// Writes what is left, and the footer. Not yet synced.
    pub(super) fn finish(mut self) -> Result<File, Failure> {
        if self.rows > 0 {
            self.write()?;
        }
        self.file.append_key_value_metadata(KeyValue::new(LAST_LEAF_HASH.to_owned(), self.last_leaf_hash));
        self.file.into_inner().map_err(|error| failed(&self.path, &error))
    }

    /// Writes the row group that was gathered.
    fn write(&mut self) -> Result<(), Failure> {
        write_group(&mut self.file, &mut self.cells).map_err(|error| failed(&self.path, &error))?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

/// The last leaf of a file that is whole and has as many rows as its range.
pub(super) fn last(path: &Path, range: &Range<u64>) -> Result<Last, Failure> {
    let foreign = |why: String| {
        Failure::new(Code::Conflict, format!("{} is no file of events: {why}", path.display()))
            .hint("write to another directory, or delete this file to have its range written again")
    };
    let footer = footer(path)?.ok_or_else(|| foreign("it has no footer that we would write".into()))?;
    let read = ParquetMetaDataReader::decode_metadata(&footer).map_err(|error| foreign(error.to_string()))?;
    let file = read.file_metadata();
    if u64::try_from(file.num_rows()).ok() != Some(range.end - range.start) {
        return Err(foreign(format!("it has {} rows", file.num_rows())));
    }
    let leaf_hash = file.key_value_metadata().and_then(|pairs| pairs.iter().find(|pair| pair.key == LAST_LEAF_HASH));
    let leaf_hash = leaf_hash.and_then(|pair| pair.value.clone());
    let leaf_hash = leaf_hash.ok_or_else(|| foreign(format!("it lacks `{LAST_LEAF_HASH}`")))?;
    Ok(Last { leaf: range.end - 1, leaf_hash })
}

/// The metadata at the end of a file, where it ends as Parquet does.
fn footer(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let unreadable = |error: std::io::Error| Failure::file(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let Some(tail_at) = size.checked_sub(FOOTER_SIZE as u64) else { return Ok(None) };
    let mut tail = [0; FOOTER_SIZE];
    file.read_exact_at(&mut tail, tail_at).map_err(unreadable)?;
    let Ok(tail) = FooterTail::try_new(&tail) else { return Ok(None) };
    let bytes = tail.metadata_length();
    let Some(begin) = tail_at.checked_sub(bytes as u64).filter(|_| bytes <= FOOTER_BYTES_MAX) else { return Ok(None) };
    let mut footer = vec![0; bytes];
    file.read_exact_at(&mut footer, begin).map_err(unreadable)?;
    Ok(Some(footer))
}

fn writer(file: File) -> Result<SerializedFileWriter<File>, ParquetError> {
    let fields = COLUMNS.iter().map(|column| {
        let name = column.name;
        match column.kind {
            Kind::Number => format!("REQUIRED INT64 {name};"),
            Kind::Time => format!("REQUIRED INT64 {name} (TIMESTAMP(MILLIS,true));"),
            Kind::Text | Kind::Json => format!("REQUIRED BYTE_ARRAY {name} (UTF8);"),
            Kind::TextOrNull => format!("OPTIONAL BYTE_ARRAY {name} (UTF8);"),
        }
    });
    let schema = parse_message_type(&format!("message events {{ {} }}", fields.collect::<String>()))?;
    let mut settings = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED);
    // Large, and no two alike: neither a dictionary nor the smallest of them tells anything.
    for column in COLUMNS.iter().filter(|column| column.kind == Kind::Json) {
        let path = ColumnPath::from(column.name);
        settings = settings
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    SerializedFileWriter::new(file, Arc::new(schema), Arc::new(settings.build()))
}

/// Writes the cells and leaves none.
fn write_group(file: &mut SerializedFileWriter<File>, cells: &mut [Cells]) -> Result<(), ParquetError> {
    let mut group = file.next_row_group()?;
    for cells in cells {
        let none = || ParquetError::General("fewer columns than cells".into());
        let mut column = group.next_column()?.ok_or_else(none)?;
        match cells {
            Cells::Numbers(numbers) => {
                column.typed::<Int64Type>().write_batch(numbers, None, None)?;
                numbers.clear();
            }
            Cells::Texts(texts) => {
                column.typed::<ByteArrayType>().write_batch(texts, None, None)?;
                texts.clear();
            }
            Cells::Optional(texts, there) => {
                column.typed::<ByteArrayType>().write_batch(texts, Some(there), None)?;
                texts.clear();
                there.clear();
            }
        }
        column.close()?;
    }
    group.close().map(drop)
}

fn failed(path: &Path, error: &ParquetError) -> Failure {
    Failure::new(Code::Unavailable, format!("{}: {error}", path.display())).hint("check the disk and the path")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(leaf: u64, pad: usize) -> Value {
        json!({
            "time": 1_700_000_000_000_u64, "activity_name": "requested", "status": "Unknown", "pad": "x".repeat(pad),
            "unmapped": { "marque": { "leaf": leaf, "leaf_hash": format!("hash {leaf}"), "verdict": "valid" } },
        })
    }

    /// A file of so many rows; how many each row group has.
    fn groups(path: &Path, leaves: u64, pad: usize) -> Vec<i64> {
        let mut rows = Rows::begin(path.to_owned()).unwrap();
        (0..leaves).for_each(|leaf| rows.push(&event(leaf, pad)).unwrap());
        rows.finish().unwrap();
        let footer = footer(path).unwrap().unwrap();
        let read = ParquetMetaDataReader::decode_metadata(&footer).unwrap();
        read.row_groups().iter().map(|group| group.num_rows()).collect()
    }

    #[test]
    fn a_row_group_is_bounded_in_rows_and_in_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let most = GROUP_ROWS_MAX as i64;
        assert_eq!(groups(&folder.path().join("small"), 2 * GROUP_ROWS_MAX as u64 + 1, 0), [most, most, 1]);
        assert_eq!(groups(&folder.path().join("even"), GROUP_ROWS_MAX as u64, 0), [most]);
        // Each a little over half of the bytes.
        assert_eq!(groups(&folder.path().join("large"), 3, GROUP_BYTES_MAX / 2), [2, 1]);
    }

    #[test]
    fn knows_its_last_leaf_and_refuses_every_beginning_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole");
        groups(&path, 5, 0);
        assert_eq!(last(&path, &(10..15)).unwrap(), Last { leaf: 14, leaf_hash: "hash 4".into() });
        let refused = |range: Range<u64>| last(&path, &range).err().map(|failure| failure.code);
        assert_eq!(refused(10..14), Some(Code::Conflict), "another number of rows");
        let whole = std::fs::read(&path).unwrap();
        for size in 0..whole.len() {
            std::fs::write(&path, &whole[..size]).unwrap();
            assert_eq!(refused(10..15), Some(Code::Conflict), "{size} bytes");
        }
        // A footer that says it is larger than the file, or than any of ours.
        for bytes in [u32::MAX, whole.len() as u32] {
            let tail = [&bytes.to_le_bytes()[..], b"PAR1"].concat();
            std::fs::write(&path, [&whole[..whole.len() - FOOTER_SIZE], &tail].concat()).unwrap();
            assert_eq!(refused(10..15), Some(Code::Conflict));
        }
    }

    #[test]
    fn an_event_that_lacks_a_required_member_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Rows::begin(folder.path().join("file")).unwrap();
        let mut event = event(1, 0);
        event["status"] = Value::Null;
        assert_eq!(rows.push(&event).err().map(|failure| failure.code), Some(Code::Internal));
        assert!(Rows::begin(folder.path().join("file")).is_err(), "there is one");
    }
}
