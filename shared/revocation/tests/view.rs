//! The view's rules one by one: what the random walks don't single out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use marque_identity::{Did, Digest, Epoch, UnixMillis, UnixSeconds};
use marque_revocation::{
    Alarm, Directive, DirectiveId, Effect, Event, Freshness, Heartbeat, Item, Op, Overlay, SetDigest, SignedDirective,
    Target, TargetRef, View,
};
use marque_signing::SigningKey;

const BOUND: Duration = Duration::from_secs(2);
const TOKEN: Digest = Digest([9; 32]);

fn signed(n: u8, op: Op, until: Option<i64>) -> Arc<SignedDirective> {
    let key = SigningKey::from_seed(&[3; 32]);
    let directive = Directive {
        id: DirectiveId::from_bytes([n; 16]),
        op,
        target: Target::Token(TOKEN),
        until: until.map(UnixSeconds),
        narrow: (op == Op::Narrow).then(|| serde_json::json!({"tools": {"*": {}}})),
        lifts: (!op.tightens()).then(|| DirectiveId::from_bytes([n - 1; 16])),
        reason: String::new(),
        requested_by: key.did(),
        iat: UnixSeconds(1),
        domain: "acme.example".parse().unwrap(),
    };
    Arc::new(SignedDirective::sign(directive, &key).unwrap())
}

fn beat(seq: u64, t_ms: i64, active: &[&SignedDirective]) -> Item {
    let mut set_digest = SetDigest::default();
    active.iter().for_each(|signed| set_digest.insert(&signed.digest()));
    Item::Heartbeat(Heartbeat {
        iss: Did::from_key_bytes([1; 32]),
        t: UnixMillis(t_ms),
        boot: UnixMillis(1),
        n: seq,
        epoch: Epoch(seq),
        active: active.len() as u64,
        set_digest,
    })
}

