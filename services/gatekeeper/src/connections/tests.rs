use marque_identity::{Did, Digest};
use marque_judgement::record::Shown;
use marque_revocation::{Directive, Event, Op, SignedDirective, Target};
use marque_signing::SigningKey;
use proptest::prelude::*;

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn did(seed: u8) -> Did {
    SigningKey::from_seed(&[seed; 32]).did()
}

fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

/// A sub-agent of agent 2, holder of the second link.
fn standing() -> Standing {
    Standing {
        shown: Shown::Chain,
        links: vec![Digest([1; 32]), Digest([2; 32])],
        holders: vec![did(2), did(3)],
        issuer: Some("https://acme.example".into()),
        task: Some("urn:task:one".parse().unwrap()),
        blueprint: Some("reader".parse().unwrap()),
        manifest: Some(Digest([9; 32])),
        expires_at: Some(NOW.plus(60)),
        ..Standing::of_key(did(3))
    }
}

/// Where its record stands.
const RECORD: u64 = 10;

fn connection(cid: u64) -> Connection {
    Connection { server: "N".into(), cid }
}

fn held(seen: bool) -> Held {
    Held {
        standing: Arc::new(standing()),
        sequence: RECORD,
        allowed: Allowed::default(),
        narrowings: BTreeSet::new(),
        epoch: marque_identity::Epoch(0),
        chain: None,
        since: Duration::ZERO,
        renew_at: Duration::MAX,
        seen_at: seen.then_some(Duration::ZERO),
        misses: 0,
    }
}

fn view_of(op: Op, target: Target) -> View {
    let narrow = (op == Op::Narrow).then(|| serde_json::json!({ "tools": { "*": {} } }));
    let directive = Directive {
        id: DirectiveId::from_bytes([7; 16]),
        op,
        target,
        until: None,
        narrow,
        lifts: None,
        reason: "test".into(),
        requested_by: did(9),
        iat: NOW,
        domain: domain(),
    };
    let mut view = View::new();
    let signed = SignedDirective::sign(directive, &SigningKey::from_seed(&[9; 32])).unwrap();
    view.on(Event::Raw(Arc::new(signed)), Duration::ZERO);
    view
}

fn doomed(view: &View, now: UnixSeconds) -> Vec<Code> {
    let mut connections = Connections::default();
    assert!(connections.put(connection(1), held(true)));
    let doomed = connections.doomed(&domain(), view, now, |_| Allowed::default());
    doomed.into_iter().map(|doomed| doomed.ended.code).collect()
}

#[test]
fn those_that_are_due_are_renewed_the_longest_due_first_and_no_others() {
    let at = |seconds| Duration::from_secs(seconds);
    let mut connections = Connections::default();
    for (cid, held) in [
        (1, Held { renew_at: at(12), ..held(true) }),
        (2, Held { renew_at: at(11), ..held(true) }),
        (3, Held { renew_at: at(13), ..held(true) }),
        // Just coming, or about to enrol.
        (4, Held { renew_at: at(1), ..held(false) }),
        (5, Held { renew_at: at(1), standing: Arc::new(Standing::of_key(did(4))), ..held(true) }),
    ] {
        assert!(connections.put(connection(cid), held));
    }
    let due = |now| connections.due(now).into_iter().map(|(connection, _)| connection).collect::<Vec<_>>();
    assert_eq!(due(at(12)), [connection(2), connection(1)]);
    assert!(due(at(10)).is_empty());
}

#[test]
fn each_kind_of_directive_ends_it_and_none_that_names_another() {
    let own = [
        Target::Token(Digest([1; 32])),
        Target::Token(Digest([2; 32])),
        Target::Key(did(2)),
        Target::Key(did(3)),
        Target::Task("urn:task:one".parse().unwrap()),
        Target::Blueprint("reader".parse().unwrap()),
        Target::Manifest(Digest([9; 32])),
        Target::Issuer("https://acme.example".into()),
        Target::Domain(domain()),
    ];
    for target in own {
        assert_eq!(doomed(&view_of(Op::Revoke, target.clone()), NOW), [Code::Revoked], "{target}");
        assert_eq!(doomed(&view_of(Op::Suspend, target.clone()), NOW), [Code::Suspended], "{target}");
        assert_eq!(doomed(&view_of(Op::Narrow, target.clone()), NOW), [Code::Narrowed], "{target}");
    }
    let by_credential =
        Standing { shown: Shown::Credential, links: Vec::new(), credential: Some(Digest([5; 32])), ..standing() };
    let ended = by_credential.ended(&domain(), &view_of(Op::Revoke, Target::Token(Digest([5; 32]))), NOW);
    assert_eq!(ended.map(|ended| ended.code), Some(Code::Revoked), "its identity credential, by its digest");
    for target in [
        Target::Token(Digest([3; 32])),
        Target::Key(did(4)),
        Target::Task("urn:task:two".parse().unwrap()),
        Target::Blueprint("writer".parse().unwrap()),
        Target::Manifest(Digest([1; 32])),
        Target::Issuer("https://other.example".into()),
        Target::Domain("other.example".parse().unwrap()),
    ] {
        assert!(doomed(&view_of(Op::Revoke, target.clone()), NOW).is_empty(), "{target}");
    }
}

