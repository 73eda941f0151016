//! The nodes of upper tiles and of the open one, kept in memory: a proof then reads one block of a tile, that of its leaf,
//! however tall the tree.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use marque_ledger::{LedgerError, Nodes, TileId, TileKind};

use super::leaf_hashes::LEAF_HASHES;

/// Tiles whose nodes are kept: all above the leaves' own of a log of 134 million; 34 MB when full.
const TILES_MAX: usize = 2048;
/// So far from the leaves' tile that was asked for last, others are kept, too.
const NEAR_MAX: u64 = 16;

/// INVARIANT: of a tile, the widest that was read: it begins with every narrower one and never changes, so that what is
/// kept serves every view, old or new.
#[derive(Default)]
pub(super) struct Upper(Mutex<Kept>);

/// By kind and index: the width, and the nodes.
type Kept = HashMap<(TileKind, u64), (u16, Arc<Nodes>)>;

impl Upper {
    /// All but the full tiles of leaves, of which there are too many.
    pub(super) fn keeps(id: TileId) -> bool {
        id.kind != LEAF_HASHES || !id.is_full()
    }

    /// What is kept of this tile, which is one to keep, or what `read` gives, which is kept from then on.
    pub(super) fn nodes(
        &self,
        id: TileId,
        read: impl FnOnce() -> Result<Nodes, LedgerError>,
    ) -> Result<Arc<Nodes>, LedgerError> {
        let place = (id.kind, id.index);
        if let Some((_, kept)) = self.kept().get(&place).filter(|(width, _)| *width >= id.width) {
            return Ok(Arc::clone(kept));
        }
        let nodes = Arc::new(read()?);
        let mut kept = self.kept();
        if id.kind == LEAF_HASHES {
            // Of the leaves' tiles those are kept in which the newest checkpoints end.
            kept.retain(|(kind, index), _| *kind != LEAF_HASHES || index.abs_diff(id.index) <= NEAR_MAX);
        }
        if kept.len() >= TILES_MAX {
            // Nobody asks so widely but who reads all: beginning anew costs each tile one more read.
            kept.clear();
        }
        let widest = kept.get(&place).is_none_or(|(width, _)| *width < id.width);
        if widest {
            kept.insert(place, (id.width, Arc::clone(&nodes)));
        }
        Ok(nodes)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
