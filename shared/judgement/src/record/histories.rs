//! Each key's chain of actions, as a log's records tell it: every number once, each proof naming the one before it.
//! Source: PROTOCOL §4 (`seq`, `prev`), LOG.md rule 9.
//!
//! Fed with the log's valid records in leaf order; what is broken shows at the end, since records of actions that were
//! under way beside each other may stand in another order than their numbers. A gap, a fork or a wrong `prev` is
//! evidence about a key or about what the broker never stored: an agent can make one at will, so it is no fault of the
//! log.
//!
//! TRUST: number and predecessor of a decided action are the enforcement point's word, who checked the proof's
//! signature; it is not checked here again. Of an agent's own statement they are its word.

use std::collections::{BTreeMap, HashMap, HashSet};

use marque_identity::{Did, Digest};
use serde::{Deserialize, Serialize};

use super::{Body, Carried, KeyHead, Record};

/// A number is missing after this: actions of one key may be under way beside each other, as long as a host waits for
/// the broker (5 s), and some.
pub const SETTLED_MS: i64 = 30 * 1000;
/// Of more than so many findings only their number is told.
pub const FINDINGS_MAX: usize = 1000;

/// One record's word on chains of actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An action.
    Act(Act),
    /// An action whose number is not carried: an agent's statement that has its proof by digest alone.
    Unread,
    /// How far the sink says that chains go.
    Heads(Vec<KeyHead>),
}

/// One action: whose, which number, under which proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    agent: Did,
    seq: u64,
    prev: Option<Digest>,
    proof: Digest,
    /// The record has the proof itself, and not only its digest.
    carried: bool,
    /// The carried proof says the same as the record that carries it.
    agrees: bool,
}

impl Step {
    /// What a valid record says of chains, if anything.
    pub fn of(record: &Record) -> Option<Self> {
        match (&record.body, record.agent) {
            // The enforcement point tells `seq` only of a proof whose signature holds, and an agent only of a chain.
            (Body::Decided(decided), Some(agent)) => {
                let (seq, proof) = (decided.seq.filter(|seq| *seq > 0)?, decided.proof.as_ref()?);
                let agrees = claims(proof).is_none_or(|claims| {
                    claims.seq == Some(seq) && claims.prev == decided.prev.map(|prev| prev.to_string())
                });
                let carried = proof.compact().is_some();
                Some(Self::Act(Act { agent, seq, prev: decided.prev, proof: proof.digest(), carried, agrees }))
            }
            (Body::Requested(requested), Some(agent)) => {
                let Some(claims) = claims(&requested.proof) else { return Some(Self::Unread) };
                let seq = claims.seq.filter(|seq| *seq > 0)?;
                let prev = claims.prev.and_then(|prev| prev.parse().ok());
                let proof = requested.proof.digest();
                Some(Self::Act(Act { agent, seq, prev, proof, carried: true, agrees: true }))
            }
            (Body::Heads(heads), _) => Some(Self::Heads(heads.heads.clone())),
            (
                Body::Decided(_)
                | Body::Requested(_)
                | Body::Issued(_)
                | Body::Refused(_)
                | Body::Delegated(_)
                | Body::Completed(_)
                | Body::Directive(_)
                | Body::Receipt(_)
                | Body::Connected(_)
                | Body::Kicked(_)
                | Body::Disconnected(_)
                | Body::Risk(_)
                | Body::Erased(_),
                _,
            ) => None,
        }
    }
}

/// Which rule a chain breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenRule {
    /// Numbers that no record has, below one that a record has.
    Gap,
    /// Two proofs have one number.
    Fork,
    /// A proof does not name the one before it.
    Previous,
    /// A record says another number or predecessor than the proof in it.
    Misstated,
    /// The sink once said that the chain goes on where no record does.
    Head,
}

/// Where a key's chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The leaf that shows it.
    pub leaf: u64,
    /// Whose chain.
    pub agent: Did,
    /// The number.
    pub seq: u64,
    /// Which rule.
    pub rule: BrokenRule,
    /// One sentence.
    pub what: String,
}

/// What was seen of all chains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Chains {
    /// Keys that have acted.
    pub keys: u64,
    /// Different proofs.
    pub actions: u64,
    /// Proofs that records carry by their digest alone: the record's word on them can't be compared.
    pub by_digest_only: u64,
    /// Keys whose chain begins before the first leaf that was looked at.
    pub begun_before: u64,
    /// Gaps that are too young to be one.
    pub unsettled: u64,
    /// What is broken, in the order of leaves; at most [`FINDINGS_MAX`].
    pub findings: Vec<Broken>,
    /// How much more is broken.
    pub findings_untold: u64,
}

/// Follows the chains of all keys. A proof takes 56 bytes here.
#[derive(Debug, Default)]
pub struct Histories {
    keys: HashMap<Did, Chain>,
    by_digest_only: u64,
    newest_ms: i64,
    found: Vec<Broken>,
}

