//! A suite file: `tools[]`, `user_tasks[] {id, prompt, calls[] {tool, args}}`, `injection_tasks[] {id, goal, calls[]}`.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

/// What a suite file may weigh, in bytes: those that there are take under 1 MiB.
const SUITE_BYTES_MAX: usize = 64 << 20;

/// A suite of user tasks and of attacks on them.
#[derive(Debug, Clone, Deserialize)]
pub struct Suite {
    /// The file's stem.
    #[serde(skip)]
    pub name: String,
    /// The tools that exist.
    pub tools: Vec<Tool>,
    /// What users ask for.
    pub user_tasks: Vec<UserTask>,
    /// What attackers want instead.
    pub injection_tasks: Vec<InjectionTask>,
}

/// A tool by name; what else the file says of it is not needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct Tool {
    /// Its name in calls.
    pub name: String,
}

/// A user's task and the calls that solve it.
#[derive(Debug, Clone, Deserialize)]
pub struct UserTask {
    /// Its name in the suite.
    pub id: String,
    /// What the user said.
    #[serde(default)]
    pub prompt: String,
    /// The calls, in order.
    pub calls: Vec<Call>,
}

/// An attacker's goal and the calls that reach it.
#[derive(Debug, Clone, Deserialize)]
pub struct InjectionTask {
    /// Its name in the suite.
    pub id: String,
    /// What the attacker wants.
    #[serde(default)]
    pub goal: String,
    /// The calls, in order; one without calls is left out of the count.
    pub calls: Vec<Call>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Call {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Map<String, Value>,
}

impl Suite {
    /// Reads a suite file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
        let limits = marque_json::Limits::bytes(SUITE_BYTES_MAX);
        let mut suite: Self = marque_json::from_slice(&bytes, limits).map_err(|error| wrong(&error))?;
        suite.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(suite)
    }

    /// The attacks that call anything.
    pub fn attacks(&self) -> impl Iterator<Item = &InjectionTask> {
        self.injection_tasks.iter().filter(|task| !task.calls.is_empty())
    }

    /// Every tool that is listed or called.
    pub fn tool_names(&self) -> BTreeSet<&str> {
        let users = self.user_tasks.iter().flat_map(|task| &task.calls);
        let attackers = self.injection_tasks.iter().flat_map(|task| &task.calls);
        self.tools
            .iter()
            .map(|tool| tool.name.as_str())
            .chain(users.chain(attackers).map(|call| call.tool.as_str()))
            .collect()
    }

    /// The bus subject on which a tool of this suite is served.
    pub fn subject(&self, tool: &str) -> String {
        format!("tools.{}.{}", subject_token(&self.name), subject_token(tool))
    }

    /// The suite's name where only letters, digits and `-` may stand.
    pub fn slug(&self) -> String {
        self.name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .collect()
    }
}

/// Any text as one token of a bus subject: letters, digits, `-` and `_` stand, each other byte becomes `=xx`.
fn subject_token(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let token: String =
        text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("={b:02x}") }).collect();
    if token.is_empty() { "=".to_owned() } else { token }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_tool_name_is_one_token_and_none_collide() {
        assert_eq!(subject_token("send_email"), "send_email");
        assert_eq!(subject_token("a.b *>"), "a=2eb=20=2a=3e");
        assert_ne!(subject_token("a=2eb"), subject_token("a.b"));
        assert_eq!(subject_token(""), "=");
    }

    #[test]
    fn attacks_without_calls_do_not_count() {
        let text = r#"{"tools":[{"name":"a","params":[]}],"user_tasks":[],
            "injection_tasks":[{"id":"i0","goal":"x","calls":[]},{"id":"i1","goal":"y","calls":[{"tool":"b","args":{}}]}]}"#;
        let suite: Suite = serde_json::from_str(text).unwrap();
        assert_eq!(suite.attacks().count(), 1);
        assert_eq!(suite.tool_names().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
