//! The log as it is kept: entries, full tiles, open tiles, size. One redb file, one transaction per batch; beside it the
//! hashes of the leaves, for quick proofs.
//!
//! Killed before a commit: nothing of the batch is there (but hashes beside the store that no reader reaches), and the
//! stream is read again from `size + 1`. Killed after it: all of it is there. There is no third state, and no
//! acknowledgement that could disagree with it.

mod leaf_hashes;
mod upper;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use marque_ledger::epoch::{Genesis, later_epoch};
use marque_ledger::{
    BLOCK_HASHES, Edge, Entry, FullTile, Hash, LedgerError, Nodes, TILE_WIDTH, TileId, TileKind, TileSource,
    encode_bundle,
};
use marque_runtime::whole::make_whole;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use tokio::sync::watch;

use crate::SinkError;
use crate::files::LEAF_HASHES_FILE;
use leaf_hashes::{LEAF_HASHES, LeafHashes, unreadable};
use upper::Upper;

/// Leaf index → entry.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Level, from 1, and index → the 256 hashes of a full tile. Those of the leaves follow from the entries, and lie in
/// [`LeafHashes`]. (A log that was begun before may have them here, too, and roots behind the 256 hashes: unread.)
const TILES: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("tiles");
/// Level → the hashes of its open tile.
const OPEN: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("open");
/// `size`, `origin`, `stream`, `bytes`, `mended`.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const SIZE: &str = "size";
const ORIGIN: &str = "origin";
const STREAM: &str = "stream";
/// Bytes of all entries. Absent in a log that was begun before it was counted.
const BYTES: &str = "bytes";
/// The newest leaves that did not come out of the stream: the first, and the one behind the last. Absent where all did.
const MENDED: &str = "mended";
/// Pages that redb may keep: the right edge and the newest entries are what is asked for.
const CACHE_BYTES: usize = 64 << 20;

/// How far the log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its leaves; the cursor too.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// The log's store. Writes come one batch at a time; reads see whole batches.
pub struct LogStore {
    db: Database,
    edge: Mutex<Edge>,
    head: RwLock<Head>,
    grown: watch::Sender<u64>,
    upper: Arc<Upper>,
    leaf_hashes: Arc<LeafHashes>,
    /// The stream's sequence that leaf 0 stands for: 1, but where a later epoch begins behind it.
    first: u64,
    later: bool,
}

impl LogStore {
    /// Opens the log of this origin, or begins it.
    pub fn open(path: &Path, origin: &str) -> Result<Self, SinkError> {
        let leaf_hashes = Arc::new(LeafHashes::open(&path.with_file_name(LEAF_HASHES_FILE)));
        let at = |path: &Path| Self::on(builder().create(path)?, Arc::clone(&leaf_hashes), origin);
        make_whole(path, |making| at(making).map(drop), |error| redb::StorageError::from(error).into())?;
        let store = at(path)?;
        // Nobody else has the store open.
        leaf_hashes.trim(store.head().size);
        Ok(store)
    }

