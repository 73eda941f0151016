//! `marque log events`: the log as events for other systems, one JSON line for each leaf, in leaf order.
//!
//! Exactly once by index: with `--out` the file itself is the cursor. A rerun cuts off a torn last line and goes on
//! after the last whole one, so that wherever it is killed no leaf is doubled or left out. Leaves that hold no valid
//! record are events too, and say so.

mod cloudevents;
mod journal;
mod ocsf;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use marque_identity::Code;
use marque_ledger::{Checkpoint, Hash};
use serde_json::{Value, json};

use self::journal::{Journal, Last};
use crate::cli::Common;
use crate::forensics::copy::{CopyArgs, LogCopy, StoredLeaf};
use crate::output::{Answer, Format as OutputFormat, Output, facts};
use crate::verify::pipe;
use crate::{Exit, Failure};

/// As what, from where, to where.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The schema of the events.
    #[arg(long, value_enum)]
    format: Schema,
    #[command(flatten)]
    copy: CopyArgs,
    /// Begin behind this leaf. A file that has lines already goes on behind its last.
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// Append to this file, and go on there when run again; without it the lines go to stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    /// OCSF 1.9.0, class API Activity (6003).
    Ocsf,
    /// CloudEvents 1.0, JSON format.
    #[value(name = "cloudevents")]
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
    let copy = LogCopy::open(&args.copy, common, out).await?;
    let first = args.after.map_or(0, |after| after.saturating_add(1));
    match &args.out {
        Some(file) => append(
            args.format,
            &copy,
            first,
            Journal::open(file, args.format.opening(), |line| args.format.last(line))?,
        ),
        None => print(args.format, &copy, first),
    }
}

fn append(schema: Schema, copy: &LogCopy, first: u64, mut journal: Journal) -> Result<Answer, Failure> {
    let next = match journal.last() {
        None => first,
        Some(last) => {
            check(copy, last)?;
            last.leaf + 1
        }
    };
    if next < first {
        return Err(Failure::new(Code::Conflict, format!("the file ends before leaf {next}, --after would leave out"))
            .hint("run without --after: the file is the cursor"));
    }
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
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut broken = None;
    let read = copy.read_every(first, |leaf| {
        let line = schema.line(&leaf, copy.stated())?;
        stdout.write_all(&line).and_then(|()| stdout.write_all(b"\n")).map_err(|error| {
            broken = Some(error);
            Failure::new(Code::Unavailable, "stdout")
        })
    });
    match broken {
        Some(error) => pipe(Err(error)).map(drop)?,
        None => {
            read?;
            pipe(stdout.flush().map(|()| true)).map(drop)?;
        }
    }
    Ok(Answer::silent().exit(Exit::Yes))
}

/// RFC 8785: one text for each event, so that a rerun writes the same bytes.
fn canonical(event: &Value) -> Result<Vec<u8>, Failure> {
    marque_json::to_canonical(event).map_err(|error| Failure::new(Code::Internal, format!("an event: {error}")))
}
