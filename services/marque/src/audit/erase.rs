//! `marque audit erase`: forget a data subject. Recorded first, then done; done again it ends the same.

use std::path::PathBuf;

use clap::Args;
use marque_bus::permissions::BusRole;
use marque_identity::Code;
use marque_judgement::record::{Body, Erased, Record, RecordKind};
use marque_judgement::sealed::subject_digest;
use marque_runtime::Clock;
use marque_signing::{base64url, random_32, sha256};
use serde_json::json;

use crate::cli::Common;
use crate::directive::ask::Who;
use crate::output::{Answer, Output, facts};
use crate::{Exit, Failure, bus_failure};

/// A reason's length, as a directive's.
const REASON_BYTES_MAX: usize = marque_revocation::REASON_BYTES_MAX;

/// Whom to forget.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The data subject, as the erasable tools' argument names it; an agent's DID where the agent is.
    subject: String,
    /// Why. It stays in the log for ever: name nobody in it.
    #[arg(long)]
    reason: String,
    /// The operator's key; the default is that of the bootstrap directory.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Say what the data subject is called; erase nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Erases.
pub(super) async fn run(args: &EraseArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let unfit = args.reason.trim().is_empty() || args.reason.chars().any(char::is_control);
    if unfit || args.reason.len() > REASON_BYTES_MAX {
        let needed = format!("--reason must say why, in at most {REASON_BYTES_MAX} bytes of one line");
        return Err(Failure::usage(needed));
    }
    let who = Who::from_flags(args.key.as_deref(), common)?;
    let subject = subject_digest(&who.domain, &args.subject);
    if args.dry_run {
        let text = format!("dry run: nothing was erased; the data subject is called {subject}");
        return Ok(Answer::yes(json!({ "dry_run": true, "subject": subject }), text));
    }
    // 1. The record. The log tells whom it was about to nobody but who is given the salt.
    let internal = |error: &dyn std::fmt::Display| Failure::new(Code::Internal, error.to_string());
    let salt = random_32().map_err(|error| internal(&error))?;
    let commitment = sha256(&[&salt[..], &subject.0].concat());
    let body = Body::Erased(Erased { commitment, reason: args.reason.clone() });
    let record = Record::new(Clock::new().unix_millis(), who.key.did(), body);
    let compact = record.seal(&who.key).map_err(|error| internal(&error))?;
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque audit erase").await?;
    bus.publish_own_record(RecordKind::Erased.as_str(), &record.by, &compact).await.map_err(bus_failure)?;
    let salt = base64url(&*salt);
    // Said before anything is erased: without it nobody could show whom the record is about.
    out.talk(format!("recorded as {}, receipt {salt}; erasing", record.id));
    // 2. The keys, and what was sealed for them.
    let erasure = bus.erase_subject(&subject).await.map_err(|error| {
        let hint = "it is recorded, but not done, or not all of it: run the same command again";
        Failure { exit: Exit::OutcomeUnknown, ..bus_failure(error).hint(hint) }
    })?;
    let text = facts(&[
        ("record", record.id.clone()),
        ("keys", erasure.keys.to_string()),
        ("payloads", erasure.payloads.to_string()),
        ("receipt", format!("{salt} (for the data subject: the record's commitment is of this and of its name)")),
    ]);
    let data = json!({
        "record": record.id, "subject": subject, "commitment": commitment, "salt": salt,
        "keys": erasure.keys, "payloads": erasure.payloads,
    });
    let done = format!("it is erased, and recorded as {}: `marque audit query --kind erased`", record.id);
    Ok(Answer::yes(data, text).changed(done))
}
