//! What the log knows of agents: asked of the sink page by page, and written down for people.

use std::time::Duration;

use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_identity::Did;
use marque_signing::nkey;
use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::audit::explanation::short_did;
use crate::audit::{ASK_TIME, ask};
use crate::cli::Common;

/// Rows that one command fetches: what a person or a script that wants more should ask for in parts.
pub(crate) const ROWS_MAX: usize = 10_000;

/// A question to `marque.audit.agents`. What is none is not asked for.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Question {
    /// `list`, `info` or `tree`.
    pub view: &'static str,
    /// An agent's DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Did>,
    /// A task's URN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A kind of agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// What has not expired.
    pub live: bool,
    /// Who has a finding.
    pub findings: bool,
    /// At most so many in one page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the page before stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The answer to a question: its first page, with the rows of every page.
pub(crate) struct Stock {
    /// The first page, the rows of the others added.
    pub answer: Value,
    /// The sink's time, in milliseconds.
    pub at_ms: i64,
    /// There are more rows than were asked for.
    pub cut: bool,
}

impl Stock {
    /// The rows of this name.
    pub(crate) fn rows(&self, name: &str) -> impl Iterator<Item = &Value> {
        rows(&self.answer, name).iter()
    }
}

/// Asks page after page, until there is none, or `rows_max` rows of this name are there.
pub(crate) async fn all(common: &Common, question: Question, rows: &str, rows_max: usize) -> Result<Stock, Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque agent").await?;
    let timeout = common.connection.timeout.max(ASK_TIME);
    let (answer, cut) = pages(&bus, subjects::AUDIT_AGENTS, question, rows, rows_max, timeout).await?;
    let at_ms = answer.get("at_ms").and_then(Value::as_i64).unwrap_or_default();
    Ok(Stock { answer, at_ms, cut })
}

/// A question that is asked again from where its answer stopped.
pub(crate) trait Paged: Serialize {
    /// Asks for what lies beyond.
    fn go_on(&mut self, cursor: String, limit: usize);
}

impl Paged for Question {
    fn go_on(&mut self, cursor: String, limit: usize) {
        (self.cursor, self.limit) = (Some(cursor), Some(limit));
    }
}

/// The first page of an answer with the rows of the others added, and whether more are left.
pub(crate) async fn pages(
    bus: &Bus,
    subject: &str,
    mut question: impl Paged,
    rows: &str,
    rows_max: usize,
    timeout: Duration,
) -> Result<(Value, bool), Failure> {
    let mut whole = ask(bus, subject, &question, timeout).await?;
    let mut cursor = next(&mut whole);
    let mut found = taken(&mut whole, rows);
    while found.len() < rows_max
        && let Some(from) = cursor.take()
    {
        question.go_on(from.clone(), rows_max - found.len());
        let mut page = ask(bus, subject, &question, timeout).await?;
        found.extend(taken(&mut page, rows));
        // An answer that stops where it began would be asked for ever.
        cursor = next(&mut page).filter(|next| *next != from);
    }
    let cut = cursor.is_some() || found.len() > rows_max;
    found.truncate(rows_max);
    if let Some(members) = whole.as_object_mut() {
        members.insert(rows.to_owned(), Value::Array(found));
    }
    Ok((whole, cut))
}

fn next(answer: &mut Value) -> Option<String> {
    let next = answer.as_object_mut()?.remove("next")?;
    next.as_str().map(str::to_owned)
}

fn taken(answer: &mut Value, rows: &str) -> Vec<Value> {
    match answer.get_mut(rows).map(Value::take) {
        Some(Value::Array(rows)) => rows,
        Some(_) | None => Vec::new(),
    }
}

/// An agent as it is named on a command line: its DID, the key in it, or its NATS user (`U…`).
pub(crate) fn agent(text: &str) -> Result<Did, String> {
    let text = text.trim();
    let did = text.parse::<Did>().ok().or_else(|| Did::from_multibase(text).ok());
    let user = || nkey::parse_public(nkey::Kind::User, text).ok().map(|key| key.did());
    did.or_else(user).ok_or_else(|| format!("`{text}` is no agent: write did:key:z6Mk…, z6Mk… or the nkey U…"))
}

/// A row's member, where it is a text.
pub(crate) fn text<'v>(row: &'v Value, name: &str) -> Option<&'v str> {
    row.get(name).and_then(Value::as_str)
}

/// The rows of this name in an answer.
pub(crate) fn rows<'v>(answer: &'v Value, name: &str) -> &'v [Value] {
    answer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A row's member as a word for people; `-` where it has none. What came over the wire moves no cursor.
pub(crate) fn word(row: &Value, name: &str) -> String {
    match row.get(name) {
        Some(Value::String(text)) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) | None => "-".to_owned(),
    }
}

/// A row's member that is a DID, short.
pub(crate) fn who(row: &Value, name: &str) -> String {
    short_did(&word(row, name))
}

/// The members of a row's list as words.
pub(crate) fn words(row: &Value, name: &str) -> Vec<String> {
    let listed = row.get(name).and_then(Value::as_array).into_iter().flatten();
    listed.map(|entry| word(&serde_json::json!({ "entry": entry }), "entry")).collect()
}

/// How long ago, or `never`.
pub(crate) fn ago(row: &Value, name: &str, at_ms: i64) -> String {
    match row.get(name).and_then(Value::as_i64) {
        Some(ms) => format!("{} ago", span(at_ms.saturating_sub(ms))),
        None => "never".to_owned(),
    }
}

/// In how long a time in seconds comes, or how long it is over.
pub(crate) fn due(row: &Value, name: &str, at_ms: i64) -> String {
    let Some(at) = row.get(name).and_then(Value::as_i64) else { return "-".to_owned() };
    match at.saturating_mul(1000).saturating_sub(at_ms) {
        left if left > 0 => format!("in {}", span(left)),
        over => format!("{} ago", span(over.saturating_neg())),
    }
}

/// A time in its largest unit: `12s`, `3m`, `5h`, `2d`.
fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_is_named_in_three_ways() {
        let key = marque_signing::SigningKey::from_seed(&[5; 32]);
        let did = key.did();
        for text in [did.to_string(), did.multibase(), nkey::user_public(&key.public()), format!(" {did}\n")] {
            assert_eq!(agent(&text), Ok(did), "{text}");
        }
        for bad in ["", "did:web:x", "z6Mk", "UABC", "SUAB", "did:key:z6Mk", "é"] {
            assert!(agent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_words_of_any_shape() {
        let row = json!({ "at": 10_000, "end": 3_700, "name": "a\u{1b}[31mb", "list": ["x", 3, null], "odd": {} });
        assert_eq!(ago(&row, "at", 71_000), "61s ago");
        assert_eq!(ago(&row, "none", 0), "never");
        assert_eq!(due(&row, "end", 100_000), "in 60m");
        assert_eq!(due(&row, "end", i64::MAX), format!("{}d ago", (i64::MAX - 3_700_000) / 86_400_000));
        assert_eq!((word(&row, "name"), word(&row, "odd")), ("a?[31mb".to_owned(), "-".to_owned()));
        assert_eq!(words(&row, "list"), ["x", "3", "-"]);
        for odd in [json!(null), json!([1]), json!("x")] {
            assert_eq!(
                (word(&odd, "a"), ago(&odd, "a", 0), due(&odd, "a", 0)),
                ("-".into(), "never".into(), "-".into())
            );
        }
    }
}
