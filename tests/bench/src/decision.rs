//! What a decision costs: with its chain cached, with its chain cold, and the rival's way.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use marque_identity::{Epoch, UnixMillis};
use marque_json::Limits;
use marque_judgement::{
    Audience, Call, ChainCache, ChainLimits, Decision, DecisionPolicy, Now, ReplayGuard, decide, verify_chain,
};
use marque_revocation::{Event, Heartbeat, Item, SetDigest, View};
use marque_signing::{Compact, PublicKey};

use crate::fixture::{ARGS, Fixture, NOW, TOOL, prove, seeded};
use crate::measure::{Contender, Timing, in_turns};
use crate::report::Row;
use crate::rival::Rival;

/// Proofs made beforehand, since each is accepted once; more than are used in a turn, and so few that they stay in a
/// core's own cache, as what a connection has just received does.
const PROOFS: usize = 256;
/// Chains of strangers: more keys than are kept decoded.
const STRANGERS: usize = 1024;
const MONOTONIC: Duration = Duration::from_secs(100);

/// A signature, its message and its key, ready for the bare primitive.
struct Bare {
    key: VerifyingKey,
    bytes: [u8; 32],
    message: Vec<u8>,
    signature: Signature,
}

impl Bare {
    fn of(token: &str, key: &PublicKey) -> Self {
        let compact = Compact::split(token).expect("our own token");
        Self {
            key: VerifyingKey::from_bytes(key.bytes()).expect("our own key"),
            bytes: *key.bytes(),
            message: compact.signing_input().to_vec(),
            signature: Signature::from_bytes(compact.signature()),
        }
    }

    fn verify(&self) -> bool {
        self.key.verify_strict(&self.message, &self.signature).is_ok()
    }

    /// The same from the key's 32 bytes, as they stand in a token.
    fn decode_and_verify(&self) -> bool {
        VerifyingKey::from_bytes(&self.bytes).is_ok_and(|key| key.verify_strict(&self.message, &self.signature).is_ok())
    }
}

/// The rows about decisions.
pub fn rows() -> Vec<Row> {
    let mut rows = cached(4);
    for depth in [4, 8] {
        rows.extend(cold(depth));
        rows.extend(against_rival(depth));
    }
    rows
}

/// A view that is fresh: one heartbeat, seen live.
fn fresh_view() -> View {
    let broadcaster = seeded(99);
    let beat = Heartbeat {
        iss: broadcaster.did(),
        t: UnixMillis(NOW.0 * 1000),
        boot: UnixMillis(NOW.0 * 1000),
        n: 1,
        epoch: Epoch(1),
        active: 0,
        set_digest: SetDigest::default(),
    };
    let mut view = View::new();
    view.on(Event::Committed { seq: Epoch(1), item: Item::Heartbeat(beat) }, MONOTONIC);
    view
}

/// How a caller names a chain that the enforcement point holds.
#[derive(Clone, Copy)]
enum Named {
    /// By its digest, as agents do after their first call (`Marque-Chain-Ref`).
    ByDigest,
    /// By all of its text, compared byte for byte.
    Whole,
}

/// One decision with the chain in the cache: lookup, call, proof, directives, freshness, replay memory.
fn decider<'a>(fixture: &'a Fixture, proofs: &'a [String], named: Named) -> impl FnMut() -> bool + 'a {
    let mut cache = ChainCache::default();
    let text = fixture.tokens.join("~");
    let chain = verify_chain(&fixture.borrowed(), std::slice::from_ref(&fixture.anchor), NOW, &ChainLimits::default());
    let digest = cache.insert(chain.expect("the fixture's chain holds")).digest().to_string();
    let view = fresh_view();
    let audience = Audience::new([fixture.audience.clone()]).demand_proof();
    let cache = RefCell::new(cache);
    let replay = RefCell::new(ReplayGuard::default());
    let next = Cell::new(0);
    move || {
        let at = next.get();
        if at == proofs.len() {
            replay.replace(ReplayGuard::default());
        }
        let at = if at == proofs.len() { 0 } else { at };
        next.set(at + 1);
        let chain = match named {
            Named::ByDigest => cache.borrow_mut().get_by_digest(&digest.parse().expect("a digest")),
            Named::Whole => cache.borrow_mut().get(&text),
        };
        let chain = chain.expect("it is cached");
        let args = marque_json::parse(ARGS, Limits::DEFAULT).expect("fixed, valid JSON");
        let policy = DecisionPolicy::new(&audience, &fixture.domain, Duration::from_secs(15));
        let now = Now { unix: NOW, monotonic: MONOTONIC };
        let call = Call { tool: TOOL, args: &args };
        matches!(decide(&chain, &call, &proofs[at], &policy, &view, &replay.borrow(), now), Decision::Permit(_))
    }
}

