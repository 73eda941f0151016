//! `marque audit blast-radius`: everything that rested on a token, a key or a manifest, from some leaf on.
//!
//! A token that is in doubt taints all that descends from it; a key, every token that it holds and all below; a manifest,
//! every root that was issued for it. Anchored to the order of the log: a stolen key signs any time it likes, but the
//! broker stores in order.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use clap::{Args, ValueEnum};
use marque_credential::aat::{Claims, MarqueReading};
use marque_identity::{Code, Did, Digest, UnixMillis};
use marque_judgement::record::{Body, Carried, Record, Verb};
use serde::Serialize;
use serde_json::json;

use super::copy::{CopyArgs, LogCopy};
use crate::audit::explanation::short_did;
use crate::cli::Common;
use crate::inspect::token_digest;
use crate::output::{Answer, Output, counted, facts, table};
use crate::{Failure, time};

/// Rows that people are shown; JSON has them all.
const ROWS_SHOWN: usize = 50;

/// On what, from where on.
#[derive(Debug, Args)]
pub struct BlastArgs {
    /// Kind of what is in doubt.
    #[arg(value_enum)]
    kind: Kind,
    /// Which one. A token: its digest, itself, or its chain (the leaf is meant). A key: its DID. A manifest: its digest.
    value: String,
    /// From the leaf after this one on.
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    #[command(flatten)]
    copy: CopyArgs,
}

/// Kinds of what is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A link, and all that descends from it.
    Token,
    /// Every token held by a key, and all that descends from them.
    Key,
    /// Every root issued for a manifest, and all that descends from them.
    Manifest,
}

/// What is in doubt.
enum Doubt {
    Token(Digest),
    Key(Did),
    Manifest(Digest),
}

/// One record that rested on it.
#[derive(Debug, Serialize)]
struct Hit {
    leaf: u64,
    stored_ms: i64,
    record: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
}

/// Tells it.
pub(crate) async fn run(args: &BlastArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let doubt = args.doubt()?;
    let copy = LogCopy::open(&args.copy, common, out).await?;
    // 1. Which tokens are tainted, by the whole log: a delegation may be recorded after it was first used.
    let mut tainted = Tainted::new(&doubt);
    copy.read(|leaf| {
        tainted.learn(&leaf.record);
        Ok(())
    })?;
    tainted.spread();
    // 2. What rested on them.
    let from = args.after.map_or(0, |after| after.saturating_add(1));
    let (mut hits, mut sums, mut known) = (Vec::new(), Sums::default(), false);
    copy.read(|leaf| {
        let touched = tainted.touches(&leaf.record);
        known |= touched;
        if leaf.leaf >= from && touched {
            sums.add(&leaf.record);
            hits.push(hit(leaf.leaf, leaf.stored_ms, &leaf.record));
        }
        Ok(())
    })?;
    if !known {
        let (kind, value) = (args.kind.word(), marque_identity::refusal::quoted(&args.value));
        let why = format!("none of the log's {} names the {kind} {value}", counted(copy.size(), "leaf"));
        return Err(Failure::new(Code::NotFound, why).hint(
            "compare it with `marque agent tree` or `marque audit query`; a copy may be older than what is looked for",
        ));
    }
    let text = sums.text(&hits, tainted.tokens.len(), copy.size());
    let data = json!({
        "from_leaf": from, "tree_size": copy.size(), "tainted_tokens": tainted.tokens, "sums": sums, "records": hits,
    });
    Ok(Answer::yes(data, text))
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Key => "key",
            Self::Manifest => "manifest",
        }
    }
}

impl BlastArgs {
    fn doubt(&self) -> Result<Doubt, Failure> {
        let wrong = |what: &str| Failure::usage(format!("`{}` is no {what}", self.value));
        match self.kind {
            Kind::Token => Ok(Doubt::Token(token_digest(&self.value)?)),
            Kind::Key => Ok(Doubt::Key(self.value.parse().map_err(|_| wrong("DID of a key"))?)),
            Kind::Manifest => Ok(Doubt::Manifest(self.value.parse().map_err(|_| wrong("digest of a manifest"))?)),
        }
    }
}

/// Tokens that are in doubt, and what is known of who descends from whom.
struct Tainted<'d> {
    doubt: &'d Doubt,
    tokens: BTreeSet<Digest>,
    children: BTreeMap<Digest, BTreeSet<Digest>>,
}

impl<'d> Tainted<'d> {
    fn new(doubt: &'d Doubt) -> Self {
        let tokens = match doubt {
            Doubt::Token(token) => BTreeSet::from([*token]),
            Doubt::Key(_) | Doubt::Manifest(_) => BTreeSet::new(),
        };
        Self { doubt, tokens, children: BTreeMap::new() }
    }

