//! What a directive hits, as far as the log tells. A target that nothing matches is most likely misspelt: the directive
//! would be applied everywhere, and stop nothing.
//!
//! A sub-agent that was minted offline and has not acted is not in the log, and is hit all the same.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_identity::{Code, Did};
use marque_revocation::Target;
use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::agent::stock::{Question, ROWS_MAX, pages, rows, text};
use crate::audit::ASK_TIME;
use crate::cli::Common;
use crate::output::{Output, counted};

/// What the log tells to be hit.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hits {
    /// Agents.
    agents: usize,
    /// Tokens of theirs that have not expired.
    tokens: usize,
    /// There are more: the search ended before the log did.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.more { "at least " } else { "" };
        let (agents, tokens) = (counted(self.agents as u64, "agent"), counted(self.tokens as u64, "live token"));
        write!(f, "{least}{agents} with {tokens} that the log knows")
    }
}

/// Counts what a target would hit; none, and why, where that can't be told.
pub(super) async fn count(target: &Target, common: &Common, out: &Output) -> Option<Hits> {
    match search(target, common).await {
        Ok(hits) => hits,
        Err(failure) => {
            out.talk(format!("what it would hit is not known: {}", failure.message));
            None
        }
    }
}

async fn search(target: &Target, common: &Common) -> Result<Option<Hits>, Failure> {
    let Some(question) = question(target) else { return Ok(None) };
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque directive").await?;
    let timeout = common.connection.timeout.max(ASK_TIME);
    let tokens = Question { view: "tree", agent: None, live: true, limit: Some(ROWS_MAX), ..question.clone() };
    let (answer, more) = pages(&bus, subjects::AUDIT_AGENTS, tokens, "credentials", ROWS_MAX, timeout).await?;
    let (tokens, mut agents) = hit(target, rows(&answer, "credentials"));
    // An agent without a token is hit, too.
    if matches!(target, Target::Key(_) | Target::Blueprint(_) | Target::Domain(_)) {
        let named = Question { view: "list", limit: Some(ROWS_MAX), ..question };
        match pages(&bus, subjects::AUDIT_AGENTS, named, "agents", ROWS_MAX, timeout).await {
            Ok((answer, _)) => agents.extend(dids(rows(&answer, "agents"), "agent")),
            Err(failure) if failure.code == Code::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(Some(Hits { agents: agents.len(), tokens, more }))
}

/// Whether the log knows anything of this target; none where it would not show, or could not be asked. An agent's token
/// need not be in the log before it is used.
pub(super) async fn is_seen(bus: &Bus, target: &Target, timeout: Duration) -> Option<bool> {
    if !matches!(target, Target::Key(_) | Target::Blueprint(_) | Target::Task(_)) {
        return None;
    }
    let asked = Question { limit: Some(1), ..question(target)? };
    let (view, name) = if matches!(target, Target::Task(_)) { ("tree", "credentials") } else { ("list", "agents") };
    match pages(bus, subjects::AUDIT_AGENTS, Question { view, ..asked }, name, 1, timeout).await {
        Ok((answer, _)) => Some(!rows(&answer, name).is_empty()),
        Err(failure) if failure.code == Code::NotFound => Some(false),
        Err(_) => None,
    }
}

/// The question that finds it; none for what the log's inventory does not tell.
fn question(target: &Target) -> Option<Question> {
    match target {
        Target::Token(_) | Target::Domain(_) => Some(Question::default()),
        Target::Key(did) => Some(Question { agent: Some(*did), ..Question::default() }),
        Target::Blueprint(name) => Some(Question { blueprint: Some(name.to_string()), ..Question::default() }),
        Target::Task(task) => Some(Question { task: Some(task.to_string()), ..Question::default() }),
        Target::Manifest(_) | Target::Issuer(_) => None,
    }
}

/// Of these tokens those that are hit, themselves or by what they descend from: how many, and who holds them.
fn hit(target: &Target, rows: &[Value]) -> (usize, HashSet<Did>) {
    let named = |row: &Value| match target {
        Target::Token(digest) => text(row, "token") == Some(&digest.to_string()),
        Target::Key(did) => text(row, "holder") == Some(&did.to_string()),
        // Asked for by name.
        Target::Blueprint(_) | Target::Task(_) | Target::Domain(_) => true,
        Target::Manifest(_) | Target::Issuer(_) => false,
    };
    let mut hit: HashSet<&str> = rows.iter().filter(|row| named(row)).filter_map(|row| text(row, "token")).collect();
    // Rows come by digest, not by descent: until nothing is added, at most once for each link of a chain.
    loop {
        let below = |row: &&Value| text(row, "parent").is_some_and(|parent| hit.contains(parent));
        let found: Vec<&str> = rows.iter().filter(below).filter_map(|row| text(row, "token")).collect();
        let before = hit.len();
        hit.extend(found);
        if hit.len() == before {
            break;
        }
    }
    let held = rows.iter().filter(|row| text(row, "token").is_some_and(|token| hit.contains(token)));
    (hit.len(), dids(held, "holder").collect())
}

fn dids<'v>(rows: impl IntoIterator<Item = &'v Value>, name: &str) -> impl Iterator<Item = Did> {
    rows.into_iter().filter_map(move |row| text(row, name)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_identity::Digest;
    use serde_json::json;

    #[test]
    fn a_token_and_a_key_hit_what_descends_from_them() {
        let digest = |n: u8| Digest([n; 32]);
        let did = |n: u8| Did::from_key_bytes([n; 32]);
        let row = |n: u8, parent: Option<u8>, holder: u8| json!({ "token": digest(n), "parent": parent.map(digest), "holder": did(holder).to_string() });
        // A grandchild before its parent, a sibling, and a root of its own.
        let rows = [row(3, Some(2), 13), row(1, None, 11), row(2, Some(1), 12), row(4, Some(1), 12), row(9, None, 19)];
        let count = |target: Target| {
            let (tokens, agents) = hit(&target, &rows);
            (tokens, agents.len())
        };
        assert_eq!(count(Target::Token(digest(1))), (4, 3));
        assert_eq!(count(Target::Token(digest(2))), (2, 2));
        assert_eq!(count(Target::Token(digest(7))), (0, 0));
        assert_eq!(count(Target::Key(did(12))), (3, 2));
        assert_eq!(count(Target::Domain("acme.example".parse().unwrap())), (5, 4));
    }

    #[test]
    fn says_how_many() {
        let said = |agents, tokens, more| Hits { agents, tokens, more }.to_string();
        assert_eq!(said(1, 2, false), "1 agent with 2 live tokens that the log knows");
        assert_eq!(said(0, 1, true), "at least 0 agents with 1 live token that the log knows");
    }
}
