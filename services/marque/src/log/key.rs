//! `marque log key`: the keys that a log's checkpoints are signed by, as `--key` takes them. Out of the trust bundle: it is
//! offline, and what a sink says of itself plays no part.

use std::path::PathBuf;

use clap::Args;
use marque_identity::Digest;
use marque_ledger::epoch::EPOCHS_MAX;
use serde_json::json;

use crate::Failure;
use crate::cli::Common;
use crate::output::Answer;
use crate::trust::{log_keys, open};

/// Of which log.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// File with the trust bundle; the default is the bootstrap directory's.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The bundle's fingerprint.
    #[arg(long, value_name = "DIGEST", requires = "bundle")]
    pin: Option<Digest>,
    /// The log's epoch, where its operator has begun another: the key is the same, its name is not.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=EPOCHS_MAX))]
    epoch: u64,
}

/// Prints them, one for each sink.
pub(super) fn run(args: &KeyArgs, common: &Common) -> Result<Answer, Failure> {
    let bundle = match &args.bundle {
        Some(file) => open(file, args.pin)?,
        None => common.connection.directory()?.bundle()?,
    };
    let keys: Vec<String> = log_keys(&bundle, args.epoch)?.iter().map(ToString::to_string).collect();
    Ok(Answer::yes(json!({ "trust_domain": bundle.trust_domain, "epoch": args.epoch, "keys": keys }), keys.join("\n")))
}
