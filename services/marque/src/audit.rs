//! `marque audit`: what the log knows.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_identity::{Did, TaskId, UnixMillis, UnixSeconds};
use marque_json::Limits;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::inspect::token_digest;
use crate::output::{Answer, Output, table};
use crate::{Failure, call_failure, time};

/// How long the sink may search.
pub(crate) const ASK_TIME: Duration = Duration::from_secs(10);

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
    #[arg(long)]
    kind: Option<String>,
    /// Not before: RFC 3339, or Unix seconds.
    #[arg(long, value_parser = time::moment)]
    since: Option<UnixSeconds>,
    /// Before: RFC 3339, or Unix seconds.
    #[arg(long, value_parser = time::moment)]
    until: Option<UnixSeconds>,
    /// At most this many, the newest.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// Permits or denials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecisionArg {
    /// Permits.
    Permit,
    /// Denials.
    Deny,
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
    pub since_ms: Option<i64>,
    /// Before, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// At most this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks.
pub(crate) async fn run(verb: &AuditVerb, common: &Common, _out: &Output) -> Result<Answer, Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque audit").await?;
    let timeout = common.connection.timeout.max(ASK_TIME);
    match verb {
        AuditVerb::Query(args) => {
            let records = query(&bus, &args.question()?, timeout).await?;
            let rows: Vec<Vec<String>> = records.iter().map(row).collect();
            let text = table(&["time", "kind", "decision", "code", "tool", "agent", "record"], &rows);
            Ok(Answer::yes(records, text))
        }
        AuditVerb::Explain { record } => {
            let explained = explain(&bus, record, timeout).await?;
            let text = in_full(&explained);
            Ok(Answer::yes(explained, text))
        }
        AuditVerb::Proof { record } => {
            let proof = ask(&bus, subjects::AUDIT_PROOF, &json!({ "record": record }), timeout).await?;
            let text = serde_json::to_string_pretty(&proof).unwrap_or_default();
            Ok(Answer::yes(proof, text))
        }
    }
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
                DecisionArg::Permit => "permit".to_owned(),
                DecisionArg::Deny => "deny".to_owned(),
            }),
            kind: self.kind.clone(),
            since_ms: self.since.map(millis),
            until_ms: self.until.map(millis),
            limit: Some(self.limit),
        })
    }
}

async fn ask(bus: &Bus, subject: &str, question: &impl Serialize, timeout: Duration) -> Result<Value, Failure> {
    let payload = serde_json::to_vec(question).unwrap_or_default();
    let reply = bus.request(subject, Default::default(), payload, timeout).await.map_err(call_failure)?;
    Ok(marque_json::from_slice(&reply.payload, Limits::DEFAULT)?)
}

/// The records that a question finds.
pub(crate) async fn query(bus: &Bus, question: &Query, timeout: Duration) -> Result<Vec<Value>, Failure> {
    let reply = ask(bus, subjects::AUDIT_QUERY, question, timeout).await?;
    Ok(reply.get("records").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// What led to one decision.
pub(crate) async fn explain(bus: &Bus, record: &str, timeout: Duration) -> Result<Value, Failure> {
    ask(bus, subjects::AUDIT_EXPLAIN, &json!({ "record": record }), timeout).await
}

/// A member of a record, wherever the sink has put the record itself.
fn member<'a>(found: &'a Value, name: &str) -> Option<&'a Value> {
    found.get(name).or_else(|| found.get("record")?.get(name))
}

fn word(found: &Value, name: &str) -> String {
    match member(found, name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn row(found: &Value) -> Vec<String> {
    let at = member(found, "iat_ms").and_then(Value::as_i64).map(|ms| time::utc_millis(UnixMillis(ms)));
    let agent = word(found, "agent");
    let agent = agent.rsplit(':').next().unwrap_or(&agent).chars().take(16).collect();
    let words = |name: &str| word(found, name);
    vec![at.unwrap_or_default(), words("kind"), words("decision"), words("code"), words("tool"), agent, words("id")]
}

/// An explanation in one line.
pub(crate) fn in_short(explained: &Value) -> String {
    explained.to_string()
}

/// An explanation for a person.
fn in_full(explained: &Value) -> String {
    serde_json::to_string_pretty(explained).unwrap_or_default()
}
