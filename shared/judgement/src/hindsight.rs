//! Hindsight: whether an action that a log tells of would be decided the same at another time, under another policy, or
//! without a token; or, with none of these, whether the log bears its decision out.
//!
//! In scope: the steps of `decision` that rest on what the log holds: the chain out of the *issued* and *delegated*
//! records, the arguments out of the proof's `hta`, the directives in their order. Out of scope, because the log can't
//! repeat them: 7h (the nonce), 7i and 12 (that the proof was new), 11 (that the view was fresh), 14. A denial for one
//! of these stands as it is.
//!
//! Two passes: [`learn`](Hindsight::learn) from every record, then [`judge`](Hindsight::judge) any.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use marque_credential::Tools;
use marque_identity::refusal::Code;
use marque_identity::{Did, Digest, Epoch, TrustDomain, UnixMillis, UnixSeconds};
use marque_revocation::{Event, Heartbeat, Item, Opener, SetDigest, SignedDirective, View};
use marque_signing::{Compact, Role, TrustBundle, VerifiedSignatures};

use crate::decision::{directives, narrowing};
use crate::proof::{self, ProofPolicy};
use crate::record::{Body, Carried, Decided, Record, Verb};
use crate::{Audience, Call, ChainLimits, ChainRefusal, TrustAnchor, VerifiedChain, call, verify_chain_knowing};

/// What is asked. Nothing of it: whether the log bears the decision out.
#[derive(Debug, Clone, Copy, Default)]
pub struct WhatIf<'a> {
    /// Decided at this moment: tokens have expired or not, directives are in force or not, as of then.
    pub at: Option<UnixMillis>,
    /// Under this narrowing on top, `{"tools": {<tool>|"*": <constraint map>}}` as read by [`Policy::parse`].
    pub policy: Option<&'a Policy>,
    /// Had this token never been: all that rests on it is denied.
    pub without: Option<Digest>,
}

/// A narrowing that somebody thinks of.
#[derive(Debug)]
pub struct Policy(Tools);

impl Policy {
    /// Reads one, as a *narrow* directive has it.
    pub fn parse(value: &serde_json::Value) -> Result<Self, marque_credential::ToolsError> {
        narrowing::compile(value).map(Self)
    }
}

/// A decision seen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindsaid {
    /// It would be permitted.
    Permit,
    /// It would be denied, for this reason; by this directive, if one decides.
    Deny(ChainRefusal, Option<String>),
    /// The log does not hold what it takes to say.
    Unknown(String),
}

impl Hindsaid {
    /// Whether this is another decision than the record's.
    pub fn differs(&self, decided: &Decided) -> bool {
        match self {
            Self::Permit => decided.decision == Verb::Deny,
            Self::Deny(..) => decided.decision == Verb::Permit,
            Self::Unknown(_) => false,
        }
    }
}

/// A directive, and when the broker stored the record of it.
struct Known {
    directive: Arc<SignedDirective>,
    stored_ms: i64,
}

/// The directives up to some place, as of some time.
#[derive(Default)]
struct Then {
    view: View,
    /// The last directive that it holds.
    upto: Option<Epoch>,
    at_ms: i64,
    /// The view's own sequence: the stream's has heartbeats in between.
    seq: u64,
}

/// What a log tells that decisions rest on. Holds every token of the log.
pub struct Hindsight {
    anchors: Vec<TrustAnchor>,
    domain: TrustDomain,
    /// Signs the heartbeats by which a view here is told the time; nobody checks them.
    teller: Did,
    opener: Opener,
    tokens: HashMap<Digest, String>,
    directives: BTreeMap<Epoch, Known>,
    chains: HashMap<Vec<Digest>, Result<Arc<VerifiedChain>, ChainRefusal>>,
    /// Of their links, which other chains begin with.
    signatures: VerifiedSignatures,
    then: Then,
}

/// Chains kept verified between two records: as many as a verifier keeps.
const CHAINS_MAX: usize = crate::cache::CHAINS_MAX;

