//! `marque audit`: what the log knows.

mod check;
mod completeness;
mod erase;
pub(crate) mod explanation;
pub(crate) mod prove;
mod reveal;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_identity::{Did, TaskId, UnixMillis, UnixSeconds};
use marque_json::Limits;
use marque_judgement::record::{RecordKind, Verb};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::inspect::token_digest;
use crate::output::{Answer, Output, table};
use crate::{Failure, forensics, question_failure, time};

/// How long the sink may search.
pub(crate) const ASK_TIME: Duration = Duration::from_secs(10);
/// Rows where nobody says how many.
const LIMIT_DEFAULT: usize = 1_000;

/// What to ask.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Search records by agent, task, tool, token, decision and time.
    Query(QueryArgs),
    /// Explain one action: the delegation path, each grant, the deciding step, the stated why.
    Explain {
        /// The *decided* record's id; `marque call` and every denial name it.
        record: String,
    },
    /// A record's proof that it stands in the log.
    Proof {
        /// The record's id.
        record: String,
    },
    /// A record's proof as a file for anyone to check: C2SP tlog-proof.
    Prove(prove::ProveArgs),
    /// Check a proof's file. Needs no network.
    Check(check::CheckArgs),
    /// What the broker saw against what agents signed: silence, messages without a record, gaps, forks. Exit code 1
    /// where something is missing.
    Completeness(completeness::CompletenessArgs),
    /// What was done for a task or by an agent, in the order of the log.
    Timeline(forensics::TimelineArgs),
    /// Who handed what to whom for a task, and what each did with it: text, SVG, DOT.
    Tree(forensics::TreeArgs),
    /// Which past actions would have been decided otherwise: at a time, under a policy, without a token. With none of
    /// these: which decisions the log does not bear out. Exit code 1 where there are any.
    Replay(forensics::ReplayArgs),
    /// Forget a data subject: delete its keys, so that what erasable tools were called with is read by nobody any more.
    /// The log and every proof stand as before.
    Erase(erase::EraseArgs),
    /// Everything that rested on a token, a key or a manifest, from some leaf on.
    BlastRadius(forensics::BlastArgs),
}

/// Which records.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The agent.
    #[arg(long, value_name = "DID")]
    agent: Option<Did>,
    /// The task.
    #[arg(long, value_name = "URN")]
    task: Option<TaskId>,
    /// The tool, exactly.
    #[arg(long)]
    tool: Option<String>,
    /// A link of the chain: its digest, itself, or its chain.
    #[arg(long)]
    token: Option<String>,
    /// What was decided.
    #[arg(long, value_enum)]
    decision: Option<DecisionArg>,
    /// Kind of record: issued, decided, completed, directive, …
    #[arg(long, value_parser = kind)]
    kind: Option<RecordKind>,
    /// Not before: RFC 3339, or Unix seconds.
    #[arg(long, value_parser = time::moment)]
    since: Option<UnixSeconds>,
    /// Before: RFC 3339, or Unix seconds.
    #[arg(long, value_parser = time::moment)]
    until: Option<UnixSeconds>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = crate::cli::count)]
    limit: usize,
    /// From the oldest on, not from the newest back.
    #[arg(long)]
    oldest_first: bool,
}

/// Permits or denials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecisionArg {
    /// Permits.
    Permit,
    /// Denials.
    Deny,
}

/// A kind of record, as it is named on a command line: one that nobody writes would find nothing, for ever.
fn kind(text: &str) -> Result<RecordKind, String> {
    let known = || RecordKind::ALL.map(RecordKind::as_str).join(", ");
    text.parse().map_err(|_| format!("`{text}` is no kind of record: {}", known()))
}

/// A question to `marque.audit.query`. What is none is not asked for.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Query {
    /// The agent's DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The task's URN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// A link's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `permit` or `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The record's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Not before, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Before, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// At most this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the answer before stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<u64>,
    /// From the newest backwards.
    pub newest_first: bool,
}

