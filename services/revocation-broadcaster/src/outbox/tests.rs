use super::*;
use marque_revocation::DirectiveId;

pub(super) fn row(request: u8) -> Row {
    Row {
        request: Digest([request; 32]),
        id: DirectiveId::from_bytes([request; 16]),
        compact: "x".into(),
        gone_at: None,
        epoch: None,
        receipt: None,
    }
}

fn open(dir: &tempfile::TempDir) -> Outbox {
    open_as(dir, [1; 32]).unwrap()
}

fn open_as(dir: &tempfile::TempDir, broadcaster: [u8; 32]) -> Result<Outbox, OutboxError> {
    let domain = "acme.example".parse().unwrap();
    Outbox::open(&dir.path().join("outbox.redb"), &domain, &Did::from_key_bytes(broadcaster))
}

pub(super) fn key(n: &str) -> RequestKey {
    RequestKey::of(&Did::from_key_bytes([7; 32]), n)
}

pub(super) fn record() -> RecordRow {
    RecordRow { kind: "directive".into(), key: Did::from_key_bytes([7; 32]), compact: "r".into() }
}

#[test]
fn what_was_accepted_is_there_after_a_restart_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir);
    for n in ["c", "a", "b"] {
        assert!(matches!(outbox.accept(key(n), row(n.as_bytes()[0]), UnixSeconds(0)), Ok(Accepted::Now(_))));
    }
    outbox.published(key("a"), Epoch(9), &record()).unwrap();
    drop(outbox);
    let outbox = open(&dir);
    let left: Vec<_> = outbox.unpublished().unwrap().into_iter().map(|(_, row)| row.request.0[0]).collect();
    assert_eq!(left, b"cb");
    assert_eq!(outbox.remembered(key("a"), &Digest([b'a'; 32])).unwrap().unwrap().epoch, Some(Epoch(9)));
    let (order, unrecorded) = outbox.unrecorded().unwrap().unwrap();
    assert_eq!(unrecorded, record());
    outbox.recorded(order).unwrap();
    assert_eq!(outbox.unrecorded().unwrap(), None);
    assert_eq!(outbox.waiting().unwrap(), (2, 0));
}

#[test]
fn the_same_key_gets_the_same_answer_and_another_request_none() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir);
    outbox.accept(key("a"), row(1), UnixSeconds(0)).unwrap();
    let again = Row { compact: "another".into(), ..row(1) };
    assert_eq!(outbox.accept(key("a"), again, UnixSeconds(0)).unwrap(), Accepted::Earlier(row(1)));
    assert!(matches!(outbox.accept(key("a"), row(2), UnixSeconds(0)), Err(OutboxError::RequestDiffers)));
    assert!(matches!(outbox.remembered(key("a"), &Digest([2; 32])), Err(OutboxError::RequestDiffers)));
    assert_eq!(outbox.remembered(key("b"), &Digest([2; 32])).unwrap(), None);
}

#[test]
fn forgets_in_time_and_only_what_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir);
    outbox.accept(key("a"), row(1), UnixSeconds(0)).unwrap();
    outbox.accept(key("b"), row(2), UnixSeconds(0)).unwrap();
    outbox.published(key("a"), Epoch(1), &record()).unwrap();
    assert_eq!(outbox.forget(UnixSeconds(REMEMBERED_SECONDS)).unwrap(), 0);
    outbox.forget(UnixSeconds(REMEMBERED_SECONDS + 1)).unwrap();
    assert_eq!(outbox.remembered(key("a"), &Digest([1; 32])).unwrap(), None);
    assert!(outbox.remembered(key("b"), &Digest([2; 32])).unwrap().is_some());
}

#[test]
fn time_goes_below_no_floor() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir);
    assert_eq!(outbox.time_floor().unwrap(), UnixMillis(0));
    outbox.raise_time_floor(UnixMillis(77)).unwrap();
    drop(outbox);
    assert_eq!(open(&dir).time_floor().unwrap(), UnixMillis(77));
}

#[test]
fn refuses_anothers_outbox_and_one_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir);
    assert!(matches!(open_as(&dir, [1; 32]), Err(OutboxError::Locked)));
    drop(outbox);
    assert!(matches!(open_as(&dir, [2; 32]), Err(OutboxError::Foreign { key: "broadcaster", .. })));
}
