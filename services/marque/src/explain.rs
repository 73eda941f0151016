//! `marque explain CODE`: the one closed list of reasons, as a manual.

use clap::Args;
use marque_identity::{Blame, Code};
use serde_json::json;

use crate::output::{Answer, Output, Paint, table};
use crate::{Exit, Failure};

/// Which reason.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A code out of an error, a record or a metric.
    #[arg(required_unless_present = "all")]
    code: Option<String>,
    /// Every code.
    #[arg(long, conflicts_with = "code")]
    all: bool,
}

/// Says what a code means, who has to act, and what to do.
pub(crate) fn run(args: &ExplainArgs, out: &Output) -> Result<Answer, Failure> {
    let Some(name) = &args.code else { return Ok(every()) };
    let code = Code::ALL
        .iter()
        .copied()
        .find(|code| code.as_str() == name.to_ascii_lowercase())
        .ok_or_else(|| unknown(name))?;
    let text = format!(
        "{}\n  why:   {}\n  blame: {}\n  exit:  {}\n  {} {}",
        out.paint(Paint::Bold, code.as_str()),
        code.why(),
        blame(code.blame()),
        Exit::of(code).code(),
        out.paint(Paint::Cyan, "hint:"),
        code.hint()
    );
    Ok(Answer::yes(entry(code), text))
}

fn every() -> Answer {
    let row = |code: &Code| vec![code.as_str().to_owned(), blame(code.blame()).to_owned(), code.why().to_owned()];
    let rows: Vec<Vec<String>> = Code::ALL.iter().map(row).collect();
    let data: Vec<_> = Code::ALL.iter().copied().map(entry).collect();
    Answer::yes(data, table(&["code", "blame", "why"], &rows))
}

fn entry(code: Code) -> serde_json::Value {
    json!({
        "code": code, "why": code.why(), "hint": code.hint(), "blame": code.blame(), "exit": Exit::of(code).code(),
    })
}

fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::Caller => "caller",
        Blame::World => "world",
        Blame::Us => "us",
    }
}

fn unknown(name: &str) -> Failure {
    let failure = Failure::new(Code::NotFound, format!("no code is called {}", marque_identity::refusal::quoted(name)));
    match nearest(name) {
        Some(near) => failure.hint(format!("`marque explain {near}`? `marque explain --all` lists every code")),
        None => failure.hint("`marque explain --all` lists every code"),
    }
}

/// The code whose text is nearest, if any is near: at most a third of its letters differ.
fn nearest(name: &str) -> Option<&'static str> {
    let name: String = name.to_ascii_lowercase().chars().take(64).collect();
    let near = Code::ALL.iter().map(|code| (distance(&name, code.as_str()), code.as_str())).min()?;
    (near.0 * 3 <= near.1.len()).then_some(near.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest_code() {
        assert_eq!(nearest("revokd"), Some("revoked"));
        assert_eq!(nearest("veiw_stale"), Some("view_stale"));
        assert_eq!(nearest("zzzzzzzzzzzz"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
