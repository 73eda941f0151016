//! One batch's changes: rows are read once, changed in memory, and written together.

use std::collections::{BTreeMap, HashMap, HashSet};

use marque_identity::{Did, Digest};
use redb::{Key, ReadableTable, Table, Value, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tables::{self, *};
use super::{Agent, Connection, Credential, Fork, OpenPermit, Standing};
use crate::SinkError;

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;
type Keys<'t> = Table<'t, &'static [u8], ()>;

/// The inventory while a batch is folded in.
pub(super) struct Draft<'t> {
    agents: HashMap<Did, Agent>,
    credentials: HashMap<Digest, Credential>,
    /// Permits of this batch that nothing has answered yet: most are answered in it.
    permits: BTreeMap<[u8; 40], OpenPermit>,
    permit_ids: HashMap<String, [u8; 40]>,
    used: HashSet<[u8; 64]>,
    agent_rows: Rows<'t>,
    credential_rows: Rows<'t>,
    held: Keys<'t>,
    grants: Rows<'t>,
    used_rows: Table<'t, &'static [u8], u64>,
    scopes: Keys<'t>,
    unpublished: Keys<'t>,
    connections: Table<'t, &'static str, &'static [u8]>,
    connected: Table<'t, &'static [u8], &'static str>,
    permit_rows: Rows<'t>,
    permit_id_rows: Table<'t, &'static str, &'static [u8]>,
    sequence: Rows<'t>,
    forks: Rows<'t>,
    forks_due: Keys<'t>,
    heads_due: Keys<'t>,
    directives: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Draft<'t> {
    pub(super) fn begin(txn: &'t WriteTransaction) -> Result<Self, SinkError> {
        Ok(Self {
            agents: HashMap::new(),
            credentials: HashMap::new(),
            permits: BTreeMap::new(),
            permit_ids: HashMap::new(),
            used: HashSet::new(),
            agent_rows: txn.open_table(AGENTS)?,
            credential_rows: txn.open_table(CREDENTIALS)?,
            held: txn.open_table(HELD)?,
            grants: txn.open_table(GRANTS)?,
            used_rows: txn.open_table(USED)?,
            scopes: txn.open_table(SCOPES)?,
            unpublished: txn.open_table(UNPUBLISHED)?,
            connections: txn.open_table(CONNECTIONS)?,
            connected: txn.open_table(CONNECTED)?,
            permit_rows: txn.open_table(PERMITS)?,
            permit_id_rows: txn.open_table(PERMIT_IDS)?,
            sequence: txn.open_table(SEQUENCE)?,
            forks: txn.open_table(FORKS)?,
            forks_due: txn.open_table(FORKS_DUE)?,
            heads_due: txn.open_table(HEADS_DUE)?,
            directives: txn.open_table(DIRECTIVES)?,
        })
    }

    /// An agent's row, to be changed; a new one where there is none.
    pub(super) fn agent(&mut self, agent: &Did) -> Result<&mut Agent, SinkError> {
        if !self.agents.contains_key(agent) {
            let known = read(&self.agent_rows, agent.key_bytes().as_slice())?;
            self.agents.insert(*agent, known.unwrap_or_default());
        }
        self.agents.get_mut(agent).ok_or(SinkError::BrokenOff)
    }

    /// A credential's row, to be changed, if there is one.
    pub(super) fn credential(&mut self, digest: &Digest) -> Result<Option<&mut Credential>, SinkError> {
        if !self.credentials.contains_key(digest)
            && let Some(known) = read(&self.credential_rows, digest.0.as_slice())?
        {
            self.credentials.insert(*digest, known);
        }
        Ok(self.credentials.get_mut(digest))
    }

    pub(super) fn add_credential(&mut self, digest: &Digest, credential: Credential) {
        self.credentials.insert(*digest, credential);
    }

    pub(super) fn hold(&mut self, agent: &Did, leaf: u64, credential: &Digest) -> Result<(), SinkError> {
        self.held.insert(tables::held(agent, leaf, credential).as_slice(), ())?;
        Ok(())
    }

    pub(super) fn grant(&mut self, credential: &Digest, tools: &[String]) -> Result<(), SinkError> {
        write(&mut self.grants, credential.0.as_slice(), &tools)
    }

    /// Marks a tool of a credential as used; the first leaf stays.
    pub(super) fn used(&mut self, credential: &Digest, name: &str, leaf: u64) -> Result<(), SinkError> {
        let key = tables::tool(credential, name);
        if self.used.insert(key) && self.used_rows.get(key.as_slice())?.is_none() {
            self.used_rows.insert(key.as_slice(), leaf)?;
        }
        Ok(())
    }

    pub(super) fn scope(&mut self, scope: &Digest, expires_at: i64, holder: &Did) -> Result<(), SinkError> {
        self.scopes.insert(tables::scope(scope, expires_at, holder.key_bytes()).as_slice(), ())?;
        Ok(())
    }

    pub(super) fn set_unpublished(&mut self, credential: &Digest, unpublished: bool) -> Result<(), SinkError> {
        set(&mut self.unpublished, credential.0.as_slice(), unpublished)
    }

    pub(super) fn connection(&self, name: &str) -> Result<Option<Connection>, SinkError> {
        read(&self.connections, name)
    }

    pub(super) fn set_connection(&mut self, name: &str, connection: &Connection) -> Result<(), SinkError> {
        write(&mut self.connections, name, connection)
    }

    pub(super) fn connected(&mut self, agent: &Did, leaf: u64, name: &str) -> Result<(), SinkError> {
        self.connected.insert(tables::numbered(agent, leaf).as_slice(), name)?;
        Ok(())
    }

    pub(super) fn add_permit(&mut self, agent: &Did, leaf: u64, permit: OpenPermit) {
        let key = tables::numbered(agent, leaf);
        self.permit_ids.insert(permit.id.clone(), key);
        self.permits.insert(key, permit);
    }

    /// A permit's outcome is known.
    pub(super) fn answer(&mut self, id: &str) -> Result<(), SinkError> {
        if let Some(key) = self.permit_ids.remove(id) {
            self.permits.remove(&key);
            return Ok(());
        }
        let key = self.permit_id_rows.remove(id)?.map(|key| key.value().to_vec());
        if let Some(key) = key {
            self.permit_rows.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// Notes the proof of a number. Gives what is there already: its leaf and its proof.
    pub(super) fn number(
        &mut self,
        agent: &Did,
        seq: u64,
        leaf: u64,
        proof: &Digest,
    ) -> Result<Option<(u64, Digest)>, SinkError> {
        let key = tables::numbered(agent, seq);
        let known = self.sequence.get(key.as_slice())?.map(|value| place(value.value()));
        if let Some(known) = known {
            return known.map(Some);
        }
        self.sequence.insert(key.as_slice(), [&leaf.to_be_bytes()[..], &proof.0].concat().as_slice())?;
        Ok(None)
    }

    /// Notes a fork, the first of its number; `due` where a *risk* record is to be made of it. Gives whether it is new.
    pub(super) fn fork(&mut self, agent: &Did, seq: u64, fork: &Fork, due: bool) -> Result<bool, SinkError> {
        let key = tables::numbered(agent, seq);
        if self.forks.get(key.as_slice())?.is_some() {
            return Ok(false);
        }
        write(&mut self.forks, key.as_slice(), fork)?;
        set(&mut self.forks_due, key.as_slice(), due)?;
        Ok(true)
    }

    /// The numbers of an agent's forks of which no *risk* record is known.
    pub(super) fn forks_due(&self, agent: &Did) -> Result<Vec<u64>, SinkError> {
        let (low, high) = (tables::numbered(agent, 0), tables::numbered(agent, u64::MAX));
        let rows = self.forks_due.range(low.as_slice()..=high.as_slice())?;
        rows.map(|row| Ok(tables::number_of(row?.0.value()).map_or(0, |(_, seq)| seq))).collect()
    }

    pub(super) fn fork_raised(&mut self, agent: &Did, seq: u64) -> Result<(), SinkError> {
        set(&mut self.forks_due, tables::numbered(agent, seq).as_slice(), false)
    }

    pub(super) fn head_due(&mut self, agent: &Did, due: bool) -> Result<(), SinkError> {
        set(&mut self.heads_due, agent.key_bytes().as_slice(), due)
    }

    pub(super) fn set_directive(&mut self, name: &str, standing: &Standing) -> Result<(), SinkError> {
        write(&mut self.directives, name, standing)
    }

    pub(super) fn end_directive(&mut self, name: &str) -> Result<(), SinkError> {
        self.directives.remove(name)?;
        Ok(())
    }

    /// Writes what was changed, in the order of the keys: neighbours in the tree are written together.
    pub(super) fn finish(mut self) -> Result<(), SinkError> {
        for (agent, row) in sorted(&self.agents, |agent| *agent.key_bytes()) {
            // Nothing says that there is such an agent: it was only looked for.
            if row.first.is_none() {
                continue;
            }
            write(&mut self.agent_rows, agent.as_slice(), row)?;
        }
        for (digest, row) in sorted(&self.credentials, |digest| digest.0) {
            write(&mut self.credential_rows, digest.as_slice(), row)?;
        }
        for (key, permit) in &self.permits {
            write(&mut self.permit_rows, key.as_slice(), permit)?;
            self.permit_id_rows.insert(permit.id.as_str(), key.as_slice())?;
        }
        Ok(())
    }
}

fn sorted<K, V>(rows: &HashMap<K, V>, key: impl Fn(&K) -> [u8; 32]) -> BTreeMap<[u8; 32], &V> {
    rows.iter().map(|(name, row)| (key(name), row)).collect()
}

/// The leaf and the proof's digest of a number.
pub(super) fn place(value: &[u8]) -> Result<(u64, Digest), SinkError> {
    let split = value.split_first_chunk::<8>().and_then(|(leaf, proof)| Some((leaf, proof.try_into().ok()?)));
    split.map(|(leaf, proof)| (u64::from_be_bytes(*leaf), Digest(proof))).ok_or_else(damaged)
}

/// A row of JSON.
pub(super) fn read<'k, K: Key + 'static, V: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
) -> Result<Option<V>, SinkError> {
    table.get(key)?.map(|value| parsed(value.value())).transpose()
}

pub(super) fn parsed<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, SinkError> {
    serde_json::from_slice(bytes).map_err(|_| damaged())
}

pub(super) fn damaged() -> SinkError {
    SinkError::ForeignStore("a row of the inventory is damaged: delete it, it is rebuilt".into())
}

fn write<'k, K: Key + 'static>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    row: &impl Serialize,
) -> Result<(), SinkError> {
    let text = serde_json::to_vec(row).map_err(|_| damaged())?;
    table.insert(key, text.as_slice())?;
    Ok(())
}

fn set<'k, K: Key + 'static>(
    table: &mut Table<'_, K, ()>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    there: bool,
) -> Result<(), SinkError>
where
    (): Value,
{
    if there {
        table.insert(key, ())?;
    } else {
        table.remove(key)?;
    }
    Ok(())
}
