//! Admission: a server's question, and what is to be said to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use marque_agent::enforce::wire::Grant;
use marque_agent::enforce::{Chain, Chains};
use marque_bus::callout::{Admission, Answerer, Question};
use marque_bus::permissions::Allowed;
use marque_bus::{Feed, Presented};
use marque_credential::{IdentityCredential, limits};
use marque_identity::refusal::quoted;
use marque_identity::{Code, Did, Epoch, Refusal, TrustDomain, UnixSeconds};
use marque_judgement::record::{Connected, Connection, NARROWED_BY_MAX, Shown};
use marque_judgement::{VerifiedChain, check_standing, check_view};
use marque_revocation::{DirectiveId, View};
use marque_runtime::Clock;
use marque_signing::{Compact, PublicKey};

use crate::config::Bounds;
use crate::connections::Held;
use crate::metrics::Metrics;
use crate::name::ConnectionName;
use crate::pace::Pace;
use crate::records::Records;
use crate::registry::Registry;
use crate::seats::Seats;
use crate::standing::Standing;

/// What the server's log is told: the reason stands in the audit log, and nothing goes to the client.
const NO: &str = "not admitted";

/// Decides who is let in.
pub(crate) struct Door {
    pub(crate) answerer: Answerer,
    pub(crate) chains: Chains,
    pub(crate) issuers: Vec<PublicKey>,
    pub(crate) domain: TrustDomain,
    pub(crate) feed: Feed,
    pub(crate) registry: Registry,
    pub(crate) seats: Seats,
    pub(crate) records: Records,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) pace: Arc<Pace>,
}

/// What was shown, and holds.
struct Verified {
    standing: Standing,
    chain: Option<Arc<VerifiedChain>>,
}

/// What it gives, under the directives of one moment.
struct Drawn {
    grant: Grant,
    narrowings: BTreeSet<DirectiveId>,
    /// Where the view of that moment stood.
    epoch: Epoch,
}

impl Door {
    /// The sealed answer to a sealed question; none where no server of ours asked: silence is a no.
    pub(crate) async fn answer(&self, payload: &[u8], server_xkey: Option<&str>) -> Option<Vec<u8>> {
        let started = Instant::now();
        let question = match self.answerer.questions().open(payload, server_xkey, self.clock.unix()) {
            Ok(question) => question,
            Err(error) => {
                self.metrics.unreadable();
                tracing::warn!(%error, "a question that is not answered");
                return None;
            }
        };
        let outcome = self.admit(&question).await;
        self.metrics.answered(outcome.as_ref().err().map(|refusal| refusal.code), started.elapsed());
        let answer = match &outcome {
            Ok(admission) => self.answerer.admit(&question, admission, self.clock.unix()),
            Err(refusal) => {
                tracing::info!(cid = question.cid, %refusal, "not admitted");
                self.refused(&question, refusal).await;
                self.answerer.refuse(&question, NO, self.clock.unix())
            }
        };
        // What can't be said is silence, and the server refuses by its own time-out.
        answer.map_err(|error| tracing::error!(%error, "an answer could not be written")).ok()
    }