impl Hindsight {
    /// Of a log whose records are judged under this bundle.
    pub fn new(bundle: &TrustBundle) -> Self {
        let issuers = bundle.issuers.iter();
        let anchor = |anchor: &marque_signing::Anchor| {
            let key = marque_signing::PublicKey::from_did(&anchor.did).ok()?;
            Some(TrustAnchor { iss: anchor.iss.clone(), key })
        };
        Self {
            anchors: issuers.filter_map(anchor).collect(),
            domain: bundle.trust_domain.clone(),
            teller: Did::from_key_bytes([0; 32]),
            opener: Opener::new(bundle.keys(Role::Broadcaster)),
            tokens: HashMap::new(),
            directives: BTreeMap::new(),
            chains: HashMap::new(),
            signatures: VerifiedSignatures::default(),
            then: Then::default(),
        }
    }

    /// Takes in a valid record and the broker's time of it, in milliseconds. The order does not matter.
    pub fn learn(&mut self, record: &Record, stored_ms: i64) {
        match &record.body {
            Body::Issued(issued) => issued.root.iter().for_each(|root| self.learn_token(root)),
            Body::Delegated(delegated) => self.learn_token(&delegated.link),
            Body::Directive(issued) => {
                if let Ok(directive) = self.opener.directive(issued.directive.as_bytes()) {
                    self.directives.insert(issued.epoch, Known { directive, stored_ms });
                    self.then = Then::default();
                }
            }
            Body::Refused(_)
            | Body::Requested(_)
            | Body::Decided(_)
            | Body::Completed(_)
            | Body::Receipt(_)
            | Body::Connected(_)
            | Body::Kicked(_)
            | Body::Disconnected(_)
            | Body::Risk(_)
            | Body::Heads(_)
            | Body::Erased(_) => {}
        }
    }

    fn learn_token(&mut self, carried: &Carried) {
        let Some(text) = carried.compact() else { return };
        if let Ok(compact) = Compact::split(text) {
            self.tokens.entry(compact.signing_digest()).or_insert_with(|| text.to_owned());
        }
    }

    /// Judges the action of a *decided* record; anything else is unknown.
    pub fn judge(&mut self, record: &Record, what_if: &WhatIf<'_>) -> Hindsaid {
        let Body::Decided(decided) = &record.body else { return Hindsaid::Unknown("it decides nothing".into()) };
        match self.judged(record, decided, what_if) {
            Ok(()) => Hindsaid::Permit,
            Err(Otherwise::Refused(refusal, directive)) => Hindsaid::Deny(*refusal, directive),
            Err(Otherwise::Unknown(why)) => Hindsaid::Unknown(why),
        }
    }

    fn judged(&mut self, record: &Record, decided: &Decided, what_if: &WhatIf<'_>) -> Result<(), Otherwise> {
        let unknown = |why: &str| Otherwise::Unknown(why.to_owned());
        if decided.code.is_some_and(not_repeatable) {
            return Err(unknown("it was denied for what only its moment could tell"));
        }
        if let Some(token) = what_if.without.filter(|token| record.links.contains(token)) {
            let message = format!("it rests on token {token}");
            return Err(ChainRefusal::at("9", Code::Revoked, message).into());
        }
        // 1 to 6a, at the moment of the record: what was signed then.
        let then = UnixSeconds(record.iat_ms.0.div_euclid(1000));
        let chain = self.chain(&record.links, then)?;
        let text =
            decided.proof.as_ref().and_then(Carried::compact).ok_or_else(|| unknown("its proof is not carried"))?;
        let tool = record.tool.as_deref().ok_or_else(|| unknown("it names no tool"))?;
        // 7a, 7b.
        let payload = proof::open(&chain, text)?;
        let claims = proof::parse(&payload)?;
        let args = claims.get("hta").ok_or_else(|| unknown("its proof carries no arguments"))?;
        let call = Call { tool, args };
        // 3e, 3f; 6b, 6c, at the moment that is asked about.
        let at = what_if.at.map_or(then, |at| UnixSeconds(at.0.div_euclid(1000)));
        chain.check_time(at)?;
        call::grants(&chain, &call)?;
        let audience = Audience::new(decided.audience.clone());
        if decided.audience.is_some() {
            call::presented_here(&chain, &audience)?;
        }
        // 7c to 7g: of the moment at which the proof was made.
        let made = claims.numeric_date("iat").ok_or_else(|| unknown("its proof tells no time"))?;
        proof::judge(&chain, &call, &claims, &ProofPolicy::new(&audience), made)?;
        // 9 and 10: what was in force.
        let (upto, at_ms) = match what_if.at {
            Some(at) => (self.known_at(at.0), at.0),
            // A raw copy may have denied before its place in the stream was known.
            None => {
                let by_raw = decided.directive.as_deref().and_then(|id| self.place_of(id));
                (self.known_by(decided.epoch).max(by_raw), record.iat_ms.0)
            }
        };
        self.turn_to(upto, at_ms);
        directives::check(&chain, &call, &self.domain, &self.then.view).map_err(|refused| {
            let (refusal, directive) = refused.parts();
            Otherwise::Refused(Box::new(refusal), directive)
        })?;
        // And the policy that is thought of.
        if let Some(Policy(tools)) = what_if.policy {
            narrowing::check_tools(tools, &call)?;
        }
        Ok(())
    }

