//! `marque audit tree`: who handed what to whom for a task, and what each of them did with it.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use marque_credential::aat::Claims;
use marque_identity::{Digest, TaskId};
use marque_judgement::record::{Body, Carried, Record, Verb, What};
use serde::Serialize;

use super::copy::{CopyArgs, LogCopy};
use super::picture;
use crate::Failure;
use crate::cli::Common;
use crate::output::{Answer, Output};

/// Of which task, in which form.
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// The task.
    #[arg(long, value_name = "URN")]
    task: TaskId,
    /// For people: how it is drawn. `-o json` gives the data instead.
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    #[command(flatten)]
    copy: CopyArgs,
}

/// How a tree is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Form {
    /// Indented text.
    #[default]
    Text,
    /// Graphviz.
    Dot,
    /// A picture.
    Svg,
}

/// A token, who holds it, and what was done with it.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Node {
    /// SHA-256 of its signing input.
    pub token: String,
    /// Its holder's DID; none where no record tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Of a root: the kind of agent, and who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// The leaf that brought it; none where it was only used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// The tools that it grants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The parent's tools that it does not grant any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Actions under it as the leaf of their chain.
    pub permitted: u64,
    pub denied: u64,
    pub completed: u64,
    /// What was handed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

/// Draws it.
pub(crate) async fn run(args: &TreeArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let copy = LogCopy::open(&args.copy, common, out).await?;
    let mut growing = Growing::default();
    copy.read(|leaf| {
        if leaf.record.task.as_ref() == Some(&args.task) {
            growing.take(leaf.leaf, &leaf.record);
        }
        Ok(())
    })?;
    let roots = growing.roots();
    let text = match args.format {
        Form::Text => picture::text(&roots),
        Form::Dot => picture::dot(&roots),
        Form::Svg => picture::svg(&roots),
    };
    Ok(Answer::yes(roots, text))
}

/// Nodes by token, and who is whose parent.
#[derive(Default)]
struct Growing {
    nodes: BTreeMap<Digest, Node>,
    parents: BTreeMap<Digest, Digest>,
    /// A *decided* record's leaf token: outcomes are counted there.
    decided: BTreeMap<String, Digest>,
}

impl Growing {
    /// TRUST: links of whoever has verified the chain. What an agent asks for names any links it likes.
    fn take(&mut self, leaf: u64, record: &Record) {
        if matches!(record.body, Body::Requested(_)) {
            return;
        }
        for pair in record.links.windows(2) {
            self.parents.entry(pair[1]).or_insert(pair[0]);
        }
        record.links.iter().for_each(|link| {
            self.node(*link);
        });
        match (&record.body, record.token) {
            (Body::Issued(issued), Some(token)) if issued.what == What::Root => {
                let (blueprint, sponsor) = (issued.blueprint.as_str().to_owned(), issued.sponsor.as_str().to_owned());
                let node = self.bring(token, leaf, record, issued.root.as_ref());
                (node.blueprint, node.sponsor) = (Some(blueprint), Some(sponsor));
            }
            (Body::Delegated(delegated), Some(token)) => {
                self.parents.entry(token).or_insert(delegated.parent);
                self.node(delegated.parent);
                self.bring(token, leaf, record, Some(&delegated.link));
            }
            (Body::Decided(decided), Some(token)) => {
                self.decided.insert(record.id.clone(), token);
                let node = self.node(token);
                node.holder = record.agent.map(|agent| agent.to_string());
                match decided.decision {
                    Verb::Permit => node.permitted += 1,
                    Verb::Deny => node.denied += 1,
                }
            }
            (Body::Completed(completed), _) => {
                if let Some(token) = self.decided.get(&completed.decided).copied() {
                    self.node(token).completed += 1;
                }
            }
            (_, _) => {}
        }
    }

    fn node(&mut self, token: Digest) -> &mut Node {
        self.nodes.entry(token).or_insert_with(|| Node { token: token.to_string(), ..Node::default() })
    }

    fn bring(&mut self, token: Digest, leaf: u64, record: &Record, carried: Option<&Carried>) -> &mut Node {
        let node = self.node(token);
        if node.leaf.is_none() {
            node.leaf = Some(leaf);
            node.holder = record.agent.map(|agent| agent.to_string());
            node.tools = carried.and_then(tools).unwrap_or_default();
        }
        node
    }

    /// The trees, root first, children in leaf order.
    fn roots(mut self) -> Vec<Node> {
        // Deepest first: a child is whole before its parent takes it. A cycle can't be: a digest names its parent's.
        let depth = |token: &Digest, parents: &BTreeMap<Digest, Digest>| {
            let mut depth = 0;
            let mut at = *token;
            while let Some(parent) = parents.get(&at) {
                (at, depth) = (*parent, depth + 1);
                if depth > parents.len() {
                    break;
                }
            }
            depth
        };
        let mut order: Vec<Digest> = self.nodes.keys().copied().collect();
        order.sort_by_key(|token| std::cmp::Reverse(depth(token, &self.parents)));
        let mut roots = Vec::new();
        for token in order {
            let Some(mut node) = self.nodes.remove(&token) else { continue };
            node.children.sort_by_key(|child| child.leaf.unwrap_or(u64::MAX));
            match self.parents.get(&token).and_then(|parent| self.nodes.get_mut(parent)) {
                Some(parent) => {
                    let fewer = parent.tools.iter().filter(|tool| !node.tools.contains(tool));
                    if !node.tools.is_empty() {
                        node.dropped = fewer.cloned().collect();
                    }
                    parent.children.push(node);
                }
                None => roots.push(node),
            }
        }
        roots.sort_by_key(|root| root.leaf.unwrap_or(u64::MAX));
        roots
    }
}

/// The names of the tools that a token grants.
fn tools(carried: &Carried) -> Option<Vec<String>> {
    let payload = carried.payload()?;
    let claims = Claims::parse(&payload).ok()?;
    let tools = claims.tools().ok()??.as_object()?;
    Some(tools.iter().map(|(tool, _)| tool.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_identity::{Did, UnixMillis};
    use marque_judgement::record::Delegated;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn delegated(parent: u8, token: u8) -> Record {
        let by = Did::from_key_bytes([9; 32]);
        let body = Delegated { link: Carried::Compact("x".into()), parent: digest(parent), depth: 1 };
        Record {
            agent: Some(Did::from_key_bytes([token; 32])),
            token: Some(digest(token)),
            links: vec![digest(parent), digest(token)],
            ..Record::new(UnixMillis(0), by, Body::Delegated(body))
        }
    }

    #[test]
    fn children_hang_below_their_parents_in_leaf_order() {
        let mut growing = Growing::default();
        for (leaf, (parent, token)) in [(1, 3), (3, 4), (1, 2)].into_iter().enumerate() {
            growing.take(leaf as u64, &delegated(parent, token));
        }
        let roots = growing.roots();
        assert_eq!(roots.len(), 1);
        let below: Vec<&str> = roots[0].children.iter().map(|child| child.token.as_str()).collect();
        assert_eq!(below, [digest(3).to_string(), digest(2).to_string()]);
        assert_eq!(roots[0].children[0].children[0].token, digest(4).to_string());
    }
}
