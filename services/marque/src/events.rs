//! `marque log events`: the log as events for other systems, one JSON line or row of a table for each leaf, in leaf
//! order.
//!
//! Exactly once by index: with `--out` the file itself is the cursor. A rerun cuts off a torn last line and goes on
//! after the last whole one, so that wherever it is killed no leaf is doubled or left out. Parquet files are whole or
//! not there, each of a range of leaves, and their directory is the cursor. Leaves that hold no valid record are events
//! too, and say so.

mod cloudevents;
#[cfg(feature = "parquet")]
mod columns;
mod journal;
mod ocsf;
#[cfg(any(test, feature = "parquet"))]
mod ranges;

use std::fs::{File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use marque_identity::Code;
use marque_ledger::{Checkpoint, Hash};
use serde_json::{Value, json};

use self::journal::{Journal, Last};
use crate::Failure;
use crate::cli::Common;
use crate::forensics::copy::{CopyArgs, LogCopy, StoredLeaf};
use crate::output::{Answer, Format as OutputFormat, Output, facts};
use crate::stdout::{self, Stdout};

/// As what, from where, to where.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// What is written.
    #[arg(long, value_enum)]
    format: Form,
    #[command(flatten)]
    copy: CopyArgs,
    /// Begin behind this leaf. A file or directory that has leaves already goes on behind its last.
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// Append to this file, and go on there when run again; without it the lines go to stdout. For Parquet a directory.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// JSON lines: OCSF 1.9.0, class API Activity (6003).
    Ocsf,
    /// JSON lines: CloudEvents 1.0, JSON format.
    #[value(name = "cloudevents")]
    CloudEvents,
    /// Parquet files in a directory, each of a range of leaves: columns, and the OCSF event. Only where it was built in.
    Parquet,
}

/// The schemas of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    Ocsf,
    CloudEvents,
}

impl Schema {
    /// A leaf as a line, without its newline.
    fn line(self, leaf: &StoredLeaf<'_>, of: &Checkpoint) -> Result<Vec<u8>, Failure> {
        let event = match self {
            Self::Ocsf => ocsf::event(leaf, of)?,
            Self::CloudEvents => cloudevents::event(leaf, of),
        };
        canonical(&event)
    }

    /// How every line begins: members are sorted by name.
    fn opening(self) -> &'static str {
        match self {
            Self::Ocsf => r#"{"activity_id":99,"#,
            Self::CloudEvents => r#"{"data"#,
        }
    }

    /// Which leaf a line is of.
    fn last(self, line: &Value) -> Option<Last> {
        match self {
            Self::Ocsf => ocsf::last(line),
            Self::CloudEvents => cloudevents::last(line),
        }
    }
}

/// Writes them.
pub(crate) async fn run(args: &EventsArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    if args.out.is_none() && common.format() == OutputFormat::Json {
        return Err(Failure::usage("with -j there is one document on stdout: name the lines' file with --out"));
    }
    let first = args.after.map_or(0, |after| after.saturating_add(1));
    let schema = match args.format {
        Form::Ocsf => Schema::Ocsf,
        Form::CloudEvents => Schema::CloudEvents,
        #[cfg(feature = "parquet")]
        Form::Parquet => {
            let folder = args.out.as_deref();
            let folder = folder.ok_or_else(|| Failure::usage("Parquet goes into a directory: name it with --out"))?;
            return write_files(&LogCopy::open(&args.copy, common, out).await?, first, folder);
        }
        #[cfg(not(feature = "parquet"))]
        Form::Parquet => {
            return Err(Failure::new(Code::ConfigInvalid, "this `marque` was built without Parquet")
                .hint("build it with its feature, `cargo build -p marque --features parquet`, or take --format ocsf"));
        }
    };
    let copy = LogCopy::open(&args.copy, common, out).await?;
    match &args.out {
        Some(file) => append(schema, &copy, first, Journal::open(file, schema.opening(), |line| schema.last(line))?),
        None => print(schema, &copy, first),
    }
}

