//! `marque log`: copies of the audit log. Exported from a sink, verified from the files alone, served to others.

mod durable;
mod earlier;
mod key;
mod serve;
mod verdicts;
pub mod verify;

pub use verdicts::lines_from;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use marque_identity::Code;
use marque_ledger::Files as _;
use marque_ledger::verify::{goes_on, leads_to};
use marque_ledger::{
    Checkpoint, ENTRY_BYTES_MAX, FILE_BYTES_MAX, Hash, Policy, TileId, TileKind, decode_bundle, layout, plumbing,
};
use marque_signing::bundle::{TrustBundle, fingerprint};
use serde_json::json;

use crate::Failure;
use crate::cli::Common;
use crate::dev::http;
use crate::events::{self, EventsArgs};
use crate::lines::{LineAnswer, answer_stdout};
use crate::output::{Answer, Output, counted, facts};
use crate::trust::{Trust, TrustFlags, ledger_failure};
use durable::Durable;
use earlier::Earlier;

/// Findings that people are shown; JSON has them all.
const FINDINGS_SHOWN: usize = 10;
/// How long one file may take.
const FILE_TIME: Duration = Duration::from_secs(30);
/// How long the sink's first checkpoint may take, and its index lag behind it.
const LAG_TIME: Duration = Duration::from_secs(10);
/// How often it is asked again.
const POLL_TIME: Duration = Duration::from_millis(50);
/// The checkpoint of a log is a few hundred bytes.
const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024;
/// A hash of a tile (SHA-256).
const HASH_BYTES: u64 = 32;
/// A sentence beside a status that is none of a file.
const REFUSAL_BYTES_MAX: u64 = 4 * 1024;

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub enum LogVerb {
    /// Copy a sink's log into a directory.
    Export(ExportArgs),
    /// Verify a copy: every entry, tile, record and the checkpoint. Needs no network.
    Verify(verify::VerifyArgs),
    /// Serve a copy read-only over HTTP, in the C2SP layout, until stopped.
    Serve(serve::ServeArgs),
    /// Check proofs: one JSON question on each line of stdin.
    VerifyProof {
        /// Read from stdin.
        #[arg(long, required = true)]
        stdin: bool,
    },
    /// Write the log as events for other systems: one JSON line for each leaf, in order, resumable.
    Events(EventsArgs),
    /// Print the keys that the log's checkpoints are signed by, for `--key`.
    Key(key::KeyArgs),
    /// Show a copy's checkpoint.
    Info {
        /// The copy.
        #[arg(value_name = "DIR")]
        log: PathBuf,
    },
}

/// From where, to where.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The copy's directory.
    #[arg(value_name = "DIR")]
    log: PathBuf,
    /// The sink's page, `host:port`; the default stands in the bootstrap directory.
    #[arg(long, value_name = "HOST:PORT")]
    from: Option<String>,
    /// Whose log to believe: a checkpoint of nobody's is not copied. The default is the bootstrap directory's bundle.
    #[command(flatten)]
    trust: TrustFlags,
    /// Leaves in one page of the index of verdicts.
    #[arg(long, value_name = "N", default_value_t = verdicts::PAGE_LEAVES, hide = true)]
    page_leaves: u64,
    /// Say what would be copied; write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Does it.
pub(crate) async fn run(verb: &LogVerb, common: &Common, out: &Output) -> Result<Answer, Failure> {
    match verb {
        LogVerb::Export(args) => {
            let from = match &args.from {
                Some(from) => from.clone(),
                None => common.connection.directory()?.sink_page()?,
            };
            folder_or_none(&args.log)?;
            let policy = args.trust.read(common, None)?.policy;
            if args.dry_run {
                let Believed { checkpoint, earlier, .. } = Believed::fetch(&from, &args.log, &policy).await?;
                if let Some(earlier) = &earlier {
                    let shown = earlier.leads_to(&from, &checkpoint).await?;
                    shown.map_err(|why| earlier.refused(&from, &why, ""))?;
                }
                let leaves = checkpoint.size;
                let files = layout::files(leaves).count();
                let (leaves_told, files_told) = (counted(leaves, "leaf"), counted(files as u64, "file"));
                let text = format!("would copy {leaves_told} in {files_told} to {}", args.log.display());
                return Ok(Answer::yes(json!({ "dry_run": true, "leaves": leaves, "files": files }), text));
            }
            let exported = copy(&from, &args.log, &policy, args.page_leaves, Parts::All).await?;
            let text = facts(&[
                ("log", args.log.display().to_string()),
                ("leaves", exported.leaves.to_string()),
                ("files", exported.files.to_string()),
                ("bytes", exported.bytes.to_string()),
                ("next", format!("marque log verify {}", args.log.display())),
            ]);
            let data = json!({ "leaves": exported.leaves, "files": exported.files, "bytes": exported.bytes });
            let done = format!("it is copied: `marque log info {}` shows what there is", args.log.display());
            Ok(Answer::yes(data, text).changed(done))
        }
        LogVerb::Verify(args) => verify::run(args, common),
        LogVerb::Serve(args) => serve::run(args, common, out).await,
        LogVerb::VerifyProof { .. } => answer_stdout(None, proof_answer, proof_refused),
        LogVerb::Events(args) => events::run(args, common, out).await,
        LogVerb::Key(args) => key::run(args, common),
        LogVerb::Info { log } => info(log),
    }
}

