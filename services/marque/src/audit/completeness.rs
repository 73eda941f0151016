//! `marque audit completeness`: what the broker saw against what agents signed.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use marque_bus::{Bus, subjects};
use marque_identity::{Did, UnixSeconds};
use serde::Serialize;
use serde_json::Value;

use crate::agent::stock::{self, Paged, ROWS_MAX, who, word, words};
use crate::output::{Answer, Output, table};
use crate::{Exit, Failure, time};

/// Of whom, and since when.
#[derive(Debug, Args)]
pub struct CompletenessArgs {
    /// This agent alone: its DID, its key, or its NATS user.
    #[arg(long, value_parser = stock::agent)]
    agent: Option<Did>,
    /// What was stored not before: RFC 3339, or Unix seconds.
    #[arg(long, value_parser = time::moment)]
    since: Option<UnixSeconds>,
    /// At most this many findings.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

#[derive(Debug, Serialize)]
struct Question {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Did>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<i64>,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

impl Paged for Question {
    fn go_on(&mut self, cursor: String, limit: usize) {
        (self.cursor, self.limit) = (Some(cursor), limit);
    }
}

/// Asks. A no where anything is found that is more than information.
pub(super) async fn run(
    args: &CompletenessArgs,
    bus: &Bus,
    timeout: Duration,
    out: &Output,
) -> Result<Answer, Failure> {
    let limit = args.limit.min(ROWS_MAX);
    let since_ms = args.since.map(|at| at.0.saturating_mul(1000));
    let question = Question { agent: args.agent, since_ms, limit, cursor: None };
    let subject = subjects::AUDIT_COMPLETENESS;
    let (report, cut) = stock::pages(bus, subject, question, "findings", limit, timeout).await?;
    if cut {
        out.talk(format!("only {limit} findings are shown: --agent, --since or --limit show others"));
    }
    let findings: Vec<&Value> = report.get("findings").and_then(Value::as_array).into_iter().flatten().collect();
    let text = in_words(&report, &findings);
    let grave = findings.iter().any(|finding| word(finding, "severity") != "info");
    Ok(Answer::yes(&report, text).rows("findings").exit(if grave { Exit::No } else { Exit::Yes }))
}

fn in_words(report: &Value, findings: &[&Value]) -> String {
    let reach = format!("{} of {} leaves looked at", word(report, "inventory_upto"), word(report, "tree_size"));
    if findings.is_empty() {
        return format!("nothing is missing; {reach}");
    }
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let leaves = finding.get("evidence").map(|evidence| words(evidence, "leaves")).unwrap_or_default();
            vec![
                word(finding, "severity"),
                word(finding, "kind"),
                who(finding, "agent"),
                word(finding, "task"),
                leaves.join(" "),
                word(finding, "message"),
            ]
        })
        .collect();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    findings.iter().for_each(|finding| *kinds.entry(word(finding, "kind")).or_default() += 1);
    let counted: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let heading = ["severity", "finding", "agent", "task", "leaves", "what"];
    format!("{}\n\n{}; {reach}", table(&heading, &rows), counted.join(", "))
}
