//! The questions at the door: bytes in, answer or refusal out. Knows nothing of the bus.

use std::sync::Arc;

use marque_identity::Refusal;
use marque_json::Limits;
use marque_ledger::{LedgerError, layout};
use marque_runtime::Clock;
use marque_runtime::http::Shown;
use marque_signing::jws::json_code;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::SinkError;
use crate::agents::agents;
use crate::completeness::completeness;
use crate::explain::explain;
use crate::files::{Page, Shelf};
use crate::intake::blocking;
use crate::inventory::Inventory;
use crate::prove::{prove, standing};
use crate::query::query;
use crate::reader::Library;
use crate::seal::Sealer;
use crate::tiles::Tile;

/// A question is a few hundred bytes.
pub const QUESTION_BYTES_MAX: usize = 8 * 1024;

/// Why the log halted, once it has: readable from everywhere, never unset.
#[derive(Debug, Clone, Default)]
pub struct Halted(Arc<watch::Sender<Option<String>>>);

impl Halted {
    /// Halts, for the first reason that is given.
    pub fn set(&self, why: &str) {
        self.0.send_if_modified(|first| {
            let new = first.is_none();
            first.get_or_insert_with(|| why.to_owned());
            new
        });
    }

    /// Adds what was found out since.
    pub fn tell_more(&self, more: &str) {
        self.0.send_if_modified(|why| {
            why.as_mut().is_some_and(|why| {
                why.push_str(more);
                true
            })
        });
    }

    /// Why, if it has.
    pub fn why(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until it has.
    pub async fn wait(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Search.
    Query,
    /// Explain one action.
    Explain,
    /// Prove one record.
    Proof,
    /// The newest checkpoint.
    Checkpoint,
    /// Agents and what they hold.
    Agents,
    /// What is missing.
    Completeness,
    /// A tile of this very log.
    Tile,
}

/// Answers out of the log. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    /// The log and its index.
    pub library: Library,
    /// The inventory.
    pub inventory: Arc<Inventory>,
    /// By which lives and ages are judged.
    pub clock: Clock,
    /// The checkpoints.
    pub sealer: Arc<Sealer>,
    /// The trust bundle as it was signed.
    pub bundle: Arc<str>,
    /// Whether the log goes on.
    pub halted: Halted,
}

impl Desk {
    /// Answers a question in JSON. An empty body asks without any condition.
    pub async fn answer(&self, question: Question, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (desk, body) = (self.clone(), body.to_vec());
        let answer = blocking(move || {
            // Neither reaches beyond the log: it is looked at last.
            let stock = desk.inventory.view()?;
            let reading = desk.library.read()?;
            let (now, size) = (desk.clock.unix_millis().0, reading.log.size());
            match question {
                Question::Agents => json(&agents(&stock, &reading.index, size, now, &asked(&body)?)?),
                Question::Completeness => json(&completeness(&stock, &reading.index, size, now, &asked(&body)?)?),
                Question::Query => json(&query(&reading, &asked(&body)?)?),
                Question::Explain => json(&explain(&reading, &desk.sealer, &asked(&body)?)?),
                Question::Proof => json(&prove(&reading, &desk.sealer, &asked(&body)?)?),
                Question::Tile => json(&Tile::of(&reading.log, &asked(&body)?)?),
                Question::Checkpoint => json(&standing(size, reading.index.upto(), &desk.sealer, desk.halted.why())),
            }
        });
        answer.await.map_err(Refusal::from)
    }

    /// A file of the log in the C2SP layout, of the tree that `tree_size=` names in the query, else of the newest
    /// checkpoint's. The index is shown in pages, too: `from=` a leaf, at most `leaves=` lines.
    pub async fn file(&self, path: String, parameters: Option<String>) -> Shown {
        let Some(served) = layout::served(&path) else { return Shown::refused(404, "the log has no such file") };
        let desk = self.clone();
        let read = blocking(move || {
            let reading = desk.library.read()?;
            let signed = desk.sealer.last();
            let asked = Parameters::read(parameters.as_deref().unwrap_or_default())?;
            let tree_size =
                asked.tree_size.unwrap_or_else(|| signed.as_ref().map_or(0, |signed| signed.checkpoint.size));
            let shelf = Shelf {
                log: &reading.log,
                index: &reading.index,
                checkpoint: signed.as_ref().map(|signed| signed.note.as_str()),
                bundle: &desk.bundle,
            };
            match asked.page()? {
                None => shelf.file(&path, tree_size),
                Some(page) if path == layout::VERDICTS => Ok(shelf.page(page, tree_size)?.1.into_bytes()),
                Some(_) => Err(SinkError::Asked("only the index of verdicts is shown in pages".into())),
            }
        });
        match read.await {
            Ok(body) => {
                let layout::Served { content_type, cache_control } = served;
                Shown { status: 200, content_type, cache_control, body }
            }
            Err(error @ (SinkError::NotFound(_) | SinkError::Ledger(LedgerError::TilePathMalformed))) => {
                Shown::refused(404, error)
            }
            Err(error @ SinkError::Asked(_)) => Shown::refused(400, error),
            Err(error) => {
                tracing::error!(%error, "a file of the log can't be read");
                Shown::refused(500, "the log can't be read")
            }
        }
    }
}

/// The query of a file's address.
#[derive(Debug, Default)]
struct Parameters {
    tree_size: Option<u64>,
    from: Option<u64>,
    leaves: Option<u64>,
}

impl Parameters {
    fn read(text: &str) -> Result<Self, SinkError> {
        let mut read = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "tree_size" => &mut read.tree_size,
                "from" => &mut read.from,
                "leaves" => &mut read.leaves,
                // Not ours: a cache's, a proxy's.
                _ => continue,
            };
            let number = value.parse().map_err(|_| SinkError::Asked(format!("`{name}` is not a number")))?;
            if place.replace(number).is_some() {
                return Err(SinkError::Asked(format!("`{name}` stands twice")));
            }
        }
        Ok(read)
    }

    fn page(&self) -> Result<Option<Page>, SinkError> {
        match (self.from, self.leaves) {
            (None, None) => Ok(None),
            (_, Some(0)) => Err(SinkError::Asked("`leaves` is 0".into())),
            (from, leaves) => Ok(Some(Page { from: from.unwrap_or(0), leaves: leaves.unwrap_or(u64::MAX) })),
        }
    }
}

/// Reads a question's body, strictly; an empty one names no condition.
pub fn asked<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, SinkError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    // serde would read a list as a struct's members in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(SinkError::Asked("the question is not a JSON object".into()));
    }
    marque_json::from_slice(body, Limits::bytes(QUESTION_BYTES_MAX))
        .map_err(|error| SinkError::Question(json_code(&error), error.to_string()))
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, SinkError> {
    serde_json::to_vec(answer).map_err(|error| SinkError::Asked(format!("the answer can't be written: {error}")))
}