    /// Lets a client in, or says why not. One that is in already may show something else over its link, by another
    /// `CONNECT`: it is judged like any other, and stands on that alone from then on. Refused, it is closed.
    ///
    /// 1. possession: its signature over this server's nonce
    /// 2. what it shows holds: a chain (AAT §8 steps 1 to 5, 6a), an identity credential, or nothing but the key
    /// 3. it is bound to that key
    /// 4. no directive has ended it, and the view of the directives is fresh (steps 9 and 11)
    /// 5. what it gives on the wire
    /// 6. it has a seat: its agent has fewer connections than one may have
    /// 7. the *connected* record is stored
    /// 8. it is in the registry
    /// 9. directives once more: one may have come while it was stored, before the registry knew it
    async fn admit(&self, question: &Question) -> Result<Admission, Refusal> {
        // 1
        let key = question.possession.ok_or_else(|| {
            Refusal::new(Code::PossessionUnproven, "the server's nonce is not signed by the key that is named")
        })?;
        let now = self.clock.unix();
        // 2, 3
        let Verified { standing, chain } = self.verify(&question.presented, &key, now)?;
        // 4, 5
        let drawn = self.draw(&standing, chain.as_deref(), now)?;
        let life = match standing.shown {
            Shown::Key => self.bounds.enrol_life_seconds,
            Shown::Credential | Shown::Chain => self.bounds.connection_life_seconds,
        };
        let allowed = drawn.grant.allowed();
        // 6
        let connection = Connection { server: question.server.clone(), cid: question.cid };
        let seat = self.seats.take(standing.agent, &connection).await?;
        // 7
        let connected = self.connected(&connection, &standing, &allowed, &drawn, question);
        let recorded = self.records.connected(&standing, connected).await?;
        // 8
        let standing = Arc::new(standing);
        let held = Held {
            standing: standing.clone(),
            sequence: recorded.sequence,
            allowed: allowed.clone(),
            narrowings: drawn.narrowings.clone(),
            epoch: Epoch(0), // drawn here: this view knew it
            chain: chain.clone(),
            since: self.clock.monotonic(),
            renew_at: self.clock.monotonic() + self.bounds.renewed_after(),
            seen_at: None,
            misses: 0,
        };
        if !self.registry.put(connection.clone(), held) {
            return Err(Refusal::new(Code::Unavailable, "there are as many connections as there may be"));
        }
        drop(seat); // it counts itself now
        // 9
        let refusal = match self.stand(&standing, chain.as_deref(), &self.feed.view(), self.clock.unix()) {
            Ok(again) if again == drawn.narrowings => None,
            Ok(_) => Some(Refusal::new(Code::Narrowed, "a narrowing came while the connection was recorded")),
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = refusal {
            self.registry.remove(&connection);
            return Err(refusal);
        }
        let name = ConnectionName { agent: standing.agent, sequence: recorded.sequence };
        Ok(Admission {
            name: name.to_string(),
            allowed,
            responses: drawn.grant.responses(),
            expires_at: now.plus(life),
        })
    }

    /// Steps 2 and 3.
    fn verify(&self, presented: &str, key: &PublicKey, now: UnixSeconds) -> Result<Verified, Refusal> {
        let agent = key.did();
        if presented == Presented::ENROL {
            return Ok(Verified { standing: Standing::of_key(agent), chain: None });
        }
        if presented.len() > limits::CHAIN_BYTES_MAX {
            return Err(Refusal::new(Code::Oversize, "what is presented is larger than a chain may be"));
        }
        match kind(presented) {
            Some(Shown::Credential) => {
                let credential = IdentityCredential::verify(presented, &self.issuers, now)
                    .map_err(|error| Refusal::new(Code::CredentialInvalid, error.to_string()))?;
                bound(credential.claims().subject, agent)?;
                Ok(Verified { standing: Standing::of_credential(&credential, &self.domain), chain: None })
            }
            Some(Shown::Chain) => {
                let chain = self.chains.find(Chain::Whole(presented), now)?;
                chain.check_time(now)?;
                bound(*chain.leaf().holder(), agent)?;
                Ok(Verified { standing: Standing::of_chain(&chain), chain: Some(chain) })
            }
            Some(Shown::Key) | None => {
                let message = format!("neither a chain nor a credential nor `enrol`: {}", quoted(presented));
                Err(Refusal::new(Code::Malformed, message))
            }
        }
    }

    /// Steps 4 and 5, in one look at the view.
    fn draw(&self, standing: &Standing, chain: Option<&VerifiedChain>, now: UnixSeconds) -> Result<Drawn, Refusal> {
        let view = self.feed.view();
        let narrowings = self.stand(standing, chain, &view, now)?;
        Ok(Drawn { narrowings, grant: grant(standing, chain, &self.domain, &view), epoch: view.epoch() })
    }

    /// Step 4; gives the narrowings that are in force.
    fn stand(
        &self,
        standing: &Standing,
        chain: Option<&VerifiedChain>,
        view: &View,
        now: UnixSeconds,
    ) -> Result<BTreeSet<DirectiveId>, Refusal> {
        let bound = self.bounds.staleness;
        match chain {
            Some(chain) => {
                check_standing(chain, &self.domain, view, bound, self.feed.now()).map_err(|(refusal, _)| refusal)?
            }
            None => check_view(view, bound, self.feed.now())?,
        }
        if let Some(ended) = standing.ended(&self.domain, view, now) {
            return Err(Refusal::new(ended.code, "what was shown has ended"));
        }
        Ok(standing.narrowings(&self.domain, view))
    }

    fn connected(
        &self,
        connection: &Connection,
        standing: &Standing,
        allowed: &Allowed,
        drawn: &Drawn,
        question: &Question,
    ) -> Connected {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Connected {
            connection: connection.clone(),
            shown: standing.shown,
            holders: standing.holders.clone(),
            issuer: standing.issuer.clone(),
            blueprint: standing.blueprint.clone(),
            manifest_hash: standing.manifest,
            expires_at: standing.expires_at,
            publish: allowed.publish.clone(),
            subscribe: allowed.subscribe.clone(),
            epoch: drawn.epoch,
            narrowed_by: drawn.narrowings.iter().take(NARROWED_BY_MAX).map(ToString::to_string).collect(),
            host: text(&question.host),
            client: text(&question.client),
        }
    }

    async fn refused(&self, question: &Question, refusal: &Refusal) {
        if self.pace.allows(Instant::now()) {
            let agent: Option<Did> = question.possession.map(|key| key.did());
            self.records.refused(refusal, agent, Some(question.presented.as_bytes())).await;
        } else {
            self.metrics.refusal_unrecorded();
        }
    }
}

/// What a standing gives on the wire.
pub(crate) fn grant(standing: &Standing, chain: Option<&VerifiedChain>, domain: &TrustDomain, view: &View) -> Grant {
    match (standing.shown, chain) {
        (Shown::Chain, Some(chain)) => Grant::of_chain(chain, domain, view),
        (Shown::Credential, _) => Grant::of_credential(&standing.agent),
        (Shown::Key, _) => Grant::to_enrol(&standing.agent),
        // A chain that is not at hand grants nothing.
        (Shown::Chain, None) => Grant::default(),
    }
}

/// Step 3.
fn bound(holder: Did, agent: Did) -> Result<(), Refusal> {
    if holder == agent {
        return Ok(());
    }
    Err(Refusal::new(Code::PossessionUnproven, "what is presented is bound to another key than the one that connects"))
}

/// What a text is, by the `typ` of its first token.
fn kind(presented: &str) -> Option<Shown> {
    let first = presented.split('~').next()?;
    let typ = Compact::split(first).ok()?.header_member("typ").ok()??;
    match typ.as_str() {
        marque_credential::aat::TOKEN_TYPE => Some(Shown::Chain),
        marque_credential::identity_credential::CREDENTIAL_TYPE => Some(Shown::Credential),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_presented_by_its_type() {
        let key = marque_signing::SigningKey::from_seed(&[1; 32]);
        let token = |typ: &str| marque_signing::jws::sign(&key, typ, None, b"{}");
        assert_eq!(kind(&token("aat+jwt")), Some(Shown::Chain));
        assert_eq!(kind(&format!("{}~x", token("aat+jwt"))), Some(Shown::Chain));
        assert_eq!(kind(&token("vc+jwt")), Some(Shown::Credential));
        for other in ["", "x", "a.b.c", &token("aat-pop+jwt"), &token("JWT")] {
            assert_eq!(kind(other), None, "{other}");
        }
    }
}