/// Asks.
pub(crate) async fn run(verb: &AuditVerb, common: &Common, out: &Output) -> Result<Answer, Failure> {
    match verb {
        // Out of a copy of the log: no broker is needed.
        AuditVerb::Timeline(args) => forensics::timeline(args, common, out).await,
        AuditVerb::Tree(args) => forensics::tree(args, common, out).await,
        AuditVerb::Replay(args) => forensics::replay(args, common, out).await,
        AuditVerb::BlastRadius(args) => forensics::blast(args, common, out).await,
        AuditVerb::Erase(args) => erase::run(args, common, out).await,
        AuditVerb::Check(args) => check::run(args, common),
        // Out of the sink.
        AuditVerb::Prove(args) => {
            let (bus, timeout) = connect(common).await?;
            prove::run(args, &bus, common, timeout, out).await
        }
        AuditVerb::Completeness(args) => {
            let (bus, timeout) = connect(common).await?;
            completeness::run(args, &bus, timeout, out).await
        }
        AuditVerb::Query(args) => {
            let (bus, timeout) = connect(common).await?;
            let records = query(&bus, &args.question()?, timeout).await?;
            let rows: Vec<Vec<String>> = records.iter().map(cells).collect();
            let text = table(&["leaf", "time", "kind", "decision", "code", "tool", "agent", "record"], &rows);
            Ok(Answer::yes(records, text))
        }
        AuditVerb::Explain { record } => {
            let (bus, timeout) = connect(common).await?;
            let mut explained = explain(&bus, record, timeout).await?;
            let mut text = explanation::in_full(&explained);
            if let Some(revealed) = reveal::of(&bus, &explained).await {
                text = [text].into_iter().chain(reveal::lines(&revealed)).collect::<Vec<_>>().join("\n");
                explained["revealed"] = revealed;
            }
            Ok(Answer::yes(explained, text))
        }
        AuditVerb::Proof { record } => {
            let (bus, timeout) = connect(common).await?;
            let proof = ask(&bus, subjects::AUDIT_PROOF, &json!({ "id": record }), timeout).await?;
            let text = serde_json::to_string_pretty(&proof).unwrap_or_default();
            Ok(Answer::yes(proof, text))
        }
    }
}

/// A connection to ask the sink by, and how long it may take.
async fn connect(common: &Common) -> Result<(Bus, Duration), Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque audit").await?;
    Ok((bus, common.connection.timeout.max(ASK_TIME)))
}

impl QueryArgs {
    fn question(&self) -> Result<Query, Failure> {
        let millis = |at: UnixSeconds| at.0.saturating_mul(1000);
        Ok(Query {
            agent: self.agent.map(|agent| agent.to_string()),
            task: self.task.as_ref().map(ToString::to_string),
            tool: self.tool.clone(),
            token: self.token.as_deref().map(token_digest).transpose()?.map(|digest| digest.to_string()),
            decision: self.decision.map(|decision| match decision {
                DecisionArg::Permit => Verb::Permit.as_str().to_owned(),
                DecisionArg::Deny => Verb::Deny.as_str().to_owned(),
            }),
            kind: self.kind.map(|kind| kind.as_str().to_owned()),
            from_ms: self.since.map(millis),
            to_ms: self.until.map(millis),
            limit: Some(self.limit),
            cursor: None,
            newest_first: !self.oldest_first,
        })
    }
}

/// Asks the sink, and reads its answer.
pub(crate) async fn ask(
    bus: &Bus,
    subject: &str,
    question: &impl Serialize,
    timeout: Duration,
) -> Result<Value, Failure> {
    let payload = serde_json::to_vec(question).unwrap_or_default();
    let reply = bus.request(subject, Default::default(), payload, timeout).await.map_err(question_failure)?;
    Ok(marque_json::from_slice(&reply.payload, Limits::DEFAULT)?)
}

/// The rows that a question finds, at most as many as it asks for, page after page.
pub(crate) async fn query(bus: &Bus, question: &Query, timeout: Duration) -> Result<Vec<Value>, Failure> {
    let wanted = question.limit.unwrap_or(LIMIT_DEFAULT);
    let mut question = question.clone();
    let mut rows: Vec<Value> = Vec::new();
    while rows.len() < wanted {
        question.limit = Some(wanted - rows.len());
        let reply = ask(bus, subjects::AUDIT_QUERY, &question, timeout).await?;
        rows.extend(reply.get("records").and_then(Value::as_array).cloned().unwrap_or_default());
        match reply.get("next").and_then(Value::as_u64) {
            Some(next) if question.cursor != Some(next) => question.cursor = Some(next),
            Some(_) | None => break,
        }
    }
    rows.truncate(wanted);
    Ok(rows)
}

/// What led to one decision.
pub(crate) async fn explain(bus: &Bus, record: &str, timeout: Duration) -> Result<Value, Failure> {
    ask(bus, subjects::AUDIT_EXPLAIN, &json!({ "id": record }), timeout).await
}

/// A member of a row's record as a word; `-` where it has none.
fn word(row: &Value, name: &str) -> String {
    match row.pointer("/record").and_then(|record| record.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn cells(row: &Value) -> Vec<String> {
    let at = row.get("broker_ms").and_then(Value::as_i64).map(|ms| time::utc_millis(UnixMillis(ms)));
    let leaf = row.get("leaf").map(Value::to_string).unwrap_or_default();
    let verdict = row.get("verdict").and_then(Value::as_str).unwrap_or_default();
    let kind = if verdict == "valid" { word(row, "kind") } else { format!("({verdict})") };
    let agent = explanation::short_did(&word(row, "agent"));
    let words = |name: &str| word(row, name);
    vec![leaf, at.unwrap_or_default(), kind, words("decision"), words("code"), words("tool"), agent, words("id")]
}
