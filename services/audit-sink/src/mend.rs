//! What the stream lacks, out of another sink's log (LOG.md rule 4): never filled by guess, never skipped.
//!
//! Another sink has read the messages while the stream held them. Its word alone is not taken: a checkpoint of it that
//! the quorum has cosigned must cover the range, and our own tree, extended by exactly the entries that it hands over,
//! must be what that checkpoint's tree begins with (RFC 6962 §2.1.2). And the message that the stream holds right behind
//! the hole must be the leaf right behind the range (RFC 6962 §2.1.1): a stream that was made anew is not gone on with.
//! All of that is checked before anything is appended. What can't be shown so halts the log, as the hole would.
//!
//! Killed anywhere: the log has whole batches, each checked; what is still missing is asked for again.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_bus::streams::{AUDIT, CHECKPOINTS};
use marque_bus::{Bus, subjects};
use marque_identity::Did;
use marque_ledger::{
    Checkpoint, Edge, Entry, Hash, LedgerError, Policy, TILE_WIDTH, TileId, TileKind, TileSource, prove_consistency,
    prove_inclusion, split_bundle, verify_consistency, verify_inclusion,
};
use marque_signing::{PublicKey, Role, TrustBundle};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::intake::{BATCH_MESSAGES_MAX, blocking};
use crate::metrics::Metrics;
use crate::step::Step;
use crate::store::{LogStore, LogView, frame};
use crate::{Hole, SinkError};

/// Bytes of a tile of entries in one answer: in base64 and JSON they pass a broker that takes 64 KB.
pub const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Bytes of entries that are held at once before they are checked and appended, and one entry more: half a full tile of
/// the longest ones.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How long another sink may take to answer with a tile, or a piece of one.
const TILE_TIME: Duration = Duration::from_secs(3);
/// How long another sink may take over a batch: 256 pieces on a slow machine. One that hands over a byte at a time keeps
/// nobody from asking the next.
const BATCH_TIME: Duration = Duration::from_secs(60);
/// How long the others are asked again: a checkpoint that covers the range becomes final within a second or two, and a
/// witness outside may take five.
const ASKING_MAX: Duration = Duration::from_secs(10);
/// Between two rounds of asking.
const RETRY: Duration = Duration::from_secs(1);

/// A question for a tile of one sink's log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TileRequest {
    /// Its path in the C2SP layout, with its width.
    pub path: String,
    /// Of a tile of entries: from which of its entries on.
    #[serde(skip_serializing_if = "is_zero")]
    pub entry: u16,
    /// And from which byte of that entry on, as the tile has it: two bytes of its length, then the entry.
    #[serde(skip_serializing_if = "is_zero")]
    pub byte: u32,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// The tile, or a piece of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tile {
    /// Its hashes in a row, in standard base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<String>,
    /// The next bytes of a tile of entries, at most [`PIECE_BYTES_MAX`], in standard base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<String>,
}

impl Tile {
    /// What a log answers.
    pub fn of(log: &LogView, asked: &TileRequest) -> Result<Self, SinkError> {
        let id = TileId::parse(&asked.path)?;
        match id.kind {
            TileKind::Hashes(_) if asked.entry == 0 && asked.byte == 0 => {
                Ok(Self { hashes: Some(STANDARD.encode(log.file(id)?)), entries: None })
            }
            TileKind::Hashes(_) => Err(SinkError::Asked("a tile of hashes is handed out whole".into())),
            TileKind::Entries => {
                let byte = usize::try_from(asked.byte).unwrap_or(usize::MAX);
                let piece = log.piece(id, asked.entry, byte, PIECE_BYTES_MAX)?;
                Ok(Self { hashes: None, entries: Some(STANDARD.encode(piece)) })
            }
        }
    }
}

/// Another sink's tiles, as its desk answers. Nothing of it is checked here.
#[derive(Clone)]
pub struct Tiles {
    bus: Bus,
    subject: String,
}

impl Tiles {
    /// Those of this sink.
    pub fn of(bus: &Bus, sink: &Did) -> Self {
        Self { bus: bus.clone(), subject: subjects::audit_tile(sink) }
    }

    /// A tile of hashes.
    pub async fn hashes(&self, id: TileId) -> Result<Vec<u8>, SinkError> {
        bytes(self.ask(TileRequest { path: id.path(), ..TileRequest::default() }).await?.hashes)
    }