#[derive(Debug, Default)]
struct Chain {
    proofs: BTreeMap<u64, Standing>,
    /// Further proofs with a number that has one: a key can make as many as it likes, so that none is looked for in a row.
    forks: BTreeMap<u64, HashSet<Digest>>,
    /// Proofs that named another predecessor than was known when they came: looked at again at the end.
    unanswered: Vec<Link>,
    stated: Option<(KeyHead, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    proof: Digest,
    leaf: u64,
    ms: i64,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    seq: u64,
    prev: Option<Digest>,
    leaf: u64,
}

impl Histories {
    /// Takes in when the broker stored a leaf, and what its record says, if anything. Leaves come in order.
    pub fn follow(&mut self, leaf: u64, ms: i64, step: Option<Step>) {
        self.newest_ms = self.newest_ms.max(ms);
        match step {
            None => {}
            Some(Step::Act(act)) => self.act(leaf, ms, &act),
            Some(Step::Unread) => self.by_digest_only += 1,
            Some(Step::Heads(heads)) => {
                for head in heads {
                    self.keys.entry(head.agent).or_default().stated = Some((head, leaf));
                }
            }
        }
    }

    fn act(&mut self, leaf: u64, ms: i64, act: &Act) {
        self.by_digest_only += u64::from(!act.carried);
        let (agent, seq) = (act.agent, act.seq);
        let mut broken = |rule, what| self.found.push(Broken { leaf, agent, seq, rule, what });
        if !act.agrees {
            broken(BrokenRule::Misstated, format!("the record of action {seq} states what its proof does not"));
        }
        let chain = self.keys.entry(agent).or_default();
        match chain.proofs.get(&seq) {
            Some(known) if known.proof == act.proof => return,
            Some(known) => {
                let first = known.leaf;
                if !chain.forks.entry(seq).or_default().insert(act.proof) {
                    return;
                }
                broken(BrokenRule::Fork, format!("two proofs have the number {seq}; the other is in leaf {first}"));
            }
            None => {
                chain.proofs.insert(seq, Standing { proof: act.proof, leaf, ms });
            }
        }
        let link = Link { seq, prev: act.prev, leaf };
        if chain.answered(&link) != Some(true) {
            chain.unanswered.push(link);
        }
    }

    /// All that was followed. `from` is the first leaf that was looked at.
    pub fn finish(self, from: u64) -> Chains {
        let mut chains = Chains { by_digest_only: self.by_digest_only, ..Chains::default() };
        let mut found = self.found;
        for (agent, chain) in &self.keys {
            if !chain.proofs.is_empty() {
                chains.keys += 1;
            }
            chains.actions += (chain.proofs.len() + chain.forks.values().map(HashSet::len).sum::<usize>()) as u64;
            let mut broken = |leaf, seq, rule, what| found.push(Broken { leaf, agent: *agent, seq, rule, what });
            // 1. Numbers that are missing. Those before the first that was looked at may stand there.
            let mut due = 1;
            for (seq, standing) in &chain.proofs {
                let (first, last) = (due, seq - 1);
                due = seq.saturating_add(1);
                if first > last {
                    continue;
                }
                if first == 1 && from > 0 {
                    chains.begun_before += 1;
                } else if self.newest_ms.saturating_sub(standing.ms) < SETTLED_MS {
                    chains.unsettled += 1;
                } else {
                    let which = if first == last { first.to_string() } else { format!("{first} to {last}") };
                    let what = format!("no record has action {which}, and this one has {seq}");
                    broken(standing.leaf, first, BrokenRule::Gap, what);
                }
            }
            // 2. Proofs that do not name the one before them.
            for link in &chain.unanswered {
                if chain.answered(link) == Some(false) {
                    let what = match (link.seq, link.prev) {
                        (1, _) => "the first action names one before it".to_owned(),
                        (seq, None) => format!("action {seq} does not name the one before it"),
                        (seq, Some(_)) => {
                            format!("action {seq} names another proof than that of {} before it", seq - 1)
                        }
                    };
                    broken(link.leaf, link.seq, BrokenRule::Previous, what);
                }
            }
            // 3. The end, where the sink has said how far it goes.
            if let Some((head, leaf)) = &chain.stated
                && head.leaf >= from
                && !chain.has(head.seq, &head.proof)
            {
                let what = format!("the sink states action {} with a proof that no record has", head.seq);
                broken(*leaf, head.seq, BrokenRule::Head, what);
            }
        }
        found.sort_by_key(|broken| (broken.leaf, broken.seq, broken.rule));
        chains.findings_untold = found.len().saturating_sub(FINDINGS_MAX) as u64;
        found.truncate(FINDINGS_MAX);
        chains.findings = found;
        chains
    }
}

impl Chain {
    fn has(&self, seq: u64, proof: &Digest) -> bool {
        self.proofs.get(&seq).is_some_and(|known| known.proof == *proof)
            || self.forks.get(&seq).is_some_and(|forks| forks.contains(proof))
    }

    /// Whether a proof names the one before it; none while that one is not known.
    fn answered(&self, link: &Link) -> Option<bool> {
        match (link.seq, link.prev) {
            (1, prev) => Some(prev.is_none()),
            (_, None) => Some(false),
            (seq, Some(prev)) => self.proofs.contains_key(&(seq - 1)).then(|| self.has(seq - 1, &prev)),
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    seq: Option<u64>,
    prev: Option<String>,
}

/// What a carried proof says; none where it is carried by its digest.
fn claims(proof: &Carried) -> Option<Claims> {
    proof.compact()?;
    let read = proof.payload().and_then(|payload| marque_json::from_slice(&payload, marque_json::Limits::DEFAULT).ok());
    Some(read.unwrap_or(Claims { seq: None, prev: None }))
}

#[cfg(test)]
mod tests;
