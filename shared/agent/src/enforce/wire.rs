//! What a chain grants on the wire: the broker's permissions for its holder (PROTOCOL §5, place 3).
//!
//! The tools `nats:publish` and `nats:subscribe` with their argument `subject`, and each tool that is called over the
//! bus. Allow-lists only. A grant that could reach beyond the agents' own subjects is not given, and says why: no
//! pattern may begin with a wildcard, nor with a token that is ours or the server's. One exception: the discovery of
//! micro services, which stays within the agents' account, where `nats:publish` or `nats:subscribe` spells it out.

use std::time::Duration;

use marque_bus::callout::Responses;
use marque_bus::permissions::Allowed;
use marque_bus::subjects;
use marque_credential::{Constraint, ConstraintMap};
use marque_identity::{Did, TrustDomain};
use marque_json::Json;
use marque_judgement::{VerifiedChain, narrowings_hold};
use marque_revocation::View;
use serde::Serialize;

/// The tool that allows publishing on a subject.
pub const PUBLISH: &str = "nats:publish";
/// The tool that allows subscribing to a subject.
pub const SUBSCRIBE: &str = "nats:subscribe";
/// Their argument.
const SUBJECT: &str = "subject";
/// Tools are named after the subject that they are called on.
const TOOL_PREFIX: &str = "nats:";

/// Patterns that one chain may yield: as many as the tools of a token, twice (a tool, and its gate).
pub const PATTERNS_MAX: usize = 512;
/// A pattern's length in bytes; a tool's name has as many.
const PATTERN_BYTES_MAX: usize = 256;
/// An agent that serves answers in parts: so many for one question.
const RESPONSES: Responses = Responses { max: 4096, ttl: Duration::from_secs(300) };
/// First tokens that are ours. Agents reach what stands there only by what is imported for them.
const OURS: [&str; 3] = ["marque", "tools", "gated"];

/// First token of the discovery of micro services (ADR-32). No import carries it: agents find agents alone.
const DISCOVERY: &str = "$SRV";
/// What a micro service answers there.
const DISCOVERY_VERBS: [&str; 3] = ["PING", "INFO", "STATS"];
/// `$SRV.<verb>.<name>.<id>`.
const DISCOVERY_TOKENS_MAX: usize = 4;

/// What every agent with a credential may ask.
const ASKS_WITH_CREDENTIAL: [&str; 4] =
    [subjects::issuer::ISSUE, subjects::issuer::RENEW, subjects::issuer::BUNDLE, subjects::REVOCATION_REQUEST];
/// What whoever holds nothing but a key may ask.
const ASKS_TO_ENROL: [&str; 5] = [
    subjects::issuer::ENROL,
    subjects::issuer::BUNDLE,
    subjects::issuer::JWKS,
    subjects::issuer::DID,
    subjects::issuer::BLUEPRINTS,
];
/// The records that an agent may state itself.
const STATES: [&str; 2] = ["delegated", "requested"];

/// Which way a permission goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the bus.
    Publish,
    /// From the bus.
    Subscribe,
}

/// One permission, or one that is withheld, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// Which way.
    pub way: Way,
    /// The pattern of bus subjects.
    pub subject: String,
    /// What it comes from, or why it is withheld.
    pub why: String,
}

/// What an agent gets at the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// What it may do.
    pub given: Vec<Line>,
    /// What its chain names and it does not get.
    pub withheld: Vec<Line>,
}

impl Grant {
    /// What whoever shows nothing but a key gets: the way to enrol.
    pub fn to_enrol(agent: &Did) -> Self {
        let mut grant = Self::default();
        grant.own_inbox(agent);
        grant.asks(&ASKS_TO_ENROL, "to enrol");
        grant
    }

    /// What an identity credential gives: asking for commissions.
    pub fn of_credential(agent: &Did) -> Self {
        let mut grant = Self::default();
        grant.own_inbox(agent);
        grant.asks(&ASKS_WITH_CREDENTIAL, "a credential's holder may ask");
        grant
    }

    /// What a chain gives its leaf's holder, under the narrowings that are in force.
    pub fn of_chain(chain: &VerifiedChain, domain: &TrustDomain, view: &View) -> Self {
        let agent = chain.leaf().holder();
        let mut grant = Self::of_credential(agent);
        for kind in STATES {
            grant.give(Way::Publish, subjects::record(kind, Some(agent)), "its own statements");
        }
        let wire = Wire { chain, domain, view };
        for (tool, map) in chain.tools().iter() {
            match tool {
                PUBLISH => grant.subjects_of(&wire, Way::Publish, tool, map),
                SUBSCRIBE => grant.subjects_of(&wire, Way::Subscribe, tool, map),
                tool => {
                    if let Some(subject) = tool.strip_prefix(TOOL_PREFIX) {
                        grant.tool(&wire, tool, subject);
                    }
                }
            }
        }
        grant.given.sort();
        grant.given.dedup_by(|a, b| a.way == b.way && a.subject == b.subject);
        grant
    }

