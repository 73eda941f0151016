//! One record folded in: what it says of agents, credentials and connections.
//!
//! TRUST: the record's signature holds, its signer may state such a thing, and it is the first with its id. What an
//! agent says of itself (its *requested* records, the links it derived) is taken as its word and marked as claimed.

use marque_identity::{Did, Digest};
use marque_judgement::record::{
    Body, Connected, Decided, Delegated, Disconnected, Heads, Issued, Kicked, Record, Refused, Requested, Verb, What,
};
use marque_signing::{Compact, Role, TrustBundle, sha256};
use serde::Deserialize;
use serde_json::Value;

use super::draft::Draft;
use super::tables;
use super::{
    CLOSED_LATELY_MAX, Connection, Credential, CredentialKind, FORKS_RAISED_MAX, Fork, Head, Mark, OpenPermit, Standing,
};
use crate::SinkError;
use crate::carried::{claims, grant};
use crate::cloned;

/// A record about a message that was sent before the connection's end may be stored after it: a decision takes as long
/// as a tool host waits for the broker (5 s), twice.
const LATE_MS: i64 = 10_000;
/// A grant is at most as large as a carried token (32 KiB); so many tools stand in a token (PROTOCOL §2).
const TOOLS_MAX: usize = 256;
/// A directive is at most 16 KiB.
const DIRECTIVE_BYTES_MAX: usize = 16 * 1024;
/// What the broker alone enforces: no record says whether a grant of these was used beyond connecting.
pub(crate) const WIRE_TOOLS: [&str; 2] = ["nats:publish", "nats:subscribe"];

/// A record, and where it stands.
pub(super) struct Folding<'d, 't> {
    pub(super) draft: &'d mut Draft<'t>,
    pub(super) bundle: &'d TrustBundle,
    pub(super) at: Mark,
}

impl Folding<'_, '_> {
    /// Folds a record in.
    pub(super) fn fold(&mut self, record: &Record) -> Result<(), SinkError> {
        match &record.body {
            Body::Issued(issued) => self.issued(record, issued),
            Body::Refused(refused) => self.refused(record, refused),
            Body::Delegated(delegated) => self.delegated(record, delegated),
            Body::Requested(requested) => self.requested(record, requested),
            Body::Decided(decided) => self.decided(record, decided),
            Body::Completed(completed) => {
                self.draft.answer(&completed.decided)?;
                if let Some(agent) = &record.agent {
                    self.draft.agent(agent)?.completed += 1;
                }
                Ok(())
            }
            Body::Directive(issued) => self.directive(&issued.directive),
            Body::Connected(connected) => self.connected(record, connected),
            Body::Disconnected(disconnected) => self.disconnected(disconnected),
            Body::Kicked(kicked) => self.kicked(kicked),
            Body::Heads(heads) => self.heads(heads),
            Body::Risk(risk) if risk.signal == cloned::SIGNAL => self.raised(record),
            Body::Risk(_) | Body::Receipt(_) | Body::Erased(_) => Ok(()),
        }
    }

    /// A credential and, of a root, its grant. The agent asked the issuer for it: one message.
    fn issued(&mut self, record: &Record, issued: &Issued) -> Result<(), SinkError> {
        let (Some(holder), Some(token)) = (&record.agent, &record.token) else { return Ok(()) };
        let (blueprint, sponsor) = (issued.blueprint.as_str().to_owned(), issued.sponsor.as_str().to_owned());
        let agent = self.draft.agent(holder)?;
        agent.first.get_or_insert(self.at);
        (agent.blueprint, agent.sponsor) = (Some(blueprint.clone()), Some(sponsor.clone()));
        self.sent(holder)?;
        let (kind, carried) = match issued.what {
            What::Credential => (CredentialKind::Identity, issued.credential.as_ref()),
            What::Root => (CredentialKind::Root, issued.root.as_ref()),
        };
        let brought = Credential {
            holder: Some(*holder),
            task: record.task.as_ref().map(ToString::to_string),
            blueprint: Some(blueprint),
            sponsor: Some(sponsor),
            expires_at: Some(issued.expires_at.0),
            ..Credential::unseen(kind, 0)
        };
        self.publish(token, brought, carried.and_then(|carried| claims(carried, token)))?;
        // A commission is issued on a live identity credential, which its evidence names: that is a use of it.
        for evidence in &issued.evidence {
            if kind == CredentialKind::Root
                && let Some(identity) = self.draft.credential(&evidence.sha256)?
                && identity.kind == CredentialKind::Identity
            {
                identity.last_used = Some(self.at);
            }
        }
        Ok(())
    }