#[test]
fn its_time_ends_it_to_the_second() {
    assert!(doomed(&View::new(), NOW.plus(59)).is_empty());
    assert_eq!(doomed(&View::new(), NOW.plus(60)), [Code::TokenExpired]);
}

#[test]
fn a_list_forgets_what_is_gone_and_keeps_what_is_coming() {
    let mut connections = Connections::default();
    assert!(connections.put(connection(1), held(true)));
    assert!(connections.put(connection(2), held(true)));
    assert!(connections.put(connection(3), held(false)));
    let roll = |seconds| Roll {
        listed: [connection(1)].into(),
        servers: ["N".to_owned()].into(),
        begun: Duration::from_secs(seconds),
    };
    let left = |connections: &Connections| {
        let mut left: Vec<u64> = connections.iter().map(|(connection, _)| connection.cid).collect();
        left.sort_unstable();
        left
    };
    // Once is no proof: it may have been passed over between two pages. Nor is a list that was begun before it was seen.
    connections.retain(&roll(1), Duration::from_secs(1));
    assert_eq!(left(&connections), [1, 2, 3]);
    connections.see(&connection(2), Some(RECORD), Duration::from_secs(2));
    for begun in [2, 2, 3] {
        connections.retain(&roll(begun), Duration::from_secs(3));
        assert_eq!(left(&connections), [1, 2, 3]);
    }
    connections.retain(&roll(4), Duration::from_secs(4));
    assert_eq!(left(&connections), [1, 3]);
    connections.remove_seen(&connection(3), Duration::ZERO);
    connections.remove_seen(&connection(1), Duration::ZERO);
    assert_eq!(connections.len(), 1, "one that is just coming stays");
    connections.retain(&roll(30), UNSEEN_FOR);
    assert_eq!(connections.len(), 0);
}

#[test]
fn what_ends_while_it_is_looked_up_is_not_put_in() {
    let mut connections = Connections::default();
    let now = Duration::ZERO;
    for cid in [1, 2] {
        assert!(connections.await_unknown(&connection(cid), Some(RECORD), now));
        assert!(!connections.await_unknown(&connection(cid), Some(RECORD), now), "one look-up at a time");
    }
    assert!(connections.remove(&connection(1), now).is_none());
    assert_eq!([1, 2].map(|cid| connections.is_awaited(&connection(cid), Some(RECORD))), [false, true]);
    for cid in [1, 2] {
        assert!(connections.learned(&connection(cid), held(true)));
        connections.await_no_more(&connection(cid), Some(RECORD));
    }
    assert_eq!(connections.iter().map(|(connection, _)| connection.cid).collect::<Vec<_>>(), [2]);
    assert!(!connections.await_unknown(&connection(2), Some(RECORD), now), "it is known");
    // A look-up that came to nothing is made again.
    assert!(connections.await_unknown(&connection(3), Some(RECORD), now));
    connections.await_no_more(&connection(3), Some(RECORD));
    assert!(connections.await_unknown(&connection(3), Some(RECORD), now));
}

#[test]
fn what_ended_while_a_list_came_is_not_looked_up_by_that_list() {
    let mut connections = Connections::default();
    let at = Duration::from_secs;
    assert!(connections.put(connection(1), held(true)));
    // A list is begun, reads of it, and comes; meanwhile it ends.
    connections.remove(&connection(1), at(2));
    let roll = |begun| Roll { listed: [connection(1)].into(), servers: ["N".to_owned()].into(), begun: at(begun) };
    connections.retain(&roll(1), at(3));
    assert!(!connections.await_unknown(&connection(1), Some(RECORD), at(3)));
    // A list that is begun later has it only if it is there.
    connections.retain(&roll(4), at(5));
    assert!(connections.await_unknown(&connection(1), Some(RECORD), at(5)));
}

#[test]
fn those_of_a_server_that_does_not_answer_stay_for_a_while() {
    let mut connections = Connections::default();
    assert!(connections.put(connection(1), held(true)));
    let silent = |n: u32| Roll { begun: Duration::from_secs(n.into()), ..Roll::default() };
    for n in 1..SILENT_MISSES_MAX {
        connections.retain(&silent(n), Duration::from_secs(n.into()));
        assert_eq!(connections.len(), 1);
    }
    connections.retain(&silent(SILENT_MISSES_MAX), Duration::from_secs(SILENT_MISSES_MAX.into()));
    assert_eq!(connections.len(), 0);
}