    /// TRUST: links of whoever has verified the chain. What an agent asks for names any links it likes.
    fn learn(&mut self, record: &Record) {
        if matches!(record.body, Body::Requested(_)) {
            return;
        }
        for pair in record.links.windows(2) {
            self.children.entry(pair[0]).or_default().insert(pair[1]);
        }
        let held = match &record.body {
            Body::Issued(issued) => issued.root.as_ref(),
            Body::Delegated(delegated) => {
                if let Some(token) = record.token {
                    self.children.entry(delegated.parent).or_default().insert(token);
                }
                Some(&delegated.link)
            }
            // A chain may be used before any record brought its leaf: its agent is the holder.
            Body::Decided(_) | Body::Connected(_) => None,
            Body::Refused(_)
            | Body::Requested(_)
            | Body::Completed(_)
            | Body::Directive(_)
            | Body::Receipt(_)
            | Body::Kicked(_)
            | Body::Disconnected(_)
            | Body::Risk(_)
            | Body::Heads(_)
            | Body::Erased(_) => return,
        };
        let Some(token) = record.token else { return };
        let is = match self.doubt {
            Doubt::Token(_) => false,
            Doubt::Key(key) => record.agent == Some(*key),
            Doubt::Manifest(manifest) => held.and_then(manifest_of) == Some(*manifest),
        };
        if is {
            self.tokens.insert(token);
        }
    }

    fn spread(&mut self) {
        let mut waiting: Vec<Digest> = self.tokens.iter().copied().collect();
        while let Some(token) = waiting.pop() {
            for child in self.children.get(&token).into_iter().flatten() {
                if self.tokens.insert(*child) {
                    waiting.push(*child);
                }
            }
        }
    }

    fn touches(&self, record: &Record) -> bool {
        let of_key = matches!(self.doubt, Doubt::Key(key) if record.agent == Some(*key) || record.by == *key);
        let mut tokens = record.links.iter().chain(&record.token);
        let asks = matches!(record.body, Body::Requested(_));
        of_key || !asks && tokens.any(|token| self.tokens.contains(token))
    }
}

/// The manifest that a root was issued for.
fn manifest_of(carried: &Carried) -> Option<Digest> {
    match Claims::parse(&carried.payload()?).ok()?.marque() {
        MarqueReading::Present(claims) => claims.agent.manifest_hash,
        MarqueReading::Absent | MarqueReading::Malformed => None,
    }
}

/// How much it was.
#[derive(Debug, Default, Serialize)]
struct Sums {
    permitted: u64,
    denied: u64,
    completed: u64,
    delegated: u64,
    agents: HashSet<String>,
    tasks: HashSet<String>,
    tools: BTreeMap<String, u64>,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        match &record.body {
            Body::Decided(decided) => match decided.decision {
                Verb::Permit => {
                    self.permitted += 1;
                    *self.tools.entry(record.tool.clone().unwrap_or_default()).or_default() += 1;
                }
                Verb::Deny => self.denied += 1,
            },
            Body::Completed(_) => self.completed += 1,
            Body::Delegated(_) => self.delegated += 1,
            Body::Issued(_)
            | Body::Refused(_)
            | Body::Requested(_)
            | Body::Directive(_)
            | Body::Receipt(_)
            | Body::Connected(_)
            | Body::Kicked(_)
            | Body::Disconnected(_)
            | Body::Risk(_)
            | Body::Heads(_)
            | Body::Erased(_) => {}
        }
        self.agents.extend(record.agent.map(|agent| agent.to_string()));
        self.tasks.extend(record.task.as_ref().map(ToString::to_string));
    }

    fn text(&self, hits: &[Hit], tokens: usize, size: u64) -> String {
        let tools: Vec<String> = self.tools.iter().map(|(tool, count)| format!("{tool} × {count}")).collect();
        let mut text = facts(&[
            ("tokens in doubt", tokens.to_string()),
            ("actions", format!("{} permitted, {} denied, {} completed", self.permitted, self.denied, self.completed)),
            ("handed on", counted(self.delegated, "delegation")),
            ("agents", self.agents.len().to_string()),
            ("tasks", self.tasks.len().to_string()),
            ("tools that ran", if tools.is_empty() { "none".into() } else { tools.join(", ") }),
            ("records", format!("{} of {size} leaves", hits.len())),
        ]);
        let rows: Vec<Vec<String>> = hits.iter().take(ROWS_SHOWN).map(cells).collect();
        if !rows.is_empty() {
            text.push_str("\n\n");
            text.push_str(&table(&["leaf", "time", "kind", "decision", "agent", "tool", "record"], &rows));
        }
        if hits.len() > ROWS_SHOWN {
            text.push_str(&format!("\n… and {} more: -o ndjson has them all", hits.len() - ROWS_SHOWN));
        }
        text
    }
}

fn hit(leaf: u64, stored_ms: i64, record: &Record) -> Hit {
    let decision = match &record.body {
        Body::Decided(decided) => Some(decided.decision.as_str()),
        _ => None,
    };
    Hit {
        leaf,
        stored_ms,
        record: record.id.clone(),
        kind: record.kind().as_str(),
        agent: record.agent.map(|agent| agent.to_string()),
        task: record.task.as_ref().map(ToString::to_string),
        tool: record.tool.clone(),
        decision,
    }
}

fn cells(hit: &Hit) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    vec![
        hit.leaf.to_string(),
        time::utc_millis(UnixMillis(hit.stored_ms)),
        hit.kind.to_owned(),
        hit.decision.unwrap_or("-").to_owned(),
        hit.agent.as_deref().map_or_else(|| "-".into(), short_did),
        or_none(&hit.tool),
        hit.record.clone(),
    ]
}
