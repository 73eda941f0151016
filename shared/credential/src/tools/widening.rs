//! Where a child grants more than its parent.

use marque_identity::refusal::quoted;

/// A child's grant that its parent's does not cover. Source: AAT §8 step 4p.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool {tool}{}: {reason}", argument.as_ref().map(|a| format!(", argument {a}")).unwrap_or_default())]
pub struct Widening {
    /// `"4p1"` to `"4p4"`.
    pub step: &'static str,
    /// The tool, quoted.
    pub tool: String,
    /// The argument, quoted, where it is one that widens.
    pub argument: Option<String>,
    /// The rule.
    pub reason: &'static str,
}

impl Widening {
    pub(super) fn at(step: &'static str, tool: &str, argument: Option<&str>, reason: &'static str) -> Self {
        Self { step, tool: quoted(tool), argument: argument.map(quoted), reason }
    }
}