    fn chain(&mut self, links: &[Digest], now: UnixSeconds) -> Result<Arc<VerifiedChain>, Otherwise> {
        if let Some(known) = self.chains.get(links) {
            return known.clone().map_err(Otherwise::from);
        }
        if links.is_empty() {
            return Err(Otherwise::Unknown("no chain was verified".into()));
        }
        let mut tokens = Vec::with_capacity(links.len());
        for link in links {
            let missing = || Otherwise::Unknown(format!("no record carries token {link}"));
            tokens.push(self.tokens.get(link).ok_or_else(missing)?.as_str());
        }
        let (anchors, limits) = (&self.anchors, ChainLimits::default());
        let verified = verify_chain_knowing(&tokens, anchors, now, &limits, &self.signatures).map(Arc::new);
        if self.chains.len() >= CHAINS_MAX {
            self.chains.clear();
        }
        self.chains.insert(links.to_vec(), verified.clone());
        verified.map_err(Otherwise::from)
    }

    /// The last directive that a view of this epoch holds.
    fn known_by(&self, epoch: Epoch) -> Option<Epoch> {
        self.directives.range(..=epoch).next_back().map(|(epoch, _)| *epoch)
    }

    fn place_of(&self, id: &str) -> Option<Epoch> {
        let is = |known: &Known| known.directive.directive().id.to_string() == id;
        self.directives.iter().find(|(_, known)| is(known)).map(|(epoch, _)| *epoch)
    }

    /// The last directive that was in the log at this time.
    fn known_at(&self, at_ms: i64) -> Option<Epoch> {
        self.directives.iter().take_while(|(_, known)| known.stored_ms <= at_ms).last().map(|(epoch, _)| *epoch)
    }

    /// Makes `then` the view of the directives up to this one, as of this time.
    fn turn_to(&mut self, upto: Option<Epoch>, at_ms: i64) {
        if upto < self.then.upto || at_ms < self.then.at_ms {
            self.then = Then::default();
        }
        let then = &mut self.then;
        let from = then.upto.map_or(Epoch(0), Epoch::next);
        if let Some(upto) = upto.filter(|upto| *upto >= from) {
            for (epoch, known) in self.directives.range(from..=upto) {
                then.seq += 1;
                let item = Item::Directive(Arc::clone(&known.directive));
                then.view.on(Event::Committed { seq: Epoch(then.seq), item }, Duration::ZERO);
                then.upto = Some(*epoch);
            }
        }
        if at_ms > then.at_ms {
            then.at_ms = at_ms;
            then.seq += 1;
            let beat = Heartbeat {
                iss: self.teller,
                t: UnixMillis(at_ms),
                boot: UnixMillis(0),
                n: then.seq,
                epoch: Epoch(then.seq),
                active: 0,
                set_digest: SetDigest::default(),
            };
            // It differs from the set, which only freshness minds.
            then.view.on(Event::Committed { seq: Epoch(then.seq), item: Item::Heartbeat(beat) }, Duration::ZERO);
        }
    }
}

/// Denials that rest on a moment: what was new, fresh, demanded or claimed then.
fn not_repeatable(code: Code) -> bool {
    matches!(
        code,
        Code::ProofReplayed
            | Code::ReplayUndecided
            | Code::ViewStale
            | Code::ViewDiverged
            | Code::NonceMismatch
            | Code::NotRecorded
            | Code::ProofOutOfWindow
            | Code::ManifestChanged
            | Code::ChainUnknown
            | Code::Unavailable
            | Code::Internal
    )
}

/// Why it is not a permit.
enum Otherwise {
    Refused(Box<ChainRefusal>, Option<String>),
    Unknown(String),
}

impl From<ChainRefusal> for Otherwise {
    fn from(refusal: ChainRefusal) -> Self {
        Self::Refused(Box::new(refusal), None)
    }
}