fn proof_answer(line: &[u8]) -> LineAnswer {
    match std::str::from_utf8(line) {
        Ok(line) => {
            let text = plumbing::answer(line);
            let yes = text.starts_with(r#"{"valid":true"#);
            LineAnswer { text, yes }
        }
        Err(_) => proof_refused(Failure::new(Code::Malformed, "not UTF-8")),
    }
}

fn proof_refused(failure: Failure) -> LineAnswer {
    LineAnswer { text: json!({ "valid": false, "error": failure.message }).to_string(), yes: false }
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exported {
    /// Leaves of the copied checkpoint.
    pub leaves: u64,
    /// Files of the copy.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies a sink's log, of a sink that the bundle names.
pub(crate) async fn export(from: &str, to: &Path, bundle: &TrustBundle) -> Result<Exported, Failure> {
    copy(from, to, &Trust::of_bundle(bundle.clone())?.policy, verdicts::PAGE_LEAVES, Parts::All).await
}

/// Copies what it takes to read a sink's records into an empty folder: neither the tree over them, nor the index of
/// verdicts.
pub(crate) async fn export_entries(from: &str, to: &Path, bundle: &TrustBundle) -> Result<Exported, Failure> {
    copy(from, to, &Trust::of_bundle(bundle.clone())?.policy, verdicts::PAGE_LEAVES, Parts::Entries).await
}

/// Which files of a log are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    /// Every one.
    All,
    /// The entries, the trust bundle and the checkpoint: no tree that could be compared with anything.
    Entries,
}

impl Parts {
    fn have(self, path: &str) -> bool {
        let entries = || TileId::parse(path).is_ok_and(|id| id.kind == TileKind::Entries);
        self == Self::All || [layout::CHECKPOINT, layout::BUNDLE].contains(&path) || entries()
    }
}

/// Copies these files of a sink's log. The checkpoint is written last, over files that are on the disk: a copy that breaks
/// off has none, or an older one, and what it has of the entries and the index is not fetched again.
///
/// What the sink sends is bounded by what its signed checkpoint states, which must go on from the one that is there; that
/// one is kept. The tiles must lead to the checkpoint's root at the tree's right edge; that all of them do is for `verify`.
async fn copy(from: &str, to: &Path, policy: &Policy, page_leaves: u64, parts: Parts) -> Result<Exported, Failure> {
    // 1. What the sink states, and whether it may stand here. Nothing was written before.
    let Believed { note, checkpoint, earlier } = Believed::fetch(from, to, policy).await?;
    let earlier = earlier.filter(|_| parts == Parts::All);
    if let Some(earlier) = &earlier {
        let shown = earlier.leads_to(from, &checkpoint).await?;
        shown.map_err(|why| earlier.refused(from, &why, &earlier.keep_refused(&note)))?;
    }
    let size = checkpoint.size;
    // 2. Every file but the checkpoint, the tiles first.
    let mut files = Durable::at(to)?;
    let (mut entry_bytes, mut bundle_bytes) = (0, None);
    let mut exported = Exported { leaves: size, ..Exported::default() };
    for path in layout::files(size).filter(|path| path != layout::CHECKPOINT && parts.have(path)) {
        exported.files += 1;
        // The log grows meanwhile: each file as it was at this size.
        let bytes = match (path.as_str(), bundle_bytes) {
            (layout::VERDICTS, _) => {
                // 3. The copy itself can show what its checkpoint is about to state, before the index of the one that
                //    was there goes.
                let copied = marque_ledger::Directory::new(to);
                let earlier = earlier.as_ref().map(|earlier| &earlier.checkpoint);
                let leads = leads_to(&copied, &checkpoint)
                    .and_then(|()| earlier.map_or(Ok(()), |earlier| goes_on(&copied, earlier, &checkpoint)));
                leads.map_err(|why| not_the_logs(from, format!("its checkpoint {why}")))?;
                let pages = verdicts::Pages { from, size, leaves: page_leaves, entry_bytes };
                let copied = pages.copy(&mut files).await?;
                bundle_bytes = Some(copied.bundle_bytes);
                copied.bytes
            }
            // It came with the index.
            (layout::BUNDLE, Some(bytes)) => bytes,
            (path, _) => match had(to, path, size, parts) {
                Some(bytes) => {
                    files.adopt(path)?;
                    bytes
                }
                None => {
                    let got = fetch_when_there(from, &format!("{path}?tree_size={size}")).await?;
                    if !fits(to, path, size, parts, &got) {
                        return Err(not_the_logs(from, format!("{path} is none of this log's")));
                    }
                    files.write(path, &got)?
                }
            },
        };
        if TileId::parse(&path).is_ok_and(|id| id.kind == TileKind::Entries) {
            entry_bytes += bytes;
        }
        exported.bytes += bytes;
    }
    files.settle()?;
    // 4. The checkpoint before is kept.
    if let Some(earlier) = earlier.filter(|earlier| earlier.is_before(&checkpoint)) {
        earlier.keep(&mut files)?;
    }
    // 5. The checkpoint.
    exported.files += 1;
    exported.bytes += files.write(layout::CHECKPOINT, &note)?;
    files.settle()?;
    Ok(exported)
}

/// The sink's checkpoint, of a log that is trusted and with the witnesses that are asked for, and the one that stands where
/// it is to stand. That it goes on from that one is not checked yet.
struct Believed<'a> {
    note: Vec<u8>,
    checkpoint: Checkpoint,
    earlier: Option<Earlier<'a>>,
}

impl<'a> Believed<'a> {
    /// Fetches it, and nothing else.
    async fn fetch(from: &str, to: &'a Path, policy: &Policy) -> Result<Self, Failure> {
        let note = fetch_when_there(from, layout::CHECKPOINT).await?;
        let opened = policy.open(&note).map_err(|error| {
            Failure::new(error.code(), format!("the checkpoint of the sink at {from}: {error}"))
                .hint("compare the sink's key with the one that you trust (--key, --policy, --bundle or --dir)")
        })?;
        let (checkpoint, earlier) = (opened.checkpoint, Earlier::there(to)?);
        if let Some(earlier) = &earlier {
            earlier.may_become(&checkpoint)?;
            if earlier.is_before(&checkpoint) {
                earlier.is_trusted(policy)?;
            }
        }
        Ok(Self { note, checkpoint, earlier })
    }
}

/// What a sink sends that can't be of the log that it signed for.
fn not_the_logs(from: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Code::LogInvalid, format!("the sink at {from}: {why}"))
        .hint("copy from another sink of this log (--from HOST:PORT); what is here already is kept")
}

