//! What an agent holds, out of the log: each live token whose holder it is, with the tokens that it descends from, and
//! what that chain gives.
//!
//! TRUST: none in the sink for what is shown. It says where a token stands; the token must have the digest that was
//! asked for, the chain is verified like any other, and its leaf must be the agent's. What could not be shown so is
//! undecided, whatever the sink says of it. A token that the sink leaves out is not missed: nothing shows that.

use std::collections::HashMap;
use std::time::Duration;

use marque_agent::enforce::wire::Grant;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, Presented, subjects};
use marque_identity::{Code, Did, Digest};
use marque_judgement::VerifiedChain;
use marque_judgement::record::{Body, judge};
use marque_ledger::Entry;
use marque_signing::{Compact, TrustBundle};
use serde::Serialize;
use serde_json::{Value, json};

use super::{document, drawn, in_words, verified};
use crate::agent::stock::{self, Question, ROWS_MAX, due, word};
use crate::audit::{ASK_TIME, prove};
use crate::cli::Common;
use crate::output::{Answer, Output, to_value};
use crate::{Exit, Failure, view};

/// Live tokens of one agent that are looked at, the newest first: an agent that asks for two commissions a minute holds
/// thirty of the default life.
const CHAINS_MAX: usize = 64;
/// Links of a chain (PROTOCOL §2), and the root.
const LINKS_MAX: usize = 65;

/// A token of the log: where its record stands, and what it was derived from.
struct Place {
    leaf: Option<u64>,
    parent: Option<Digest>,
}

/// Asks the log, and draws what it finds.
struct Search<'a> {
    common: &'a Common,
    bus: &'a Bus,
    bundle: &'a TrustBundle,
    timeout: Duration,
    /// The live tokens of a task, by digest. A token outlives none that it descends from.
    places: HashMap<Digest, Place>,
    /// Tokens that were read already: siblings share their root.
    read: HashMap<Digest, String>,
}

/// A link of a chain, for scripts.
#[derive(Serialize)]
struct Link {
    token: Digest,
    holder: Did,
}

/// Answers `{agent, epoch, cut, chains: [{token, task, expires_at, links, given, withheld, may_answer} |
/// {token, task, expires_at, refused}], to_enrol}`; a refused one's task and end are the sink's word. Undecided where a
/// live token can't be read whole, or there are more than are looked at: what those give is not known.
pub(super) async fn run(agent: Did, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let bundle = common.connection.directory()?.bundle()?;
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque nats permissions").await?;
    let timeout = common.connection.timeout.max(ASK_TIME);
    let question =
        Question { view: "info", agent: Some(agent), live: true, limit: Some(CHAINS_MAX), ..Question::default() };
    let (held, cut) = stock::pages(&bus, subjects::AUDIT_AGENTS, question, "credentials", CHAINS_MAX, timeout).await?;
    let at_ms = held.get("at_ms").and_then(Value::as_i64).unwrap_or_default();
    if cut {
        out.talk(format!("only the newest {CHAINS_MAX} live tokens are shown"));
    }
    let feed = view::fresh(&bus, &bundle).await?;
    let mut search =
        Search { common, bus: &bus, bundle: &bundle, timeout, places: HashMap::new(), read: HashMap::new() };
    let (mut chains, mut parts) = (Vec::new(), Vec::new());
    let mut exit = if cut { Exit::Undecided } else { Exit::Yes };
    let rows = held.get("credentials").and_then(Value::as_array).into_iter().flatten();
    for row in rows.filter(|row| row.get("kind").and_then(Value::as_str) != Some("identity")) {
        let heading = format!("{}  {}  expires {}", short(row), word(row, "task"), due(row, "expires_at", at_ms));
        let mut told =
            json!({ "token": row.get("token"), "task": row.get("task"), "expires_at": row.get("expires_at") });
        let drawn = match search.chain(row, &agent).await {
            Ok(chain) => drawn(&chain, &bundle.trust_domain, &feed).map(|grant| (chain, grant)),
            Err(failure) => {
                exit = Exit::Undecided;
                Err(failure)
            }
        };
        let (members, text) = match drawn {
            Ok((chain, grant)) => {
                let links = chain.links().iter().map(|link| Link { token: *link.digest(), holder: *link.holder() });
                let mut members = document(&grant);
                members["links"] = to_value(&links.collect::<Vec<_>>());
                members["expires_at"] = json!(chain.leaf().exp());
                members["task"] = json!(chain.root_claims().map(|claims| &claims.task));
                (members, format!("{heading}, by a chain of {}\n{}", chain.links().len(), in_words(&grant)))
            }
            Err(failure) => {
                // A directive has ended it, or the view of them is stale.
                if failure.exit != Exit::No {
                    exit = Exit::Undecided;
                }
                (json!({ "refused": failure }), format!("{heading}\nNO: {}: {}", failure.code, failure.message))
            }
        };
        if let (Some(told), Value::Object(members)) = (told.as_object_mut(), members) {
            told.extend(members);
        }
        chains.push(told);
        parts.push(text);
    }
    if chains.is_empty() {
        out.talk("the log knows of no live commission of it");
    }
    let to_enrol = Grant::to_enrol(&agent);
    parts.push(format!("by its key alone, to {}\n{}", Presented::ENROL, in_words(&to_enrol)));
    out.talk(format!("{agent}, under the directives up to epoch {}", feed.view().epoch()));
    let data = json!({
        "agent": agent, "epoch": feed.view().epoch(), "cut": cut, "chains": chains, "to_enrol": document(&to_enrol),
    });
    Ok(Answer::yes(data, parts.join("\n\n")).rows("chains").exit(exit))
}