    /// A piece of a tile of entries.
    async fn piece(&self, id: TileId, entry: u16, byte: u32) -> Result<Vec<u8>, SinkError> {
        bytes(self.ask(TileRequest { path: id.path(), entry, byte }).await?.entries)
    }

    async fn ask(&self, asked: TileRequest) -> Result<Tile, SinkError> {
        let question = serde_json::to_vec(&asked).unwrap_or_default();
        let reply = self.bus.request(&self.subject, Default::default(), question, TILE_TIME).await;
        let reply = reply.map_err(|error| SinkError::Asked(format!("its tile: {error}")))?;
        marque_json::from_slice(&reply.payload, marque_json::Limits::DEFAULT).map_err(|_| unreadable())
    }
}

fn bytes(base64: Option<String>) -> Result<Vec<u8>, SinkError> {
    STANDARD.decode(base64.ok_or_else(unreadable)?).map_err(|_| unreadable())
}

fn unreadable() -> SinkError {
    SinkError::Asked("its tile can't be read".into())
}

/// Mends the log where the stream has a hole.
pub struct Mender {
    store: Arc<LogStore>,
    origin: String,
    others: Vec<PublicKey>,
    /// A checkpoint is believed where one of these holds for it, and asks for somebody's cosignature.
    trusted: Vec<Policy>,
    metrics: Metrics,
}

impl Mender {
    /// By the other sinks that the bundle names. `trusted`: what this sink goes by where it has no log yet.
    pub fn new(
        bundle: &TrustBundle,
        own: &Did,
        origin: &str,
        trusted: Vec<Policy>,
        store: Arc<LogStore>,
        metrics: Metrics,
    ) -> Self {
        let others = bundle.keys(Role::Sink).into_iter().filter(|key| key.did() != *own).collect();
        // Without a quorum nobody's cosignature is asked for, and the one who is asked would vouch for itself.
        let trusted = trusted.into_iter().filter(|policy| !policy.is_met_by(|_| false)).collect();
        Self { store, origin: origin.to_owned(), others, trusted, metrics }
    }

