//! Asking for a directive, and telling how far it has reached.

use std::path::Path;
use std::time::Duration;

use marque_bus::{Bus, subjects};
use marque_identity::{Code, Did, TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_revocation::{Closed, ClosedConnection, DirectiveId, DirectiveReply, DirectiveRequest, Op, Target, Wait};
use marque_runtime::Clock;
use marque_signing::SigningKey;

use crate::cli::Common;
use crate::directory::read_key;
use crate::output::{Answer, Output, Paint, facts, to_value};
use crate::time::{self, measured};
use crate::{Exit, Failure, call_failure};

/// The broadcaster waits for the slowest verifier up to the standard staleness bound, 15 s; after it the silent ones
/// have failed closed.
const REACH_TIME: Duration = Duration::from_secs(20);
/// How many closed connections a person is told; the JSON answer has all that the receipt names.
const CLOSED_TOLD_MAX: usize = 8;

/// Who asks, and where.
pub(crate) struct Who {
    /// The key that signs the request.
    pub key: SigningKey,
    /// The trust domain.
    pub domain: TrustDomain,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// What to do.
    pub op: Op,
    /// To what; none for a resume or lift.
    pub target: Option<Target>,
    /// When it ends by itself.
    pub until: Option<UnixSeconds>,
    /// The constraints of a narrow.
    pub narrow: Option<serde_json::Value>,
    /// What a resume or lift ends.
    pub lifts: Option<DirectiveId>,
    /// For people.
    pub reason: String,
    /// Shows an ancestor's right.
    pub chain: Option<Vec<String>>,
    /// Whether the answer waits until all verifiers have applied it.
    pub wait: bool,
    /// The key of an earlier try.
    pub key: Option<String>,
}

impl Who {
    /// The key of a file, or the operator's; the domain of the directory's bundle.
    pub(crate) fn from_flags(key: Option<&Path>, common: &Common) -> Result<Self, Failure> {
        let directory = common.connection.directory()?;
        let key = match key {
            Some(file) => read_key(file)?,
            None => directory.key("operator")?,
        };
        Ok(Self { key, domain: directory.bundle()?.trust_domain })
    }
}

/// A key of idempotency that nobody has used.
pub(crate) fn fresh_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The flags that make a later try the same request: an end that was told from now on is another one by then.
fn again(key: &str, until: Option<UnixSeconds>) -> String {
    let until = until.map(|until| format!(" --until {}", time::utc(until))).unwrap_or_default();
    format!("--retry-key {key}{until}")
}

/// Asks once. Where no answer comes the failure bears the key with which asking again changes nothing twice.
pub(crate) async fn ask_on(
    bus: &Bus,
    who: &Who,
    question: Question,
    timeout: Duration,
) -> Result<DirectiveReply, Failure> {
    let jti = question.key.unwrap_or_else(fresh_key);
    let again = again(&jti, question.until);
    let request = DirectiveRequest {
        iat: Clock::new().unix(),
        jti: jti.clone(),
        aud: who.domain.clone(),
        op: question.op,
        target: question.target,
        until: question.until,
        narrow: question.narrow,
        lifts: question.lifts,
        reason: question.reason,
        chain: question.chain,
        wait: if question.wait { Wait::Applied } else { Wait::Durable },
    };
    let signed = request.sign(&who.key).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let timeout = if question.wait { timeout.max(REACH_TIME) } else { timeout };
    let reply = bus.request(subjects::REVOCATION_REQUEST, Default::default(), signed.into_bytes(), timeout).await;
    let reply = reply.map_err(call_failure).map_err(|failure| match failure.code {
        Code::OutcomeUnknown => failure.retry_key(&jti).hint(format!("ask again with {again}: nothing is done twice")),
        _ => failure,
    })?;
    Ok(marque_json::from_slice(&reply.payload, Limits::DEFAULT)?)
}

/// What came of it. A directive that some verifier has not confirmed is durable, but its reach is not known: exit 4,
/// with the key with which asking again gives the same directive and how far it has come by then.
pub(crate) fn answer(reply: &DirectiveReply, key: &str, until: Option<UnixSeconds>, out: &Output) -> Answer {
    let mut rows = vec![("directive", reply.id.to_string()), ("epoch", reply.epoch.to_string())];
    let mut exit = Exit::Yes;
    match &reply.receipt {
        None => rows.push(("reach", "not waited for: durable, and on its way".to_owned())),
        Some(receipt) => {
            let micros = |micros: u64| measured(Duration::from_micros(micros));
            rows.push(("reach", format!("{} of {} have applied it", receipt.acked, receipt.of)));
            rows.push(("slowest", micros(receipt.max_us)));
            rows.push(("median", micros(receipt.p50_us)));
            if !receipt.closed.is_empty() {
                rows.push(("closed", closed(&receipt.closed)));
            }
            if !receipt.reached_all() {
                exit = Exit::OutcomeUnknown;
            }
            if receipt.partial {
                let message = "the broadcaster has just started, or just lost the broker: others may be present";
                out.talk(out.paint(Paint::Yellow, message));
            } else if receipt.of == 0 {
                out.talk(out.paint(Paint::Yellow, "no verifier is present: whoever joins reads it before it opens"));
            }
            for silent in &receipt.silent {
                out.talk(format!(
                    "{} {silent}: it denies everything once its view is stale",
                    out.paint(Paint::Yellow, "no answer from")
                ));
            }
        }
    }
    if reply.duplicate {
        rows.push(("asked before", "yes: this is that answer, nothing was done twice".to_owned()));
    }
    let mut data = to_value(reply);
    if exit == Exit::OutcomeUnknown
        && let Some(members) = data.as_object_mut()
    {
        members.insert("retry_key".to_owned(), key.into());
        rows.push(("ask again", again(key, until)));
    }
    let done =
        format!("directive {} is durable; ask again with {}: nothing is done twice", reply.id, again(key, until));
    Answer::yes(data, facts(&rows)).exit(exit).changed_by(done, key)
}

/// `2 connections: z6Mk…abc (cid 17), z6Mk…xyz (cid 4)`.
fn closed(closed: &Closed) -> String {
    let count = closed.count;
    let noun = if count == 1 { "connection" } else { "connections" };
    let told = closed.named.iter().take(CLOSED_TOLD_MAX);
    let told: Vec<String> =
        told.map(|ClosedConnection { agent, cid, .. }| format!("{} (cid {cid})", short(agent))).collect();
    if told.is_empty() {
        return format!("{count} {noun}");
    }
    let more = match count.saturating_sub(u64::try_from(told.len()).unwrap_or(u64::MAX)) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{count} {noun}: {}{more}", told.join(", "))
}

/// The first and last characters of a key, enough to tell agents apart by eye.
fn short(agent: &Did) -> String {
    let text = agent.to_string();
    let multibase = text.rsplit(':').next().unwrap_or_default();
    match (multibase.get(..4), multibase.len().checked_sub(3).and_then(|at| multibase.get(at..))) {
        (Some(first), Some(last)) => format!("{first}…{last}"),
        _ => multibase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_was_closed() {
        let one = |cid| ClosedConnection { agent: Did::from_key_bytes([7; 32]), server: "NA".into(), cid };
        let key = short(&one(1).agent);
        assert!(key.starts_with("z6Mk") && key.chars().count() == 8, "{key}");
        assert_eq!(closed(&Closed::of(vec![one(17)])), format!("1 connection: {key} (cid 17)"));
        let two = closed(&Closed::of(vec![one(17), one(4)]));
        assert_eq!(two, format!("2 connections: {key} (cid 17), {key} (cid 4)"));
        assert_eq!(closed(&Closed { count: 3, named: vec![] }), "3 connections");
        let many = closed(&Closed::of((0..30).map(one).collect()));
        assert!(many.starts_with("30 connections: ") && many.ends_with("(cid 7), and 22 more"), "{many}");
    }
}