    /// The same on a database that is open already.
    fn on(db: Database, leaf_hashes: Arc<LeafHashes>, origin: &str) -> Result<Self, SinkError> {
        let txn = begin(&db)?;
        let (edge, first) = {
            let mut meta = txn.open_table(META)?;
            let (entries, _tiles, open) = (txn.open_table(ENTRIES)?, txn.open_table(TILES)?, txn.open_table(OPEN)?);
            let known = meta.get(ORIGIN)?.map(|value| value.value().to_vec());
            match known {
                None => drop(meta.insert(ORIGIN, origin.as_bytes())?),
                Some(known) if known == origin.as_bytes() => {}
                Some(known) => {
                    let known = String::from_utf8_lossy(&known).into_owned();
                    return Err(SinkError::ForeignStore(format!("it holds log `{known}`, not `{origin}`")));
                }
            }
            let size = meta.get(SIZE)?.map_or(Ok(0), |value| size_of(value.value()))?;
            let last = entries.last()?.map(|(leaf, _)| leaf.value() + 1).unwrap_or_default();
            if last != size {
                return Err(SinkError::ForeignStore(format!("it has {last} entries where its size says {size}")));
            }
            let mut levels = Vec::new();
            for row in open.iter()? {
                levels.push(row?.1.value().to_vec());
            }
            let first = match entries.get(0)? {
                Some(entry) if later_epoch(origin).is_some() => {
                    Genesis::of(&Entry::decode(entry.value())?)?.first_sequence - 1
                }
                Some(_) | None => 1,
            };
            (Edge::from_open(size, levels.iter().map(Vec::as_slice))?, first)
        };
        txn.commit()?;
        let head = Head { size: edge.size(), root: edge.root() };
        let (edge, grown, later) = (Mutex::new(edge), watch::Sender::new(head.size), later_epoch(origin).is_some());
        Ok(Self { db, edge, head: RwLock::new(head), grown, upper: Arc::default(), leaf_hashes, first, later })
    }

    /// The stream's sequence that leaf 0 stands for.
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// The first message of the stream that is a leaf: a genesis is none.
    pub fn begins_at(&self) -> u64 {
        self.first + u64::from(self.later)
    }

    /// The last message of the stream that is taken in; the one before the first while there is none.
    pub fn last_sequence(&self) -> u64 {
        (self.head().size + self.first).saturating_sub(1)
    }

