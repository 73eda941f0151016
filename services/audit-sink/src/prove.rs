//! `marque.audit.proof` and `marque.audit.checkpoint`: what an outsider needs to hold us to the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_ledger::{Hash, prove_inclusion, root_at};
use serde::{Deserialize, Serialize};

use crate::SinkError;
use crate::reader::Reading;
use crate::seal::Sealer;

/// A larger entry is fetched from its bundle: the answer must pass the broker in base64.
const ENTRY_BYTES_MAX: usize = 30_000;

/// Of which record or leaf, and against which size.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProofRequest {
    /// The record's id.
    pub id: Option<String>,
    /// Or the leaf's index.
    pub leaf: Option<u64>,
    /// Against the tree of so many leaves; the newest checkpoint's where none is named.
    pub tree_size: Option<u64>,
}

/// An inclusion proof (RFC 6962), hashes in standard base64.
#[derive(Debug, Clone, Serialize)]
pub struct Inclusion {
    /// The leaf's index.
    pub leaf: u64,
    /// The tree that it is proven to be in.
    pub tree_size: u64,
    /// SHA-256 of 0x00 and the entry.
    pub leaf_hash: String,
    /// From the leaf up.
    pub proof: Vec<String>,
    /// The root that they lead to.
    pub root: String,
    /// The signed checkpoint over that root, where it is the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The entry, framed, in standard base64; absent where it is over 30,000 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// Proves that a record is in the log.
pub fn prove(reading: &Reading, sealer: &Sealer, request: &ProofRequest) -> Result<Inclusion, SinkError> {
    let leaf = reading.find(request.id.as_deref(), request.leaf)?;
    let signed = sealer.last();
    let signed_size = signed.as_ref().map(|signed| signed.checkpoint.size);
    let tree_size = match request.tree_size.or(signed_size) {
        Some(size) if leaf < size && size <= reading.log.size() => size,
        Some(size) if leaf >= size => {
            return Err(SinkError::NotYet(format!(
                "leaf {leaf} is not under a tree of {size} leaves: ask again shortly"
            )));
        }
        Some(size) => return Err(SinkError::NotFound(format!("the log has no {size} leaves"))),
        None => return Err(SinkError::NotYet("no checkpoint is signed yet: ask again shortly".into())),
    };
    let entry = reading.log.entry(leaf)?;
    let proof = prove_inclusion(&reading.log, leaf, tree_size)?;
    let root = root_at(&reading.log, tree_size)?;
    Ok(Inclusion {
        leaf,
        tree_size,
        leaf_hash: Hash::leaf(&entry).to_base64(),
        proof: proof.iter().map(Hash::to_base64).collect(),
        root: root.to_base64(),
        checkpoint: signed.filter(|signed| signed.checkpoint.size == tree_size).map(|signed| signed.note),
        entry: (entry.len() <= ENTRY_BYTES_MAX).then(|| STANDARD.encode(&entry)),
    })
}

/// The newest checkpoint, and how far the log and its index reach beyond it.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// The log's name.
    pub origin: String,
    /// The key under which the checkpoint verifies, as a C2SP `vkey`.
    pub vkey: String,
    /// The signed note; none before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_size: Option<u64>,
    /// Its root in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Leaves on disk.
    pub tree_size: u64,
    /// Leaves of the index.
    pub indexed_upto: u64,
    /// Why the log halted, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
}

/// Where the log stands.
pub fn standing(tree_size: u64, indexed_upto: u64, sealer: &Sealer, halted: Option<String>) -> Standing {
    let signed = sealer.last();
    Standing {
        origin: sealer.verifier().name().to_owned(),
        vkey: sealer.verifier().to_string(),
        checkpoint_size: signed.as_ref().map(|signed| signed.checkpoint.size),
        root: signed.as_ref().map(|signed| signed.checkpoint.root.to_base64()),
        checkpoint: signed.map(|signed| signed.note),
        tree_size,
        indexed_upto,
        halted,
    }
}