fn proofs(fixture: &Fixture) -> Vec<String> {
    let args = marque_json::parse(ARGS, Limits::DEFAULT).expect("fixed, valid JSON");
    let (leaf, holder) = (fixture.tokens.last().expect("a chain"), fixture.holders.last().expect("a chain"));
    (0..PROOFS as u64).map(|seq| prove(holder, leaf, &args, &fixture.audience, seq)).collect()
}

fn cached(depth: usize) -> Vec<Row> {
    let fixture = Fixture::new(depth);
    let proofs = proofs(&fixture);
    let leaf_key = fixture.holders.last().expect("a chain").public();
    // The same proofs in the same order.
    let bare: Vec<Bare> = proofs.iter().map(|proof| Bare::of(proof, &leaf_key)).collect();
    let (mut at, mut again) = (bare.iter().cycle(), bare.iter().cycle());
    let (mut decide, mut whole) =
        (decider(&fixture, &proofs, Named::ByDigest), decider(&fixture, &proofs, Named::Whole));
    assert!(decide() && whole(), "the benchmark's call is permitted");
    let timings = in_turns([
        Contender::new("decide", decide),
        Contender::new("ours", || {
            again.next().is_some_and(|bare| leaf_key.verify(&bare.message, &bare.signature.to_bytes()).is_ok())
        }),
        Contender::new("whole", whole),
        Contender::new("bare", || at.next().is_some_and(Bare::verify)),
    ]);
    let [decide, ours, whole, bare] = [0, 1, 2, 3].map(|at: usize| &timings[at]);
    let beyond = |contender: &Timing| format!("{:.2} µs", contender.beyond(ours));
    let row = |what: String, timing: &Timing| {
        Row::ratio(what, timing.micros, "one bare strict verification", bare.micros, "≤ 1.25")
    };
    vec![
        row(format!("decide, chain of {depth} cached, named by digest"), decide),
        Row::plain(format!("  of it not the signature, depth {depth}"), beyond(decide), "≤ 2 µs"),
        row("  the same, the whole chain sent again".into(), whole),
        Row::plain("  of it not the signature", beyond(whole), ""),
    ]
}

fn cold(depth: usize) -> Vec<Row> {
    let fixture = Fixture::new(depth);
    let bare = bare_chain(&fixture);
    let strangers: Vec<Fixture> = (0..STRANGERS).map(|nth| Fixture::of_strangers(depth, nth)).collect();
    let bare_strangers: Vec<Vec<Bare>> = strangers.iter().map(bare_chain).collect();
    let (mut next, mut next_bare) = (strangers.iter().cycle(), bare_strangers.iter().cycle());
    let limits = ChainLimits::default();
    let verify = |fixture: &Fixture| {
        verify_chain(&fixture.borrowed(), std::slice::from_ref(&fixture.anchor), NOW, &limits).is_ok()
    };
    let timings = in_turns([
        Contender::new("chain", || verify(&fixture)),
        Contender::new("bare", || bare.iter().all(Bare::verify)),
        Contender::new("strangers", || next.next().is_some_and(verify)),
        Contender::new("decoded", || next_bare.next().is_some_and(|bare| bare.iter().all(Bare::decode_and_verify))),
    ]);
    let [chain, bare, strangers, decoded] = [0, 1, 2, 3].map(|at: usize| timings[at].micros);
    vec![
        Row::ratio(
            format!("cold chain of {depth}, of known agents"),
            chain,
            format!("{depth} bare strict verifications"),
            bare,
            "≤ 1.1",
        ),
        Row::ratio(
            format!("  the same, depth {depth}, of strangers"),
            strangers,
            format!("{depth} that decode their key"),
            decoded,
            "",
        ),
    ]
}

fn bare_chain(fixture: &Fixture) -> Vec<Bare> {
    let keys = std::iter::once(fixture.anchor.key).chain(fixture.holders.iter().map(|holder| holder.public()));
    fixture.tokens.iter().zip(keys).map(|(token, key)| Bare::of(token, &key)).collect()
}

fn against_rival(depth: usize) -> Vec<Row> {
    let fixture = Fixture::new(depth);
    let proofs = proofs(&fixture);
    let rival = Rival::new(depth);
    assert!(rival.authorize(), "the rival permits its call");
    let timings = in_turns([
        Contender::new("decide", decider(&fixture, &proofs, Named::ByDigest)),
        Contender::new("rival", || rival.authorize()),
    ]);
    let (ours, theirs) = (timings[0].micros, timings[1].micros);
    vec![Row::ratio(format!("tenuo, a call at depth {depth}"), theirs, "our decide, chain cached", ours, "> 1")]
}