/// The bytes of entries that a copy has already: those that hash to the tile above, which was fetched just before.
fn had(copy: &Path, path: &str, size: u64, parts: Parts) -> Option<u64> {
    let id = TileId::parse(path).ok().filter(|id| id.kind == TileKind::Entries)?;
    // Where the tile above is not copied, nothing says that they are this log's.
    TileId::covering(TileKind::Hashes(0), id.index, size).filter(|above| parts.have(&above.path()))?;
    let bytes = marque_ledger::Directory::new(copy).read(path, FILE_BYTES_MAX as u64).ok().flatten()?;
    fits(copy, path, size, parts, &bytes).then_some(bytes.len() as u64)
}

/// Whether these bytes can be the file at this path: a tile has as many hashes as its path says, a bundle as many
/// entries, which hash to the tile above where that one is copied too.
fn fits(copy: &Path, path: &str, size: u64, parts: Parts, bytes: &[u8]) -> bool {
    let Ok(id) = TileId::parse(path) else { return true };
    if id.kind != TileKind::Entries {
        return bytes.len() as u64 == u64::from(id.width) * HASH_BYTES;
    }
    let Ok(entries) = decode_bundle(bytes, id.width) else { return false };
    let above = TileId::covering(TileKind::Hashes(0), id.index, size).filter(|above| parts.have(&above.path()));
    above.is_none_or(|above| {
        let hashes = marque_ledger::Directory::new(copy).read(&above.path(), FILE_BYTES_MAX as u64).ok().flatten();
        hashes.is_some_and(|hashes| entries.iter().flat_map(|entry| Hash::leaf(entry).0).eq(hashes))
    })
}