impl Search<'_> {
    /// The chain that ends in a row's token, put together and verified, and held by the agent.
    async fn chain(&mut self, row: &Value, agent: &Did) -> Result<VerifiedChain, Failure> {
        let mut next = Some(digest(row, "token").ok_or_else(|| unreadable("a row names no token"))?);
        let mut tokens = Vec::new();
        while let Some(token) = next {
            if tokens.len() == LINKS_MAX {
                return Err(unreadable("its tokens descend from each other without end"));
            }
            if !self.places.contains_key(&token) {
                self.learn_places(row).await?;
            }
            let place =
                self.places.get(&token).ok_or_else(|| unreadable("the log has no live token that it descends from"))?;
            let (leaf, parent) = (place.leaf, place.parent);
            tokens.push(self.token(token, leaf).await?);
            next = parent;
        }
        tokens.reverse();
        let chain = verified(&tokens.join("~"), self.bundle)?;
        if chain.leaf().holder() == agent { Ok(chain) } else { Err(unreadable("its leaf is another's")) }
    }

    /// Where the live tokens of a row's task stand.
    async fn learn_places(&mut self, row: &Value) -> Result<(), Failure> {
        let task = row.get("task").and_then(Value::as_str).map(str::to_owned);
        let question = Question { view: "tree", task, live: true, limit: Some(ROWS_MAX), ..Question::default() };
        let (tree, _) =
            stock::pages(self.bus, subjects::AUDIT_AGENTS, question, "credentials", ROWS_MAX, self.timeout).await?;
        for row in tree.get("credentials").and_then(Value::as_array).into_iter().flatten() {
            let Some(token) = digest(row, "token") else { continue };
            let place = Place { leaf: row.get("leaf").and_then(Value::as_u64), parent: digest(row, "parent") };
            self.places.insert(token, place);
        }
        Ok(())
    }

    /// The token itself, out of the record that brought it.
    async fn token(&mut self, token: Digest, leaf: Option<u64>) -> Result<String, Failure> {
        if let Some(read) = self.read.get(&token) {
            return Ok(read.clone());
        }
        let leaf = leaf.ok_or_else(|| unreadable("no record has brought it: the log has its digest alone"))?;
        let proof = prove::of_leaf(self.bus, self.common, leaf, self.timeout).await?;
        let frame = proof.extra.unwrap_or_default();
        let entry = Entry::decode(&frame).map_err(|error| unreadable(&error.to_string()))?;
        let carried = match judge(entry.payload, self.bundle).record.map(|record| record.body) {
            Some(Body::Issued(issued)) => issued.root,
            Some(Body::Delegated(delegated)) => Some(delegated.link),
            Some(_) | None => None,
        };
        let compact = carried.as_ref().and_then(|carried| carried.compact());
        let is_it = |text: &&str| Compact::split(text).is_ok_and(|compact| compact.signing_digest() == token);
        let read = compact.filter(is_it).ok_or_else(|| unreadable("its record does not carry it whole"))?.to_owned();
        self.read.insert(token, read.clone());
        Ok(read)
    }
}

/// What could not be put together: what it gives is not known.
fn unreadable(why: &str) -> Failure {
    Failure { exit: Exit::Undecided, ..Failure::new(Code::NotFound, format!("the chain can't be put together: {why}")) }
        .hint("name a file with the chain: `marque nats permissions FILE`")
}

fn digest(row: &Value, name: &str) -> Option<Digest> {
    row.get(name)?.as_str()?.parse().ok()
}

fn short(row: &Value) -> String {
    word(row, "token").chars().take(12).collect()
}
