//! Posting lists: for a field's value, the leaves whose record has it, ascending; kept in blocks of bounded size.
//!
//! A block's key is `field ‖ SHA-256(value)[..16] ‖ first leaf`; its value is the first leaf's successors as varint
//! differences. Appending rewrites the last block only, looking up a leaf reads one.

use redb::{ReadableTable, Table, TableDefinition};

use crate::SinkError;

/// Blocks of every list.
pub const POSTINGS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("postings");
/// Leaves in a block: about 600 B, which an append rewrites.
const BLOCK_LEAVES_MAX: usize = 512;
const PREFIX_BYTES: usize = 17;

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// The agent it is about, by its key's 32 bytes.
    Agent = 1,
    /// The task.
    Task = 2,
    /// The tool.
    Tool = 3,
    /// Any link of the presented chain, by the digest's 32 bytes: a token and all that descends from it.
    Token = 4,
    /// `permit` or `deny`.
    Decision = 5,
    /// The record's kind.
    Kind = 6,
    /// The link that an *issued* or *delegated* record brings, by digest.
    Brings = 7,
    /// The *decided* record that a *completed* one answers.
    Answers = 8,
    /// The directive that a *directive* record carries, by its id.
    Directive = 9,
    /// Every verdict but valid.
    Verdict = 10,
    /// The blueprint that an *issued* record names.
    Blueprint = 11,
    /// What caused the action: the `jti` of another's proof.
    Cause = 12,
    /// The `jti` of the action's own proof, where its signature holds.
    Action = 13,
}

/// The list of one value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListKey([u8; PREFIX_BYTES]);

impl ListKey {
    /// The list of this value.
    pub fn new(field: Field, value: &[u8]) -> Self {
        let mut key = [field as u8; PREFIX_BYTES];
        key[1..].copy_from_slice(&marque_signing::sha256(value).0[..PREFIX_BYTES - 1]);
        Self(key)
    }

    fn block(&self, first: u64) -> [u8; PREFIX_BYTES + 8] {
        let mut key = [0; PREFIX_BYTES + 8];
        key[..PREFIX_BYTES].copy_from_slice(&self.0);
        key[PREFIX_BYTES..].copy_from_slice(&first.to_be_bytes());
        key
    }
}

/// Appends leaves, ascending and beyond those that the list has.
pub fn append(table: &mut Table<'_, &[u8], &[u8]>, list: ListKey, leaves: &[u64]) -> Result<(), SinkError> {
    let (low, high) = (list.block(0), list.block(u64::MAX));
    let last = match table.range(low.as_slice()..=high.as_slice())?.next_back() {
        Some(row) => {
            let (key, value) = row?;
            Some(decode(key.value(), value.value())?)
        }
        None => None,
    };
    let mut block = last.unwrap_or_default();
    for leaf in leaves {
        if block.len() == BLOCK_LEAVES_MAX {
            put(table, list, &block)?;
            block.clear();
        }
        // Handed in again after a crash between two commits: already there.
        if block.last().is_none_or(|last| last < leaf) {
            block.push(*leaf);
        }
    }
    put(table, list, &block)
}

fn put(table: &mut Table<'_, &[u8], &[u8]>, list: ListKey, block: &[u64]) -> Result<(), SinkError> {
    let Some(first) = block.first() else { return Ok(()) };
    table.insert(list.block(*first).as_slice(), encode(block).as_slice())?;
    Ok(())
}

/// Which way a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Up,
    /// Newest first.
    Down,
}

/// Looks leaves up in one list; remembers the block that it is in.
pub struct Cursor<'t, T> {
    table: &'t T,
    list: ListKey,
    block: Vec<u64>,
}

impl<'t, T: ReadableTable<&'static [u8], &'static [u8]>> Cursor<'t, T> {
    /// A cursor over a list.
    pub fn new(table: &'t T, list: ListKey) -> Self {
        Self { table, list, block: Vec::new() }
    }

    /// The list's nearest leaf at `leaf` or beyond it in this direction.
    pub fn seek(&mut self, leaf: u64, direction: Direction) -> Result<Option<u64>, SinkError> {
        let inside = self.block.first().is_some_and(|first| *first <= leaf)
            && self.block.last().is_some_and(|last| leaf <= *last);
        if !inside {
            self.load(leaf, direction)?;
        }
        Ok(match direction {
            Direction::Up => self.block.get(self.block.partition_point(|has| *has < leaf)).copied(),
            Direction::Down => {
                self.block.partition_point(|has| *has <= leaf).checked_sub(1).map(|place| self.block[place])
            }
        })
    }