#[test]
fn there_is_room_for_as_many_as_the_account_has() {
    let mut connections = Connections::default();
    for cid in 0..CONNECTIONS_MAX as u64 {
        assert!(connections.put(connection(cid), held(true)));
    }
    assert!(!connections.put(connection(u64::MAX), held(true)));
    assert!(connections.put(connection(0), held(true)), "one that is there already is only renewed");
}

#[test]
fn an_agent_takes_as_many_seats_as_it_may_and_another_is_not_hindered() {
    let mut connections = Connections::default();
    // One that is just coming counts like one that is there.
    assert!(connections.put(connection(1), held(true)));
    assert!(connections.put(connection(2), held(false)));
    let (agent, other) = (did(3), did(4));
    assert!(connections.take_seat(agent, 3));
    assert!(!connections.take_seat(agent, 3) && connections.take_seat(other, 1) && !connections.take_seat(other, 1));
    connections.leave_seat(&agent);
    assert!(connections.take_seat(agent, 3) && !connections.take_seat(agent, 3));
    let remove = |connections: &mut Connections| connections.remove(&connection(1), Duration::ZERO).is_some();
    assert!(remove(&mut connections) && !remove(&mut connections));
    assert!(connections.take_seat(agent, 3) && !connections.take_seat(agent, 3));
}

#[test]
fn what_a_killed_server_had_does_not_count_once_a_list_has_come_without_it() {
    let mut connections = Connections::default();
    assert!(connections.put(connection(1), held(true)));
    assert!(!connections.take_seat(did(3), 1));
    let of_others = Roll { servers: ["M".to_owned()].into(), begun: Duration::from_secs(1), ..Roll::default() };
    connections.retain(&of_others, Duration::from_secs(1));
    assert_eq!(connections.len(), 1, "a directive closes it all the same");
    assert!(connections.take_seat(did(3), 1));
    // It was there after all: it counts again, and nobody is closed for that.
    assert!(connections.see(&connection(1), Some(RECORD), Duration::from_secs(2)));
    connections.leave_seat(&did(3));
    assert!(!connections.take_seat(did(3), 1));
}

/// What agent 4 shows over the link of agent 3, by a record of this sequence.
fn other(sequence: u64) -> Held {
    Held { standing: Arc::new(Standing::of_key(did(4))), sequence, ..held(true) }
}

fn agent(connections: &Connections) -> Option<Did> {
    connections.agent_of(&connection(1))
}

#[test]
fn what_a_link_shows_later_takes_the_place_of_what_it_showed_and_never_the_other_way_round() {
    let (mut connections, now) = (Connections::default(), Duration::ZERO);
    assert!(connections.put(connection(1), held(true)));
    // The word of an earlier record, or of its own, is no news; that of a later one is, once.
    assert!(!connections.await_unknown(&connection(1), Some(RECORD - 1), now));
    assert!(!connections.await_unknown(&connection(1), Some(RECORD), now));
    assert!(connections.await_unknown(&connection(1), Some(RECORD + 1), now));
    assert!(!connections.await_unknown(&connection(1), Some(RECORD + 1), now));
    // Two at once, of which the later one is found first.
    assert!(connections.await_unknown(&connection(1), Some(RECORD + 2), now));
    assert_eq!(agent(&connections), Some(did(3)), "until it is found it stands on what is known");
    assert!(connections.learned(&connection(1), other(RECORD + 2)));
    assert!(connections.learned(&connection(1), Held { sequence: RECORD + 1, ..held(true) }));
    assert_eq!(agent(&connections), Some(did(4)));
    assert!(connections.has_seat(&did(4), &connection(1)) && !connections.has_seat(&did(3), &connection(1)));
    assert_eq!((connections.taken.by(&did(3)), connections.taken.by(&did(4))), (0, 1));
    // A name that is not ours is no word of what is known.
    assert!(connections.await_unknown(&connection(1), None, now));
    // What ends while both are looked up is put in by neither; whose it was is known for a moment.
    assert!(connections.await_unknown(&connection(1), Some(RECORD + 3), now));
    assert!(connections.remove(&connection(1), now).is_some());
    assert!(connections.learned(&connection(1), held(true)) && connections.learned(&connection(1), other(RECORD + 3)));
    assert_eq!((connections.len(), agent(&connections)), (0, Some(did(4))));
}

