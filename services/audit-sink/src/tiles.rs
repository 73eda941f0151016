//! One sink's tiles over the bus: what its desk answers, and how another asks. Nothing that comes is checked here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_bus::{Bus, subjects};
use marque_identity::Did;
use marque_ledger::{TileId, TileKind};
use serde::{Deserialize, Serialize};

use crate::SinkError;
use crate::store::LogView;

/// Bytes of a tile of entries in one answer: in base64 and JSON they pass a broker that takes 64 KB.
pub const PIECE_BYTES_MAX: usize = 32 * 1024;
/// How long another sink may take to answer with a tile, or a piece of one.
const TILE_TIME: Duration = Duration::from_secs(3);

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

pub(crate) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
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

/// Another sink's tiles, as its desk answers.
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
    pub(crate) async fn piece(&self, id: TileId, entry: u16, byte: u32) -> Result<Vec<u8>, SinkError> {
        bytes(self.ask(TileRequest { path: id.path(), entry, byte }).await?.entries)
    }

    async fn ask(&self, asked: TileRequest) -> Result<Tile, SinkError> {
        let question = serde_json::to_vec(&asked).unwrap_or_default();
        let reply = self.bus.request(&self.subject, Default::default(), question, TILE_TIME).await;
        let reply = reply.map_err(|error| SinkError::Asked(format!("its tile: {error}")))?;
        marque_json::from_slice(&reply.payload, marque_json::Limits::DEFAULT).map_err(|_| unreadable())
    }
}

pub(crate) fn bytes(base64: Option<String>) -> Result<Vec<u8>, SinkError> {
    STANDARD.decode(base64.ok_or_else(unreadable)?).map_err(|_| unreadable())
}

pub(crate) fn unreadable() -> SinkError {
    SinkError::Asked("its tile can't be read".into())
}
