//! What another sink's checkpoint must show before anything under it is taken over: that a quorum beside its signer has
//! cosigned it, that it reaches far enough, and that its tree is our log's and the stream's.

use std::future::Future;

use marque_ledger::{
    Checkpoint, Edge, Gathered, Hash, LedgerError, Policy, TileId, prove_consistency, prove_inclusion,
    verify_consistency, verify_inclusion,
};
use marque_signing::PublicKey;

use crate::SinkError;

/// What a note of this sink states of our log, if a quorum beside it has cosigned that.
pub(super) fn vouched(note: &[u8], origin: &str, by: &PublicKey, trusted: &[Policy]) -> Result<Checkpoint, SinkError> {
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
pub(super) fn covers(vouched: &Checkpoint, leaves: u64) -> Result<(), SinkError> {
    if vouched.size >= leaves {
        return Ok(());
    }
    let size = vouched.size;
    Err(SinkError::Asked(format!("its newest final checkpoint is over {size} leaves, the range ends with {leaves}")))
}

/// Whether the checkpoint's tree has this frame as this leaf.
pub(super) async fn is_behind<F: Future<Output = Result<Vec<u8>, SinkError>>>(
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

/// Whether the checkpoint's tree begins with this one.
pub(super) fn agree(ours: &Edge, vouched: &Checkpoint, proof: &[Hash]) -> Result<(), SinkError> {
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

/// The proof that the tree of `size` leaves begins with the one of the first `first`.
pub(super) async fn consistency<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    first: u64,
    size: u64,
    hashes: impl FnMut(TileId) -> F,
) -> Result<Vec<Hash>, SinkError> {
    proof(|tiles| prove_consistency(tiles, first, size), hashes).await
}

/// A proof out of the other sink's tiles of hashes: it proves itself, whoever they come from.
async fn proof<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    prove: impl Fn(&Gathered) -> Result<Vec<Hash>, LedgerError>,
    mut hashes: impl FnMut(TileId) -> F,
) -> Result<Vec<Hash>, SinkError> {
    let mut gathered = Gathered::default();
    loop {
        let lacking = match prove(&gathered) {
            Ok(proof) => return Ok(proof),
            Err(error) => gathered.lacking().ok_or(error)?,
        };
        gathered.put(lacking, hashes(lacking).await?)?;
    }
}
