//! One case: what is presented, where, and the verdict that must come.

use serde_json::Value;

use super::token::{NOW, Token};

/// Where a case comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The draft's own index, `J.…`.
    Draft,
    /// A step of AAT §8.
    Step,
    /// An ordered pair of constraint types.
    Pair,
    /// Our extension constraints and limits.
    Extension,
}

/// What must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Permit.
    Permit,
    /// Deny, at this step, with this code.
    Deny(&'static str, &'static str),
}

/// What the enforcement point demands beyond the algorithm.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `aat_aud` must be present.
    pub require_pop_aud: bool,
    /// Some token must carry `aud`.
    pub require_chain_aud: bool,
    /// The nonce it issued.
    pub nonce: Option<&'static str>,
    /// The proof was accepted before (step 7i); no member of the draft's own.
    pub accepted_before: bool,
}

impl Policy {
    /// Nothing demanded.
    pub fn none() -> Self {
        Self::default()
    }

    /// `aat_aud` demanded.
    pub fn proof_audience() -> Self {
        Self { require_pop_aud: true, ..Self::default() }
    }

    /// `aud` demanded.
    pub fn chain_audience() -> Self {
        Self { require_chain_aud: true, ..Self::default() }
    }

    /// This nonce demanded.
    pub fn nonce(nonce: &'static str) -> Self {
        Self { nonce: Some(nonce), ..Self::default() }
    }
}

/// One vector.
#[derive(Debug, Clone)]
pub struct Case {
    /// Stable name; the draft's own where it is the draft's case.
    pub id: String,
    /// The rest of the file name, empty where the id says it all.
    pub slug: String,
    /// One line.
    pub title: String,
    /// Source of the case.
    pub group: Group,
    /// The tool called.
    pub tool: String,
    /// The arguments, possibly with raw parts.
    pub args: Value,
    /// What is demanded.
    pub policy: Policy,
    /// Root first.
    pub chain: Vec<Token>,
    /// The proof.
    pub proof: Token,
    /// The verdict.
    pub expected: Expected,
    /// When it is judged.
    pub now: i64,
    /// What of ours it hangs on, which the draft leaves open: a limit, or memory.
    pub hangs_on: Option<&'static str>,
}

impl Case {
    /// A case judged at the usual time without further demands.
    pub fn new(group: Group, id: &str, title: &str, chain: Vec<Token>, proof: Token, expected: Expected) -> Self {
        Self {
            id: id.to_owned(),
            slug: String::new(),
            title: title.to_owned(),
            group,
            tool: String::new(),
            args: Value::Null,
            policy: Policy::none(),
            chain,
            proof,
            expected,
            now: NOW,
            hangs_on: None,
        }
    }

    /// Calls a tool.
    pub fn call(mut self, tool: &str, args: &Value) -> Self {
        self.tool = tool.to_owned();
        self.args = args.clone();
        self
    }

    /// Under a policy.
    pub fn under(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// With a readable tail to its file name.
    pub fn named(mut self, slug: &str) -> Self {
        self.slug = slug.to_owned();
        self
    }

    /// Hanging on this of ours.
    pub fn ours(mut self, hangs_on: &'static str) -> Self {
        self.hangs_on = Some(hangs_on);
        self
    }

    /// The file's name, without folder and ending.
    pub fn file_stem(&self) -> String {
        if self.slug.is_empty() { self.id.clone() } else { format!("{}-{}", self.id, self.slug) }
    }

    /// The folder it lies in.
    pub fn folder(&self) -> &'static str {
        match self.expected {
            Expected::Permit => "accepted",
            Expected::Deny(..) => "rejected",
        }
    }
}
