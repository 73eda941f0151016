//! The store on a disk that fails at each of its steps, and loses what it may: no evidence enrols twice, and nothing
//! that was granted is forgotten.

use marque_test_support::{Ending, TestDisk, Trial};

use super::tests::{did, domain, grant, join};
use super::*;

/// Two requests and the evidence of each.
fn requests() -> [(Grant, EvidenceUse); 2] {
    [(grant(2, "a", "first"), join("j", 2)), (grant(3, "b", "second"), join("k", 3))]
}

fn open(disk: TestDisk) -> Result<Store, StoreError> {
    open_of(disk, &domain(), &did(1))
}

/// The store of this issuer on this disk.
pub(crate) fn open_of(disk: TestDisk, domain: &TrustDomain, issuer: &Did) -> Result<Store, StoreError> {
    Store::on(builder().create_with_backend(disk).map_err(StoreError::of)?, domain, issuer)
}

/// Begins both grants; gives those that were acknowledged.
fn begin_both(disk: TestDisk) -> Vec<Grant> {
    let mut acknowledged = Vec::new();
    let Ok(store) = open(disk) else { return acknowledged };
    for (grant, evidence) in requests() {
        match store.begin(grant.clone(), &[evidence]) {
            Ok(begun) => {
                assert_eq!(begun, Begun::Now(grant.clone()));
                acknowledged.push(grant.clone());
            }
            Err(error) => assert_eq!(error.code(), marque_identity::Code::Unavailable, "{error}"),
        }
        // Its outcome does not matter: published once more, the record is the same.
        let _ = store.recorded(&grant);
    }
    acknowledged
}

fn each_is_whole_or_not_there(acknowledged: &[Grant], disk: TestDisk, _: Ending) {
    let store = open(disk).unwrap();
    let pending = store.pending(10).unwrap();
    for (grant, evidence) in requests() {
        let remembered = store.remembered(grant.id, &grant.request).unwrap();
        assert!(remembered.is_some() || !acknowledged.contains(&grant), "an acknowledged grant is forgotten");
        if let Some(remembered) = &remembered {
            assert_eq!(*remembered, grant);
        }
        let is_pending = pending.contains(&grant);
        assert_eq!(!store.is_recorded(grant.id).unwrap(), is_pending);
        assert!(remembered.is_some() || !is_pending, "a record without its grant");
        // A thief of the same evidence, before the agent comes again: he wins only where nothing was begun.
        let thief = Grant { id: RequestId([9; 32]), request: sha256(b"thief"), ..grant.clone() };
        let stolen = store.begin(Grant { id: RequestId(grant.request.0), ..thief }, std::slice::from_ref(&evidence));
        match (remembered, stolen.unwrap()) {
            (Some(_), Begun::EvidenceUsed(_)) => {
                let again = Grant { answer: "signed anew".into(), ..grant.clone() };
                assert_eq!(store.begin(again, &[evidence]).unwrap(), Begun::Earlier(grant));
            }
            (None, Begun::Now(_)) => {
                assert!(matches!(store.begin(grant, &[evidence]).unwrap(), Begun::EvidenceUsed(_)));
            }
            (remembered, begun) => panic!("{remembered:?} is remembered, and then {begun:?}"),
        }
    }
}

#[test]
fn a_join_token_enrols_once_and_no_grant_is_forgotten_wherever_the_disk_fails() {
    let made = TestDisk::default();
    drop(open(made.clone()).unwrap());
    let trial = Trial { before: made.bytes() };
    let checked = trial.run(begin_both, |acknowledged, disk, ending| {
        each_is_whole_or_not_there(acknowledged, disk, ending);
    });
    assert!(checked > 100, "{checked}");
}

#[test]
fn a_store_whose_making_broke_off_was_never_handed_out() {
    let trial = Trial { before: Vec::new() };
    trial.run(begin_both, |acknowledged, disk, ending| match open(disk.clone()) {
        Ok(store) => {
            drop(store);
            each_is_whole_or_not_there(acknowledged, disk.after_kill(), ending);
        }
        // `Store::open` drops such a file: its making had not ended.
        Err(error) => assert!(acknowledged.is_empty(), "{error}"),
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("issuer.redb");
    std::fs::write(path.with_added_extension("making"), [0; 4096]).unwrap();
    drop(Store::open(&path, &domain(), &did(1)).unwrap());
    assert!(matches!(Store::open(&path, &domain(), &did(2)), Err(StoreError::Foreign { .. })), "it is made");
}

#[test]
fn forgetting_that_breaks_off_forgets_nothing_that_is_pending_and_no_evidence_too_soon() {
    let made = TestDisk::default();
    let [(kept, evidence), (gone, other)] = requests();
    let store = open(made.clone()).unwrap();
    store.begin(kept.clone(), &[evidence]).unwrap();
    store.begin(gone.clone(), std::slice::from_ref(&other)).unwrap();
    store.recorded(&gone).unwrap();
    drop(store);
    let trial = Trial { before: made.bytes() };
    let forget = |disk| open(disk).is_ok_and(|store| store.forget(UnixSeconds(1_500)).is_ok());
    trial.run(forget, |_, disk, _| {
        let store = open(disk).unwrap();
        assert_eq!(store.pending(10).unwrap(), std::slice::from_ref(&kept));
        let again = Grant { id: RequestId([9; 32]), ..gone.clone() };
        assert!(matches!(store.begin(again, std::slice::from_ref(&other)).unwrap(), Begun::EvidenceUsed(_)));
        store.forget(UnixSeconds(1_500)).unwrap();
        assert_eq!(store.remembered(gone.id, &gone.request).unwrap(), None);
        assert_eq!(store.totals().unwrap().grants_remembered, 1);
    });
}

#[test]
fn a_full_disk_is_said_and_once_there_is_room_the_next_start_goes_on() {
    let made = TestDisk::default();
    drop(open(made.clone()).unwrap());
    let disk = TestDisk::holding(made.bytes());
    let store = open(disk.clone()).unwrap();
    disk.fill();
    let [(first, evidence), _] = requests();
    let refused = store.begin(first.clone(), std::slice::from_ref(&evidence)).unwrap_err();
    assert!(refused.to_string().contains("no storage space"), "{refused}");
    drop(store);
    disk.make_room();
    let store = open(disk.after_kill()).unwrap();
    assert_eq!(store.begin(first.clone(), &[evidence]).unwrap(), Begun::Now(first));
}
