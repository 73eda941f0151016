//! `marque audit replay`: which past actions would have been decided otherwise, at another time, under another policy,
//! without a token; or, with none of these, which decisions the log does not bear out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use marque_identity::{UnixMillis, UnixSeconds};
use marque_judgement::hindsight::{Hindsaid, Hindsight, Policy, WhatIf};
use marque_judgement::record::{Body, Verb};
use serde::Serialize;
use serde_json::json;

use super::copy::{CopyArgs, LogCopy};
use crate::audit::explanation::short_did;
use crate::cli::Common;
use crate::inspect::{read_bounded, token_digest};
use crate::output::{Answer, Output, facts, table};
use crate::{Exit, Failure, time};

/// A policy is a narrowing: at most 8 KiB as a directive; somebody who thinks may write more.
const POLICY_BYTES_MAX: usize = 256 * 1024;
/// Rows that people are shown; JSON has them all.
const ROWS_SHOWN: usize = 50;

/// What if.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Decided at this moment: RFC 3339, or Unix seconds. Expiry and directives as of then.
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    at: Option<UnixSeconds>,
    /// Under this narrowing on top: `{"tools": {"<tool or *>": {"<argument>": {"constraint_type": …}}}}`; `-` for stdin.
    #[arg(long, value_name = "FILE")]
    with_policy: Option<PathBuf>,
    /// Had this token never been: its digest, itself, or its chain (the leaf is meant).
    #[arg(long, value_name = "TOKEN")]
    without: Option<String>,
    #[command(flatten)]
    copy: CopyArgs,
}

/// A decision that would be another.
#[derive(Debug, Serialize)]
struct Other {
    leaf: u64,
    stored_ms: i64,
    record: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    /// What was decided.
    was: &'static str,
    /// What would be.
    would_be: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    directive: Option<String>,
}

/// Judges all again. Exit code 1 where a decision would be another.
pub(crate) async fn run(args: &ReplayArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let policy = args.with_policy.as_deref().map(read_policy).transpose()?;
    let without = args.without.as_deref().map(token_digest).transpose()?;
    let at = args.at.map(|at| UnixMillis(at.0.saturating_mul(1000)));
    let what_if = WhatIf { at, policy: policy.as_ref(), without };
    let copy = LogCopy::open(&args.copy, common, out).await?;
    let mut hindsight = Hindsight::new(copy.bundle());
    copy.read(|leaf| {
        hindsight.learn(&leaf.record, leaf.stored_ms);
        Ok(())
    })?;
    let (mut judged, mut others, mut unknown) = (0u64, Vec::new(), BTreeMap::<String, u64>::new());
    copy.read(|leaf| {
        let Body::Decided(decided) = &leaf.record.body else { return Ok(()) };
        let said = hindsight.judge(&leaf.record, &what_if);
        if let Hindsaid::Unknown(why) = said {
            *unknown.entry(why).or_default() += 1;
            return Ok(());
        }
        judged += 1;
        if said.differs(decided) {
            let mut other = Other {
                leaf: leaf.leaf,
                stored_ms: leaf.stored_ms,
                record: leaf.record.id.clone(),
                agent: leaf.record.agent.map(|agent| agent.to_string()),
                tool: leaf.record.tool.clone(),
                was: decided.decision.as_str(),
                would_be: if said == Hindsaid::Permit { Verb::Permit } else { Verb::Deny }.as_str(),
                step: None,
                code: None,
                message: None,
                directive: None,
            };
            if let Hindsaid::Deny(refusal, directive) = said {
                (other.step, other.code) = (Some(refusal.step), Some(refusal.code.to_string()));
                (other.message, other.directive) = (Some(refusal.message), directive);
            }
            others.push(other);
        }
        Ok(())
    })?;
    let exit = if others.is_empty() { Exit::Yes } else { Exit::No };
    let text = text(judged, &others, &unknown);
    let data = json!({
        "tree_size": copy.size(), "judged": judged, "same": judged - others.len() as u64, "otherwise": others,
        "not_judged": unknown,
    });
    Ok(Answer::yes(data, text).exit(exit))
}

fn read_policy(file: &std::path::Path) -> Result<Policy, Failure> {
    let bytes = read_bounded(&file.display().to_string(), POLICY_BYTES_MAX)?;
    let value: serde_json::Value = marque_json::from_slice(&bytes, marque_json::Limits::DEFAULT)
        .map_err(|error| Failure::usage(format!("{} is no JSON: {error}", file.display())))?;
    Policy::parse(&value).map_err(|error| Failure::usage(format!("{} is no policy: {error}", file.display())))
}

fn text(judged: u64, others: &[Other], unknown: &BTreeMap<String, u64>) -> String {
    let not_judged: Vec<String> = unknown.iter().map(|(why, count)| format!("{count}: {why}")).collect();
    let mut text = facts(&[
        ("judged again", judged.to_string()),
        ("otherwise", others.len().to_string()),
        ("not judged", if not_judged.is_empty() { "none".into() } else { not_judged.join("; ") }),
    ]);
    let rows: Vec<Vec<String>> = others
        .iter()
        .take(ROWS_SHOWN)
        .map(|other| {
            let why = match (&other.step, &other.message) {
                (Some(step), Some(message)) => format!("step {step}: {message}"),
                (_, _) => "nothing denies it".into(),
            };
            vec![
                other.leaf.to_string(),
                time::utc_millis(UnixMillis(other.stored_ms)),
                format!("{} → {}", other.was, other.would_be),
                other.agent.as_deref().map_or_else(|| "-".into(), short_did),
                other.tool.clone().unwrap_or_else(|| "-".into()),
                why,
            ]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str("\n\n");
        text.push_str(&table(&["leaf", "time", "decision", "agent", "tool", "why"], &rows));
    }
    if others.len() > ROWS_SHOWN {
        text.push_str(&format!("\n… and {} more: -j has them all", others.len() - ROWS_SHOWN));
    }
    text
}
