//! `marque audit timeline`: what was done for a task, or by an agent, in the order of the log.

use clap::Args;
use marque_identity::{Did, TaskId, UnixMillis};
use marque_judgement::record::{Body, Outcome, Record};
use serde::Serialize;

use super::copy::{CopyArgs, LogCopy};
use crate::audit::explanation::short_did;
use crate::cli::Common;
use crate::output::{Answer, Output, table};
use crate::{Failure, time};

/// Of what.
#[derive(Debug, Args)]
pub struct TimelineArgs {
    /// The task.
    #[arg(long, value_name = "URN", required_unless_present = "agent")]
    task: Option<TaskId>,
    /// The agent.
    #[arg(long, value_name = "DID")]
    agent: Option<Did>,
    #[command(flatten)]
    copy: CopyArgs,
}

/// One line of it.
#[derive(Debug, Serialize)]
struct Moment {
    leaf: u64,
    stored_ms: i64,
    kind: &'static str,
    record: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    /// What came of it: a decision, an outcome, a code.
    outcome: String,
    /// The agent's own words: claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Tells it.
pub(crate) async fn run(args: &TimelineArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let copy = LogCopy::open(&args.copy, common, out).await?;
    let mut moments = Vec::new();
    copy.read(|leaf| {
        let of_task = args.task.as_ref().is_none_or(|task| leaf.record.task.as_ref() == Some(task));
        let of_agent = args.agent.is_none_or(|agent| leaf.record.agent == Some(agent));
        if of_task && of_agent {
            moments.push(moment(leaf.leaf, leaf.stored_ms, &leaf.record));
        }
        Ok(())
    })?;
    let rows: Vec<Vec<String>> = moments
        .iter()
        .map(|moment| {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            vec![
                moment.leaf.to_string(),
                time::utc_millis(UnixMillis(moment.stored_ms)),
                moment.kind.to_owned(),
                moment.agent.as_deref().map_or_else(|| "-".into(), short_did),
                or_none(&moment.tool),
                moment.outcome.clone(),
                or_none(&moment.why),
            ]
        })
        .collect();
    let text = table(&["leaf", "time", "kind", "agent", "tool", "outcome", "why (claimed)"], &rows);
    Ok(Answer::yes(moments, text))
}

fn moment(leaf: u64, stored_ms: i64, record: &Record) -> Moment {
    let (outcome, why) = told(&record.body);
    Moment {
        leaf,
        stored_ms,
        kind: record.kind().as_str(),
        record: record.id.clone(),
        agent: record.agent.map(|agent| agent.to_string()),
        tool: record.tool.clone(),
        outcome,
        why,
    }
}

/// What came of it, and what the agent said of it.
fn told(body: &Body) -> (String, Option<String>) {
    match body {
        Body::Issued(issued) => (format!("{} for {}", issued.blueprint.as_str(), issued.sponsor.as_str()), None),
        Body::Refused(refused) => (refused.code.to_string(), None),
        Body::Delegated(delegated) => (format!("depth {}", delegated.depth), None),
        Body::Requested(_) => ("asked".into(), None),
        Body::Decided(decided) => {
            let code = decided.code.map(|code| format!(" ({code})")).unwrap_or_default();
            (format!("{}{code}", decided.decision.as_str()), decided.why.clone())
        }
        Body::Completed(completed) => {
            let how = match completed.outcome {
                Outcome::Ok => "ok",
                Outcome::Error => "error",
            };
            (format!("{how} after {} µs", completed.duration_us), None)
        }
        Body::Directive(issued) => (format!("epoch {}", issued.epoch.0), None),
        Body::Receipt(receipt) => (format!("{} of {} applied it", receipt.acked, receipt.of), None),
        Body::Connected(_) => ("let in".into(), None),
        Body::Kicked(kicked) => (kicked.code.to_string(), None),
        Body::Disconnected(ended) => (ended.reason.clone(), None),
        Body::Risk(risk) => (risk.signal.clone(), None),
        Body::Heads(heads) => (format!("{} chains", heads.heads.len()), None),
        Body::Erased(erased) => (erased.reason.clone(), None),
    }
}
