//! `marque agent ls`: one line for each agent that the log knows.

use clap::Args;
use marque_identity::{BlueprintName, TaskId};
use serde_json::Value;

use super::stock::{self, Question, ago, due, who, word, words};
use crate::Failure;
use crate::cli::Common;
use crate::output::{Answer, Output, table};

/// Which agents.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// With a commission for this task.
    #[arg(long, value_name = "URN")]
    task: Option<TaskId>,
    /// Of this kind.
    #[arg(long)]
    blueprint: Option<BlueprintName>,
    /// For whom this human or team answers.
    #[arg(long)]
    sponsor: Option<String>,
    /// With a credential that has neither expired nor been revoked.
    #[arg(long)]
    live: bool,
    /// With a finding: never used, wider than ever used, alike in many hands, …
    #[arg(long)]
    findings: bool,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = crate::cli::count)]
    limit: usize,
}

/// Lists.
pub(super) async fn run(args: &LsArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let question = Question {
        view: "list",
        task: args.task.as_ref().map(ToString::to_string),
        blueprint: args.blueprint.as_ref().map(|name| name.as_str().to_owned()),
        sponsor: args.sponsor.clone(),
        live: args.live,
        findings: args.findings,
        limit: Some(args.limit),
        ..Question::default()
    };
    let stock = stock::all(common, question, "agents", args.limit).await?;
    let rows: Vec<Vec<String>> = stock.rows("agents").map(|row| cells(row, stock.at_ms)).collect();
    if rows.is_empty() {
        out.talk("the log knows no such agent");
    }
    if stock.cut {
        out.talk(format!("only {} are shown: --limit shows more", rows.len()));
    }
    let text = table(
        &["agent", "blueprint", "sponsor", "task", "from", "tools", "live", "connected", "used", "expires", "findings"],
        &rows,
    );
    Ok(Answer::yes(stock.answer, text).rows("agents"))
}

fn cells(row: &Value, at_ms: i64) -> Vec<String> {
    let standing = row.get("standing").and_then(Value::as_str).map(|op| format!("{op}; ")).unwrap_or_default();
    let revoked = row.get("revoked").and_then(Value::as_u64).filter(|count| *count > 0);
    let revoked = revoked.map(|count| format!("{count} revoked; ")).unwrap_or_default();
    let from: Vec<String> = words(row, "delegated_by").iter().map(|did| super::short(did)).collect();
    vec![
        who(row, "agent"),
        word(row, "blueprint"),
        word(row, "sponsor"),
        or_dash(words(row, "tasks").join(" ")),
        or_dash(from.join(" ")),
        word(row, "tools"),
        format!("{}/{}", word(row, "live"), word(row, "credentials")),
        word(row, "connected"),
        ago(row, "last_used_ms", at_ms),
        due(row, "expires_at", at_ms),
        or_dash(format!("{standing}{revoked}{}", words(row, "findings").join(" "))),
    ]
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_revoked_is_seen_in_the_row() {
        let row =
            serde_json::json!({ "agent": "did:key:z", "live": 1, "revoked": 2, "credentials": 3, "findings": ["x"] });
        let cells = cells(&row, 0);
        assert_eq!((cells[6].as_str(), cells[10].as_str()), ("1/3", "2 revoked; x"));
        let well = super::cells(&serde_json::json!({ "live": 1, "credentials": 1 }), 0);
        assert_eq!((well[8].as_str(), well[10].as_str()), ("never", "-"));
    }
}
