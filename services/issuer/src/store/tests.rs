use super::*;
use crate::commitment::About;

pub(super) fn did(byte: u8) -> Did {
    Did::from_key_bytes([byte; 32])
}

pub(super) fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

fn about(agent: u8) -> About {
    let blueprint = "summarizer".parse().unwrap();
    About { agent: did(agent), blueprint, manifest: Some(sha256(b"m")), task: None, credential: None }
}

pub(crate) fn grant(agent: u8, jti: &str, answer: &str) -> Grant {
    Grant {
        id: RequestId::of(&did(agent), &TokenId(jti.into())),
        request: sha256(jti.as_bytes()),
        kind: GrantKind::Credential,
        about: about(agent),
        record: format!("record of {answer}"),
        answer: answer.into(),
        keep_until: UnixSeconds(1_000),
    }
}

pub(super) fn join(jti: &str, agent: u8) -> EvidenceUse {
    EvidenceUse {
        kind: EvidenceKind::JoinToken,
        key: join_key(&did(9), &TokenId(jti.into())),
        agent: did(agent),
        used_at: UnixSeconds(10),
        keep_until: UnixSeconds(2_000),
    }
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("issuer.redb"), &domain(), &did(1)).unwrap()
}

#[test]
fn what_was_begun_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let first = grant(2, "a", "first");
    assert_eq!(open(&dir).begin(first.clone(), &[join("j", 2)]).unwrap(), Begun::Now(first.clone()));

    let store = open(&dir);
    assert_eq!(store.pending(10).unwrap(), vec![first.clone()]);
    assert_eq!(store.remembered(first.id, &first.request).unwrap(), Some(first.clone()));
    // A retry signs a new credential before it learns of the old one: the old one is what counts.
    assert_eq!(store.begin(grant(2, "a", "second"), &[join("j", 2)]).unwrap(), Begun::Earlier(first));
    // Another request with the same join token gets nothing, also of the same agent.
    assert_eq!(
        store.begin(grant(2, "b", "third"), &[join("j", 2)]).unwrap(),
        Begun::EvidenceUsed(EvidenceKind::JoinToken)
    );
    assert_eq!(
        store.begin(grant(3, "a", "fourth"), &[join("j", 3)]).unwrap(),
        Begun::EvidenceUsed(EvidenceKind::JoinToken)
    );
    assert_eq!(store.totals().unwrap().grants_remembered, 1, "a refused use leaves nothing behind");
}

#[test]
fn a_join_token_is_used_once_by_concurrent_requests() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let won = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let store = &store;
                scope.spawn(move || store.begin(grant(n, &format!("r{n}"), "x"), &[join("j", n)]).unwrap())
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).filter(|begun| matches!(begun, Begun::Now(_))).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_request_id_is_for_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let first = grant(2, "a", "first");
    store.begin(first.clone(), &[]).unwrap();
    let other = Grant { request: sha256(b"other bytes"), ..first.clone() };
    assert!(matches!(store.begin(other.clone(), &[]), Err(StoreError::RequestDiffers)));
    assert!(matches!(store.remembered(first.id, &other.request), Err(StoreError::RequestDiffers)));
    // The same `jti` of another agent is another request.
    assert!(matches!(store.begin(grant(3, "a", "x"), &[]).unwrap(), Begun::Now(_)));
}

#[test]
fn recorded_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let first = grant(2, "a", "first");
    store.begin(first.clone(), &[]).unwrap();
    assert!(!store.is_recorded(first.id).unwrap());
    store.recorded(&first).unwrap();
    store.recorded(&first).unwrap();
    assert!(store.is_recorded(first.id).unwrap());
    let totals = store.totals().unwrap();
    assert_eq!((totals.credentials, totals.roots, totals.grants_pending), (1, 0, 0));
}

#[test]
fn forgets_what_is_over_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (recorded, pending) = (grant(2, "a", "recorded"), grant(2, "b", "pending"));
    store.begin(recorded.clone(), &[join("j", 2)]).unwrap();
    store.begin(pending.clone(), &[]).unwrap();
    store.recorded(&recorded).unwrap();

    assert_eq!(store.forget(UnixSeconds(1_000)).unwrap(), 0, "not yet");
    assert_eq!(store.forget(UnixSeconds(1_001)).unwrap(), 1, "the recorded grant alone");
    assert_eq!(store.remembered(recorded.id, &recorded.request).unwrap(), None);
    assert_eq!(store.remembered(pending.id, &pending.request).unwrap(), Some(pending));
    assert_eq!(
        store.begin(grant(4, "c", "x"), &[join("j", 4)]).unwrap(),
        Begun::EvidenceUsed(EvidenceKind::JoinToken),
        "join still known"
    );
    assert_eq!(store.forget(UnixSeconds(2_001)).unwrap(), 1, "the join token");
    assert_eq!(store.totals().unwrap().evidence_remembered, 0);
}

#[test]
fn refuses_a_store_of_another_issuer() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let path = dir.path().join("issuer.redb");
    assert!(matches!(Store::open(&path, &domain(), &did(2)), Err(StoreError::Foreign { key: "issuer", .. })));
    let other = "other.example".parse().unwrap();
    assert!(matches!(Store::open(&path, &other, &did(1)), Err(StoreError::Foreign { key: "trust_domain", .. })));
    open(&dir);
}

#[test]
fn refuses_a_store_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(&dir);
    let again = Store::open(&dir.path().join("issuer.redb"), &domain(), &did(1));
    assert!(matches!(again, Err(StoreError::Locked)));
    drop(held);
}

#[test]
fn refuses_a_file_that_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("issuer.redb"), b"not a database, but long enough to be looked at").unwrap();
    assert!(Store::open(&dir.path().join("issuer.redb"), &domain(), &did(1)).is_err());
}
