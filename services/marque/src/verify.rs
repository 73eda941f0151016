//! `marque verify`: presentations judged by AAT §8 steps 1 to 8, one JSON line each.

use std::path::PathBuf;

use clap::Args;
use marque_judgement::plumbing;
use serde_json::{Value, json};

use crate::lines::{LineAnswer, answer_each};
use crate::output::Answer;
use crate::{Exit, Failure};

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
    let stdout = std::io::stdout().lock();
    let all = match &args.file {
        None => answer_each(std::io::stdin().lock(), stdout, answer, refuse),
        Some(file) => {
            let opened = std::fs::File::open(file).map_err(|error| Failure::file(file, &error))?;
            answer_each(opened, stdout, answer, refuse)
        }
    };
    Ok(Answer::silent().exit(if pipe(all)? { Exit::Yes } else { Exit::No }))
}

fn answer(line: &[u8]) -> LineAnswer {
    let text = plumbing::answer(line);
    let yes = text.starts_with(r#"{"decision":"permit""#);
    LineAnswer { text, yes }
}

fn refuse(failure: Failure) -> LineAnswer {
    let text = json!({ "decision": "deny", "code": failure.code, "step": Value::Null, "message": failure.message });
    LineAnswer { text: text.to_string(), yes: false }
}

/// A reader that went away has seen what it wanted; any other error is the world's.
pub(crate) fn pipe(outcome: std::io::Result<bool>) -> Result<bool, Failure> {
    match outcome {
        Ok(all) => Ok(all),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(Failure::file(std::path::Path::new("stdin"), &error)),
    }
}