    /// A derived token. Its parent's own word counts only where the parent's holder gives it.
    fn delegated(&mut self, record: &Record, delegated: &Delegated) -> Result<(), SinkError> {
        let (Some(holder), Some(token)) = (&record.agent, &record.token) else { return Ok(()) };
        let parent = self.draft.credential(&delegated.parent)?.cloned();
        let seen_in_use = [Role::Verifier, Role::Host, Role::Gatekeeper];
        let enforcer = seen_in_use.iter().any(|role| self.bundle.has_role(&record.by, *role));
        if !enforcer {
            if parent.as_ref().and_then(|parent| parent.holder) != Some(record.by) {
                return Ok(());
            }
            self.sent(&record.by)?;
        }
        self.draft.agent(holder)?.first.get_or_insert(self.at);
        let carried = claims(&delegated.link, token);
        let task = record.task.as_ref().map(ToString::to_string);
        let brought = Credential {
            holder: Some(*holder),
            parent: Some(delegated.parent),
            task: task.or_else(|| parent.as_ref()?.task.clone()),
            blueprint: parent.as_ref().and_then(|parent| parent.blueprint.clone()),
            sponsor: parent.as_ref().and_then(|parent| parent.sponsor.clone()),
            expires_at: carried.as_ref().and_then(|claims| claims.get("exp")?.as_i64()),
            claimed: !enforcer,
            ..Credential::unseen(CredentialKind::Derived, delegated.depth)
        };
        self.publish(token, brought, carried)
    }

    /// A record brings a credential. The first that does counts; one that chains named before keeps what they told.
    fn publish(&mut self, token: &Digest, brought: Credential, claims: Option<Value>) -> Result<(), SinkError> {
        let known = self.draft.credential(token)?.cloned();
        if let Some(known) = &known
            && known.published.is_some()
        {
            if known.claimed && !brought.claimed {
                self.vouch(token)?;
            }
            return Ok(());
        }
        let tools = claims.as_ref().and_then(grant);
        let mut row = Credential { published: Some(self.at), ..brought };
        if let Some(known) = known {
            let Credential { seen, permits, denials, connects, last_used, .. } = known;
            row = Credential { seen, permits, denials, connects, last_used, ..row };
            row.claimed &= row.permits + row.connects == 0;
            if known.holder.is_some() {
                // It stands in its holder's list already.
                row.holder = known.holder;
            } else if let Some(holder) = &row.holder {
                self.draft.hold(holder, self.at.leaf, token)?;
            }
            self.draft.set_unpublished(token, false)?;
        } else if let Some(holder) = &row.holder {
            self.draft.hold(holder, self.at.leaf, token)?;
        }
        if let Some(tools) = tools {
            let names: Vec<String> = tools.keys().take(TOOLS_MAX).cloned().collect();
            row.tools = u64::try_from(names.len()).ok();
            row.scope = scope(row.blueprint.as_deref(), &Value::Object(tools.clone()));
            self.draft.grant(token, &names)?;
        }
        self.live_scope(&row)?;
        self.draft.add_credential(token, row);
        Ok(())
    }

    /// Only a grant that was checked counts among those alike: an agent's own word could name any.
    fn live_scope(&mut self, row: &Credential) -> Result<(), SinkError> {
        match (&row.scope, row.expires_at, &row.holder) {
            (Some(scope), Some(expires_at), Some(holder)) if !row.claimed => {
                self.draft.scope(scope, expires_at, holder)
            }
            (_, _, _) => Ok(()),
        }
    }

    /// A verified chain has the link: what its parent said of it holds.
    fn vouch(&mut self, token: &Digest) -> Result<(), SinkError> {
        let Some(row) = self.draft.credential(token)? else { return Ok(()) };
        if !std::mem::take(&mut row.claimed) {
            return Ok(());
        }
        let row = row.clone();
        self.live_scope(&row)
    }

