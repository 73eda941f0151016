//! The other sinks of this log: each derives the same root from the same stream, and they cosign each other's
//! checkpoints (LOG.md rule 7). Core NATS on `marque.witness.<sink>`: what is lost is asked for again.
//!
//! A message is a signed note. With its sender's own signature it is a checkpoint that waits for cosignatures; with its
//! cosignature, an answer. A sender is known by the bus subject, which the broker lets no other publish on, and believed
//! by the signature.
//!
//! A sink with another root for the same size means that one of the two logs is not the stream's: ours halts, keeps what
//! it states and what the other signed, finds at which leaf they part, and says so in the stream (see `parted`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use marque_bus::{Bus, BusError, subjects};
use marque_identity::Did;
use marque_ledger::{Checkpoint, Hash, KeyKind, Note, TileId, VerifierKey};
use marque_runtime::Clock;
use marque_signing::{PublicKey, Role, TrustBundle};
use tokio::sync::watch;

use crate::SinkError;
use crate::desk::Halted;
use crate::intake::blocking;
use crate::metrics::Metrics;
use crate::parted::{Parting, Partings};
use crate::parting::parting;
use crate::seal::{Cosigned, Sealer, cosigner};
use crate::store::LogStore;
use crate::tiles::Tiles;

/// A checkpoint with all the cosignatures that a note may have.
const NOTE_BYTES_MAX: usize = 16 * 1024;
/// A checkpoint that waits is told again after this: an answer may have been lost, or a sink been away.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Another sink.
struct Peer {
    did: Did,
    /// Signs its own checkpoints.
    log: VerifierKey,
    /// Signs under ours.
    cosigner: VerifierKey,
}

/// What this sink does as one of several.
pub struct Peers {
    sealer: Arc<Sealer>,
    store: Arc<LogStore>,
    clock: Clock,
    metrics: Metrics,
    own: Did,
    others: Vec<Peer>,
    partings: Arc<Partings>,
    halted: Halted,
}

/// A checkpoint that a peer signed, and its note: the evidence, should it be another's log.
#[derive(Clone)]
struct Asked {
    theirs: Checkpoint,
    note: String,
}

/// What a message of a peer is.
enum Told {
    /// It asks for our cosignature.
    Asks(Asked),
    /// It has cosigned.
    Answers,
}

impl Peers {
    /// The other sinks that the bundle names.
    pub fn new(
        bundle: &TrustBundle,
        sealer: Arc<Sealer>,
        store: Arc<LogStore>,
        clock: Clock,
        metrics: Metrics,
        partings: Arc<Partings>,
        halted: Halted,
    ) -> Result<Self, SinkError> {
        let own = sealer.verifier().key().did();
        let other = |key: PublicKey| {
            let did = key.did();
            let log = VerifierKey::new(sealer.origin(), KeyKind::Ed25519, key)?;
            Ok::<_, SinkError>(Peer { cosigner: cosigner(sealer.origin(), &did)?, log, did })
        };
        let sinks = bundle.keys(Role::Sink).into_iter().filter(|key| key.did() != own);
        let others = sinks.map(other).collect::<Result<_, _>>()?;
        Ok(Self { sealer, store, clock, metrics, own, others, partings, halted })
    }

