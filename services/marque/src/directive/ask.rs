//! Asking for a directive, and telling how far it has reached.

use std::path::Path;
use std::time::Duration;

use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_identity::{Code, TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_revocation::{DirectiveId, DirectiveReply, DirectiveRequest, Op, Target, Wait};
use marque_runtime::Clock;
use marque_signing::SigningKey;

use crate::cli::Common;
use crate::directory::read_key;
use crate::output::{Answer, Output, Paint, facts};
use crate::time::measured;
use crate::{Exit, Failure, call_failure};

/// The broadcaster waits for the slowest verifier up to the standard staleness bound, 15 s; after it the silent ones
/// have failed closed.
const REACH_TIME: Duration = Duration::from_secs(20);

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

/// Connects and asks.
pub(crate) async fn ask(who: &Who, question: Question, common: &Common) -> Result<DirectiveReply, Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque directive").await?;
    ask_on(&bus, who, question, common.connection.timeout).await
}

/// Asks once. Where no answer comes the failure bears the key with which asking again changes nothing twice.
pub(crate) async fn ask_on(
    bus: &Bus,
    who: &Who,
    question: Question,
    timeout: Duration,
) -> Result<DirectiveReply, Failure> {
    let jti = question.key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
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
        Code::OutcomeUnknown => failure.retry_key(&jti).hint("ask again with the same key: nothing is done twice"),
        _ => failure,
    })?;
    Ok(marque_json::from_slice(&reply.payload, Limits::DEFAULT)?)
}

/// What came of it. A directive that some verifier has not confirmed is durable, but its reach is not known: exit 4.
pub(crate) fn answer(reply: &DirectiveReply, out: &Output) -> Answer {
    let mut rows = vec![("directive", reply.id.to_string()), ("epoch", reply.epoch.to_string())];
    let mut exit = Exit::Yes;
    match &reply.receipt {
        None => rows.push(("reach", "not waited for: durable, and on its way".to_owned())),
        Some(receipt) => {
            let micros = |micros: u64| measured(Duration::from_micros(micros));
            rows.push(("reach", format!("{} of {} verifiers", receipt.acked, receipt.of)));
            rows.push(("slowest", micros(receipt.max_us)));
            rows.push(("median", micros(receipt.p50_us)));
            if receipt.acked < receipt.of || receipt.of == 0 {
                exit = Exit::OutcomeUnknown;
            }
            if receipt.of == 0 {
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
    Answer::yes(reply, facts(&rows)).exit(exit)
}