/// The most that a file may have, by its path: what comes behind it is not read.
fn file_bytes_max(path: &str) -> u64 {
    match path {
        layout::CHECKPOINT => CHECKPOINT_BYTES_MAX,
        layout::BUNDLE => verify::BUNDLE_BYTES_MAX,
        layout::VERDICTS => verdicts::PAGE_BYTES_MAX,
        tile => TileId::parse(tile).map_or(0, |id| match id.kind {
            TileKind::Entries => u64::from(id.width) * (ENTRY_BYTES_MAX as u64 + 2),
            TileKind::Hashes(_) => u64::from(id.width) * HASH_BYTES,
        }),
    }
}

/// A log that has just begun has no checkpoint for a moment, and its index lags: what is not there yet is asked for
/// again.
async fn fetch_when_there(from: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let deadline = Instant::now() + LAG_TIME;
    loop {
        match fetch(from, path).await {
            Err(failure) if failure.code == Code::NotFound && Instant::now() < deadline => {
                tokio::time::sleep(POLL_TIME).await;
            }
            outcome => return outcome,
        }
    }
}

pub(crate) async fn fetch(from: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let file = path.split_once('?').map_or(path, |(file, _)| file);
    let bytes_max = file_bytes_max(file).max(REFUSAL_BYTES_MAX);
    let (status, body) = match http::get_bytes(from, &format!("/log/{path}"), bytes_max, FILE_TIME).await {
        Ok(got) => got,
        Err(http::NoAnswer::Oversize(why)) => {
            return Err(Failure::new(Code::Oversize, why)
                .hint("no file of a log is so large: copy from another sink of this log (--from HOST:PORT)"));
        }
        Err(http::NoAnswer::Unavailable(why)) => {
            return Err(Failure::new(Code::Unavailable, why)
                .hint("name the sink's page with --from HOST:PORT (its `http_listen`)"));
        }
    };
    match status {
        200 => Ok(body),
        404 => Err(Failure::new(Code::NotFound, format!("the sink at {from} has no {path}"))),
        other => Err(Failure::new(Code::Unavailable, format!("the sink at {from} answers {other} for {path}"))),
    }
}

fn stated_in(note: &[u8]) -> Result<Checkpoint, Failure> {
    Checkpoint::stated(note).map_err(|error| ledger_failure(&error))
}

/// Refuses what lies where a copy is to be and is no directory.
fn folder_or_none(copy: &Path) -> Result<(), Failure> {
    match std::fs::metadata(copy) {
        Ok(there) if there.is_dir() => Ok(()),
        Ok(_) => Err(Failure::file(copy, &std::io::ErrorKind::NotADirectory.into())
            .hint("name the directory of a copy: `marque log export DIR` fills one")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file(copy, &error)),
    }
}

/// What a copy's checkpoint states. TRUST: none; `verify` looks at its signatures.
pub(crate) fn stated(log: &Path) -> Result<Checkpoint, Failure> {
    let there = Earlier::there(log)?.map(|there| there.checkpoint);
    there.ok_or_else(|| Failure::new(Code::NotFound, format!("{} holds no checkpoint", log.display())))
}

fn info(log: &Path) -> Result<Answer, Failure> {
    let stated = stated(log)?;
    let files = marque_ledger::Directory::new(log);
    let bundle = files.read(layout::BUNDLE, 64 * 1024).ok().flatten();
    let pin = bundle.map(|bytes| fingerprint(&String::from_utf8_lossy(&bytes)).to_string()).unwrap_or_default();
    let text = facts(&[
        ("log", stated.origin.clone()),
        ("leaves", stated.size.to_string()),
        ("root", stated.root.to_base64()),
        ("bundle", pin.clone()),
        ("verified", "no: `marque log verify` does".to_owned()),
    ]);
    let data = json!({ "origin": stated.origin, "leaves": stated.size, "root": stated.root.to_base64(), "bundle": pin, "verified": false });
    Ok(Answer::yes(data, text))
}