    /// How far the log reaches on disk.
    pub fn head(&self) -> Head {
        *self.head.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells of growth: the size.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Appends entries as leaves `first..`: entries, tiles above them and size in one transaction, durable when this
    /// returns.
    ///
    /// After an error the log on disk is as before, or the store must be opened again to learn how far it reaches:
    /// the caller stops.
    pub fn append(&self, first: u64, entries: &[Vec<u8>]) -> Result<Head, SinkError> {
        self.write(first, entries, false)
    }

    /// The same of entries that the stream lacks, and remembers which. TRUST: the caller has checked that they are
    /// what comes next.
    pub(crate) fn append_mended(&self, first: u64, entries: &[Vec<u8>]) -> Result<Head, SinkError> {
        self.write(first, entries, true)
    }

    fn write(&self, first: u64, entries: &[Vec<u8>], mended: bool) -> Result<Head, SinkError> {
        let mut edge = self.edge.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if edge.size() != first {
            return Err(SinkError::NotNext { next: edge.size(), got: first });
        }
        let (mut grown, mut full) = (edge.clone(), Vec::new());
        for entry in entries {
            grown.append(Hash::leaf(entry), &mut full);
        }
        let txn = begin(&self.db)?;
        {
            let mut table = txn.open_table(ENTRIES)?;
            for (leaf, entry) in (first..).zip(entries) {
                table.insert(leaf, entry.as_slice())?;
            }
            let mut table = txn.open_table(TILES)?;
            for tile in &full {
                match tile.id.kind {
                    // Into a place that no view reaches before the commit; should it fail, what comes next is put over it.
                    LEAF_HASHES => self.leaf_hashes.put(tile),
                    TileKind::Hashes(level) => drop(table.insert((level, tile.id.index), tile.bytes.as_slice())?),
                    TileKind::Entries => {}
                }
            }
            let mut table = txn.open_table(OPEN)?;
            for (level, bytes) in grown.open() {
                table.insert(level, bytes.as_slice())?;
            }
            let mut meta = txn.open_table(META)?;
            meta.insert(SIZE, &grown.size().to_be_bytes()[..])?;
            let counted = meta.get(BYTES)?.map(|value| size_of(value.value())).transpose()?;
            if let Some(before) = counted.or((first == 0).then_some(0)) {
                let bytes = entries.iter().fold(before, |sum, entry| sum.saturating_add(entry.len() as u64));
                meta.insert(BYTES, &bytes.to_be_bytes()[..])?;
            }
            if mended {
                let before = meta.get(MENDED)?.map(|value| range_of(value.value())).transpose()?;
                // One that goes on where the one before ended is the same.
                let begin = before.filter(|before| before.end == first).map_or(first, |before| before.start);
                meta.insert(MENDED, &[begin.to_be_bytes(), grown.size().to_be_bytes()].concat()[..])?;
            }
        }
        txn.commit()?;
        let head = Head { size: grown.size(), root: grown.root() };
        *edge = grown;
        *self.head.write().unwrap_or_else(std::sync::PoisonError::into_inner) = head;
        self.grown.send_replace(head.size);
        Ok(head)
    }

    /// What the log remembers of the stream it is drawn from.
    pub fn stream(&self) -> Result<Option<String>, SinkError> {
        let meta = self.db.begin_read()?.open_table(META)?;
        Ok(meta.get(STREAM)?.map(|value| String::from_utf8_lossy(value.value()).into_owned()))
    }

    /// The newest leaves in a row that did not come out of the stream.
    pub fn mended(&self) -> Result<Option<Range<u64>>, SinkError> {
        let meta = self.db.begin_read()?.open_table(META)?;
        meta.get(MENDED)?.map(|value| range_of(value.value())).transpose()
    }

    /// The tree's right edge, to try on what may come next.
    pub(crate) fn edge(&self) -> Edge {
        self.edge.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Remembers the stream, once.
    pub fn set_stream(&self, identity: &str) -> Result<(), SinkError> {
        let txn = begin(&self.db)?;
        txn.open_table(META)?.insert(STREAM, identity.as_bytes())?;
        txn.commit()?;
        Ok(())
    }

    /// Bytes of all its entries; none where they were not counted from its beginning.
    pub(crate) fn record_bytes(&self) -> Result<Option<u64>, SinkError> {
        let meta = self.db.begin_read()?.open_table(META)?;
        meta.get(BYTES)?.map(|value| size_of(value.value())).transpose()
    }

    /// Gives back what the file has beyond its content; the log is the same. Nobody reads meanwhile.
    pub(crate) fn compact(&mut self) -> Result<(), SinkError> {
        crate::compact::give_back(&mut self.db)
    }

    /// The log as it is now; later appends don't show in it.
    pub fn view(&self) -> Result<LogView, SinkError> {
        let txn = self.db.begin_read()?;
        let size = txn.open_table(META)?.get(SIZE)?.map_or(Ok(0), |value| size_of(value.value()))?;
        Ok(LogView { txn, size, upper: Arc::clone(&self.upper), leaf_hashes: Arc::clone(&self.leaf_hashes) })
    }
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn begin(db: &Database) -> Result<redb::WriteTransaction, SinkError> {
    let mut txn = db.begin_write()?;
    // A killed store of gigabytes opens in milliseconds instead of seconds (and commits in two phases).
    txn.set_quick_repair(true);
    Ok(txn)
}

fn size_of(bytes: &[u8]) -> Result<u64, SinkError> {
    let bytes = bytes.try_into().map_err(|_| SinkError::ForeignStore("its size is not a number".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

fn range_of(bytes: &[u8]) -> Result<Range<u64>, SinkError> {
    let (begin, end) = bytes.split_at_checked(8).unwrap_or_default();
    Ok(size_of(begin)?..size_of(end)?)
}

/// The log at one moment.
pub struct LogView {
    txn: ReadTransaction,
    size: u64,
    upper: Arc<Upper>,
    leaf_hashes: Arc<LeafHashes>,
}

impl LogView {
    /// Its leaves at that moment.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A leaf's entry, framed.
    pub fn entry(&self, leaf: u64) -> Result<Vec<u8>, SinkError> {
        let entries = self.txn.open_table(ENTRIES)?;
        let entry = entries.get(leaf)?.ok_or_else(|| SinkError::NotFound(format!("there is no leaf {leaf}")))?;
        Ok(entry.value().to_vec())
    }

    /// Hands the entries of `from..until` to `each`, in order, until it says to stop.
    pub fn scan(
        &self,
        from: u64,
        until: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<bool, SinkError>,
    ) -> Result<(), SinkError> {
        for row in self.txn.open_table(ENTRIES)?.range(from..until)? {
            let (leaf, entry) = row?;
            if !each(leaf.value(), entry.value())? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A piece of a tile of entries as its file holds it: from this byte of this one of its entries on (the two bytes of
    /// its length count), at most so many bytes.
    pub fn piece(&self, id: TileId, entry: u16, byte: usize, bytes_max: usize) -> Result<Vec<u8>, SinkError> {
        self.reaches(id)?;
        if id.kind != TileKind::Entries || entry >= id.width {
            return Err(SinkError::Asked(format!("`{}` has no entry {entry}", id.path())));
        }
        let first = id.index * TILE_WIDTH;
        let (mut piece, mut skipped) = (Vec::new(), Some(byte));
        self.scan(first + u64::from(entry), first + u64::from(id.width), |_, entry| {
            let coded = encode_bundle([entry])?;
            let skip = skipped.take().unwrap_or(0);
            let rest = coded.get(skip..).ok_or_else(|| SinkError::Asked("the entry ends before that byte".into()))?;
            piece.extend_from_slice(rest);
            Ok(piece.len() < bytes_max)
        })?;
        piece.truncate(bytes_max);
        Ok(piece)
    }

    /// Refuses a tile that the log does not have, or has less of.
    fn reaches(&self, id: TileId) -> Result<(), SinkError> {
        let whole = TileId::covering(id.kind, id.index, self.size);
        if whole.is_none_or(|whole| whole.width < id.width) {
            return Err(SinkError::NotFound(format!("the log does not reach `{}` yet", id.path())));
        }
        Ok(())
    }

    /// A tile as its file holds it: hashes, or a bundle of entries.
    pub fn file(&self, id: TileId) -> Result<Vec<u8>, SinkError> {
        self.reaches(id)?;
        match id.kind {
            TileKind::Hashes(_) => {
                let mut bytes = self.tile(id)?;
                bytes.truncate(usize::from(id.width) * Hash::BYTES);
                Ok(bytes)
            }
            TileKind::Entries => {
                let first = id.index * TILE_WIDTH;
                let mut entries = Vec::with_capacity(id.width.into());
                self.scan(first, first + u64::from(id.width), |_, entry| {
                    entries.push(entry.to_vec());
                    Ok(true)
                })?;
                Ok(encode_bundle(entries.iter().map(Vec::as_slice))?)
            }
        }
    }
}

impl LogView {
    /// As much of this tile as the log has at that moment, which is what is asked for, or more.
    fn whole(&self, id: TileId) -> Result<TileId, LedgerError> {
        let whole = TileId::covering(id.kind, id.index, self.size).filter(|whole| whole.width >= id.width);
        whole.ok_or_else(|| unreadable(id, format!("a log of {} leaves has not so much of it", self.size)))
    }

    /// The root of a full tile of leaves: what the store has of it.
    fn root_of(&self, id: TileId) -> Result<Hash, LedgerError> {
        let parent = TileId::covering(TileKind::Hashes(1), id.index / TILE_WIDTH, self.size);
        let (parent, place) = (parent.ok_or(LedgerError::OutOfRange)?, id.index % TILE_WIDTH);
        self.nodes(parent, 0, place)?.at(0, place).ok_or(LedgerError::OutOfRange)
    }

    /// A full tile of leaves, hashed anew from its entries, which must lead to its root; in its place from then on.
    fn hashed_anew(&self, id: TileId, root: Hash) -> Result<FullTile, LedgerError> {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        let first = id.index * TILE_WIDTH;
        let hashed = self.scan(first, first + TILE_WIDTH, |_, entry| {
            edge.append(Hash::leaf(entry), &mut full);
            Ok(true)
        });
        hashed.map_err(|error| unreadable(id, error))?;
        let Some(tile) = full.pop().filter(|_| edge.root() == root) else {
            tracing::error!(
                tile = id.path(),
                "the log is damaged: entries do not lead to the root that it has for them"
            );
            return Err(unreadable(id, "its entries don't lead to its root"));
        };
        let tile = FullTile { id, ..tile };
        self.leaf_hashes.mended(id);
        self.leaf_hashes.put(&tile);
        Ok(tile)
    }
}

impl TileSource for LogView {
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        let TileKind::Hashes(level) = id.kind else { return Err(unreadable(id, "not a tile of hashes")) };
        // The open tile of a level is that of one place alone.
        let whole = self.whole(id)?;
        if whole.kind == LEAF_HASHES && whole.is_full() {
            let root = self.root_of(whole)?;
            return self.leaf_hashes.tile(whole, root).or_else(|_| Ok(self.hashed_anew(whole, root)?.bytes));
        }
        let read = || -> Result<Option<Vec<u8>>, SinkError> {
            let row = if whole.is_full() {
                self.txn.open_table(TILES)?.get((level, id.index))?
            } else {
                self.txn.open_table(OPEN)?.get(level)?
            };
            let bytes_max = usize::from(whole.width) * Hash::BYTES;
            Ok(row.map(|tile| tile.value().iter().take(bytes_max).copied().collect()))
        };
        read().map_err(|error| unreadable(id, error))?.ok_or_else(|| unreadable(id, "it is not there"))
    }

    fn nodes(&self, id: TileId, height: u32, place: u64) -> Result<Arc<Nodes>, LedgerError> {
        self.whole(id)?;
        if Upper::keeps(id) {
            return self.upper.nodes(id, || Nodes::of(id, &self.tile(id)?));
        }
        let (root, block) = (self.root_of(id)?, block_of(height, place).ok_or(LedgerError::OutOfRange)?);
        let about = self.leaf_hashes.about(id, block, root);
        about.or_else(|_| Nodes::of(id, &self.hashed_anew(id, root)?.bytes)).map(Arc::new)
    }
}

/// In which block of its tile a node is, or where it begins if it is higher; none if the tile has no such node.
fn block_of(height: u32, place: u64) -> Option<usize> {
    let first = place.checked_mul(1_u64.checked_shl(height)?).filter(|first| *first < TILE_WIDTH)?;
    Some(first as usize / BLOCK_HASHES)
}

/// A longer subject stands in a leaf by its digest. Ours take 80 bytes; the server allows 64 KiB, which no leaf holds
/// beside a record.
const SUBJECT_BYTES_MAX: usize = 1024;

/// How a subject stands in a leaf: a function of the stream alone. No subject of the stream begins like the digest's form.
fn leaf_subject(subject: &str) -> Cow<'_, str> {
    if subject.len() <= SUBJECT_BYTES_MAX {
        return Cow::Borrowed(subject);
    }
    Cow::Owned(format!("sha-256:{}", marque_signing::sha256(subject.as_bytes())))
}

/// A message of the stream as the leaf that it becomes.
pub fn frame(message: &marque_bus::Stored) -> Result<Vec<u8>, SinkError> {
    let entry = Entry {
        stream_seq: message.sequence,
        broker_ts_ns: message.time_ns,
        bus_subject: &leaf_subject(&message.subject),
        payload: &message.payload,
    };
    // An entry that can't be framed can't be a leaf, and a leaf can't be left out.
    entry.encode().map_err(|error| SinkError::Halted(format!("message {}: {error}", message.sequence)))
}

#[cfg(test)]
mod failing;
#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject_bytes: usize, payload_bytes: usize) -> marque_bus::Stored {
        let subject = format!("marque.record.requested.{}", "a".repeat(subject_bytes - 24));
        marque_bus::Stored { sequence: 1, time_ns: 7, subject, payload: vec![b'x'; payload_bytes].into() }
    }

    #[test]
    fn a_tile_is_that_of_its_place_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(&directory.path().join("audit.redb"), "acme.example/audit").unwrap();
        let tile = |level, index, width| {
            let id = TileId { kind: TileKind::Hashes(level), index, width };
            let bytes = store.view().unwrap().tile(id);
            bytes.map(|bytes| bytes.len() / Hash::BYTES).ok()
        };
        assert_eq!(tile(0, 0, 1), None);
        let entries: Vec<_> = (0..300_u32).map(|leaf| leaf.to_be_bytes().to_vec()).collect();
        store.append(0, &entries).unwrap();
        for (level, index, width, hashes) in
            [(0, 0, 256, 256), (0, 0, 1, 256), (0, 1, 44, 44), (0, 1, 7, 44), (1, 0, 1, 1)]
        {
            assert_eq!(tile(level, index, width), Some(hashes), "{level} {index} {width}");
        }
        for (level, index, width) in
            [(0, 1, 45), (0, 2, 1), (0, u64::MAX, 1), (1, 0, 2), (1, 1, 1), (2, 0, 1), (255, 0, 1)]
        {
            assert_eq!(tile(level, index, width), None, "{level} {index} {width}");
        }
    }

    #[test]
    fn a_tile_of_entries_is_read_in_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(&directory.path().join("audit.redb"), "acme.example/audit").unwrap();
        let entries: Vec<_> = (0..300_usize).map(|leaf| vec![leaf as u8; leaf]).collect();
        store.append(0, &entries).unwrap();
        let view = store.view().unwrap();
        let id = TileId { kind: TileKind::Entries, index: 1, width: 44 };
        let whole = view.file(id).unwrap();
        // From any place, in pieces of any size, it is the same.
        for (entry, byte, bytes_max) in [(0, 0, 1), (0, 0, 7), (0, 1, 1000), (3, 261, 64), (43, 0, 1 << 20)] {
            let before: usize = entries[256..256 + usize::from(entry)].iter().map(|entry| entry.len() + 2).sum();
            let piece = view.piece(id, entry, byte, bytes_max).unwrap();
            assert_eq!(piece, whole[before + byte..whole.len().min(before + byte + bytes_max)], "{entry} {byte}");
        }
        for (entry, byte, id) in [
            (44, 0, id),
            (0, 259, id),
            (0, 0, TileId { width: 45, ..id }),
            (0, 0, TileId { kind: TileKind::Hashes(0), ..id }),
            (0, 0, TileId { index: u64::MAX, ..id }),
        ] {
            assert!(view.piece(id, entry, byte, 9).is_err(), "{entry} {byte} {id:?}");
        }
    }

    #[test]
    fn remembers_which_leaves_did_not_come_out_of_the_stream() {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(&directory.path().join("audit.redb"), "acme.example/audit").unwrap();
        let entries = |count: usize| vec![b"entry".to_vec(); count];
        store.append(0, &entries(3)).unwrap();
        assert_eq!(store.mended().unwrap(), None);
        store.append_mended(3, &entries(2)).unwrap();
        store.append_mended(5, &entries(4)).unwrap();
        assert_eq!(store.mended().unwrap(), Some(3..9));
        store.append(9, &entries(1)).unwrap();
        assert_eq!(store.mended().unwrap(), Some(3..9));
        store.append_mended(10, &entries(1)).unwrap();
        assert_eq!(store.mended().unwrap(), Some(10..11));
    }

    #[test]
    fn whatever_the_stream_holds_is_a_leaf() {
        let named = |subject_bytes| {
            let message = message(subject_bytes, 60_000);
            let frame = frame(&message).unwrap();
            let entry = Entry::decode(&frame).unwrap();
            assert_eq!(entry.payload, &message.payload[..]);
            (entry.bus_subject == message.subject, entry.bus_subject.to_owned())
        };
        assert!(named(SUBJECT_BYTES_MAX).0);
        for subject_bytes in [SUBJECT_BYTES_MAX + 1, 6_500, 65_000, 70_000] {
            let (_, subject) = named(subject_bytes);
            assert!(subject.starts_with("sha-256:") && subject.len() == 72, "{subject}");
        }
    }
}
