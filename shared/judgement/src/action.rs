//! The action: a decision turned into its *decided* record.

use marque_identity::refusal::{Code, Refusal};
use marque_identity::{Did, Digest, UnixMillis};

use crate::decision::{Basis, Decision, Denial};
use crate::record::{Body, Carried, Decided, Delegated, InputDigest, MANIFEST_CHANGED, Record, Risk, Verb};
use crate::{Claimed, VerifiedChain};

/// A proof larger than this is carried by its digest alone, in bytes.
const PROOF_BYTES_MAX: usize = 16 * 1024;
/// Characters of a claimed text, a message or a constraint that a record keeps; the proof has the whole.
const TEXT_CHARS_MAX: usize = 1024;
/// Characters of a tool's name that a record keeps: as many as a token may name.
const TOOL_CHARS_MAX: usize = 256;

/// Who records, and what was presented to it.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The enforcement point's key.
    pub by: Did,
    /// Now, in milliseconds.
    pub iat_ms: UnixMillis,
    /// The tool that is called.
    pub tool: &'a str,
    /// The proof as presented; empty if there was none.
    pub proof: &'a str,
    /// The arguments as received.
    pub input: &'a [u8],
    /// The audience that the enforcement point goes by.
    pub audience: Option<&'a str>,
}

/// The *decided* record of a decision under a verified chain.
pub fn decided(decision: &Decision, chain: &VerifiedChain, presented: &Presented<'_>) -> Record {
    let body = match decision {
        Decision::Permit(permit) => Decided {
            side_effecting: permit.side_effecting(),
            ..frame(Verb::Permit, permit.basis(), permit.proof().claimed(), presented)
        },
        Decision::Deny(denial) => denied(denial, presented),
    };
    of_chain(chain, presented, body)
}

/// The *decided* record of a denial under a verified chain.
pub fn denial(denial: &Denial, chain: &VerifiedChain, presented: &Presented<'_>) -> Record {
    of_chain(chain, presented, denied(denial, presented))
}

/// The *decided* record where no chain was verified: it does not hold, or what was presented can't be read. `links`
/// are left out, as nothing vouches for them.
pub fn refused(refusal: &Refusal, basis: &Basis, presented: &Presented<'_>) -> Record {
    let body = Decided {
        code: Some(refusal.code),
        step: refusal.step.map(str::to_owned),
        message: Some(short(&refusal.message, TEXT_CHARS_MAX)),
        blame: Some(refusal.blame),
        ..frame(Verb::Deny, basis, &Claimed::default(), presented)
    };
    let tool = (!presented.tool.is_empty()).then(|| short(presented.tool, TOOL_CHARS_MAX));
    Record { tool, ..Record::new(presented.iat_ms, presented.by, Body::Decided(Box::new(body))) }
}

/// The *risk* record that a denial calls for, if it does: an agent whose manifest has changed. Its proof's signature
/// holds, so that nobody else can raise it against the agent.
pub fn risk(denial: &Denial, chain: &VerifiedChain, presented: &Presented<'_>) -> Option<Record> {
    if denial.code() != Code::ManifestChanged {
        return None;
    }
    let message = short(denial.message(), TEXT_CHARS_MAX);
    let risk = Body::Risk(Risk { signal: MANIFEST_CHANGED.to_owned(), message });
    Some(stated(chain, presented, risk))
}

/// The *delegated* record of a chain's link, by who first saw it; none for a root.
pub fn delegated(chain: &VerifiedChain, depth: usize, by: Did, iat_ms: UnixMillis) -> Option<Record> {
    let parent = chain.links().get(depth.checked_sub(1)?)?;
    let link = chain.links().get(depth)?;
    let body = Delegated { link: Carried::of(chain.token(depth)?), parent: *parent.digest(), depth: link.depth() };
    Some(Record {
        agent: Some(*link.holder()),
        task: chain.root_claims().map(|claims| claims.task.clone()),
        token: Some(*link.digest()),
        links: digests(chain, depth + 1),
        ..Record::new(iat_ms, by, Body::Delegated(body))
    })
}

fn of_chain(chain: &VerifiedChain, presented: &Presented<'_>, body: Decided) -> Record {
    stated(chain, presented, Body::Decided(Box::new(body)))
}

fn stated(chain: &VerifiedChain, presented: &Presented<'_>, body: Body) -> Record {
    Record {
        agent: Some(*chain.leaf().holder()),
        task: chain.root_claims().map(|claims| claims.task.clone()),
        tool: Some(short(presented.tool, TOOL_CHARS_MAX)),
        token: Some(*chain.leaf().digest()),
        links: digests(chain, chain.links().len()),
        ..Record::new(presented.iat_ms, presented.by, body)
    }
}

fn digests(chain: &VerifiedChain, count: usize) -> Vec<Digest> {
    chain.links().iter().take(count).map(|link| *link.digest()).collect()
}

fn denied(denial: &Denial, presented: &Presented<'_>) -> Decided {
    Decided {
        code: Some(denial.code()),
        step: Some(denial.step().to_owned()),
        message: Some(short(denial.message(), TEXT_CHARS_MAX)),
        blame: Some(denial.blame()),
        directive: denial.directive().map(str::to_owned),
        constraint: denial.constraint().map(|text| short(text, TEXT_CHARS_MAX)),
        side_effecting: denial.side_effecting(),
        ..frame(Verb::Deny, denial.basis(), denial.claimed(), presented)
    }
}

fn frame(decision: Verb, basis: &Basis, claimed: &Claimed, presented: &Presented<'_>) -> Decided {
    let millis = |age: std::time::Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let text = |text: &Option<String>| text.as_deref().map(|text| short(text, TEXT_CHARS_MAX));
    Decided {
        decision,
        code: None,
        step: None,
        message: None,
        blame: None,
        proof: (!presented.proof.is_empty()).then(|| Carried::up_to(presented.proof, PROOF_BYTES_MAX)),
        audience: presented.audience.map(|audience| short(audience, TEXT_CHARS_MAX)),
        why: text(&claimed.why),
        cause: text(&claimed.cause),
        manifest_hash: claimed.manifest_hash,
        seq: claimed.seq,
        prev: claimed.prev,
        epoch: basis.epoch,
        view_age_ms: basis.view_age.map(millis),
        staleness_bound_ms: millis(basis.staleness_bound),
        directive: None,
        constraint: None,
        side_effecting: false,
        input: Some(InputDigest::of(presented.input)),
        sealed: None,
    }
}

/// At most so many characters, the cut shown by `…`.
fn short(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