/// Writes the ranges that the directory lacks.
#[cfg(feature = "parquet")]
fn write_files(copy: &LogCopy, first: u64, folder: &Path) -> Result<Answer, Failure> {
    let ranges = ranges::Ranges::open(folder)?;
    let next = match ranges.last() {
        None => first,
        Some(range) => {
            check(copy, &columns::last(&ranges.whole(range), range)?)?;
            range.end
        }
    };
    leaves_none_out(next, first)?;
    let (mut upto, mut files) = (next, 0_u64);
    while let Some(range) = ranges::following(upto, copy.size()) {
        let mut rows = columns::Rows::begin(ranges.begun(&range))?;
        copy.read_from_to(range.start, range.end, |leaf| rows.push(&ocsf::event(&leaf, copy.stated())?))?;
        ranges.finish(&range, &rows.finish()?)?;
        (upto, files) = (range.end, files + 1);
    }
    let (written, deleted) = (upto - next, ranges.deleted());
    let text = facts(&[
        ("written", format!("{written} in {}", crate::output::counted(files, "file"))),
        ("leaves", format!("{upto} of {}", copy.size())),
        ("unfinished files deleted", deleted.to_string()),
    ]);
    let said = json!({
        "written": written, "files": files, "upto": upto, "leaves": copy.size(), "unfinished_files": deleted,
    });
    Ok(Answer::yes(said, text))
}

/// Holds what is written to, until it is closed: two writers would not see each other's leaves.
fn hold(file: &File, path: &Path) -> Result<(), Failure> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(Code::Conflict, format!("{} is being written", path.display()))
                .hint("wait for the other command to end"))
        }
        Err(TryLockError::Error(error)) => Err(Failure::file(path, &error)),
    }
}

/// What is there must not end before `--after`.
fn leaves_none_out(next: u64, first: u64) -> Result<(), Failure> {
    if next < first {
        let why = format!("what is there ends before leaf {next}, --after would leave some out");
        return Err(Failure::new(Code::Conflict, why).hint("run without --after: what is there is the cursor"));
    }
    Ok(())
}

fn append(schema: Schema, copy: &LogCopy, first: u64, mut journal: Journal) -> Result<Answer, Failure> {
    let next = match journal.last() {
        None => first,
        Some(last) => {
            check(copy, last)?;
            last.leaf + 1
        }
    };
    leaves_none_out(next, first)?;
    let mut written = 0_u64;
    copy.read_every(next, |leaf| {
        written += 1;
        journal.write(&schema.line(&leaf, copy.stated())?)
    })?;
    let cut = journal.finish()?;
    let upto = next + written;
    let text = facts(&[
        ("written", written.to_string()),
        ("leaves", format!("{upto} of {}", copy.size())),
        ("torn bytes cut off", cut.to_string()),
    ]);
    Ok(Answer::yes(json!({ "written": written, "upto": upto, "leaves": copy.size(), "cut_bytes": cut }), text))
}

/// The file must be of this log: its last line's leaf is the copy's.
fn check(copy: &LogCopy, last: &Last) -> Result<(), Failure> {
    let conflict = |why: String| {
        Failure::new(Code::Conflict, why).hint("write to another file, or name the log that this one was written from")
    };
    if last.leaf >= copy.size() {
        return Err(conflict(format!("the file ends with leaf {}, the log has {} leaves", last.leaf, copy.size())));
    }
    let mut ours = None;
    copy.read_from_to(last.leaf, last.leaf + 1, |leaf| {
        ours = Some(Hash::leaf(leaf.frame));
        Ok(())
    })?;
    if ours.map(|hash| hash.to_base64()).as_ref() != Some(&last.leaf_hash) {
        return Err(conflict(format!("the file's leaf {} is not this log's", last.leaf)));
    }
    Ok(())
}

fn print(schema: Schema, copy: &LogCopy, first: u64) -> Result<Answer, Failure> {
    let mut lines = BufWriter::new(Stdout::open()?);
    let mut broken = None;
    let read = copy.read_every(first, |leaf| {
        let line = schema.line(&leaf, copy.stated())?;
        lines.write_all(&line).and_then(|()| lines.write_all(b"\n")).map_err(|error| {
            broken = Some(error);
            // It ends the reading; what is told is the error itself.
            Failure::new(Code::OutputLost, "stdout")
        })
    });
    match broken {
        Some(error) => stdout::arrived(Err(error)).map(drop)?,
        None => {
            read?;
            stdout::arrived(lines.flush()).map(drop)?;
        }
    }
    Ok(Answer::silent())
}

/// RFC 8785: one text for each event, so that a rerun writes the same bytes.
fn canonical(event: &Value) -> Result<Vec<u8>, Failure> {
    marque_json::to_canonical(event).map_err(|error| Failure::new(Code::Internal, format!("an event: {error}")))
}