    /// Asks and answers until `stopped`. An error is final: the log halts.
    pub async fn run(&self, bus: &Bus, mut stopped: watch::Receiver<bool>) -> Result<(), SinkError> {
        if self.others.is_empty() {
            return Ok(());
        }
        let messages = bus.client().subscribe(subjects::WITNESS_ALL).await;
        let mut messages = messages.map_err(|error| BusError::Unavailable(error.to_string()))?;
        let (mut grown, mut sizes) = (self.store.grown(), self.sealer.finality().sizes());
        let mut again = tokio::time::interval(TELL_AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        // The newest checkpoint of each that our log does not reach yet.
        let mut ahead: HashMap<Did, Asked> = HashMap::new();
        let mut told = 0;
        loop {
            tokio::select! {
                () = asked_to_stop(&mut stopped) => return Ok(()),
                message = messages.next() => {
                    let Some(message) = message else { return Ok(()) };
                    if let Some((peer, Told::Asks(asked))) = self.hear(message.subject.as_str(), &message.payload)? {
                        ahead.insert(peer.did, asked);
                        self.answer(bus, &mut ahead).await?;
                    }
                }
                Ok(()) = grown.changed(), if !ahead.is_empty() => self.answer(bus, &mut ahead).await?,
                Ok(()) = sizes.changed() => {
                    sizes.borrow_and_update();
                    self.ask(bus, &mut told, false).await?;
                }
                _ = again.tick() => self.ask(bus, &mut told, true).await?,
            }
        }
    }

    /// Asks for cosignatures under the candidate, where it was not `told` before, or is to be told `again`.
    async fn ask(&self, bus: &Bus, told: &mut u64, again: bool) -> Result<(), SinkError> {
        let Some(note) = self.sealer.finality().candidate() else { return Ok(()) };
        let size = Checkpoint::parse(note.text())?.size;
        if again || size > *told {
            *told = size;
            self.tell(bus, note.to_string()).await;
        }
        Ok(())
    }

    async fn tell(&self, bus: &Bus, note: String) {
        if let Err(error) = bus.client().publish(subjects::witness(&self.own), note.into()).await {
            tracing::debug!(%error, "the other sinks are not told yet");
        }
    }

    /// What a message says, if a sink of the bundle says it. A cosignature is taken in.
    fn hear(&self, subject: &str, payload: &[u8]) -> Result<Option<(&Peer, Told)>, SinkError> {
        let did = subject.rsplit('.').next().and_then(|key| Did::from_multibase(key).ok());
        let peer = self.others.iter().find(|peer| Some(peer.did) == did);
        let Some(peer) = peer.filter(|_| payload.len() <= NOTE_BYTES_MAX) else { return Ok(None) };
        let Ok(note) = Note::parse(payload) else { return Ok(None) };
        if let Ok(theirs) = Checkpoint::signed(&note, std::slice::from_ref(&peer.log)) {
            return Ok(Some((peer, Told::Asks(Asked { theirs, note: note.to_string() }))));
        }
        let key = &peer.cosigner;
        for line in note.signatures().iter().filter(|line| line.name == key.name() && line.key_id == key.key_id()) {
            if self.sealer.finality().cosigned(note.text(), line)? {
                self.metrics.cosignature_taken();
            }
        }
        Ok(Some((peer, Told::Answers)))
    }

    /// Cosigns what our log has reached.
    async fn answer(&self, bus: &Bus, ahead: &mut HashMap<Did, Asked>) -> Result<(), SinkError> {
        let size = self.store.head().size;
        // The smallest first: a cosignature says that none is larger.
        let reached = ahead.iter().filter(|(_, asked)| asked.theirs.size <= size);
        let mut reached: Vec<(Did, Asked)> = reached.map(|(did, asked)| (*did, asked.clone())).collect();
        reached.sort_by_key(|(_, asked)| asked.theirs.size);
        for (did, asked) in reached {
            let (sealer, store, now) = (Arc::clone(&self.sealer), Arc::clone(&self.store), self.clock.unix());
            let theirs = asked.theirs.clone();
            match blocking(move || sealer.cosign(&store, &theirs, now)).await? {
                Cosigned::Line(line) => {
                    let mut note = Note::new(asked.theirs.text())?;
                    note.add(line);
                    self.tell(bus, note.to_string()).await;
                    self.metrics.cosigned();
                }
                // Ours is not back where it was signed: it goes on waiting.
                Cosigned::NotYet => continue,
                // What we cosigned last says where we stand: it asks for a larger one then.
                Cosigned::Older { last } => {
                    if let Some(last) = last {
                        self.tell(bus, last).await;
                    }
                }
                Cosigned::Parted { ours } => return Err(self.parted(bus, &did, &asked, ours).await),
            }
            ahead.remove(&did);
        }
        Ok(())
    }

    /// Halts at once; keeps what ours states and what the other signed; then finds the leaf, and has it said.
    async fn parted(&self, bus: &Bus, peer: &Did, asked: &Asked, ours: Hash) -> SinkError {
        let Asked { theirs, note } = asked;
        let parting = Parting { peer, theirs, note, ours };
        let why = format!(
            "sink {peer} signed root {} for size {}, ours is {ours}; both are kept in {}",
            theirs.root,
            theirs.size,
            self.partings.evidence(theirs.size).display()
        );
        self.halted.set(&why);
        if let Err(error) = self.partings.keep_evidence(&parting) {
            tracing::error!(%error, "what both logs state can't be kept");
        }
        let (leaf, told) = match self.leaf_of_parting(bus, peer, theirs.size).await {
            Ok(Some(leaf)) => (Some(leaf), format!(": they part at leaf {leaf}")),
            Ok(None) => (None, ": no leaf differs, one root is not its tiles'".to_owned()),
            Err(error) => (None, format!(": the leaf is not known, {error}")),
        };
        self.halted.tell_more(&told);
        if let Err(error) = self.partings.tell(&parting, leaf) {
            tracing::error!(%error, "no record of the parting can be made");
        }
        SinkError::Halted(why + &told)
    }

    async fn leaf_of_parting(&self, bus: &Bus, peer: &Did, size: u64) -> Result<Option<u64>, SinkError> {
        let (view, tiles) = (self.store.view()?, Tiles::of(bus, peer));
        let tile = |id: TileId| {
            let tiles = tiles.clone();
            async move { tiles.hashes(id).await }
        };
        parting(size, &view, tile).await
    }
}

async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone asks for it, too.
    let _ = stopped.wait_for(|stop| *stop).await;
}