    /// Takes what the stream lacks over from another sink's log, or halts. A broker that fails is no answer.
    pub async fn mend(&self, bus: &Bus, hole: Hole) -> Result<(), SinkError> {
        let halted = |tried: &str| Err(SinkError::Halted(format!("{hole}; {tried}")));
        if self.others.is_empty() {
            return halted("no other sink is named that could have them");
        }
        if self.trusted.is_empty() {
            return halted(
                "no cosignature is asked for (`audit_sink.cosignatures`), so no other sink's log is believed",
            );
        }
        let until = Instant::now() + ASKING_MAX;
        loop {
            // One that takes long costs the others no turn: whoever was asked before its time is asked once more.
            let last = Instant::now() >= until;
            let mut tried = Vec::new();
            for other in &self.others {
                match self.take_over(bus, other, &hole).await {
                    Ok(()) => return Ok(()),
                    Err(error @ (SinkError::Asked(_) | SinkError::Ledger(_))) => {
                        tried.push(format!("{}: {error}", other.did()));
                    }
                    Err(error) => return Err(error),
                }
            }
            if last {
                return halted(&format!("no other sink's log gives them: {}", tried.join("; ")));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The range, from this sink's log.
    async fn take_over(&self, bus: &Bus, other: &PublicKey, hole: &Hole) -> Result<(), SinkError> {
        let did = other.did();
        // 1. What the quorum says that its log is, as far as the hole reaches.
        let subject = subjects::checkpoint(&did);
        let Some(note) = bus.read_last(CHECKPOINTS, &subject).await? else {
            return Err(SinkError::Asked("it has published no checkpoint".into()));
        };
        let vouched = vouched(&note.payload, &self.origin, other, &self.trusted)?;
        let until = (hole.to + 1).saturating_sub(self.store.first_sequence());
        covers(&vouched, until)?;
        let tiles = Tiles::of(bus, &did);
        let hashes = |id| {
            let tiles = tiles.clone();
            async move { tiles.hashes(id).await }
        };
        let slow = |_| SinkError::Asked("it takes too long to hand them over".into());
        // 2. It is the log of this stream.
        let behind = bus.read(AUDIT, hole.to + 1, 1).await?.messages.into_iter().next();
        let behind = behind
            .filter(|message| message.sequence == hole.to + 1)
            .ok_or_else(|| SinkError::Asked(format!("the stream has no message {} to be known by", hole.to + 1)))?;
        tokio::time::timeout(BATCH_TIME, is_behind(until, &frame(&behind)?, &vouched, hashes))
            .await
            .map_err(slow)??;
        // 3. Batch by batch: asked for, checked, appended.
        loop {
            let size = self.store.head().size;
            if size >= until {
                break;
            }
            let piece = |id, entry, byte| {
                let tiles = tiles.clone();
                async move { tiles.piece(id, entry, byte).await }
            };
            let checked = async {
                let entries = entries(size..until, vouched.size, piece).await?;
                let batch = Batch { first: size, first_sequence: self.store.first_sequence(), entries };
                let grown = batch.extend(self.store.edge())?;
                let proof = consistency(grown.size(), vouched.size, hashes).await?;
                agree(&grown, &vouched, &proof)?;
                Ok::<_, SinkError>(batch)
            };
            let batch = tokio::time::timeout(BATCH_TIME, checked).await.map_err(slow)??;
            let (store, count) = (Arc::clone(&self.store), batch.entries.len());
            let head = blocking(move || store.append_mended(batch.first, &batch.entries)).await?;
            Step::Appended.taken();
            self.metrics.appended(count, head.size);
            self.metrics.mended(count);
        }
        let Checkpoint { size, root, .. } = &vouched;
        tracing::warn!(
            from = hole.from, to = hole.to, sink = %did, checkpoint_size = size, checkpoint_root = %root,
            "THE STREAM LACKED MESSAGES: they were taken over from another sink's log"
        );
        Ok(())
    }
}

/// What a note of this sink states of our log, if a quorum beside it has cosigned that.
fn vouched(note: &[u8], origin: &str, by: &PublicKey, trusted: &[Policy]) -> Result<Checkpoint, SinkError> {
    let mut why = LedgerError::NoteUntrusted("nobody is trusted");
    for policy in trusted {
        let of_this_sink = policy.logs().iter().find(|log| log.name() == origin && log.key() == by);
        let Some(log) = of_this_sink else { continue };
        match policy.open(note) {
            Ok(held) => {
                // Its own cosignature under its own checkpoint is the same word twice.
                let beside = |witness: &marque_ledger::Witness| {
                    witness.key.key() != by && held.by.iter().any(|(name, _)| *name == witness.name)
                };
                if policy.is_met_by(beside) {
                    return Ok(Checkpoint::open(note, std::slice::from_ref(log))?);
                }
                why = LedgerError::QuorumMissing;
            }
            Err(error) => why = error,
        }
    }
    Err(SinkError::Asked(format!("its newest published checkpoint: {why}")))
}

/// Whether a checkpoint is of a tree of so many leaves at least.
fn covers(vouched: &Checkpoint, leaves: u64) -> Result<(), SinkError> {
    if vouched.size >= leaves {
        return Ok(());
    }
    let size = vouched.size;
    Err(SinkError::Asked(format!("its newest final checkpoint is over {size} leaves, the range ends with {leaves}")))
}

/// Whether the checkpoint's tree has this frame as this leaf.
async fn is_behind<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    leaf: u64,
    frame: &[u8],
    vouched: &Checkpoint,
    hashes: impl FnMut(TileId) -> F,
) -> Result<(), SinkError> {
    covers(vouched, leaf + 1)?;
    let size = vouched.size;
    let proof = proof(|tiles| prove_inclusion(tiles, leaf, size), hashes).await?;
    verify_inclusion(leaf, size, Hash::leaf(frame), &proof, vouched.root).map_err(|_| {
        SinkError::Asked(format!(
            "leaf {leaf} of the tree of its final checkpoint ({size} leaves) is not what the stream holds there"
        ))
    })
}

/// Entries that are to come next, as another sink has handed them over.
struct Batch {
    first: u64,
    /// Of leaf 0.
    first_sequence: u64,
    entries: Vec<Vec<u8>>,
}

impl Batch {
    /// Our tree with these behind it, each framed as a message of the very next sequence.
    fn extend(&self, mut edge: Edge) -> Result<Edge, SinkError> {
        if edge.size() != self.first {
            return Err(SinkError::NotNext { next: edge.size(), got: self.first });
        }
        let mut full = Vec::new();
        for (leaf, frame) in (self.first..).zip(&self.entries) {
            let (due, found) = (leaf + self.first_sequence, Entry::decode(frame)?.stream_seq);
            if found != due {
                return Err(SinkError::Asked(format!("its leaf {leaf} is message {found}, not {due}")));
            }
            edge.append(Hash::leaf(frame), &mut full);
            full.clear();
        }
        Ok(edge)
    }
}

/// Whether the checkpoint's tree begins with this one.
fn agree(ours: &Edge, vouched: &Checkpoint, proof: &[Hash]) -> Result<(), SinkError> {
    verify_consistency(ours.size(), vouched.size, proof, ours.root(), vouched.root).map_err(|_| {
        let (size, root) = (vouched.size, vouched.root);
        SinkError::Asked(format!(
            "our log with its entries has root {} at size {}, which the tree of its final checkpoint ({size} leaves, \
             root {root}) does not begin with",
            ours.root(),
            ours.size()
        ))
    })
}

/// The entries of these leaves from the first on: at least one, at most a batch. `size`: of the tree whose tiles they
/// are asked for in, from an entry and a byte of it on.
async fn entries<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    leaves: Range<u64>,
    size: u64,
    mut piece: impl FnMut(TileId, u16, u32) -> F,
) -> Result<Vec<Vec<u8>>, SinkError> {
    let (mut entries, mut held) = (Vec::new(), 0);
    // What has come of the tile and is no whole entry yet: at most one, and a piece.
    let mut open: Vec<u8> = Vec::new();
    loop {
        let next = leaves.start + entries.len() as u64;
        if next >= leaves.end || entries.len() >= BATCH_MESSAGES_MAX || held >= BATCH_BYTES_MAX {
            return Ok(entries);
        }
        let id = TileId::covering(TileKind::Entries, next / TILE_WIDTH, size).ok_or_else(unreadable)?;
        let place = u16::try_from(next % TILE_WIDTH).map_err(|_| unreadable())?;
        let byte = u32::try_from(open.len()).map_err(|_| unreadable())?;
        let piece = piece(id, place, byte).await?;
        if piece.is_empty() || piece.len() > PIECE_BYTES_MAX {
            return Err(SinkError::Asked(format!("its `{}` ends before leaf {next} does", id.path())));
        }
        open.extend(piece);
        // The tile ends here at the latest, and the next one is read from its beginning.
        let left = (leaves.end - next).min(u64::from(id.width) - u64::from(place));
        let mut rest = open.as_slice();
        let mut taken = 0;
        while taken < left
            && let Some((entry, behind)) = split_bundle(rest)
        {
            held += entry.len();
            entries.push(entry.to_vec());
            (rest, taken) = (behind, taken + 1);
        }
        open = if taken == left { Vec::new() } else { rest.to_vec() };
    }
}

/// The proof that the tree of `size` leaves begins with the one of the first `first`.
async fn consistency<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    first: u64,
    size: u64,
    hashes: impl FnMut(TileId) -> F,
) -> Result<Vec<Hash>, SinkError> {
    proof(|tiles| prove_consistency(tiles, first, size), hashes).await
}

