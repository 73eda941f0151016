//! `marque verify`: presentations judged by AAT §8 steps 1 to 8, one JSON line each.

use std::path::PathBuf;

use clap::Args;
use marque_judgement::plumbing;
use serde_json::{Value, json};

use crate::Failure;
use crate::lines::{LineAnswer, answer_stdout};
use crate::output::Answer;

/// Where the questions are.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Read questions from stdin, one JSON object on each line.
    #[arg(long, required_unless_present = "file")]
    stdin: bool,
    /// Or from a file.
    #[arg(conflicts_with = "stdin")]
    file: Option<PathBuf>,
}

/// Answers each line on stdout. Exit code 0 where every answer is a permit, 1 otherwise.
pub(crate) fn run(args: &VerifyArgs) -> Result<Answer, Failure> {
    answer_stdout(args.file.as_deref(), answer, refuse)
}

fn answer(line: &[u8]) -> LineAnswer {
    let text = plumbing::answer(line);
    let yes = text.starts_with(r#"{"decision":"permit""#);
    LineAnswer { text, yes }
}

fn refuse(failure: Failure) -> LineAnswer {
    let text = json!({ "decision": "deny", "code": failure.code, "step": Value::Null, "message": failure.message,
                       "blame": failure.blame });
    LineAnswer { text: text.to_string(), yes: false }
}
