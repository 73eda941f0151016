//! Memory per live directive and per cached chain: what the process grew by, divided.

use std::sync::Arc;
use std::time::Duration;

use marque_identity::{Digest, Epoch, UnixSeconds};
use marque_judgement::{ChainCache, ChainLimits, verify_chain};
use marque_revocation::{Directive, DirectiveId, Event, Item, Op, SignedDirective, Target, View};

use crate::fixture::{Fixture, NOW, seeded};
use crate::report::Row;

const DIRECTIVES: u64 = 50_000;
const CHAINS: usize = 2_000;
const DEPTH: usize = 4;
/// What Linux counts resident memory in on the machines this is run on.
const PAGE_BYTES: f64 = 4096.0;

/// The rows about memory.
pub fn rows() -> Vec<Row> {
    vec![directives(), chains()]
}

fn directives() -> Row {
    let broadcaster = seeded(98);
    let mut view = View::new();
    // Signed beforehand, one at a time, so that only what the view keeps is counted.
    let event = |n: u64| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.to_le_bytes());
        let directive = Directive {
            id: DirectiveId::from_bytes(*uuid::Uuid::now_v7().as_bytes()),
            op: Op::Revoke,
            target: Target::Token(Digest(digest)),
            until: Some(UnixSeconds(NOW.0 + 3600)),
            narrow: None,
            lifts: None,
            reason: "measured".into(),
            requested_by: broadcaster.did(),
            iat: NOW,
            domain: "acme.example".parse().expect("a fixed, valid name"),
        };
        let signed = SignedDirective::sign(directive, &broadcaster).expect("a directive");
        Event::Committed { seq: Epoch(n), item: Item::Directive(Arc::new(signed)) }
    };
    let before = resident_bytes();
    for n in 1..=DIRECTIVES {
        view.on(event(n), Duration::from_secs(n));
    }
    let each = (resident_bytes() - before) / DIRECTIVES as f64;
    assert_eq!(view.active_count() as u64, DIRECTIVES, "every directive is live");
    Row::plain("memory per live directive", format!("{each:.0} B"), "")
}

fn chains() -> Row {
    let mut cache = ChainCache::new(CHAINS);
    let fixtures: Vec<Fixture> = (0..CHAINS).map(|_| Fixture::new(DEPTH)).collect();
    let text: usize = fixtures[0].tokens.iter().map(String::len).sum();
    let before = resident_bytes();
    for fixture in &fixtures {
        let chain =
            verify_chain(&fixture.borrowed(), std::slice::from_ref(&fixture.anchor), NOW, &ChainLimits::default());
        cache.insert(chain.expect("the fixture's chain holds"));
    }
    let each = (resident_bytes() - before) / CHAINS as f64;
    Row::plain(format!("memory per cached chain of {DEPTH} ({text} B of text)"), format!("{each:.0} B"), "")
}

/// The resident set, as Linux tells it; not a number elsewhere.
fn resident_bytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
    pages.map_or(f64::NAN, |pages| pages * PAGE_BYTES)
}
