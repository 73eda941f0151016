//! Entries that are to come next, as another sink hands them over: asked for piece by piece, framed one behind the other.

use std::future::Future;
use std::ops::Range;

use marque_ledger::{Edge, Entry, Hash, TILE_WIDTH, TileId, TileKind, split_bundle};

use crate::SinkError;
use crate::intake::BATCH_MESSAGES_MAX;
use crate::tiles::{PIECE_BYTES_MAX, unreadable};

/// Bytes of entries that are held at once before they are checked and appended, and one entry more: half a full tile of
/// the longest ones.
pub(super) const BATCH_BYTES_MAX: usize = 8 << 20;

/// A batch of them.
pub(super) struct Batch {
    /// The first one's leaf.
    pub(super) first: u64,
    /// The sequence of leaf 0.
    pub(super) first_sequence: u64,
    /// Their frames.
    pub(super) entries: Vec<Vec<u8>>,
}

impl Batch {
    /// Our tree with these behind it, each framed as a message of the very next sequence.
    pub(super) fn extend(&self, mut edge: Edge) -> Result<Edge, SinkError> {
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

/// The entries of these leaves from the first on: at least one, at most a batch. `size`: of the tree whose tiles they
/// are asked for in, from an entry and a byte of it on.
pub(super) async fn entries<F: Future<Output = Result<Vec<u8>, SinkError>>>(
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