    /// An agent's own statement: one message, and one proof of its chain of actions, as it says.
    fn requested(&mut self, record: &Record, requested: &Requested) -> Result<(), SinkError> {
        #[derive(Deserialize)]
        struct Claims {
            seq: Option<u64>,
        }
        let Some(agent) = &record.agent else { return Ok(()) };
        self.draft.agent(agent)?.first.get_or_insert(self.at);
        self.sent(agent)?;
        let payload = requested.proof.compact().and_then(|proof| Compact::split(proof).ok()?.payload().ok());
        let claims =
            payload.and_then(|payload| marque_json::from_slice::<Claims>(&payload, marque_json::Limits::DEFAULT).ok());
        if let Some(seq) = claims.and_then(|claims| claims.seq) {
            self.number(agent, seq, &requested.proof.digest())?;
        }
        Ok(())
    }

    /// A refusal by a service that the agent asked: one message.
    fn refused(&mut self, record: &Record, _refused: &Refused) -> Result<(), SinkError> {
        let asked = [Role::Issuer, Role::Broadcaster].iter().any(|role| self.bundle.has_role(&record.by, *role));
        match &record.agent {
            Some(agent) if asked => self.sent(agent),
            Some(_) | None => Ok(()),
        }
    }

    fn decided(&mut self, record: &Record, decided: &Decided) -> Result<(), SinkError> {
        // Without a verified chain nobody is named.
        let Some(holder) = &record.agent else { return Ok(()) };
        let permit = decided.decision == Verb::Permit;
        let agent = self.draft.agent(holder)?;
        agent.first.get_or_insert(self.at);
        if permit {
            agent.permitted += 1;
        } else {
            agent.denied += 1;
        }
        // The enforcement point tells `seq` only of a proof whose signature holds.
        match (decided.seq.filter(|seq| *seq > 0), &decided.proof) {
            (Some(seq), Some(proof)) => {
                if self.number(holder, seq, &proof.digest())? {
                    self.sent(holder)?;
                }
            }
            (None, _) | (Some(_), None) if permit => self.sent(holder)?,
            (None, _) | (Some(_), None) => {}
        }
        self.links(record, &[])?;
        if permit {
            let tool = record.tool.clone();
            for link in &record.links {
                if let Some(tool) = &tool {
                    self.draft.used(link, tool, self.at.leaf)?;
                }
                self.touch(link, |row| row.permits += 1)?;
            }
            let task = record.task.as_ref().map(ToString::to_string);
            self.draft.add_permit(
                holder,
                self.at.leaf,
                OpenPermit { id: record.id.clone(), ms: self.at.ms, tool, task },
            );
        } else if let Some(row) = record.token.map(|token| self.draft.credential(&token)).transpose()?.flatten() {
            row.denials += 1;
        }
        Ok(())
    }

