//! The outbox on a disk that fails at each of its steps, and loses what it may: what was accepted is published, once.

use marque_test_support::{TestDisk, Trial};

use super::tests::{key, record, row};
use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn open(disk: TestDisk) -> Result<Outbox, OutboxError> {
    let domain = "acme.example".parse().unwrap();
    let database = builder().create_with_backend(disk).map_err(OutboxError::of)?;
    Outbox::on(database, &domain, &Did::from_key_bytes([1; 32]))
}

fn named(name: &str) -> Row {
    row(name.as_bytes()[0])
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Told {
    accepted: Vec<&'static str>,
    /// The first of them is in the stream.
    published: bool,
    floor: UnixMillis,
}

/// Three requests are accepted, the first is published, its record too; a heartbeat ends something.
fn accept_three(disk: TestDisk) -> Told {
    let mut told = Told::default();
    let Ok(outbox) = open(disk) else { return told };
    for name in NAMES {
        match outbox.accept(key(name), named(name), UnixSeconds(0)) {
            Ok(accepted) => {
                assert_eq!(accepted, Accepted::Now(named(name)));
                told.accepted.push(name);
            }
            Err(error) => assert_eq!(error.code(), marque_identity::Code::Unavailable, "{error}"),
        }
    }
    told.published = outbox.published(key("a"), Epoch(9), &record()).is_ok();
    if outbox.raise_time_floor(UnixMillis(77)).is_ok() {
        told.floor = UnixMillis(77);
    }
    if let Ok(Some((order, _))) = outbox.unrecorded() {
        // Lost, it is published once more, to no effect.
        let _ = outbox.recorded(order);
    }
    told
}

fn each_is_accepted_or_not(told: &Told, disk: TestDisk) {
    let outbox = open(disk).unwrap();
    let waits = outbox.unpublished().unwrap();
    let mut seen = Vec::new();
    for name in NAMES {
        let remembered = outbox.remembered(key(name), &named(name).request).unwrap();
        assert!(remembered.is_some() || !told.accepted.contains(&name), "`{name}` was accepted and is forgotten");
        let waiting = waits.iter().filter(|(waiting, _)| *waiting == key(name)).count();
        // What is remembered either waits for the stream, once, or has its place in it.
        let unpublished = remembered.as_ref().is_some_and(|row| row.epoch.is_none());
        assert_eq!(waiting, usize::from(unpublished), "`{name}`: {remembered:?}");
        if let Some(row) = remembered {
            assert_eq!(Row { epoch: None, ..row.clone() }, named(name));
            // Asked again, the requester gets these very bytes.
            let anew = Row { compact: "signed anew".into(), ..named(name) };
            assert_eq!(outbox.accept(key(name), anew, UnixSeconds(0)).unwrap(), Accepted::Earlier(row));
            seen.push(name);
        }
    }
    let order: Vec<u8> = waits.iter().map(|(_, row)| row.request.0[0]).collect();
    assert!(order.is_sorted(), "out of the order of acceptance: {order:?}");
    let published = outbox.remembered(key("a"), &named("a").request).unwrap().and_then(|row| row.epoch);
    assert!(published == Some(Epoch(9)) || !told.published, "published, and forgotten: {published:?}");
    if published.is_none() {
        assert_eq!(outbox.unrecorded().unwrap(), None, "a record of what is not known to be published");
    }
    let floor = outbox.time_floor().unwrap();
    assert!(floor >= told.floor && [UnixMillis(0), UnixMillis(77)].contains(&floor), "{floor:?}");
    // It goes on: everything accepted ends in the stream, at the end nothing waits.
    for (at, (waiting, _)) in waits.into_iter().enumerate() {
        outbox.published(waiting, Epoch(20 + at as u64), &record()).unwrap();
    }
    while let Some((order, found)) = outbox.unrecorded().unwrap() {
        assert_eq!(found, record());
        outbox.recorded(order).unwrap();
    }
    assert_eq!(outbox.waiting().unwrap(), (0, 0), "{seen:?}");
}

#[test]
fn what_was_accepted_waits_for_the_stream_once_wherever_the_disk_fails() {
    let made = TestDisk::default();
    drop(open(made.clone()).unwrap());
    let trial = Trial { before: made.bytes() };
    let checked = trial.run(accept_three, |told, disk, _| each_is_accepted_or_not(told, disk));
    assert!(checked > 100, "{checked}");
}

#[test]
fn an_outbox_whose_making_broke_off_was_never_handed_out() {
    let trial = Trial { before: Vec::new() };
    trial.run(accept_three, |told, disk, _| match open(disk.clone()) {
        Ok(outbox) => {
            drop(outbox);
            each_is_accepted_or_not(told, disk.after_kill());
        }
        // `Outbox::open` drops such a file: its making had not ended.
        Err(error) => assert!(told.accepted.is_empty() && told.floor == UnixMillis(0), "{error}"),
    });
}

#[test]
fn a_full_disk_is_said_and_once_there_is_room_the_next_start_goes_on() {
    let disk = TestDisk::default();
    let outbox = open(disk.clone()).unwrap();
    outbox.accept(key("a"), named("a"), UnixSeconds(0)).unwrap();
    disk.fill();
    let refused = outbox.accept(key("b"), named("b"), UnixSeconds(0)).unwrap_err();
    assert!(refused.to_string().contains("no storage space"), "{refused}");
    drop(outbox);
    disk.make_room();
    let outbox = open(disk.after_kill()).unwrap();
    assert_eq!(outbox.unpublished().unwrap(), [(key("a"), named("a"))]);
    assert_eq!(outbox.accept(key("b"), named("b"), UnixSeconds(0)).unwrap(), Accepted::Now(named("b")));
}
