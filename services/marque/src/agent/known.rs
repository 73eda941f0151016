//! `marque agent info AGENT`: what the log knows of one agent.

use marque_identity::Did;
use serde_json::Value;

use super::stock::{self, Question, Stock, ago, due, who, word, words};
use crate::Failure;
use crate::cli::Common;
use crate::output::{Answer, Output, facts, table};

/// Credentials that are fetched: the newest.
const CREDENTIALS_MAX: usize = 100;

/// Looks it up.
pub(super) async fn run(agent: Did, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let question = Question { view: "info", agent: Some(agent), limit: Some(CREDENTIALS_MAX), ..Question::default() };
    let stock = stock::all(common, question, "credentials", CREDENTIALS_MAX).await?;
    if stock.cut {
        out.talk(format!("only the newest {CREDENTIALS_MAX} credentials are shown"));
    }
    let text = in_words(&stock);
    Ok(Answer::yes(stock.answer, text))
}

fn in_words(stock: &Stock) -> String {
    let at_ms = stock.at_ms;
    let none = Value::Null;
    let row = stock.rows("agents").next().unwrap_or(&none);
    let mut parts = vec![facts(&[
        ("agent", word(row, "agent")),
        ("blueprint", word(row, "blueprint")),
        ("sponsor", word(row, "sponsor")),
        ("directive", word(row, "standing")),
        ("last used", ago(row, "last_used_ms", at_ms)),
        ("actions", format!("{} permitted, {} denied", word(row, "permitted"), word(row, "denied"))),
        ("chain ends", head(row)),
    ])];
    let credentials: Vec<Vec<String>> = stock.rows("credentials").map(|row| credential(row, at_ms)).collect();
    if !credentials.is_empty() {
        let heading = ["token", "kind", "from", "task", "tools", "used", "expires", "directive"];
        parts.push(table(&heading, &credentials));
    }
    let connections: Vec<Vec<String>> = stock.rows("connections").map(|row| connection(row, at_ms)).collect();
    if !connections.is_empty() {
        parts.push(table(&["connection", "showed", "since", "state", "sent"], &connections));
    }
    let findings: Vec<Vec<String>> = stock
        .rows("findings")
        .map(|row| ["severity", "kind", "message"].map(|name| word(row, name)).to_vec())
        .collect();
    if !findings.is_empty() {
        parts.push(table(&["severity", "finding", "what"], &findings));
    }
    parts.join("\n\n")
}

fn head(row: &Value) -> String {
    let at = |name: &str| row.get(name).map(|head| (word(head, "seq"), word(head, "leaf")));
    match (at("head"), at("stated")) {
        (Some((seq, leaf)), Some((stated, record))) => {
            format!("action {seq} at leaf {leaf}; the sink stated {stated} at leaf {record}")
        }
        (Some((seq, leaf)), None) => format!("action {seq} at leaf {leaf}; not stated yet"),
        (None, _) => "no action yet".to_owned(),
    }
}

fn credential(row: &Value, at_ms: i64) -> Vec<String> {
    let token = word(row, "token");
    let unused = words(row, "unused").len();
    vec![
        token.chars().take(12).collect(),
        word(row, "kind"),
        who(row, "delegated_by"),
        word(row, "task"),
        format!("{} ({unused} unused)", word(row, "tool_count")),
        ago(row, "last_used_ms", at_ms),
        due(row, "expires_at", at_ms),
        word(row, "standing"),
    ]
}

fn connection(row: &Value, at_ms: i64) -> Vec<String> {
    let is = |name: &str| row.get(name).is_some_and(|mark| !mark.is_null());
    let state = match (row.get("open").and_then(Value::as_bool), is("kicked"), is("ended")) {
        (Some(true), _, _) => "open",
        (_, true, _) => "closed by us",
        (_, false, true) => "ended",
        (_, false, false) => "expired",
    };
    let since = row.get("since").unwrap_or(&Value::Null);
    vec![
        word(row, "connection"),
        word(row, "shown"),
        ago(since, "ms", at_ms),
        state.to_owned(),
        word(row, "messages_sent"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_of_another_shape_is_no_panic() {
        for answer in [json!(null), json!([]), json!({ "agents": 3, "credentials": [1], "connections": [null] })] {
            let _ = in_words(&Stock { answer, at_ms: 0, cut: false });
        }
    }
}
