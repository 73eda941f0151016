//! What is kept of each agent, credential and connection. Every value is a function of the log's leaves alone.

use marque_identity::{Did, Digest};
use marque_judgement::record::Shown;
use serde::{Deserialize, Serialize};

use crate::tiles::is_zero;

/// Runs of missing numbers that are remembered one by one; how many are missing is exact whatever their number. An
/// agent that loses an action now and then has a handful.
pub const GAPS_MAX: usize = 32;
/// Connections of one key that ended so lately that records about them may still come: a client that reconnects has
/// two or three.
pub const CLOSED_LATELY_MAX: usize = 8;

/// Where something stands: a leaf, and the broker's time of it in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The leaf.
    pub leaf: u64,
    /// When the broker stored it.
    pub ms: i64,
}

/// Numbers `from..=to` that no record of a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first that is missing.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// The record that showed it: its number is beyond.
    pub by: Mark,
}

/// A key's chain of actions, by `seq`, which begins at 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// The highest number.
    pub highest: u64,
    /// How many different numbers there are.
    pub distinct: u64,
    /// The newest gaps, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Numbers that two proofs have.
    #[serde(default)]
    pub forks: u64,
}

impl Sequence {
    /// How many numbers below the highest no record has.
    pub fn missing(&self) -> u64 {
        self.highest.saturating_sub(self.distinct)
    }

    /// A number that was not there before.
    pub fn add(&mut self, seq: u64, by: Mark) {
        self.distinct += 1;
        if seq > self.highest {
            if seq - self.highest > 1 {
                self.gaps.push(Gap { from: self.highest + 1, to: seq - 1, by });
            }
            self.highest = seq;
        } else if let Some(at) = self.gaps.iter().position(|gap| (gap.from..=gap.to).contains(&seq)) {
            let gap = self.gaps.remove(at);
            let (below, above) = (Gap { to: seq - 1, ..gap }, Gap { from: seq.saturating_add(1), ..gap });
            let rest = [below, above].into_iter().filter(|gap| gap.from <= gap.to);
            self.gaps.splice(at..at, rest);
        }
        let beyond = self.gaps.len().saturating_sub(GAPS_MAX);
        self.gaps.drain(..beyond);
    }
}

/// The end of a key's chain of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The highest number.
    pub seq: u64,
    /// SHA-256 of its proof.
    pub proof: Digest,
    /// The leaf of its record.
    pub leaf: u64,
}

/// One agent: one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The first record about it.
    pub first: Option<Mark>,
    /// Its last signed action or connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Mark>,
    /// The kind of agent, as it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// Who answers for it, as it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// Its actions that were permitted.
    pub permitted: u64,
    /// Presentations of its chains that were denied.
    pub denied: u64,
    /// Outcomes of its actions.
    pub completed: u64,
    /// Messages that records show it to have sent: actions, statements, requests to the issuer.
    pub known: u64,
    /// Its chain of actions.
    #[serde(default)]
    pub sequence: Sequence,
    /// The chain's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The end that a sink stated last, and the leaf of that record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Head>,
    /// Its connections that ended lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<String>,
}

/// What a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An identity credential.
    Identity,
    /// A root token.
    Root,
    /// A derived token.
    Derived,
}

/// One credential, by the digest of its signing input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// What it is.
    pub kind: CredentialKind,
    /// Who holds it; unknown where it was only seen in the middle of a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Did>,
    /// Of a derived token: the token it was derived from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// How deep it is; a root is 0.
    pub depth: u64,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The kind of agent; of a derived token its root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// Who answers for it; of a derived token its root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// The *issued* or *delegated* record that brought it; none where only chains named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Mark>,
    /// The first chain that named it before any record had brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Mark>,
    /// The *delegated* record is its parent's own word, and no chain with it was verified since: what it grants may be
    /// more than its parent has.
    #[serde(default)]
    pub claimed: bool,
    /// When it expires, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// How many tools it grants; none where the log has the token's digest alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<u64>,
    /// The same grant for the same kind of agent has the same scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Digest>,
    /// Permits that rest on it, its own and its descendants'.
    pub permits: u64,
    /// Denials of chains that end in it.
    pub denials: u64,
    /// Connections by it.
    pub connects: u64,
    /// Its last permit or connection; of an identity credential also the last commission issued on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Mark>,
}

