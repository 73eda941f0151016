//! `marque agent tree`: who handed what to whom, drawn.

use std::collections::{BTreeMap, HashSet};

use clap::Args;
use marque_identity::{Code, TaskId};
use serde_json::Value;

use super::stock::{self, Question, ROWS_MAX, ago, due, text, who, word, words};
use crate::Failure;
use crate::cli::Common;
use crate::output::{Answer, Output, counted};

/// Links of a chain (PROTOCOL §2), and one: what lies deeper is no chain of ours.
const DEPTH_MAX: usize = 66;

/// Which delegations.
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// Under this task.
    #[arg(long, value_name = "URN")]
    task: Option<TaskId>,
    /// With those that have expired.
    #[arg(long)]
    all: bool,
}

/// Draws.
pub(super) async fn run(args: &TreeArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let task = args.task.as_ref().map(ToString::to_string);
    let question =
        Question { view: "tree", task: task.clone(), live: !args.all, limit: Some(ROWS_MAX), ..Question::default() };
    let stock = stock::all(common, question, "credentials", ROWS_MAX).await?;
    if stock.cut {
        out.talk(format!("only {ROWS_MAX} tokens are shown: --task shows those of one task"));
    }
    let rows: Vec<&Value> = stock.rows("credentials").collect();
    let which = if args.all { "token" } else { "token that has not expired" };
    match task {
        Some(task) if rows.is_empty() => {
            let hint = "compare the task's name with `marque agent ls`; --all shows what has expired, too";
            return Err(Failure::new(Code::NotFound, format!("the log knows no {which} for {task}")).hint(hint));
        }
        None if rows.is_empty() => out.talk(format!("the log knows no {which}; --all shows those that have")),
        Some(_) | None => {}
    }
    let text = draw(&rows, stock.at_ms);
    Ok(Answer::yes(stock.answer, text).rows("credentials"))
}

/// One line for each token, under the token that it was derived from; those without one that is shown come first to
/// last as they were issued.
fn draw(rows: &[&Value], at_ms: i64) -> String {
    let tokens: HashSet<&str> = rows.iter().filter_map(|row| text(row, "token")).collect();
    let mut below: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let mut roots = Vec::new();
    for row in rows {
        match text(row, "parent").filter(|parent| tokens.contains(parent)) {
            Some(parent) => below.entry(parent).or_default().push(row),
            None => roots.push(*row),
        }
    }
    let order = |row: &&Value| (row.get("since_ms").and_then(Value::as_i64), text(row, "token").map(str::to_owned));
    roots.sort_by_key(order);
    below.values_mut().for_each(|children| children.sort_by_key(order));
    let mut drawing = Drawing { below, at_ms, lines: Vec::new(), drawn: HashSet::new() };
    for root in roots {
        drawing.lines.push(root_line(root, at_ms));
        drawing.children(root, "", 1);
    }
    drawing.lines.join("\n")
}

struct Drawing<'v> {
    below: BTreeMap<&'v str, Vec<&'v Value>>,
    at_ms: i64,
    lines: Vec<String>,
    drawn: HashSet<&'v str>,
}

impl<'v> Drawing<'v> {
    fn children(&mut self, row: &'v Value, indent: &str, depth: usize) {
        let Some(token) = text(row, "token").filter(|_| depth < DEPTH_MAX) else { return };
        if !self.drawn.insert(token) {
            return;
        }
        let children = self.below.get(token).cloned().unwrap_or_default();
        for (place, child) in children.iter().enumerate() {
            let last = place + 1 == children.len();
            let (branch, beyond) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.lines.push(format!("{indent}{branch}{}", line(child, self.at_ms)));
            self.children(child, &format!("{indent}{beyond}"), depth + 1);
        }
    }
}

/// A root: who answers for it, what kind of agent holds it, for which task.
fn root_line(row: &Value, at_ms: i64) -> String {
    let parent = text(row, "parent").map(|_| "… → ").unwrap_or_default();
    let task = word(row, "task");
    format!("{} → {parent}{}  {task}", word(row, "sponsor"), line(row, at_ms))
}

fn line(row: &Value, at_ms: i64) -> String {
    let kind = if text(row, "kind") == Some("root") { format!(" ({})", word(row, "blueprint")) } else { String::new() };
    let tools = match row.get("tool_count").and_then(Value::as_u64) {
        Some(count) => counted(count, "tool"),
        None => "tools unknown".to_owned(),
    };
    let mut said = vec![
        format!("{}{kind}", who(row, "holder")),
        tools,
        format!("expires {}", due(row, "expires_at", at_ms)),
        match ago(row, "last_used_ms", at_ms).as_str() {
            "never" => "never used".to_owned(),
            ago => format!("used {ago}"),
        },
    ];
    if let Some(standing) = text(row, "standing") {
        said.push(standing.to_uppercase());
    }
    if row.get("published") == Some(&Value::Bool(false)) {
        said.push("UNPUBLISHED".to_owned());
    }
    if row.get("claimed") == Some(&Value::Bool(true)) {
        said.push("claimed".to_owned());
    }
    let unused = words(row, "unused").len();
    if unused > 0 && row.get("permits").and_then(Value::as_u64).is_some_and(|permits| permits > 0) {
        said.push(format!("{unused} unused"));
    }
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn draws_delegations_below_what_they_were_derived_from() {
        let row = |token: &str, parent: Option<&str>, since: i64| {
            json!({ "token": token, "parent": parent, "kind": if parent.is_none() { "root" } else { "derived" },
                    "holder": format!("did:key:z6Mk{token}{token}{token}{token}"), "sponsor": "team", "blueprint": "mailer",
                    "task": "urn:t", "tool_count": 2, "expires_at": 700, "since_ms": since, "published": true })
        };
        let rows =
            [row("ccc", Some("bbb"), 3), row("aaa", None, 1), row("ddd", Some("aaa"), 4), row("bbb", Some("aaa"), 2)];
        let rows: Vec<&Value> = rows.iter().collect();
        let drawn = draw(&rows, 100_000);
        let starts =
            ["team → z6Mk…aaaaaa (mailer), 2 tools", "├─ z6Mk…bbbbbb, 2 tools", "│  └─ z6Mk…cccccc", "└─ z6Mk…dddddd"];
        assert_eq!(drawn.lines().count(), starts.len(), "{drawn}");
        for (line, start) in drawn.lines().zip(starts) {
            assert!(line.starts_with(start), "{drawn}");
        }
        assert!(drawn.lines().all(|line| line.contains("expires in 10m, never used")), "{drawn}");
    }

    #[test]
    fn rows_of_another_shape_draw_something_and_end() {
        let circle =
            [json!({ "token": "a", "parent": "b" }), json!({ "token": "b", "parent": "a" }), json!(null), json!(3)];
        let rows: Vec<&Value> = circle.iter().collect();
        let _ = draw(&rows, 0);
        let deep: Vec<Value> = (0..500)
            .map(|at| json!({ "token": format!("{at}"), "parent": (at > 0).then(|| format!("{}", at - 1)) }))
            .collect();
        let rows: Vec<&Value> = deep.iter().collect();
        assert!(draw(&rows, 0).lines().count() <= DEPTH_MAX);
    }
}
