//! The nodes of upper tiles and of the open one, kept in memory: a proof then reads one block of a tile, that of its leaf,
//! however tall the tree.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use marque_ledger::{LedgerError, Nodes, TileId, TileKind};

/// Tiles whose nodes are kept: all above the leaves' own of a log of 134 million; 34 MB when full.
const TILES_MAX: usize = 2048;

/// INVARIANT: keyed by place and width, so that what is kept never changes: of any view, old or new.
#[derive(Default)]
pub(super) struct Upper(Mutex<HashMap<TileId, Arc<Nodes>>>);

impl Upper {
    /// All but the full tiles of leaves, of which there are too many.
    pub(super) fn keeps(id: TileId) -> bool {
        id.kind != TileKind::Hashes(0) || !id.is_full()
    }

    /// What is kept of this tile, or what `read` gives, which is kept from then on if it is one to keep.
    pub(super) fn nodes(
        &self,
        id: TileId,
        read: impl FnOnce() -> Result<Nodes, LedgerError>,
    ) -> Result<Arc<Nodes>, LedgerError> {
        if !Self::keeps(id) {
            return read().map(Arc::new);
        }
        if let Some(kept) = self.kept().get(&id) {
            return Ok(Arc::clone(kept));
        }
        let nodes = Arc::new(read()?);
        let mut kept = self.kept();
        // The same place, less of it, or the leaves' tile that was open before: nobody asks for that any more but an old view.
        kept.retain(|known, _| {
            let is_open_leaves = known.kind == TileKind::Hashes(0) && id.kind == TileKind::Hashes(0);
            !is_open_leaves && (known.kind, known.index) != (id.kind, id.index)
        });
        if kept.len() >= TILES_MAX {
            // Nobody asks so widely but who reads all: beginning anew costs each tile one more read.
            kept.clear();
        }
        kept.insert(id, Arc::clone(&nodes));
        Ok(nodes)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<TileId, Arc<Nodes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
