//! What an enforcement point demands of a tool's callers, beyond the chain: how fresh a view, and how new a proof.

use std::time::Duration;

use marque_bus::subjects;
use marque_identity::TrustDomain;

use super::sealing::DataSubject;

/// Staleness bound of critical tools (PROTOCOL §6).
pub const STALENESS_CRITICAL: Duration = Duration::from_secs(2);
/// Staleness bound of all others: rides out the 4 to 8 s that a crashed stream leader takes (PROTOCOL §6).
pub const STALENESS_STANDARD: Duration = Duration::from_secs(15);
/// The least bound that a service takes, in milliseconds: under two heartbeats (PROTOCOL §6: one every 250 ms) a view
/// would be stale between them.
pub const STALENESS_MIN_MS: u64 = 500;
/// The largest, in milliseconds: a bound of more than a minute makes a revocation a suggestion.
pub const STALENESS_MAX_MS: u64 = 60_000;

/// The risk tier of a tool: how old a view of the directives it tolerates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Denies through a leader crash rather than act on a view older than [`STALENESS_CRITICAL`].
    Critical,
    /// [`STALENESS_STANDARD`].
    #[default]
    Standard,
}

/// A rule for the tools that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRule {
    /// A tool's name; `*` and `>` are wildcards for the tokens of a `nats:` name, as in a subscription.
    pub pattern: String,
    /// The tier; none leaves it as it is.
    pub tier: Option<Tier>,
    /// Whether a proof may be used once in the whole cluster only (PROTOCOL §3 step 12).
    pub side_effecting: bool,
}

/// What is demanded for one tool: the outcome of all matching rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// How old the view of the directives may be.
    pub staleness_bound: Duration,
    /// Whether the proof is claimed cluster-wide before a permit.
    pub side_effecting: bool,
}

/// The local policy of one enforcement point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    domain: TrustDomain,
    critical: Duration,
    standard: Duration,
    rules: Vec<ToolRule>,
    erasable: Vec<(String, DataSubject)>,
}

impl Policy {
    /// The policy without rules: every tool standard, none side-effecting.
    pub fn new(domain: TrustDomain) -> Self {
        Self {
            domain,
            critical: STALENESS_CRITICAL,
            standard: STALENESS_STANDARD,
            rules: Vec::new(),
            erasable: Vec::new(),
        }
    }

    /// The same with one rule more. Where several match, the stricter demand of each holds.
    #[must_use]
    pub fn with(mut self, rule: ToolRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// The same with erasable tools more: their arguments and reasons are kept out of the log, sealed for the data
    /// subject. Where several patterns match a tool, the first says whose data it is.
    #[must_use]
    pub fn erasing(mut self, pattern: impl Into<String>, of: DataSubject) -> Self {
        self.erasable.push((pattern.into(), of));
        self
    }

    /// The same with other staleness bounds.
    #[must_use]
    pub fn with_bounds(mut self, critical: Duration, standard: Duration) -> Self {
        (self.critical, self.standard) = (critical, standard);
        self
    }

    /// The trust domain in which tools have their audiences.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The audience of a tool served on a bus subject; none for another kind of tool.
    pub fn audience(&self, tool: &str) -> Option<String> {
        tool.strip_prefix("nats:").map(|tool_subject| self.domain.audience(tool_subject))
    }

    /// The bound of a tier.
    pub fn bound(&self, tier: Tier) -> Duration {
        match tier {
            Tier::Critical => self.critical,
            Tier::Standard => self.standard,
        }
    }

    /// Whose data the arguments of `tool` are, if it is erasable.
    pub fn erasable(&self, tool: &str) -> Option<&DataSubject> {
        self.erasable.iter().find(|(pattern, _)| matches(pattern, tool)).map(|(_, of)| of)
    }

    /// What is demanded for `tool`.
    pub fn demand(&self, tool: &str) -> Demand {
        let none = Demand { staleness_bound: self.bound(Tier::default()), side_effecting: false };
        self.rules.iter().filter(|rule| matches(&rule.pattern, tool)).fold(none, |demand, rule| Demand {
            staleness_bound: rule.tier.map_or(demand.staleness_bound, |t| demand.staleness_bound.min(self.bound(t))),
            side_effecting: demand.side_effecting || rule.side_effecting,
        })
    }
}

/// Whether a rule's pattern matches a tool's name.
fn matches(pattern: &str, tool: &str) -> bool {
    match (pattern.strip_prefix("nats:"), tool.strip_prefix("nats:")) {
        (Some(pattern), Some(subject)) => subjects::matches(pattern, subject),
        (Some(_) | None, Some(_) | None) => pattern == tool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let rule = |pattern: &str, tier, side_effecting| ToolRule { pattern: pattern.into(), tier, side_effecting };
        Policy::new("acme.example".parse().unwrap())
            .with(rule("nats:tools.pay.>", Some(Tier::Critical), true))
            .with(rule("nats:tools.*.send", None, true))
            .with(rule("read_file", Some(Tier::Critical), false))
    }

    #[test]
    fn the_strictest_matching_rule_holds() {
        let demand = |tool| {
            let demand = policy().demand(tool);
            (demand.staleness_bound, demand.side_effecting)
        };
        assert_eq!(demand("nats:tools.pay.transfer"), (STALENESS_CRITICAL, true));
        assert_eq!(demand("nats:tools.mail.send"), (STALENESS_STANDARD, true));
        assert_eq!(demand("nats:tools.pay.send"), (STALENESS_CRITICAL, true));
        assert_eq!(demand("read_file"), (STALENESS_CRITICAL, false));
        assert_eq!(demand("nats:tools.mail.read"), (STALENESS_STANDARD, false));
    }

    #[test]
    fn the_first_pattern_that_matches_says_whose_data_it_is() {
        let customer = DataSubject::Argument("customer".into());
        let policy = policy().erasing("nats:tools.crm.*", customer.clone()).erasing("nats:tools.>", DataSubject::Agent);
        assert_eq!(policy.erasable("nats:tools.crm.query"), Some(&customer));
        assert_eq!(policy.erasable("nats:tools.mail.send"), Some(&DataSubject::Agent));
        assert_eq!(policy.erasable("read_file"), None);
    }

    #[test]
    fn a_pattern_of_another_kind_of_tool_matches_nothing() {
        assert!(!matches("nats:>", "read_file"));
        assert!(!matches(">", "nats:a"));
    }
}
