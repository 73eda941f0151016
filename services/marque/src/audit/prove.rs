//! `marque audit prove`: a record's proof as a file that anyone can check offline (C2SP tlog-proof).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use marque_bus::{Bus, subjects};
use marque_identity::Code;
use marque_ledger::{
    Checkpoint, ENTRY_BYTES_MAX, Hash, PROOF_EXTENSION, TILE_WIDTH, TileId, TileKind, TlogProof, decode_bundle,
    verify_inclusion,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::Common;
use crate::output::{Answer, Output};
use crate::trust::{ledger_failure, read};
use crate::{Failure, log, stdout};

/// A checkpoint is signed each second; the sink may lag behind the stream.
const LAG_TIME: Duration = Duration::from_secs(10);
/// How often it is asked again.
const POLL_TIME: Duration = Duration::from_millis(100);

/// Of which record.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The record's id.
    #[arg(value_name = "ID", required_unless_present = "leaf")]
    record: Option<String>,
    /// Or the leaf's number, for what has no id.
    #[arg(long, conflicts_with = "record")]
    leaf: Option<u64>,
    /// File with the framed entry, where it is too large for the sink's answer and the sink's page can't be reached.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// The sink's page, `host:port`, where large entries are fetched; the default stands in the bootstrap directory.
    #[arg(long, value_name = "HOST:PORT")]
    from: Option<String>,
}

#[derive(Debug, Serialize)]
struct Question<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<u64>,
}

/// What the sink answers. TRUST: none; what is made of it is checked against the checkpoint, and that by whoever reads
/// the proof.
#[derive(Debug, Deserialize)]
struct Inclusion {
    leaf: u64,
    tree_size: u64,
    proof: Vec<String>,
    checkpoint: Option<String>,
    entry: Option<String>,
}

/// Makes it.
pub(super) async fn run(
    args: &ProveArgs,
    bus: &Bus,
    common: &Common,
    timeout: Duration,
    out: &Output,
) -> Result<Answer, Failure> {
    let asked = Question { id: args.record.as_deref(), leaf: args.leaf };
    let entry = args.entry.as_ref().map(|file| read(file, ENTRY_BYTES_MAX)).transpose()?;
    let (proof, stated) = proven(bus, common, &asked, entry, args.from.as_deref(), timeout).await?;
    let text = proof.to_string();
    if out.is_human() && stdout::is_terminal() {
        out.talk(format!("a file of this is what `marque audit check` reads: … > x.{PROOF_EXTENSION}"));
    }
    let data = json!({ "leaf": proof.index, "tree_size": stated.size, "origin": stated.origin, "proof": text });
    Ok(Answer::yes(data, text.trim_end_matches('\n')))
}

/// A leaf with its entry, which is what the checkpoint beside it covers.
pub(crate) async fn of_leaf(bus: &Bus, common: &Common, leaf: u64, timeout: Duration) -> Result<TlogProof, Failure> {
    let asked = Question { id: None, leaf: Some(leaf) };
    proven(bus, common, &asked, None, None, timeout).await.map(|(proof, _)| proof)
}

/// Asks for it, with the entry from wherever it is to be had.
async fn proven(
    bus: &Bus,
    common: &Common,
    asked: &Question<'_>,
    entry: Option<Vec<u8>>,
    from: Option<&str>,
    timeout: Duration,
) -> Result<(TlogProof, Checkpoint), Failure> {
    let answered = ask_when_covered(bus, asked, timeout).await?;
    let wrong = |what: &str| Failure::new(Code::LogInvalid, format!("the sink's answer: {what}"));
    let checkpoint = answered.checkpoint.as_ref().ok_or_else(|| wrong("no checkpoint"))?;
    let entry = match (entry, &answered.entry) {
        (Some(entry), _) => entry,
        (None, Some(base64)) => STANDARD.decode(base64).map_err(|_| wrong("the entry is not base64"))?,
        (None, None) => {
            let from = match from {
                Some(from) => from.to_owned(),
                None => common.connection.directory().and_then(|directory| directory.sink_page()).map_err(|_| {
                    Failure::usage("this entry is too large for the sink's answer")
                        .hint("name the sink's page with --from HOST:PORT, or the entry's file with --entry")
                })?,
            };
            fetched(&from, &answered).await?
        }
    };
    let hashes = answered.proof.iter().map(|hash| Hash::from_base64(hash)).collect::<Option<Vec<_>>>();
    let hashes = hashes.ok_or_else(|| wrong("a hash is not 32 bytes in base64"))?;
    let proof = TlogProof { extra: Some(entry), index: answered.leaf, hashes, checkpoint: checkpoint.clone() };
    let stated = holds(&proof)?;
    Ok((proof, stated))
}

/// A record that was just stored is under no checkpoint for a moment.
async fn ask_when_covered(bus: &Bus, asked: &Question<'_>, timeout: Duration) -> Result<Inclusion, Failure> {
    let deadline = Instant::now() + LAG_TIME;
    loop {
        match super::ask(bus, subjects::AUDIT_PROOF, asked, timeout).await {
            Err(failure) if failure.code == Code::Unavailable && Instant::now() < deadline => {
                tokio::time::sleep(POLL_TIME).await;
            }
            answered => {
                return serde_json::from_value(answered?)
                    .map_err(|error| Failure::new(Code::Malformed, format!("the sink's answer: {error}")));
            }
        }
    }
}

/// The entry out of its bundle, at the size of the proof's tree.
async fn fetched(from: &str, answered: &Inclusion) -> Result<Vec<u8>, Failure> {
    let id = TileId::covering(TileKind::Entries, answered.leaf / TILE_WIDTH, answered.tree_size);
    let id = id.ok_or_else(|| Failure::new(Code::LogInvalid, "the sink's answer: its leaf is outside its tree"))?;
    let bundle = log::fetch(from, &format!("{}?tree_size={}", id.path(), answered.tree_size)).await?;
    let entries = decode_bundle(&bundle, id.width).map_err(|error| ledger_failure(&error))?;
    let place = usize::try_from(answered.leaf % TILE_WIDTH).unwrap_or(usize::MAX);
    let entry = entries.get(place).ok_or_else(|| Failure::new(Code::LogInvalid, "the bundle has no such entry"))?;
    Ok(entry.to_vec())
}

/// Whether the proof leads to what its checkpoint states; by whom that is signed is for the reader to say.
fn holds(proof: &TlogProof) -> Result<Checkpoint, Failure> {
    let checked = || {
        let stated = Checkpoint::stated(proof.checkpoint.as_bytes())?;
        let leaf = Hash::leaf(proof.extra.as_deref().unwrap_or_default());
        verify_inclusion(proof.index, stated.size, leaf, &proof.hashes, stated.root)?;
        Ok(stated)
    };
    checked().map_err(|error| ledger_failure(&error))
}