    /// Loads the block that holds the answer.
    fn load(&mut self, leaf: u64, direction: Direction) -> Result<(), SinkError> {
        let (low, at, high) = (self.list.block(0), self.list.block(leaf), self.list.block(u64::MAX));
        self.block.clear();
        if let Some(row) = self.table.range(low.as_slice()..=at.as_slice())?.next_back() {
            let (key, value) = row?;
            self.block = decode(key.value(), value.value())?;
        }
        let reaches = self.block.last().is_some_and(|last| leaf <= *last);
        if direction == Direction::Up && !reaches {
            self.block.clear();
            if let Some(row) = self.table.range(at.as_slice()..=high.as_slice())?.next() {
                let (key, value) = row?;
                // The same block again, where it begins at this very leaf but ends before: it is the last.
                self.block = decode(key.value(), value.value())?;
            }
        }
        Ok(())
    }
}

fn encode(block: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 8);
    for pair in block.windows(2) {
        let mut rest = pair[1] - pair[0];
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out
}

fn decode(key: &[u8], value: &[u8]) -> Result<Vec<u64>, SinkError> {
    let damaged = || SinkError::ForeignStore("a posting list is damaged: delete the index, it is rebuilt".into());
    let first = key.last_chunk::<8>().ok_or_else(damaged)?;
    let mut leaf = u64::from_be_bytes(*first);
    let mut block = vec![leaf];
    let (mut step, mut shift) = (0_u64, 0_u32);
    for byte in value {
        step |= u64::from(byte & 0x7f).checked_shl(shift).ok_or_else(damaged)?;
        shift += 7;
        if byte & 0x80 == 0 {
            leaf = leaf.checked_add(step).ok_or_else(damaged)?;
            block.push(leaf);
            (step, shift) = (0, 0);
        }
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{Database, ReadableDatabase};
    use std::collections::BTreeSet;

    fn database() -> Database {
        Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap()
    }

    #[test]
    fn finds_what_a_set_finds() {
        let db = database();
        let (list, other) = (ListKey::new(Field::Agent, b"a"), ListKey::new(Field::Agent, b"b"));
        let mut set = BTreeSet::new();
        let (mut leaf, mut state) = (0, 12345_u64);
        for batch in 0..40 {
            let mut leaves = Vec::new();
            for _ in 0..batch * 7 % 97 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                leaf += 1 + (state >> 33) % 300;
                leaves.push(leaf);
            }
            set.extend(&leaves);
            let txn = db.begin_write().unwrap();
            {
                let mut table = txn.open_table(POSTINGS).unwrap();
                append(&mut table, list, &leaves).unwrap();
                append(&mut table, list, &leaves).unwrap();
                append(&mut table, other, &[batch]).unwrap();
            }
            txn.commit().unwrap();
        }
        assert!(set.len() > 3 * BLOCK_LEAVES_MAX);
        let table = db.begin_read().unwrap().open_table(POSTINGS).unwrap();
        let mut cursor = Cursor::new(&table, list);
        for ask in (0..leaf + 500).step_by(37).chain(set.iter().copied()).chain([u64::MAX, 0]) {
            assert_eq!(cursor.seek(ask, Direction::Up).unwrap(), set.range(ask..).next().copied(), "up {ask}");
            assert_eq!(
                cursor.seek(ask, Direction::Down).unwrap(),
                set.range(..=ask).next_back().copied(),
                "down {ask}"
            );
        }
        let mut none = Cursor::new(&table, ListKey::new(Field::Task, b"a"));
        assert_eq!(none.seek(0, Direction::Up).unwrap(), None);
        assert_eq!(none.seek(u64::MAX, Direction::Down).unwrap(), None);
    }

    #[test]
    fn a_damaged_block_is_an_error() {
        let key = [0; 25];
        assert!(decode(&key, &[0xff; 12]).is_err());
        assert!(decode(&key[..3], &[]).is_err());
        assert!(decode(&[0xff; 25], &[1]).is_err());
    }
}
