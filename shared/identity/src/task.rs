//! The task for which a commission is given.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A task's URN is an index key of the log: short by rule.
const TASK_BYTES_MAX: usize = 256;

/// A task, a URN (RFC 8141) such as `urn:task:quarter-report-7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// A text that is no task URN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task is a URN: `urn:<namespace>:<name>`, printable ASCII, at most {TASK_BYTES_MAX} bytes")]
pub struct TaskIdError;

impl TaskId {
    /// The URN.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = TaskIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let urn = parts.next().is_some_and(|p| p.eq_ignore_ascii_case("urn"));
        let namespace =
            parts.next().is_some_and(|p| !p.is_empty() && p.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'));
        let specific = parts.next().is_some_and(|p| !p.is_empty() && p.bytes().all(|c| c.is_ascii_graphic()));
        if text.len() > TASK_BYTES_MAX || !urn || !namespace || !specific {
            return Err(TaskIdError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TaskId {
    type Error = TaskIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(task: TaskId) -> Self {
        task.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
