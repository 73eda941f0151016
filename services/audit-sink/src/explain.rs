//! `marque.audit.explain`: one action, from the sponsor down to the outcome.
//!
//! 1. The *decided* record; a *completed* one leads to it.
//! 2. Its chain, root first, each link as its *issued* or *delegated* record brought it, and what it narrowed.
//! 3. What decided, over which arguments.
//! 4. What the agent claimed; what led to it, by its own word, back to the first.
//! 5. What came of it, and what followed from it.
//! 6. Where it stands.

use marque_identity::Digest;
use marque_judgement::record::{Body, Carried, Decided, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::SinkError;
use crate::carried::claims;
use crate::causes::{Beside, causes, followed};
use crate::narrowed::Narrowed;
use crate::postings::Field;
use crate::prove::{Inclusion, ProofRequest, prove};
use crate::reader::Reading;
use crate::row::{Row, cut};
use crate::seal::Sealer;

/// Outcomes shown; an action has one, unless its host is broken.
const OUTCOMES_MAX: usize = 8;
/// An answer must pass the broker (`max_payload` 64 KiB): grants are left out when it would not.
const ANSWER_BYTES_MAX: usize = 56 * 1024;

/// Which action: by record id or leaf.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExplainRequest {
    /// The record's id.
    pub id: Option<String>,
    /// Or the leaf's index.
    pub leaf: Option<u64>,
}

/// One link of the delegation path.
#[derive(Debug, Clone, Serialize)]
pub struct PathLink {
    /// The token, by the SHA-256 of its signing input.
    pub token: Digest,
    /// The leaf whose record brought it; none where no record of it is in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// That record's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Who holds it: an agent's DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Of a root: the kind of agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// Of a root: who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// The token's claims, its grant in `authorization_details`, as signed; absent where only its digest is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Value>,
    /// What its parent had and it has not; none for a root, or where one of the two is kept by its digest alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<Narrowed>,
}

/// One action, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Leaves of the log.
    pub tree_size: u64,
    /// Leaves of the index.
    pub indexed_upto: u64,
    /// The record itself.
    pub record: Row,
    /// The delegation path, root first.
    pub path: Vec<PathLink>,
    /// What decided, and what the enforcement point knew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<Value>,
    /// The arguments, as the agent signed them; absent where its proof is kept by its digest alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// What the agent said of it: claimed, not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<Value>,
    /// The directive that decided, as its record shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directive: Option<Row>,
    /// What led to it, the nearest first: claimed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Beside>,
    /// What came of it.
    pub completed: Vec<Row>,
    /// Actions that name it as their cause, and those that name them: claimed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub followed: Vec<Beside>,
    /// Its proof; none before the first checkpoint over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion: Option<Inclusion>,
}

/// Explains an action.
pub fn explain(reading: &Reading, sealer: &Sealer, request: &ExplainRequest) -> Result<Explanation, SinkError> {
    // 1. From an outcome to its decision.
    let mut leaf = reading.find(request.id.as_deref(), request.leaf)?;
    let (mut row, mut record) = reading.row(leaf)?;
    if let Some(Record { body: Body::Completed(completed), .. }) = record.as_deref() {
        leaf = reading.find(Some(&completed.decided), None)?;
        (row, record) = reading.row(leaf)?;
    }
    let mut answer = Explanation {
        tree_size: reading.log.size(),
        indexed_upto: reading.index.upto(),
        record: row,
        path: Vec::new(),
        decided: None,
        arguments: None,
        claimed: None,
        directive: None,
        causes: Vec::new(),
        completed: Vec::new(),
        followed: Vec::new(),
        inclusion: None,
    };
    if let Some(record) = &record {
        // 2. The path.
        let links = match (record.links.as_slice(), record.token) {
            ([], token) => token.into_iter().collect(),
            (links, _) => links.to_vec(),
        };
        answer.path = path(reading, &links)?;
        // 3. and 4. The decision, and the claims beside it.
        if let Body::Decided(decided) = &record.body {
            answer.decided = Some(decided_by(decided));
            answer.arguments = decided.proof.as_ref().and_then(arguments).map(cut);
            answer.causes = causes(reading, leaf, record)?;
            answer.claimed = Some(cut(json!({ "why": decided.why, "cause": decided.cause })));
            if let Some(directive) = &decided.directive {
                let leaf = reading.first(Field::Directive, directive.as_bytes())?;
                answer.directive = leaf.map(|leaf| reading.row(leaf)).transpose()?.map(|(row, _)| row);
            }
        }
        // 5. The outcome.
        for leaf in reading.firsts(Field::Answers, record.id.as_bytes(), OUTCOMES_MAX)? {
            answer.completed.push(reading.row(leaf)?.0);
        }
        answer.followed = followed(reading, leaf, record)?;
    }
    // 6. The proof, with the entry left to `marque.audit.proof`.
    let proof = prove(reading, sealer, &ProofRequest { leaf: Some(leaf), ..ProofRequest::default() });
    answer.inclusion = proof.ok().map(|proof| Inclusion { entry: None, ..proof });
    Ok(fitting(answer))
}

