//! `marque audit check`: a proof's file, checked offline: whose checkpoint, who has seen it, what stands in the leaf.

use std::path::PathBuf;

use clap::Args;
use marque_identity::{Code, UnixMillis};
use marque_judgement::record::{Judge, RECORD_BYTES_MAX, VALID};
use marque_ledger::epoch::later_epoch;
use marque_ledger::{ENTRY_BYTES_MAX, Entry, Hash, PROOF_BYTES_MAX, TlogProof, Witnessed};
use marque_signing::jws::unverified_payload;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::output::{Answer, facts, tame};
use crate::time::{utc, utc_millis};
use crate::trust::{Trust, TrustFlags, ledger_failure, read};
use crate::{Exit, Failure};

/// A longer text is shown to people by its beginning.
const TEXT_BYTES_SHOWN: usize = 400;
const TEXT_CHARS_KEPT: usize = 60;

/// Which proof, and whom to trust.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The proof's file; `-` for stdin.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// Whom to trust.
    #[command(flatten)]
    trust: TrustFlags,
    /// File with the framed entry, for a proof that does not hold it.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
}

/// What is said of the record in the leaf.
enum Judged {
    /// Nobody said who may write.
    Not(Value),
    /// Valid, or the code of what is wrong with it.
    As(String, Value),
}

/// Checks it. Reads files, and nothing else.
pub(super) fn run(args: &CheckArgs, common: &Common) -> Result<Answer, Failure> {
    // 1. Whom to trust, the proof, and what it is about.
    let trust = args.trust.read(common, None)?;
    let proof = TlogProof::parse(&read(&args.proof, PROOF_BYTES_MAX)?).map_err(|error| ledger_failure(&error))?;
    let entry = match (&args.entry, &proof.extra) {
        (Some(file), _) => read(file, ENTRY_BYTES_MAX)?,
        (None, Some(extra)) => extra.clone(),
        (None, None) => {
            return Err(
                Failure::usage("the proof does not hold the entry that it is about").hint("name it with --entry")
            );
        }
    };
    // 2. The checkpoint's signatures, and the path from the entry to its root.
    let witnessed = proof.check(&entry, &trust.policy).map_err(|error| ledger_failure(&error))?;
    // 3. The leaf, which must be where it says that it stands.
    let leaf = Entry::decode(&entry).map_err(|error| ledger_failure(&error))?;
    // Where a later epoch begins in the stream is said by its first leaf, which a proof of another has not.
    let first_epoch = later_epoch(&witnessed.checkpoint.origin).is_none();
    if first_epoch && leaf.stream_seq.checked_sub(1) != Some(proof.index) {
        let what = format!("leaf {} holds stream sequence {}", proof.index, leaf.stream_seq);
        return Err(Failure::new(Code::LogInvalid, what));
    }
    // 4. The record.
    let judged = judged(&leaf, &trust);
    let exit = match &judged {
        Judged::As(verdict, _) if verdict != VALID => Exit::No,
        Judged::As(..) | Judged::Not(_) => Exit::Yes,
    };
    Ok(Answer::yes(data(&proof, &witnessed, &entry, &leaf, &judged), text(&proof, &witnessed, &leaf, &judged))
        .exit(exit))
}

fn judged(leaf: &Entry<'_>, trust: &Trust) -> Judged {
    // Read without trust: whoever signs a record writes what he likes, and the log keeps it.
    let read = || {
        let text = std::str::from_utf8(leaf.payload).ok()?;
        unverified_payload::<Value>(text, RECORD_BYTES_MAX).ok()
    };
    let said = read().unwrap_or(Value::Null);
    match &trust.bundle {
        None => Judged::Not(said),
        Some(bundle) => match Judge::new(bundle.clone()).judge(leaf.payload) {
            Ok(_) => Judged::As(VALID.to_owned(), said),
            Err(bad) => Judged::As(bad.verdict, said),
        },
    }
}

fn data(proof: &TlogProof, witnessed: &Witnessed, entry: &[u8], leaf: &Entry<'_>, judged: &Judged) -> Value {
    let checkpoint = &witnessed.checkpoint;
    let witnesses: Vec<Value> = witnessed.by.iter().map(|(name, at)| json!({ "witness": name, "at": at.0 })).collect();
    let (verdict, record) = match judged {
        Judged::Not(record) => (None, record),
        Judged::As(verdict, record) => (Some(verdict), record),
    };
    json!({
        "valid": verdict.is_none_or(|verdict| verdict == VALID),
        "checkpoint": { "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.to_base64() },
        "witnesses": witnesses,
        "leaf": proof.index,
        "leaf_hash": Hash::leaf(entry).to_base64(),
        "broker_ms": leaf.broker_ms(),
        "bus_subject": leaf.bus_subject,
        "verdict": verdict,
        "record": record,
    })
}

fn text(proof: &TlogProof, witnessed: &Witnessed, leaf: &Entry<'_>, judged: &Judged) -> String {
    let checkpoint = &witnessed.checkpoint;
    let seen: Vec<String> = witnessed.by.iter().map(|(name, at)| format!("{name} at {}", utc(*at))).collect();
    let (standing, record) = match judged {
        Judged::Not(record) => ("UNJUDGED: --bundle says who may write such a record".to_owned(), record),
        Judged::As(verdict, record) if verdict == VALID => {
            ("its signature holds, and its signer may say so".into(), record)
        }
        Judged::As(verdict, record) => (format!("NOT VALID: {verdict}"), record),
    };
    let said = match record {
        Value::Null => "  what stands there is no signed record".to_owned(),
        record => indented(record),
    };
    let lines = facts(&[
        ("proof", "holds: the log has this leaf".to_owned()),
        ("log", checkpoint.origin.clone()),
        ("checkpoint", format!("{} leaves, root {}", checkpoint.size, checkpoint.root)),
        ("witnesses", if seen.is_empty() { "none asked for, or none known".to_owned() } else { seen.join(", ") }),
        ("leaf", proof.index.to_string()),
        ("stored", utc_millis(UnixMillis(leaf.broker_ms()))),
        ("bus subject", tame(leaf.bus_subject)),
        ("record", standing),
    ]);
    format!("{lines}\n{said}")
}

/// JSON for people; a string's control characters are escaped in it.
fn indented(record: &Value) -> String {
    let text = serde_json::to_string_pretty(&shortened(record)).unwrap_or_default();
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A carried token is nothing for people to read.
fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_SHOWN => {
            let begin: String = text.chars().take(TEXT_CHARS_KEPT).collect();
            Value::String(format!("{begin}… ({} bytes; -j shows all)", text.len()))
        }
        Value::Array(elements) => elements.iter().map(shortened).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), shortened(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_shown_no_control_characters_and_no_whole_tokens() {
        assert_eq!(tame("marque.record\u{1b}[2J"), "marque.record\u{fffd}[2J");
        let shown =
            indented(&json!({ "proof": "a".repeat(5000), "why": "b\u{1b}[2J", "of": [{ "link": "é".repeat(900) }] }));
        assert!(shown.len() < 500 && !shown.contains('\u{1b}') && shown.contains("5000 bytes"), "{shown}");
        assert_eq!(shortened(&json!({ "n": [1, null, "short"] })), json!({ "n": [1, null, "short"] }));
    }
}
