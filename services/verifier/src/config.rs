//! The verifier's configuration, and the policy that it makes.

use std::collections::BTreeMap;
use std::time::Duration;

use marque_agent::enforce::{
    DataSubject, Policy, STALENESS_CRITICAL, STALENESS_MAX_MS, STALENESS_MIN_MS, STALENESS_STANDARD, Tier, ToolRule,
};
use marque_identity::TrustDomain;
use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

/// How many calls may be in hand at once; each holds its payload, 64 KiB at the most.
const REQUESTS_MAX: usize = 4096;

/// Everything that the verifier is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What every service is told.
    #[serde(flatten)]
    pub common: Common,
    /// The verifier's own section.
    pub verifier: VerifierConfig,
}

/// The section `[verifier]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifierConfig {
    /// Tools of the critical tier: names, or `nats:` patterns with `*` and `>`.
    pub critical: Vec<String>,
    /// Tools whose proofs are accepted once in the whole cluster: names, or `nats:` patterns.
    pub side_effecting: Vec<String>,
    /// Tools whose arguments and reasons are kept out of the log, so that they can be erased: names, or `nats:`
    /// patterns, each with the argument that names the data subject; empty: the agent is.
    /// Where several match, a name in its place counts before a wildcard.
    pub erasable: BTreeMap<String, String>,
    /// How old the view of the directives may be for a critical tool, milliseconds.
    pub staleness_critical_ms: u64,
    /// The same for all others.
    pub staleness_standard_ms: u64,
    /// How long the gate waits for a tool, milliseconds.
    pub tool_timeout_ms: u64,
    /// How many requests are handled at once, for each endpoint.
    pub requests_max: usize,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            critical: Vec::new(),
            side_effecting: Vec::new(),
            erasable: BTreeMap::new(),
            staleness_critical_ms: millis(STALENESS_CRITICAL),
            staleness_standard_ms: millis(STALENESS_STANDARD),
            // Below the SDK's 30 s, so that the agent hears what became of its call.
            tool_timeout_ms: 20_000,
            requests_max: 256,
        }
    }
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

impl VerifierConfig {
    /// The policy for this trust domain. Refuses bounds that would deny for ever, or never.
    pub fn policy(&self, domain: TrustDomain) -> Result<Policy, ConfigError> {
        for (key, bound) in [
            ("staleness_critical_ms", self.staleness_critical_ms),
            ("staleness_standard_ms", self.staleness_standard_ms),
        ] {
            if !(STALENESS_MIN_MS..=STALENESS_MAX_MS).contains(&bound) {
                let range = format!("{STALENESS_MIN_MS} to {STALENESS_MAX_MS}");
                return Err(ConfigError::Value(format!("`verifier.{key}` is {bound}, it must be {range}")));
            }
        }
        if self.staleness_critical_ms > self.staleness_standard_ms {
            let message = "`verifier.staleness_critical_ms` is larger than `verifier.staleness_standard_ms`";
            return Err(ConfigError::Value(message.to_owned()));
        }
        if !(1..=REQUESTS_MAX).contains(&self.requests_max) {
            return Err(ConfigError::Value(format!("`verifier.requests_max` must be 1 to {REQUESTS_MAX}")));
        }
        if self.tool_timeout_ms == 0 {
            return Err(ConfigError::Value("`verifier.tool_timeout_ms` must not be 0".to_owned()));
        }
        let bounds =
            (Duration::from_millis(self.staleness_critical_ms), Duration::from_millis(self.staleness_standard_ms));
        let rule = |pattern: &String, tier, side_effecting| ToolRule { pattern: pattern.clone(), tier, side_effecting };
        let critical = self.critical.iter().map(|pattern| rule(pattern, Some(Tier::Critical), false));
        let side_effecting = self.side_effecting.iter().map(|pattern| rule(pattern, None, true));
        let policy = Policy::new(domain).with_bounds(bounds.0, bounds.1);
        let policy = critical.chain(side_effecting).fold(policy, Policy::with);
        let of = |argument: &String| match argument.as_str() {
            "" => DataSubject::Agent,
            argument => DataSubject::Argument(argument.to_owned()),
        };
        // Backwards a name comes before a wildcard in its place.
        Ok(self.erasable.iter().rev().fold(policy, |policy, (pattern, argument)| policy.erasing(pattern, of(argument))))
    }

    /// How long the gate waits for a tool.
    pub fn tool_timeout(&self) -> Duration {
        Duration::from_millis(self.tool_timeout_ms)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TrustDomain {
        "acme.example".parse().unwrap()
    }

    #[test]
    fn lists_become_demands() {
        let config = VerifierConfig {
            critical: vec!["nats:gated.pay.>".into()],
            side_effecting: vec!["nats:gated.*.send".into()],
            erasable: [("nats:gated.crm.>", "customer"), ("nats:gated.>", "")]
                .map(|(pattern, argument)| (pattern.to_owned(), argument.to_owned()))
                .into(),
            ..VerifierConfig::default()
        };
        let policy = config.policy(domain()).unwrap();
        assert_eq!(policy.demand("nats:gated.pay.list").staleness_bound, STALENESS_CRITICAL);
        assert!(policy.demand("nats:gated.mail.send").side_effecting);
        assert_eq!(policy.demand("nats:gated.mail.read").staleness_bound, STALENESS_STANDARD);
        assert_eq!(policy.erasable("nats:gated.crm.query"), Some(&DataSubject::Argument("customer".into())));
        assert_eq!(policy.erasable("nats:gated.mail.send"), Some(&DataSubject::Agent));
        assert_eq!(policy.erasable("nats:other.mail.send"), None);
    }

    #[test]
    fn refuses_bounds_that_deny_for_ever_or_never() {
        for (critical, standard) in [(STALENESS_MIN_MS - 1, 15_000), (2_000, STALENESS_MAX_MS + 1), (3_000, 2_000)] {
            let config = VerifierConfig {
                staleness_critical_ms: critical,
                staleness_standard_ms: standard,
                ..VerifierConfig::default()
            };
            assert!(config.policy(domain()).is_err(), "{critical} {standard}");
        }
        let edge = VerifierConfig {
            staleness_critical_ms: STALENESS_MIN_MS,
            staleness_standard_ms: STALENESS_MAX_MS,
            ..VerifierConfig::default()
        };
        assert!(edge.policy(domain()).is_ok());
    }
}