    /// A verified chain names its links. One that no record has brought is kept as unpublished.
    fn links(&mut self, record: &Record, holders: &[Did]) -> Result<(), SinkError> {
        for (place, link) in record.links.iter().enumerate() {
            let last = place + 1 == record.links.len();
            let holder = holders.get(place).copied().or(if last { record.agent } else { None });
            let parent = place.checked_sub(1).and_then(|before| record.links.get(before)).copied();
            let kind = if place == 0 { CredentialKind::Root } else { CredentialKind::Derived };
            match self.draft.credential(link)? {
                Some(row) if row.published.is_some() => self.vouch(link)?,
                Some(row) => {
                    if row.holder.is_none()
                        && let Some(holder) = holder
                    {
                        row.holder = Some(holder);
                        self.draft.agent(&holder)?.first.get_or_insert(self.at);
                        self.draft.hold(&holder, self.at.leaf, link)?;
                    }
                }
                None => {
                    let task = record.task.as_ref().map(ToString::to_string);
                    let depth = u64::try_from(place).unwrap_or(u64::MAX);
                    let row =
                        Credential { holder, parent, task, seen: Some(self.at), ..Credential::unseen(kind, depth) };
                    self.draft.add_credential(link, row);
                    self.draft.set_unpublished(link, true)?;
                    if let Some(holder) = &holder {
                        self.draft.agent(holder)?.first.get_or_insert(self.at);
                        self.draft.hold(holder, self.at.leaf, link)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn touch(&mut self, credential: &Digest, count: impl FnOnce(&mut Credential)) -> Result<(), SinkError> {
        if let Some(row) = self.draft.credential(credential)? {
            row.last_used = Some(self.at);
            count(row);
        }
        Ok(())
    }

    /// A message of this key is known; connections that ended lately may have carried it, too.
    fn sent(&mut self, agent: &Did) -> Result<(), SinkError> {
        let at = self.at;
        let row = self.draft.agent(agent)?;
        row.known += 1;
        row.last = Some(at);
        if row.closed.is_empty() {
            return Ok(());
        }
        for name in row.closed.clone() {
            let Some(mut connection) = self.draft.connection(&name)? else { continue };
            if connection.ended.is_some_and(|ended| at.ms - ended.ms <= LATE_MS) {
                connection.known_after = connection.known_after.map(|known| known + 1);
                self.draft.set_connection(&name, &connection)?;
            }
        }
        let still = closed_lately(self.draft, agent, at)?;
        self.draft.agent(agent)?.closed = still;
        Ok(())
    }

    /// A proof with this number. Another proof with the same number is a fork. Gives whether the proof is new.
    fn number(&mut self, agent: &Did, seq: u64, proof: &Digest) -> Result<bool, SinkError> {
        let at = self.at;
        if seq == 0 {
            return Ok(true);
        }
        match self.draft.number(agent, seq, at.leaf, proof)? {
            None => {
                let row = self.draft.agent(agent)?;
                row.sequence.add(seq, at);
                if row.head.is_none_or(|head| seq > head.seq) {
                    row.head = Some(Head { seq, proof: *proof, leaf: at.leaf });
                    self.draft.head_due(agent, true)?;
                }
                Ok(true)
            }
            Some((_, known)) if known == *proof => Ok(false),
            Some((first, _)) => {
                let due = self.draft.agent(agent)?.sequence.forks < FORKS_RAISED_MAX;
                if self.draft.fork(agent, seq, &Fork { first, second: at }, due)? {
                    self.draft.agent(agent)?.sequence.forks += 1;
                }
                Ok(true)
            }
        }
    }

    /// A *risk* record says that a key was cloned: of which number, its id tells.
    fn raised(&mut self, record: &Record) -> Result<(), SinkError> {
        let Some(agent) = record.agent.filter(|_| self.bundle.has_role(&record.by, Role::Sink)) else { return Ok(()) };
        for seq in self.draft.forks_due(&agent)? {
            if cloned::is_id(&record.id, &record.by, &agent, seq) {
                self.draft.fork_raised(&agent, seq)?;
            }
        }
        Ok(())
    }

    fn heads(&mut self, heads: &Heads) -> Result<(), SinkError> {
        for stated in &heads.heads {
            let row = self.draft.agent(&stated.agent)?;
            let Some(head) = row.head else { continue };
            row.stated = Some(Head { seq: stated.seq, proof: stated.proof, leaf: self.at.leaf });
            let said = (stated.seq, stated.proof) == (head.seq, head.proof);
            if said {
                self.draft.head_due(&stated.agent, false)?;
            }
        }
        Ok(())
    }

    fn connected(&mut self, record: &Record, connected: &Connected) -> Result<(), SinkError> {
        let Some(agent) = &record.agent else { return Ok(()) };
        let name = tables::connection(&connected.connection);
        // A link over which something else is shown has a second record: what it shows counts from then on.
        let before = self.draft.connection(&name)?;
        if before.as_ref().is_some_and(|before| before.ended.is_some()) {
            return Ok(());
        }
        let sent_before = match before.as_ref().filter(|before| before.agent != *agent) {
            Some(former) => self.handed_over(&name, former)?,
            None => 0,
        };
        let own = before.filter(|before| before.agent == *agent);
        self.links(record, &connected.holders)?;
        let at = self.at;
        let row = self.draft.agent(agent)?;
        row.first.get_or_insert(at);
        row.last = Some(at);
        if row.blueprint.is_none() && record.links.len() <= 1 {
            row.blueprint = connected.blueprint.as_ref().map(|blueprint| blueprint.as_str().to_owned());
        }
        let known_before = row.known;
        let connection = Connection {
            agent: *agent,
            shown: connected.shown,
            credential: record.token,
            since: own.as_ref().map_or(at, |own| own.since),
            expires_at: connected.expires_at.map(|at| at.0),
            known_before: own.as_ref().map_or(known_before, |own| own.known_before),
            sent_before: own.as_ref().map_or(sent_before, |own| own.sent_before),
            known_after: None,
            kicked: None,
            ended: None,
            messages_sent: None,
            crowded: own.as_ref().is_some_and(|own| own.crowded),
        };
        let known = own.is_some();
        self.draft.set_connection(&name, &connection)?;
        if !known {
            self.draft.connected(agent, at.leaf, &name)?;
        }
        let shown = match record.links.as_slice() {
            [] => record.token.into_iter().collect(),
            links => links.to_vec(),
        };
        for link in &shown {
            for tool in WIRE_TOOLS {
                self.draft.used(link, tool, at.leaf)?;
            }
            self.touch(link, |row| row.connects += 1)?;
        }
        Ok(())
    }

    /// Another key shows something over a link: what its former holder had of it has ended, and keeps a row of its own.
    /// Gives how many messages over this link are known to be of those before.
    fn handed_over(&mut self, name: &str, former: &Connection) -> Result<u64, SinkError> {
        let known_after = self.draft.agent(&former.agent)?.known;
        let ended = Connection { ended: Some(self.at), known_after: Some(known_after), ..former.clone() };
        let kept = tables::handed_over(name, former.since.leaf);
        self.draft.set_connection(&kept, &ended)?;
        self.draft.connected(&former.agent, former.since.leaf, &kept)?;
        Ok(former.sent_before.saturating_add(known_after.saturating_sub(former.known_before)))
    }

    fn disconnected(&mut self, disconnected: &Disconnected) -> Result<(), SinkError> {
        let name = tables::connection(&disconnected.connection);
        let Some(mut connection) = self.draft.connection(&name)?.filter(|known| known.ended.is_none()) else {
            return Ok(());
        };
        connection.ended = Some(self.at);
        connection.messages_sent = Some(disconnected.messages_sent);
        let agent = connection.agent;
        let mut closed = closed_lately(self.draft, &agent, self.at)?;
        let row = self.draft.agent(&agent)?;
        connection.known_after = Some(row.known);
        closed.push(name.clone());
        let crowded = (closed.len() > CLOSED_LATELY_MAX).then(|| closed.remove(0));
        row.closed = closed;
        self.draft.set_connection(&name, &connection)?;
        if let Some(crowded) = crowded
            && let Some(mut connection) = self.draft.connection(&crowded)?
        {
            connection.crowded = true;
            self.draft.set_connection(&crowded, &connection)?;
        }
        Ok(())
    }

    fn kicked(&mut self, kicked: &Kicked) -> Result<(), SinkError> {
        let name = tables::connection(&kicked.connection);
        let Some(mut connection) = self.draft.connection(&name)? else { return Ok(()) };
        connection.kicked.get_or_insert(self.at);
        self.draft.set_connection(&name, &connection)
    }

    /// A directive is in force, or ends another. TRUST: the broadcaster signed the record, and so the directive in it.
    fn directive(&mut self, compact: &str) -> Result<(), SinkError> {
        #[derive(Deserialize)]
        struct Target {
            kind: String,
            value: String,
        }
        #[derive(Deserialize)]
        struct Said {
            id: String,
            op: String,
            target: Target,
            until: Option<i64>,
            lifts: Option<String>,
        }
        let payload: Result<Value, _> = marque_signing::jws::unverified_payload(compact, DIRECTIVE_BYTES_MAX);
        let event = payload.ok().and_then(|claims| claims.get("events")?.get("urn:marque:event:directive").cloned());
        let Some(said) = event.and_then(|event| serde_json::from_value::<Said>(event).ok()) else { return Ok(()) };
        match said.lifts {
            Some(lifted) => {
                self.draft.end_directive(&tables::directive(&said.target.kind, &said.target.value, &lifted))
            }
            None => self.draft.set_directive(
                &tables::directive(&said.target.kind, &said.target.value, &said.id),
                &Standing { op: said.op, by: self.at, until: said.until },
            ),
        }
    }
}

/// The agent's connections that ended so lately that records about them may still come.
fn closed_lately(draft: &mut Draft<'_>, agent: &Did, at: Mark) -> Result<Vec<String>, SinkError> {
    let mut still = Vec::new();
    for name in draft.agent(agent)?.closed.clone() {
        let ended = draft.connection(&name)?.and_then(|connection| connection.ended);
        if ended.is_some_and(|ended| at.ms - ended.ms <= LATE_MS) {
            still.push(name);
        }
    }
    Ok(still)
}

/// The same grant for the same kind of agent, whatever the order in which it is written.
fn scope(blueprint: Option<&str>, tools: &Value) -> Option<Digest> {
    let canonical = marque_json::to_canonical(&serde_json::json!([blueprint, tools])).ok()?;
    Some(sha256(&canonical))
}
