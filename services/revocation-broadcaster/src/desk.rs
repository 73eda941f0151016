//! The story of a request: opened, judged, written down, published, answered.

use std::sync::Arc;
use std::time::Duration;

use marque_bus::{Bus, raw_lead};
use marque_identity::{Blame, Code, Did, Refusal};
use marque_judgement::{ChainLimits, TrustAnchor, VerifiedChain, verify_chain};
use marque_revocation::{DirectiveReply, DirectiveRequest, SignedDirective, Wait};
use marque_runtime::Clock;
use marque_signing::{PublicKey, SigningKey, TrustBundle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::board::Board;
use crate::metrics::Metrics;
use crate::outbox::{Accepted, Outbox, RequestKey, Row};
use crate::publisher::ToPublish;
use crate::records::{self, blocking};
use crate::roster::Roster;
use crate::stream::Head;
use crate::{authority, compose};

/// How far a request's `iat` may lie from our clock, in seconds: what every signed request has.
const REQUEST_WINDOW_SECONDS: i64 = 30;
/// A requester's own patience is 5 s; the answer that the outcome is unknown should reach it.
const DURABLE_WAIT: Duration = Duration::from_secs(4);
/// Between the last ack and the receipt.
const RECEIPT_MARGIN: Duration = Duration::from_secs(1);

/// Where requests are answered.
pub struct Desk {
    key: Arc<SigningKey>,
    bundle: TrustBundle,
    anchors: Vec<TrustAnchor>,
    bus: Bus,
    head: Head,
    outbox: Outbox,
    board: Board,
    roster: Roster,
    queue: mpsc::Sender<ToPublish>,
    clock: Clock,
    metrics: Metrics,
    reach_wait: Duration,
}

/// What a desk is made of.
pub struct Parts {
    /// Signs directives and records.
    pub key: Arc<SigningKey>,
    /// Who has which role.
    pub bundle: TrustBundle,
    /// The audit stream.
    pub bus: Bus,
    /// What is active.
    pub head: Head,
    /// Remembers.
    pub outbox: Outbox,
    /// How far each directive has come.
    pub board: Board,
    /// Who hears it.
    pub roster: Roster,
    /// To the publisher.
    pub queue: mpsc::Sender<ToPublish>,
    /// The clock.
    pub clock: Clock,
    /// Numbers.
    pub metrics: Metrics,
    /// How long verifiers are waited for.
    pub reach_wait: Duration,
}

impl Desk {
    /// A desk.
    pub fn new(parts: Parts) -> Self {
        let Parts { key, bundle, bus, head, outbox, board, roster, queue, clock, metrics, reach_wait } = parts;
        // `TrustBundle::open` refuses a bundle with a key that is none.
        let anchor = |anchor: &marque_signing::Anchor| {
            PublicKey::from_did(&anchor.did).ok().map(|key| TrustAnchor { iss: anchor.iss.clone(), key })
        };
        let anchors = bundle.issuers.iter().filter_map(anchor).collect();
        Self { key, bundle, anchors, bus, head, outbox, board, roster, queue, clock, metrics, reach_wait }
    }

    /// Answers a request; a refusal that the caller is to blame for is recorded first.
    pub async fn answer(&self, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
        let began = std::time::Instant::now();
        // 1: who signed it, and what it says.
        let opened = DirectiveRequest::open(payload).map_err(Refusal::from);
        let signer = opened.as_ref().ok().map(|(signer, _)| *signer);
        let answer = match opened {
            Ok((signer, request)) => self.handle(signer, request).await,
            Err(refusal) => Err(refusal),
        };
        self.metrics.answered(answer.as_ref().err(), began.elapsed());
        if let Err(refusal) = &answer
            && refusal.blame == Blame::Caller
        {
            self.record_refusal(refusal, signer, payload).await;
        }
        let reply = answer?;
        serde_json::to_vec(&reply).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
    }

    async fn handle(&self, signer: Did, request: DirectiveRequest) -> Result<DirectiveReply, Refusal> {
        let domain = &self.bundle.trust_domain;
        // 2: meant for us.
        if request.aud != *domain {
            return Err(Refusal::new(Code::AudienceMismatch, format!("this broadcaster serves {domain}")));
        }
        // 3: known already? Then the answer is the same, whatever the time is now.
        let (key, digest, wait) = (RequestKey::of(&signer, &request.jti), request.asked()?, request.wait);
        if let Some(row) = blocking(&self.outbox, move |outbox| outbox.remembered(key, &digest)).await? {
            return self.reply(key, row, true, wait).await;
        }
        // 4: fresh.
        let now = self.clock.unix();
        if !(now.plus(-REQUEST_WINDOW_SECONDS)..=now.plus(REQUEST_WINDOW_SECONDS)).contains(&request.iat) {
            return Err(Refusal::new(Code::RequestStale, "the request's `iat` is more than 30 s from now"));
        }
        // 5: the chain, if one is shown.
        let chain = self.chain(&request)?;
        // 6: what it ends, if it ends something.
        let ended = self.ended(&request)?;
        let ended_until = ended.as_ref().and_then(|(_, until)| *until);
        let ended = ended.map(|(ended, _)| ended);
        let target = compose::target_of(&request, ended.as_ref())?;
        if ended.is_none() {
            // What was accepted once can be ended, whatever the bundle says by now.
            target.check_known(&self.bundle)?;
        }
        // 7: authority.
        authority::check(&self.bundle, &signer, &request, &target, ended.as_ref(), chain.as_ref(), now)?;
        // 8: the directive, signed.
        let composed = compose::compose(&request, target, signer, domain, chain.as_ref(), ended_until, now)?;
        let signed = SignedDirective::sign(composed.directive, &self.key)?;
        // 9: written down, then on its way: raw at once, then by the stream.
        let row = Row {
            request: digest,
            id: signed.directive().id,
            compact: signed.compact().to_owned(),
            gone_at: composed.gone_at,
            epoch: None,
            receipt: None,
        };
        self.board.put_up(row.id);
        let id = row.id;
        let (row, duplicate) = match blocking(&self.outbox, move |outbox| outbox.accept(key, row, now)).await {
            Ok(Accepted::Now(row)) => {
                let not_before = self.send_raw(&signed).await;
                let entry = ToPublish { key, signed: Arc::new(signed), gone_at: composed.gone_at, not_before };
                if self.queue.send(entry).await.is_err() {
                    // Draining: the next start publishes it.
                    return Err(accepted(&row));
                }
                (row, false)
            }
            Ok(Accepted::Earlier(row)) => {
                self.board.take_down(id);
                (row, true)
            }
            Err(refusal) => {
                self.board.take_down(id);
                return Err(refusal);
            }
        };
        // 10: answered when it is durable, or has reached everyone.
        self.reply(key, row, duplicate, wait).await
    }

    /// At once, whatever waits for the stream. Gives when it is the stream's turn.
    async fn send_raw(&self, signed: &SignedDirective) -> std::time::Instant {
        let now = std::time::Instant::now();
        self.roster.publishing(signed.directive().id, now);
        let sent = self.bus.send_raw(signed).await;
        if sent { now + raw_lead(self.roster.present_count(now)) } else { now }
    }

    fn chain(&self, request: &DirectiveRequest) -> Result<Option<VerifiedChain>, Refusal> {
        let Some(chain) = &request.chain else { return Ok(None) };
        let tokens: Vec<&str> = chain.iter().map(String::as_str).collect();
        Ok(Some(verify_chain(&tokens, &self.anchors, self.clock.unix(), &ChainLimits::default())?))
    }

    fn ended(
        &self,
        request: &DirectiveRequest,
    ) -> Result<Option<(authority::Ended, Option<marque_identity::UnixSeconds>)>, Refusal> {
        if request.op.tightens() {
            return Ok(None);
        }
        let missing = || Refusal::new(Code::ClaimsMalformed, "a resume or lift names the directive that it ends");
        let id = request.lifts.ok_or_else(missing)?;
        let unknown = || Refusal::new(Code::DirectiveUnknown, format!("no active directive has the id {id}"));
        let (ended, until) = self.head.find(id).ok_or_else(unknown)?;
        compose::check_end(request.op, &ended)?;
        Ok(Some((ended, until)))
    }

    async fn reply(&self, key: RequestKey, row: Row, duplicate: bool, wait: Wait) -> Result<DirectiveReply, Refusal> {
        let mut row = row;
        let done = |row: &Row| row.epoch.is_some() && (wait == Wait::Durable || row.receipt.is_some());
        if !done(&row) {
            match self.board.follow(row.id) {
                Some(mut progress) => {
                    let durable_by = Instant::now() + DURABLE_WAIT;
                    let durable = tokio::time::timeout_at(durable_by, progress.wait_for(|p| p.epoch.is_some())).await;
                    row.epoch = durable.ok().and_then(Result::ok).and_then(|progress| progress.epoch);
                    if row.epoch.is_some() && wait == Wait::Applied {
                        let reached_by = Instant::now() + self.reach_wait + RECEIPT_MARGIN;
                        let reached = tokio::time::timeout_at(reached_by, progress.wait_for(|p| p.receipt.is_some()));
                        row.receipt = reached.await.ok().and_then(Result::ok).and_then(|p| p.receipt.clone());
                    }
                }
                // Done in the meantime, or in an earlier run.
                None => {
                    let request = row.request;
                    let known = blocking(&self.outbox, move |outbox| outbox.remembered(key, &request)).await?;
                    row = known.unwrap_or(row);
                }
            }
        }
        let Some(epoch) = row.epoch else { return Err(accepted(&row)) };
        let receipt = row.receipt.filter(|_| wait == Wait::Applied);
        Ok(DirectiveReply { id: row.id, epoch, directive: row.compact, duplicate, receipt })
    }

    async fn record_refusal(&self, refusal: &Refusal, signer: Option<Did>, payload: &[u8]) {
        // Operators and services are no agents.
        let agent = signer.filter(|did| {
            !self.bundle.is_operator(did)
                && !self.bundle.services.iter().any(|service| service.did == *did)
                && !self.bundle.issuers.iter().any(|anchor| anchor.did == *did)
        });
        let recorded = match records::refused(&self.key, refusal, agent, payload, self.clock.unix_millis()) {
            Ok(row) => {
                self.bus.publish_record(&row.kind, Some(&row.key), &row.compact).await.map(drop).map_err(Refusal::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            self.metrics.unrecorded();
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }
}

/// It is written down and will be published, but not yet known to be durable.
fn accepted(row: &Row) -> Refusal {
    let message = format!(
        "directive {} is accepted and will be published, but is not durable yet; ask again with the same jti",
        row.id
    );
    Refusal::new(Code::OutcomeUnknown, message)
}