    /// The allow-lists.
    pub fn allowed(&self) -> Allowed {
        let of = |way: Way| self.given.iter().filter(|line| line.way == way).map(|line| line.subject.clone()).collect();
        Allowed { publish: of(Way::Publish), subscribe: of(Way::Subscribe) }
    }

    /// Whether the agent may answer where it is asked: where it may be asked at all.
    pub fn responses(&self) -> Option<Responses> {
        let is_asked = |line: &Line| line.way == Way::Subscribe && !line.subject.starts_with("_INBOX.");
        self.given.iter().any(is_asked).then_some(RESPONSES)
    }

    fn own_inbox(&mut self, agent: &Did) {
        let own = format!("{}.>", subjects::inbox_prefix(agent));
        self.give(Way::Subscribe, own.clone(), "its own replies");
        // By a message to itself it learns that it was let in, and that what it has sent so far was handled.
        self.give(Way::Publish, own, "its own inbox");
    }

    fn asks(&mut self, asks: &[&str], why: &str) {
        asks.iter().for_each(|subject| self.give(Way::Publish, (*subject).to_owned(), why));
    }

    fn give(&mut self, way: Way, subject: String, why: &str) {
        let line = Line { way, subject, why: why.to_owned() };
        if self.given.len() < PATTERNS_MAX {
            self.given.push(line);
        } else {
            self.withheld.push(Line { why: format!("more than {PATTERNS_MAX} permissions"), ..line });
        }
    }

    fn withhold(&mut self, way: Way, subject: &str, why: &str) {
        self.withheld.push(Line { way, subject: subject.to_owned(), why: why.to_owned() });
    }

    /// `nats:publish` and `nats:subscribe`: each pattern that the constraint of `subject` spells out, and of one that a
    /// live narrowing takes a part of, what is spelled out there.
    fn subjects_of(&mut self, wire: &Wire<'_>, way: Way, tool: &str, map: &ConstraintMap) {
        let mut patterns = Vec::new();
        match map.get(SUBJECT) {
            Some(entry) => spelled(&entry.constraint, &mut patterns),
            None => patterns.push(">".to_owned()),
        }
        for pattern in patterns {
            match wire.subject(tool, map, &pattern) {
                Ok(()) => self.give(way, pattern, tool),
                Err(why) => self.withhold(way, &pattern, why),
            }
        }
        for pattern in wire.narrowed_to(tool) {
            if wire.subject(tool, map, &pattern).is_ok() {
                self.give(way, pattern, tool);
            }
        }
    }

    /// A tool that is called over the bus: on its own subject where its host enforces or an agent serves it, and
    /// through the gate.
    fn tool(&mut self, wire: &Wire<'_>, tool: &str, subject: &str) {
        if !subjects::is_publishable(subject) || subject.len() > PATTERN_BYTES_MAX {
            return self.withhold(Way::Publish, subject, "not a subject that a tool is called on");
        }
        if !wire.is_presented_at(subject) {
            return self.withhold(Way::Publish, subject, "the chain's `aud` names other places");
        }
        let gate = subjects::gate(subject);
        if subjects::matches(subjects::TOOLS_ENFORCED, subject) {
            self.give(Way::Publish, subject.to_owned(), tool);
            self.give(Way::Publish, gate, tool);
        } else if subjects::matches(subjects::TOOLS_GATED, subject) {
            self.give(Way::Publish, gate, tool);
        } else {
            match of_agents(subject) {
                Ok(()) => self.give(Way::Publish, subject.to_owned(), tool),
                Err(why) => self.withhold(Way::Publish, subject, why),
            }
        }
    }
}

/// What a grant is drawn from.
struct Wire<'a> {
    chain: &'a VerifiedChain,
    domain: &'a TrustDomain,
    view: &'a View,
}

impl Wire<'_> {
    /// Whether the holder may use this pattern, all of it.
    fn subject(&self, tool: &str, map: &ConstraintMap, pattern: &str) -> Result<(), &'static str> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err("longer than a pattern may be");
        }
        if !is_discovery(pattern) {
            of_agents(pattern)?;
        }
        map_admits(map, pattern)?;
        if !narrowings_hold(self.chain, tool, self.domain, self.view, |map| map_admits(map, pattern).is_ok()) {
            return Err("a live narrowing does not allow all of it");
        }
        if self.is_presented_at(pattern) { Ok(()) } else { Err("the chain's `aud` names other places") }
    }

    /// What the live narrowings of a tool spell out; the chain may not have all of it.
    fn narrowed_to(&self, tool: &str) -> Vec<String> {
        let mut patterns = Vec::new();
        narrowings_hold(self.chain, tool, self.domain, self.view, |map| {
            map.get(SUBJECT).iter().for_each(|entry| spelled(&entry.constraint, &mut patterns));
            true
        });
        patterns
    }

    /// Every `aud` of the chain names the place (AAT §8 step 6c).
    fn is_presented_at(&self, subject: &str) -> bool {
        let place = self.domain.audience(subject);
        self.chain.links().iter().all(|link| link.audience().is_none_or(|aud| aud.iter().any(|a| **a == *place)))
    }
}

