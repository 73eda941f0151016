//! How many places at the broker each agent has taken.

use std::collections::HashMap;

use marque_identity::Did;

/// A count for each agent that has any.
#[derive(Debug, Default)]
pub(super) struct Taken(HashMap<Did, usize>);

impl Taken {
    /// How many this agent has.
    pub(super) fn by(&self, agent: &Did) -> usize {
        self.0.get(agent).copied().unwrap_or(0)
    }

    /// One more.
    pub(super) fn take(&mut self, agent: Did) {
        let count = self.0.entry(agent).or_default();
        *count = count.saturating_add(1);
    }

    /// One less.
    pub(super) fn free(&mut self, agent: &Did) {
        if let Some(count) = self.0.get_mut(agent) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(agent);
            }
        }
    }

    /// Agents that have any.
    #[cfg(test)]
    pub(super) fn agents(&self) -> usize {
        self.0.len()
    }
}