impl Credential {
    /// One that a chain names.
    pub fn unseen(kind: CredentialKind, depth: u64) -> Self {
        Self {
            kind,
            holder: None,
            parent: None,
            depth,
            task: None,
            blueprint: None,
            sponsor: None,
            published: None,
            seen: None,
            claimed: false,
            expires_at: None,
            tools: None,
            scope: None,
            permits: 0,
            denials: 0,
            connects: 0,
            last_used: None,
        }
    }

    /// Whether it may still be used at this time, by its own life alone.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.expires_at.is_some_and(|at| at.saturating_mul(1000) > now_ms)
    }
}

/// One connection at the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Whose.
    pub agent: Did,
    /// What it showed last.
    pub shown: Shown,
    /// The credential that it showed last: of a chain, the last link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Digest>,
    /// The first *connected* record of this agent on it.
    pub since: Mark,
    /// When it must end, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// Messages of the key that were known when it began.
    pub known_before: u64,
    /// Messages of other keys, which had the link before, that are known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_before: u64,
    /// And when it had ended, with those that came late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_after: Option<u64>,
    /// Its *kicked* record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kicked: Option<Mark>,
    /// Its *disconnected* record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Mark>,
    /// Messages that the broker counted from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_sent: Option<u64>,
    /// Records may have come late that could no longer be counted: too many connections ended at once.
    #[serde(default)]
    pub crowded: bool,
}

impl Connection {
    /// Whether it stands at this time: neither ended nor closed, nor beyond its life.
    pub fn is_open(&self, now_ms: i64) -> bool {
        let expired = self.expires_at.is_some_and(|at| at.saturating_mul(1000) <= now_ms);
        self.ended.is_none() && self.kicked.is_none() && !expired
    }
}

/// A permit whose outcome is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPermit {
    /// The *decided* record.
    pub id: String,
    /// When it was stored, in milliseconds.
    pub ms: i64,
    /// The tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// One number of a key with two proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The first record with the number.
    pub first: u64,
    /// The first with another proof.
    pub second: Mark,
}

/// A directive in force on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// `revoke`, `suspend` or `narrow`.
    pub op: String,
    /// Its record.
    pub by: Mark,
    /// When it ends by itself, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Mark = Mark { leaf: 0, ms: 0 };

    fn ranges(sequence: &Sequence) -> Vec<(u64, u64)> {
        sequence.gaps.iter().map(|gap| (gap.from, gap.to)).collect()
    }

    #[test]
    fn gaps_open_shrink_split_and_close() {
        let mut sequence = Sequence::default();
        for seq in [1, 2, 10] {
            sequence.add(seq, BY);
        }
        assert_eq!((ranges(&sequence), sequence.missing()), (vec![(3, 9)], 7));
        sequence.add(5, BY);
        assert_eq!(ranges(&sequence), [(3, 4), (6, 9)]);
        for seq in [3, 9, 4, 7, 6, 8] {
            sequence.add(seq, BY);
        }
        assert_eq!((ranges(&sequence), sequence.missing()), (vec![], 0));
        // One that does not begin at 1; and the largest number that can be claimed.
        let mut late = Sequence::default();
        late.add(4, BY);
        late.add(u64::MAX, BY);
        assert_eq!(ranges(&late), [(1, 3), (5, u64::MAX - 1)]);
        assert_eq!(late.missing(), u64::MAX - 2);
    }

    #[test]
    fn remembers_a_bounded_number_of_gaps_and_counts_all() {
        let mut sequence = Sequence::default();
        for seq in 1..=100_u64 {
            sequence.add(seq * 2, BY);
        }
        assert_eq!((sequence.gaps.len(), sequence.missing()), (GAPS_MAX, 100));
        assert_eq!(sequence.gaps.last().map(|gap| gap.from), Some(199));
    }
}