fn decided_by(decided: &Decided) -> Value {
    cut(json!({
        "decision": decided.decision.as_str(),
        "code": decided.code,
        "step": decided.step,
        "message": decided.message,
        "blame": decided.blame,
        "constraint": decided.constraint,
        "directive": decided.directive,
        "epoch": decided.epoch,
        "view_age_ms": decided.view_age_ms,
        "staleness_bound_ms": decided.staleness_bound_ms,
        "audience": decided.audience,
        "side_effecting": decided.side_effecting,
    }))
}

/// The links, each with what it has less than the one before. The claims are compared before anything is cut.
fn path(reading: &Reading, links: &[Digest]) -> Result<Vec<PathLink>, SinkError> {
    let mut path = links.iter().map(|link| path_link(reading, *link)).collect::<Result<Vec<_>, _>>()?;
    for at in (1..path.len()).rev() {
        let narrowed = path[at - 1].claims.as_ref().zip(path[at].claims.as_ref());
        path[at].narrowed = narrowed.map(|(parent, child)| Narrowed::between(parent, child));
    }
    path.iter_mut().for_each(|link| link.claims = link.claims.take().map(cut));
    Ok(path)
}

/// What an action was done with: `hta` of its proof.
fn arguments(proof: &Carried) -> Option<Value> {
    let claims: Value = marque_json::from_slice(&proof.payload()?, marque_json::Limits::DEFAULT).ok()?;
    claims.get("hta").cloned()
}

fn path_link(reading: &Reading, token: Digest) -> Result<PathLink, SinkError> {
    let mut link = PathLink {
        token,
        leaf: None,
        record: None,
        holder: None,
        blueprint: None,
        sponsor: None,
        claims: None,
        narrowed: None,
    };
    let Some(leaf) = reading.first(Field::Brings, &token.0)? else { return Ok(link) };
    let (_, record) = reading.row(leaf)?;
    let Some(record) = record else { return Ok(link) };
    (link.leaf, link.record) = (Some(leaf), Some(record.id.clone()));
    link.holder = record.agent.map(|agent| agent.to_string());
    let carried = match &record.body {
        Body::Issued(issued) => {
            link.blueprint = Some(issued.blueprint.as_str().to_owned());
            link.sponsor = Some(issued.sponsor.as_str().to_owned());
            issued.root.as_ref()
        }
        Body::Delegated(delegated) => Some(&delegated.link),
        Body::Refused(_)
        | Body::Requested(_)
        | Body::Decided(_)
        | Body::Completed(_)
        | Body::Directive(_)
        | Body::Receipt(_)
        | Body::Connected(_)
        | Body::Kicked(_)
        | Body::Disconnected(_)
        | Body::Risk(_)
        | Body::Heads(_)
        | Body::Erased(_) => None,
    };
    link.claims = carried.and_then(|carried| claims(carried, &token));
    Ok(link)
}

/// Leaves grants out, and then claims, until the answer passes the broker.
fn fitting(mut answer: Explanation) -> Explanation {
    let size = |answer: &Explanation| serde_json::to_string(answer).map_or(0, |text| text.len());
    if size(&answer) <= ANSWER_BYTES_MAX {
        return answer;
    }
    for link in &mut answer.path {
        if let Some(grant) = link.claims.as_mut().and_then(|claims| claims.get_mut("authorization_details")) {
            *grant = json!({ "elided_bytes": grant.to_string().len() });
        }
    }
    if size(&answer) > ANSWER_BYTES_MAX {
        answer.path.iter_mut().for_each(|link| (link.claims, link.narrowed) = (None, None));
        answer.followed.clear();
        answer.causes.clear();
        answer.completed.iter_mut().for_each(|row| row.record = None);
        answer.directive.iter_mut().for_each(|row| row.record = None);
    }
    answer
}
