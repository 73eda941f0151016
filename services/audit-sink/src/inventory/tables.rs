//! The tables of the inventory, and how their keys are made. Integers in keys are big-endian, so that they sort.

use marque_identity::{Did, Digest};
use redb::TableDefinition;

type Bytes = &'static [u8];

/// Agent's key → [`Agent`](super::Agent).
pub(super) const AGENTS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("agents");
/// Credential's digest → [`Credential`](super::Credential).
pub(super) const CREDENTIALS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("credentials");
/// Agent's key ‖ leaf ‖ digest: what an agent holds, oldest first.
pub(super) const HELD: TableDefinition<'_, Bytes, ()> = TableDefinition::new("held");
/// Credential's digest → the names of the tools that it grants.
pub(super) const GRANTS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("grants");
/// Credential's digest ‖ digest of a tool's name → the leaf of the first permit.
pub(super) const USED: TableDefinition<'_, Bytes, u64> = TableDefinition::new("used");
/// Scope ‖ expiry ‖ holder: who holds the same, until when.
pub(super) const SCOPES: TableDefinition<'_, Bytes, ()> = TableDefinition::new("scopes");
/// Digests of credentials that chains named and no record brought.
pub(super) const UNPUBLISHED: TableDefinition<'_, Bytes, ()> = TableDefinition::new("unpublished");
/// `server/cid` → [`Connection`](super::Connection).
pub(super) const CONNECTIONS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("connections");
/// Agent's key ‖ leaf → `server/cid`.
pub(super) const CONNECTED: TableDefinition<'_, Bytes, &str> = TableDefinition::new("connected");
/// Agent's key ‖ leaf → [`OpenPermit`](super::OpenPermit).
pub(super) const PERMITS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("permits");
/// Record's id → its place in [`PERMITS`].
pub(super) const PERMIT_IDS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("permit_ids");
/// Agent's key ‖ `seq` → leaf ‖ digest of the proof.
pub(super) const SEQUENCE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("sequence");
/// Agent's key ‖ `seq` → [`Fork`](super::Fork).
pub(super) const FORKS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("forks");
/// Forks of which no *risk* record is in the log yet, by their place in [`FORKS`].
pub(super) const FORKS_DUE: TableDefinition<'_, Bytes, ()> = TableDefinition::new("forks_due");
/// Agents whose head no *heads* record has stated yet.
pub(super) const HEADS_DUE: TableDefinition<'_, Bytes, ()> = TableDefinition::new("heads_due");
/// Kind, value and id of a directive → [`Standing`](super::Standing).
pub(super) const DIRECTIVES: TableDefinition<'_, &str, Bytes> = TableDefinition::new("directives");

/// Agent ‖ number: a leaf or a `seq`.
pub(super) fn numbered(agent: &Did, number: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(agent.key_bytes());
    key[32..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The agent and the number of such a key.
pub(super) fn number_of(key: &[u8]) -> Option<(Did, u64)> {
    let (agent, number) = key.split_first_chunk::<32>()?;
    Some((Did::from_key_bytes(*agent), u64::from_be_bytes(number.try_into().ok()?)))
}

/// Agent ‖ leaf ‖ credential.
pub(super) fn held(agent: &Did, leaf: u64, credential: &Digest) -> [u8; 72] {
    let mut key = [0; 72];
    key[..40].copy_from_slice(&numbered(agent, leaf));
    key[40..].copy_from_slice(&credential.0);
    key
}

/// Credential ‖ the name of a tool by its digest.
pub(super) fn tool(credential: &Digest, name: &str) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(&credential.0);
    key[32..].copy_from_slice(&marque_signing::sha256(name.as_bytes()).0);
    key
}

/// Scope ‖ expiry ‖ holder. A time before 1970 counts as 1970.
pub(super) fn scope(scope: &Digest, expires_at: i64, holder: &[u8; 32]) -> [u8; 72] {
    let mut key = [0; 72];
    key[..32].copy_from_slice(&scope.0);
    key[32..40].copy_from_slice(&u64::try_from(expires_at).unwrap_or(0).to_be_bytes());
    key[40..].copy_from_slice(holder);
    key
}

/// Stands in no server's name.
const HANDED_OVER: char = '\0';

/// A connection by the server's names for it.
pub(super) fn connection(connection: &marque_judgement::record::Connection) -> String {
    format!("{}/{}", connection.server, connection.cid)
}

/// The part of a connection that its former holder had, since this leaf.
pub(super) fn handed_over(name: &str, since: u64) -> String {
    format!("{name}{HANDED_OVER}{since}")
}

/// The server's name for a connection, whoever's part of it the row is.
pub(super) fn server_name(row: &str) -> &str {
    row.split(HANDED_OVER).next().unwrap_or(row)
}

/// A directive by its target and id. No name has a null character.
pub(super) fn directive(kind: &str, value: &str, id: &str) -> String {
    format!("{kind}\0{value}\0{id}")
}