#[test]
fn the_end_of_a_stranger_is_of_no_account_and_that_of_one_who_is_known_is() {
    let (mut connections, now) = (Connections::default(), Duration::ZERO);
    assert!(connections.put(connection(1), held(true)));
    assert!(connections.await_unknown(&connection(2), Some(RECORD), now));
    (1..4).for_each(|cid| connections.remove_known(&connection(cid), now));
    assert_eq!((connections.len(), connections.ended.len()), (0, 2), "strangers take no room");
    assert!(connections.learned(&connection(2), held(true)));
    assert_eq!((connections.len(), agent(&connections)), (0, Some(did(3))));
}

#[test]
fn a_link_that_shows_something_anew_begins_its_life_anew() {
    let at = Duration::from_secs;
    let mut connections = Connections::default();
    assert!(connections.put(connection(1), Held { renew_at: at(1), ..held(true) }));
    let due = connections.due(at(1));
    assert_eq!(due.len(), 1);
    assert!(connections.stands_on(&due[0].0, &due[0].1));
    // As the door puts it: not seen by this gatekeeper yet, but its link was.
    let anew = Held { sequence: RECORD + 1, renew_at: at(9), ..held(false) };
    assert!(connections.put(connection(1), anew));
    assert!(!connections.stands_on(&due[0].0, &due[0].1), "what was due is not any more");
    assert_eq!((connections.due(at(8)).len(), connections.due(at(9)).len()), (0, 1));
}

/// What may happen to a connection.
#[derive(Debug, Clone)]
enum Happening {
    Put { cid: u64, agent: u8, sequence: u64, seen: bool },
    Seen(u64),
    Removed(u64),
    RemovedSeen(u64),
    RemovedKnown(u64),
    Learned { cid: u64, agent: u8, sequence: u64 },
    Listed { cids: BTreeSet<u64>, answered: bool },
}

fn happening() -> impl Strategy<Value = Happening> {
    let (cid, agent, sequence) = (0..6_u64, 1..4_u8, RECORD - 1..RECORD + 2);
    prop_oneof![
        (cid.clone(), agent.clone(), sequence.clone(), any::<bool>())
            .prop_map(|(cid, agent, sequence, seen)| Happening::Put { cid, agent, sequence, seen }),
        cid.clone().prop_map(Happening::Seen),
        cid.clone().prop_map(Happening::Removed),
        cid.clone().prop_map(Happening::RemovedSeen),
        cid.clone().prop_map(Happening::RemovedKnown),
        (cid.clone(), agent, sequence).prop_map(|(cid, agent, sequence)| Happening::Learned { cid, agent, sequence }),
        (proptest::collection::btree_set(cid, 0..6), any::<bool>())
            .prop_map(|(cids, answered)| Happening::Listed { cids, answered }),
    ]
}

proptest! {
    /// The counts that are kept are those that a look at every connection gives, whatever happens.
    #[test]
    fn what_is_counted_is_what_is_there(happenings in proptest::collection::vec(happening(), 0..64)) {
        let mut connections = Connections::default();
        let of = |agent: u8, sequence: u64, seen: bool| {
            Held { standing: Arc::new(Standing::of_key(did(agent))), sequence, ..held(seen) }
        };
        for (second, happening) in (1..).zip(happenings) {
            let now = Duration::from_secs(second);
            match happening {
                Happening::Put { cid, agent, sequence, seen } => {
                    prop_assert!(connections.put(connection(cid), of(agent, sequence, seen)));
                }
                Happening::Seen(cid) => {
                    connections.see(&connection(cid), Some(RECORD), now);
                }
                Happening::Removed(cid) => drop(connections.remove(&connection(cid), now)),
                Happening::RemovedSeen(cid) => connections.remove_seen(&connection(cid), now),
                Happening::RemovedKnown(cid) => connections.remove_known(&connection(cid), now),
                Happening::Learned { cid, agent, sequence } => {
                    connections.await_unknown(&connection(cid), Some(sequence), now);
                    prop_assert!(connections.learned(&connection(cid), of(agent, sequence, true)));
                }
                Happening::Listed { cids, answered } => {
                    let listed = cids.into_iter().map(connection).collect();
                    let servers = answered.then(|| "N".to_owned()).into_iter().collect();
                    connections.retain(&Roll { listed, servers, begun: now }, now);
                }
            }
            let mut there: HashMap<Did, usize> = HashMap::new();
            for (_, held) in connections.iter().filter(|(_, held)| held.misses == 0) {
                *there.entry(held.standing.agent).or_default() += 1;
            }
            prop_assert_eq!(connections.taken.agents(), there.len(), "nobody is kept who has none");
            for (agent, count) in there {
                prop_assert_eq!(connections.taken.by(&agent), count);
            }
        }
    }
}