/// A proof out of the other sink's tiles of hashes: it proves itself, whoever they come from.
async fn proof<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    prove: impl Fn(&Known) -> Result<Vec<Hash>, LedgerError>,
    mut hashes: impl FnMut(TileId) -> F,
) -> Result<Vec<Hash>, SinkError> {
    let mut known = Known::default();
    loop {
        let lacking = match prove(&known) {
            Ok(proof) => return Ok(proof),
            Err(error) => known.lacking().ok_or(error)?,
        };
        // Each round brings one more of the few tiles that a proof reads: some sixteen at the most.
        let bytes = hashes(lacking).await?;
        if bytes.len() != usize::from(lacking.width) * Hash::BYTES {
            return Err(unreadable());
        }
        known.tiles.insert(lacking, bytes);
    }
}

/// The tiles that have come.
#[derive(Default)]
struct Known {
    tiles: HashMap<TileId, Vec<u8>>,
    /// The first that was looked for in vain since.
    lacking: Mutex<Option<TileId>>,
}

impl Known {
    fn lacking(&self) -> Option<TileId> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl TileSource for Known {
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        self.tiles.get(&id).cloned().ok_or_else(|| {
            self.lacking.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(id);
            LedgerError::TileUnreadable { path: id.path(), why: "it has not come yet".into() }
        })
    }
}

#[cfg(test)]
mod tests;
