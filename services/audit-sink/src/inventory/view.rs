//! The inventory at one moment, as the answers read it. Every list that is read has a bound.

use std::collections::HashSet;

use marque_identity::{Did, Digest, TrustDomain};
use redb::{ReadTransaction, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;

use super::draft::{damaged, parsed, read};
use super::tables::{self, *};
use super::{Agent, Connection, Credential, Fork, OpenPermit, Standing};
use crate::SinkError;

/// Holders of one scope that are counted: beyond, "at least" says enough.
pub const ALIKE_COUNTED_MAX: usize = 256;
/// Rows that are read for that: a holder has a row for each renewal that still lives.
const ALIKE_ROWS_MAX: usize = 2048;
/// Directives on one target that are looked at.
const STANDING_MAX: usize = 16;

/// One moment.
pub struct InventoryView {
    txn: ReadTransaction,
    upto: u64,
    domain: TrustDomain,
}

impl InventoryView {
    pub(super) fn new(txn: ReadTransaction, upto: u64, domain: TrustDomain) -> Self {
        Self { txn, upto, domain }
    }

    /// Leaves below this are folded in.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// An agent.
    pub fn agent(&self, agent: &Did) -> Result<Option<Agent>, SinkError> {
        read(&self.txn.open_table(AGENTS)?, agent.key_bytes().as_slice())
    }

    /// Hands the agents beyond `after` to `each`, in the order of their keys, until it says to stop.
    pub fn agents(
        &self,
        after: Option<&Did>,
        mut each: impl FnMut(Did, Agent) -> Result<bool, SinkError>,
    ) -> Result<(), SinkError> {
        let table = self.txn.open_table(AGENTS)?;
        let after = after.map(|did| *did.key_bytes());
        for row in table.range::<&[u8]>(beyond(after.as_ref().map(<[u8; 32]>::as_slice)))? {
            let (key, value) = row?;
            let key: [u8; 32] = key.value().try_into().map_err(|_| damaged())?;
            if !each(Did::from_key_bytes(key), parsed(value.value())?)? {
                break;
            }
        }
        Ok(())
    }

    /// A credential.
    pub fn credential(&self, digest: &Digest) -> Result<Option<Credential>, SinkError> {
        read(&self.txn.open_table(CREDENTIALS)?, digest.0.as_slice())
    }

    /// Hands the credentials beyond `after` to `each`, in the order of their digests, until it says to stop.
    pub fn credentials(
        &self,
        after: Option<&Digest>,
        mut each: impl FnMut(Digest, Credential) -> Result<bool, SinkError>,
    ) -> Result<(), SinkError> {
        let table = self.txn.open_table(CREDENTIALS)?;
        for row in table.range::<&[u8]>(beyond(after.map(|digest| digest.0.as_slice())))? {
            let (key, value) = row?;
            let key: [u8; 32] = key.value().try_into().map_err(|_| damaged())?;
            if !each(Digest(key), parsed(value.value())?)? {
                break;
            }
        }
        Ok(())
    }

    /// Hands the digests of unpublished credentials beyond `after` to `each`, until it says to stop.
    pub fn unpublished(
        &self,
        after: Option<&Digest>,
        mut each: impl FnMut(Digest) -> Result<bool, SinkError>,
    ) -> Result<(), SinkError> {
        let table = self.txn.open_table(UNPUBLISHED)?;
        for row in table.range::<&[u8]>(beyond(after.map(|digest| digest.0.as_slice())))? {
            let key: [u8; 32] = row?.0.value().try_into().map_err(|_| damaged())?;
            if !each(Digest(key))? {
                break;
            }
        }
        Ok(())
    }

    /// What an agent holds, newest first, at most `count_max`: the leaf that brought it, and which.
    pub fn held(&self, agent: &Did, count_max: usize) -> Result<Vec<(u64, Digest)>, SinkError> {
        let table = self.txn.open_table(HELD)?;
        let low = tables::held(agent, 0, &Digest([0; 32]));
        let high = tables::held(agent, u64::MAX, &Digest([0xff; 32]));
        let mut found = Vec::new();
        for row in table.range(low.as_slice()..=high.as_slice())?.rev().take(count_max) {
            let (key, _) = row?;
            let (place, digest) = key.value().split_at_checked(40).ok_or_else(damaged)?;
            let (_, leaf) = tables::number_of(place).ok_or_else(damaged)?;
            found.push((leaf, Digest(digest.try_into().map_err(|_| damaged())?)));
        }
        Ok(found)
    }

    /// The tools that a credential grants; none where that is not known.
    pub fn grant(&self, credential: &Digest) -> Result<Option<Vec<String>>, SinkError> {
        read(&self.txn.open_table(GRANTS)?, credential.0.as_slice())
    }

    /// Of these tools of a credential, those that nothing has used.
    pub fn unused(&self, credential: &Digest, tools: &[String]) -> Result<Vec<String>, SinkError> {
        let table = self.txn.open_table(USED)?;
        let mut unused = Vec::new();
        for name in tools {
            if table.get(tables::tool(credential, name).as_slice())?.is_none() {
                unused.push(name.clone());
            }
        }
        Ok(unused)
    }

    /// How many hold this scope alive at this time, counted to [`ALIKE_COUNTED_MAX`].
    pub fn holders_alike(&self, scope: &Digest, now_ms: i64) -> Result<usize, SinkError> {
        let table = self.txn.open_table(SCOPES)?;
        let from = tables::scope(scope, now_ms.div_euclid(1000) + 1, &[0; 32]);
        let until = tables::scope(scope, i64::MAX, &[0xff; 32]);
        let mut holders: HashSet<Vec<u8>> = HashSet::new();
        for row in table.range(from.as_slice()..=until.as_slice())?.take(ALIKE_ROWS_MAX) {
            holders.insert(row?.0.value().get(40..).unwrap_or_default().to_vec());
            if holders.len() == ALIKE_COUNTED_MAX {
                break;
            }
        }
        Ok(holders.len())
    }

    /// An agent's connections, newest first, at most `count_max`, each with the server's name for it.
    pub fn connections(&self, agent: &Did, count_max: usize) -> Result<Vec<(String, Connection)>, SinkError> {
        let (names, rows) = (self.txn.open_table(CONNECTED)?, self.txn.open_table(CONNECTIONS)?);
        let (low, high) = span(agent);
        let mut found = Vec::new();
        for row in names.range(low.as_slice()..=high.as_slice())?.rev().take(count_max) {
            let (_, name) = row?;
            if let Some(connection) = read(&rows, name.value())? {
                found.push((tables::server_name(name.value()).to_owned(), connection));
            }
        }
        Ok(found)
    }

    /// An agent's permits without an outcome, oldest first, at most `count_max`, each with its leaf.
    pub fn permits(&self, agent: &Did, count_max: usize) -> Result<Vec<(u64, OpenPermit)>, SinkError> {
        self.numbered(PERMITS, agent, count_max)
    }

    /// An agent's forks, by number, at most `count_max`.
    pub fn forks(&self, agent: &Did, count_max: usize) -> Result<Vec<(u64, Fork)>, SinkError> {
        self.numbered(FORKS, agent, count_max)
    }

    /// An agent's rows of a table, each with its number, in the numbers' order.
    fn numbered<V: DeserializeOwned>(
        &self,
        table: TableDefinition<'_, &'static [u8], &'static [u8]>,
        agent: &Did,
        count_max: usize,
    ) -> Result<Vec<(u64, V)>, SinkError> {
        let table = self.txn.open_table(table)?;
        let (low, high) = span(agent);
        let rows = table.range(low.as_slice()..=high.as_slice())?.take(count_max);
        rows.map(|row| {
            let (key, value) = row?;
            let (_, number) = tables::number_of(key.value()).ok_or_else(damaged)?;
            Ok((number, parsed(value.value())?))
        })
        .collect()
    }

    /// Forks of which no *risk* record is known, at most `count_max`.
    pub fn forks_due(&self, count_max: usize) -> Result<Vec<(Did, u64, Fork)>, SinkError> {
        let (due, forks) = (self.txn.open_table(FORKS_DUE)?, self.txn.open_table(FORKS)?);
        let mut found = Vec::new();
        for row in due.iter()?.take(count_max) {
            let (key, _) = row?;
            let (agent, seq) = tables::number_of(key.value()).ok_or_else(damaged)?;
            if let Some(fork) = read(&forks, key.value())? {
                found.push((agent, seq, fork));
            }
        }
        Ok(found)
    }

    /// Agents whose head is not stated yet, at most `count_max`, beyond `after`.
    pub fn heads_due(&self, after: Option<&Did>, count_max: usize) -> Result<Vec<(Did, Agent)>, SinkError> {
        let (due, agents) = (self.txn.open_table(HEADS_DUE)?, self.txn.open_table(AGENTS)?);
        let after = after.map(|did| *did.key_bytes());
        let mut found = Vec::new();
        for row in due.range::<&[u8]>(beyond(after.as_ref().map(<[u8; 32]>::as_slice)))?.take(count_max) {
            let (key, _) = row?;
            let did = Did::from_key_bytes(key.value().try_into().map_err(|_| damaged())?);
            if let Some(agent) = read(&agents, key.value())? {
                found.push((did, agent));
            }
        }
        Ok(found)
    }

    /// The gravest directive in force on everything. One on another domain stops nothing here.
    pub fn standing_on_domain(&self, now_ms: i64) -> Result<Option<Standing>, SinkError> {
        self.standing("domain", self.domain.as_str(), now_ms)
    }

    /// The gravest directive in force on a target at this time: a revoke, else a suspend, else a narrowing.
    pub fn standing(&self, kind: &str, value: &str, now_ms: i64) -> Result<Option<Standing>, SinkError> {
        self.gravest(&tables::directive(kind, value, ""), now_ms)
    }

    fn gravest(&self, prefix: &str, now_ms: i64) -> Result<Option<Standing>, SinkError> {
        let table = self.txn.open_table(DIRECTIVES)?;
        let mut gravest: Option<Standing> = None;
        for row in table.range(prefix..)?.take(STANDING_MAX) {
            let (name, value) = row?;
            if !name.value().starts_with(prefix) {
                break;
            }
            let standing: Standing = parsed(value.value())?;
            let over = standing.until.is_some_and(|until| until.saturating_mul(1000) <= now_ms);
            if !over && gravest.as_ref().is_none_or(|known| known.gravity() < standing.gravity()) {
                gravest = Some(standing);
            }
        }
        Ok(gravest)
    }
}

impl Standing {
    /// Ends what it stands on for good.
    pub fn is_final(&self) -> bool {
        self.op == "revoke"
    }

    /// A revoke ends for good, a suspend until it is resumed, a narrowing takes some away.
    pub fn gravity(&self) -> u8 {
        match self.op.as_str() {
            "revoke" => 3,
            "suspend" => 2,
            _ => 1,
        }
    }
}

type Bounds<'a> = (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>);

fn beyond(after: Option<&[u8]>) -> Bounds<'_> {
    (after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded), std::ops::Bound::Unbounded)
}

fn span(agent: &Did) -> ([u8; 40], [u8; 40]) {
    (tables::numbered(agent, 0), tables::numbered(agent, u64::MAX))
}