fn committed(seq: u64, item: Item) -> Event {
    Event::Committed { seq: Epoch(seq), item }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A view that is fresh at 1 s, holding sequence 1.
fn fresh() -> View {
    let mut view = View::new();
    assert_eq!(view.on(committed(1, beat(1, 1000, &[])), ms(1000)), []);
    view
}

#[test]
fn opens_only_at_a_heartbeat_that_it_saw_live() {
    let mut view = View::new();
    assert_eq!(view.freshness(ms(0), BOUND), Freshness::Cold);
    let gap = Effect::FillGap { from: Epoch(1), to: Epoch(2) };
    assert_eq!(view.on(committed(3, beat(3, 1250, &[])), ms(1250)), [gap]);
    assert_eq!(view.freshness(ms(1250), BOUND), Freshness::Cold);
    let items = vec![(Epoch(2), beat(2, 1000, &[]))];
    assert_eq!(view.on(Event::Filled { from: Epoch(1), items }, ms(1260)), []);
    assert_eq!(view.freshness(ms(1260), BOUND), Freshness::Fresh { epoch: Epoch(3), age: ms(10) });
}

#[test]
fn what_is_read_from_the_stream_proves_nothing_about_now() {
    let mut view = View::new();
    view.on(Event::Filled { from: Epoch(1), items: vec![(Epoch(1), beat(1, 1000, &[]))] }, ms(5));
    assert_eq!(view.epoch(), Epoch(1));
    assert_eq!(view.freshness(ms(5), BOUND), Freshness::Cold);
}

#[test]
fn is_stale_one_millisecond_past_the_bound() {
    let view = fresh();
    assert!(view.freshness(ms(3000), BOUND).is_fresh());
    assert_eq!(view.freshness(ms(3001), BOUND), Freshness::Stale { epoch: Epoch(1), age: ms(2001) });
}

#[test]
fn a_gap_ends_freshness_though_heartbeats_go_on() {
    let mut view = fresh();
    for seq in 3..20 {
        view.on(committed(seq, beat(seq, 1000 + 250 * seq as i64, &[])), ms(1000 + 250 * seq));
    }
    assert!(matches!(view.freshness(ms(5750), BOUND), Freshness::Stale { epoch: Epoch(1), .. }));
    // An answer that ends before the gap does is no proof of absence.
    view.on(Event::Filled { from: Epoch(2), items: vec![] }, ms(5750));
    assert!(!view.freshness(ms(5750), BOUND).is_fresh());
    view.on(Event::Filled { from: Epoch(3), items: vec![(Epoch(4), beat(4, 2000, &[]))] }, ms(5750));
    assert_eq!(view.epoch(), Epoch(1), "an answer from behind the gap");
    view.on(Event::Filled { from: Epoch(2), items: vec![(Epoch(4), beat(4, 2000, &[]))] }, ms(5750));
    assert_eq!(view.epoch(), Epoch(19));
    assert!(view.freshness(ms(5750), BOUND).is_fresh());
}

#[test]
fn asks_again_for_a_gap_that_nobody_fills() {
    let mut view = fresh();
    let gap = || vec![Effect::FillGap { from: Epoch(2), to: Epoch(2) }];
    assert_eq!(view.on(committed(3, Item::Skipped), ms(1100)), gap());
    assert_eq!(view.on(Event::Tick, ms(1200)), []);
    assert_eq!(view.on(Event::Filled { from: Epoch(2), items: vec![] }, ms(1300)), []);
    assert_eq!(view.on(Event::Tick, ms(1800)), gap());
}

#[test]
fn raw_tightens_once_and_loosening_waits_for_its_place() {
    let mut view = fresh();
    let (suspend, resume) = (signed(1, Op::Suspend, None), signed(2, Op::Resume, None));
    let applied = Effect::Applied { id: suspend.directive().id, epoch: None };
    assert_eq!(view.on(Event::Raw(suspend.clone()), ms(1100)), [applied]);
    assert_eq!(view.on(Event::Raw(suspend.clone()), ms(1100)), []);
    assert!(view.knows(&suspend.digest()));
    assert!(matches!(view.overlay(TargetRef::Token(&TOKEN))[0].overlay(), Overlay::Suspended));
    view.on(Event::Raw(resume.clone()), ms(1100));
    view.on(committed(3, Item::Directive(resume.clone())), ms(1100));
    assert_eq!(view.active_count(), 1, "out of order");
    assert_eq!(view.on(committed(2, Item::Directive(suspend.clone())), ms(1200)).len(), 1);
    assert!(view.is_clear());
    // A late raw copy, or an old message stored again, does not bring it back.
    view.on(Event::Raw(suspend.clone()), ms(1300));
    view.on(committed(4, Item::Directive(suspend)), ms(1300));
    assert!(view.is_clear());
}

#[test]
fn a_revoke_is_never_lifted() {
    let mut view = fresh();
    view.on(committed(2, Item::Directive(signed(1, Op::Revoke, None))), ms(1100));
    for (seq, op) in [(3, Op::Resume), (4, Op::Lift)] {
        view.on(committed(seq, Item::Directive(signed(2, op, None))), ms(1100));
    }
    assert_eq!(view.overlay(TargetRef::Token(&TOKEN)).len(), 1);
}

#[test]
fn ends_by_the_heartbeats_time_alone() {
    let mut view = fresh();
    let suspend = signed(1, Op::Suspend, Some(2));
    view.on(committed(2, Item::Directive(suspend.clone())), ms(1100));
    view.on(committed(3, beat(3, 2000, &[&suspend])), ms(90_000));
    assert_eq!(view.active_count(), 1, "until 2 s has not passed at 2.000 s");
    assert_eq!(view.on(committed(4, beat(4, 2001, &[])), ms(90_001)), []);
    assert!(view.is_clear());
}

#[test]
fn a_set_that_differs_denies_and_alarms_until_it_agrees() {
    let mut view = fresh();
    let revoke = signed(1, Op::Revoke, None);
    let effects = view.on(committed(2, beat(2, 1250, &[&revoke])), ms(1250));
    assert!(matches!(effects[..], [Effect::Alarm(Alarm::Diverged { epoch: Epoch(2), .. })]));
    assert_eq!(view.freshness(ms(1250), BOUND), Freshness::Diverged { epoch: Epoch(2) });
    view.on(committed(3, Item::Directive(revoke.clone())), ms(1300));
    assert!(matches!(view.freshness(ms(1300), BOUND), Freshness::Diverged { .. }));
    view.on(committed(4, beat(4, 1500, &[&revoke])), ms(1500));
    assert!(view.freshness(ms(1500), BOUND).is_fresh());
}

#[test]
fn a_divergence_first_met_while_reading_what_is_old_is_told_once_it_shows_live() {
    let mut view = fresh();
    let revoke = signed(1, Op::Revoke, None);
    // Sequence 2 was missed; the live 3 waits behind it.
    view.on(committed(3, beat(3, 1500, &[&revoke])), ms(1500));
    let items = vec![(Epoch(2), beat(2, 1250, &[&revoke]))];
    let effects = view.on(Event::Filled { from: Epoch(2), items }, ms(1510));
    assert!(matches!(effects[..], [Effect::Alarm(Alarm::Diverged { epoch: Epoch(3), .. })]), "{effects:?}");
    assert_eq!(view.on(committed(4, beat(4, 1750, &[&revoke])), ms(1750)), [], "told once");
}

#[test]
fn a_heartbeat_at_another_place_proves_nothing() {
    let mut view = fresh();
    let effects = view.on(committed(2, beat(1, 9000, &[])), ms(9000));
    assert_eq!(effects, [Effect::Alarm(Alarm::HeartbeatMisplaced { seq: Epoch(2) })]);
    assert!(!view.freshness(ms(9000), BOUND).is_fresh());
}

#[test]
fn a_stream_that_went_back_denies_until_restarted_and_keeps_what_tightens() {
    let mut view = fresh();
    view.on(committed(2, Item::Directive(signed(1, Op::Revoke, None))), ms(1100));
    let effects = view.on(committed(1, beat(1, 1250, &[])), ms(1250));
    assert_eq!(effects, [Effect::Alarm(Alarm::Rewound { held: Epoch(2), seq: Epoch(1) })]);
    assert!(matches!(view.freshness(ms(1250), BOUND), Freshness::Diverged { .. }));
    view.restart();
    assert_eq!(view.freshness(ms(1250), BOUND), Freshness::Cold);
    assert_eq!(view.active_count(), 1);
    view.on(committed(1, beat(1, 1250, &[])), ms(1260));
    assert!(view.freshness(ms(1260), BOUND).is_fresh());
    assert_eq!(view.active_count(), 1, "not in the stream, but it tightens");
}

#[test]
fn a_raw_copy_that_the_stream_never_shows_ends_after_ten_minutes_of_heartbeats() {
    let mut view = fresh();
    let orphan = signed(1, Op::Revoke, None);
    view.on(Event::Raw(orphan.clone()), ms(1100));
    let minutes = |m: i64| 2000 + m * 60_000;
    view.on(committed(2, beat(2, minutes(0), &[])), ms(2000));
    view.on(committed(3, beat(3, minutes(10) - 1, &[])), ms(3000));
    assert_eq!(view.active_count(), 1);
    let effects = view.on(committed(4, beat(4, minutes(10), &[])), ms(4000));
    assert_eq!(effects, [Effect::Alarm(Alarm::OrphanDropped { id: orphan.directive().id })]);
    assert!(view.is_clear());
    // Should it be stored after all, it counts.
    view.on(committed(5, Item::Directive(orphan)), ms(5000));
    assert_eq!(view.active_count(), 1);
}

#[test]
fn a_backlog_out_of_a_stopped_process_is_not_fresh() {
    let mut view = fresh();
    // Stopped from 1 s to 11 s; then forty heartbeats lie in the socket.
    for n in 0..40u64 {
        view.on(committed(2 + n, beat(2 + n, 1250 + 250 * n as i64, &[])), ms(11_000));
        let sent_ms = 1250 + 250 * n;
        assert_eq!(view.freshness(ms(11_000), BOUND).is_fresh(), 11_000 - sent_ms <= 2000, "{n}");
    }
}

#[test]
fn a_narrowing_is_compiled_once() {
    let mut view = fresh();
    view.on(Event::Raw(signed(1, Op::Narrow, None)), ms(1100));
    let overlay = view.overlay(TargetRef::Token(&TOKEN))[0].overlay();
    let Overlay::Narrow(narrow) = overlay else { panic!("{overlay:?}") };
    assert_eq!(narrow.compiled(|_| 7u32), Some(&7));
    assert_eq!(narrow.compiled(|_| -> u32 { panic!("again") }), Some(&7));
    assert_eq!(narrow.compiled(|_| "another type"), None);
}
