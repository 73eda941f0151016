//! Who is connected, for operators.

use marque_bus::Reply;
use marque_bus::service::Request;
use marque_identity::{Code, Did, Refusal, TaskId};
use marque_json::Limits;
use marque_judgement::record::{Connection, Shown};
use serde::{Deserialize, Serialize};

use crate::registry::Registry;

/// A question is one word.
pub(crate) const QUESTION_BYTES_MAX: usize = 1024;
/// Connections in one answer: some 300 bytes each, within the broker's 64 KiB.
const ANSWER_CONNECTIONS_MAX: usize = 128;

/// Which connections; nothing: all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Of this agent alone.
    #[serde(default)]
    agent: Option<Did>,
}

#[derive(Debug, Serialize)]
struct Answer {
    /// How many there are that were asked for.
    count: usize,
    /// The first of them.
    connections: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    connection: Connection,
    agent: Did,
    shown: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<marque_identity::UnixSeconds>,
    narrowed_by: Vec<String>,
}

/// Reads a question: of which agent alone, or of all.
pub fn asked(payload: &[u8]) -> Result<Option<Did>, Refusal> {
    let question: Question = match payload.is_empty() {
        true => Question::default(),
        false => marque_json::from_slice(payload, Limits::bytes(QUESTION_BYTES_MAX))
            .map_err(|error| Refusal::new(Code::Malformed, error.to_string()))?,
    };
    Ok(question.agent)
}

/// Answers `{count, connections: [...]}`, in the order of server and number.
pub(crate) fn answer(registry: &Registry, request: &Request) -> Result<Reply, Refusal> {
    let only = asked(&request.payload)?;
    let mut entries: Vec<Entry> = {
        let connections = registry.locked();
        let asked = connections.iter().filter(|(_, held)| only.is_none_or(|agent| agent == held.standing.agent));
        asked
            .map(|(connection, held)| Entry {
                connection: connection.clone(),
                agent: held.standing.agent,
                shown: held.standing.shown,
                task: held.standing.task.clone(),
                expires_at: held.standing.expires_at,
                narrowed_by: held.narrowings.iter().map(ToString::to_string).collect(),
            })
            .collect()
    };
    entries.sort_by(|a, b| a.connection.cmp(&b.connection));
    let count = entries.len();
    entries.truncate(ANSWER_CONNECTIONS_MAX);
    let answer = serde_json::to_vec(&Answer { count, connections: entries });
    answer.map(Reply::from).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}