/// The subjects that a constraint spells out: what it can't spell out is not granted.
fn spelled(constraint: &Constraint, patterns: &mut Vec<String>) {
    if patterns.len() >= PATTERNS_MAX {
        return;
    }
    match constraint {
        Constraint::NatsSubject(pattern) => patterns.push(pattern.as_str().to_owned()),
        Constraint::Exact(scalar) => patterns.extend(scalar.text().map(str::to_owned)),
        Constraint::OneOf(set) => patterns.extend(set.strings().map(str::to_owned)),
        // Each clause's, of which those stay that the whole accepts.
        Constraint::Any(clauses) | Constraint::All(clauses) => {
            clauses.iter().for_each(|clause| spelled(clause, patterns));
        }
        Constraint::Wildcard => patterns.push(">".to_owned()),
        Constraint::Range(_)
        | Constraint::NotOneOf(_)
        | Constraint::Contains(_)
        | Constraint::Subset(_)
        | Constraint::Subpath(_)
        | Constraint::Url(_)
        | Constraint::Cidr(_) => {}
    }
}

/// Whether a constraint map accepts every subject that a pattern matches, and asks for nothing else.
fn map_admits(map: &ConstraintMap, pattern: &str) -> Result<(), &'static str> {
    if map.iter().any(|(argument, _)| argument != SUBJECT) {
        return Err("it constrains what the broker does not see");
    }
    let accepts = map.get(SUBJECT).is_none_or(|entry| admits(&entry.constraint, pattern));
    if accepts { Ok(()) } else { Err("its own constraints do not allow all of it") }
}

/// Whether a constraint accepts every subject that a pattern matches.
///
/// A constraint's own `check` judges one value: `not_one_of [a.b]` accepts the text `a.>`, and the pattern reaches `a.b`.
fn admits(constraint: &Constraint, pattern: &str) -> bool {
    let is_one_subject = subjects::is_publishable(pattern);
    match constraint {
        Constraint::Wildcard => true,
        Constraint::NatsSubject(outer) => outer.admits(pattern),
        Constraint::All(clauses) => clauses.iter().all(|clause| admits(clause, pattern)),
        Constraint::Any(clauses) => clauses.iter().any(|clause| admits(clause, pattern)),
        Constraint::Exact(_)
        | Constraint::OneOf(_)
        | Constraint::NotOneOf(_)
        | Constraint::Range(_)
        | Constraint::Contains(_)
        | Constraint::Subset(_)
        | Constraint::Subpath(_)
        | Constraint::Url(_)
        | Constraint::Cidr(_) => is_one_subject && constraint.check(&Json::String(pattern.into())),
    }
}

/// Whether a pattern is one of the discovery of micro services: `$SRV.<verb>`, then a name and an id, which may be
/// wildcards. Only the verb itself says that the pattern was meant so.
fn is_discovery(pattern: &str) -> bool {
    let tokens: Vec<&str> = pattern.split('.').collect();
    let [DISCOVERY, verb, rest @ ..] = tokens.as_slice() else { return false };
    let wildcard = |at: usize, token: &str| token == "*" || token == ">" && at + 1 == rest.len();
    DISCOVERY_VERBS.contains(verb)
        && tokens.len() <= DISCOVERY_TOKENS_MAX
        && rest.iter().enumerate().all(|(at, token)| wildcard(at, token) || subjects::is_token(token))
}

/// Whether a pattern lies within what agents have among themselves.
fn of_agents(pattern: &str) -> Result<(), &'static str> {
    let mut tokens = pattern.split('.');
    let first = tokens.next().unwrap_or_default();
    if !subjects::is_token(first) {
        return Err("it must begin with a token of its own, not a wildcard");
    }
    if first.starts_with(['$', '_']) {
        return Err("it begins as the server's own subjects do");
    }
    if OURS.contains(&first) {
        return Err("it begins as the services' subjects do");
    }
    let mut rest = tokens.peekable();
    while let Some(token) = rest.next() {
        let wildcard = token == "*" || token == ">" && rest.peek().is_none();
        if !wildcard && !subjects::is_token(token) {
            return Err("not a pattern of bus subjects");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
