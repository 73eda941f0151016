//! Sealed payloads and their keys: who writes, who reads, and that an erasure leaves nothing on the disk.

use std::path::Path;

use marque_bus::permissions::BusRole;
use marque_bus::{BusError, Claim, Erasure, streams, subjects};
use marque_identity::Digest;
use marque_test_support::Broker;

const JANE: Digest = Digest([1; 32]);
const JOHN: Digest = Digest([2; 32]);
const PUBLIC: &str = "XPUBLIC";
const PRIVATE: &[u8] = b"private half of the key of jane";

/// Whether any file below `folder` holds these bytes.
fn on_disk(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => on_disk(&path, bytes),
        false => std::fs::read(&path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes),
    })
}

#[tokio::test]
async fn enforcement_points_write_and_only_operators_read() {
    let broker = Broker::start().await;
    let host = broker.connect(BusRole::Host).await;
    assert!(host.sealing_key(&JANE).await.unwrap().is_none());
    assert_eq!(host.offer_sealing_key(&JANE, PUBLIC, PRIVATE).await.unwrap(), Claim::Won);
    host.publish_sealed(&JANE, "r1", b"sealed").await.unwrap();

    let verifier = broker.connect(BusRole::Verifier).await;
    assert_eq!(&verifier.sealing_key(&JANE).await.unwrap().unwrap().payload[..], PUBLIC.as_bytes());
    verifier.publish_sealed(&JANE, "r2", b"sealed too").await.unwrap();

    let operator = broker.connect(BusRole::Operator).await;
    assert_eq!(&operator.find_sealed("r1").await.unwrap().unwrap().payload[..], b"sealed");
    assert_eq!(&operator.sealing_private(&JANE, PUBLIC).await.unwrap().unwrap().payload[..], PRIVATE);

    for role in BusRole::ALL.iter().filter(|role| **role != BusRole::Operator) {
        let bus = broker.connect(*role).await;
        let sealed = bus.find_sealed("r1").await;
        assert!(matches!(sealed, Err(BusError::Forbidden(_))), "{role:?}: {sealed:?}");
        let private = bus.sealing_private(&JANE, PUBLIC).await;
        assert!(matches!(private, Err(BusError::Forbidden(_))), "{role:?}: {private:?}");
        let erased = bus.erase_subject(&JANE).await;
        assert!(matches!(erased, Err(BusError::Forbidden(_))), "{role:?}: {erased:?}");
    }
}

#[tokio::test]
async fn the_first_key_of_a_data_subject_stays() {
    let broker = Broker::start().await;
    let host = broker.connect(BusRole::Host).await;
    assert_eq!(host.offer_sealing_key(&JANE, PUBLIC, PRIVATE).await.unwrap(), Claim::Won);
    assert_eq!(host.offer_sealing_key(&JANE, "XOTHER", b"other").await.unwrap(), Claim::Lost);
    assert_eq!(&host.sealing_key(&JANE).await.unwrap().unwrap().payload[..], PUBLIC.as_bytes());
    // Nor does a payload take another's place.
    host.publish_sealed(&JANE, "r1", b"sealed").await.unwrap();
    assert!(host.publish_sealed(&JANE, "r1", b"another").await.is_err());
}

#[tokio::test]
async fn an_erasure_leaves_no_key_on_the_disk_and_touches_nobody_else() {
    let broker = Broker::start().await;
    let host = broker.connect(BusRole::Host).await;
    for (subject, record) in [(&JANE, "r1"), (&JANE, "r2"), (&JOHN, "r3")] {
        host.offer_sealing_key(subject, PUBLIC, if *subject == JANE { PRIVATE } else { b"john's" }).await.unwrap();
        host.publish_sealed(subject, record, record.as_bytes()).await.unwrap();
    }
    assert!(on_disk(broker.dir(), PRIVATE), "where it is looked for, it is found while it is there");

    let operator = broker.connect(BusRole::Operator).await;
    assert_eq!(operator.erase_subject(&JANE).await.unwrap(), Erasure { keys: 1, payloads: 2 });
    assert!(!on_disk(broker.dir(), PRIVATE));
    assert!(operator.find_sealed("r1").await.unwrap().is_none());
    assert!(operator.sealing_private(&JANE, PUBLIC).await.unwrap().is_none());
    assert!(operator.find_sealed("r3").await.unwrap().is_some());
    assert!(operator.sealing_private(&JOHN, PUBLIC).await.unwrap().is_some());

    // Again, it is the same; and she may have a key again.
    assert_eq!(operator.erase_subject(&JANE).await.unwrap(), Erasure { keys: 0, payloads: 0 });
    assert_eq!(host.offer_sealing_key(&JANE, "XNEW", b"new").await.unwrap(), Claim::Won);
    let state = operator.stream_state(streams::SEALED).await.unwrap();
    assert_eq!(state.messages, 1);
    assert!(subjects::sealed_subject(&subjects::sealed(&JOHN, "r3")) == Some(JOHN));
}

/// Whatever comes between, a key that payloads are sealed for is one that operators have.
#[tokio::test]
async fn no_erasure_leaves_a_public_key_without_its_private_half() {
    let broker = Broker::start().await;
    let (host, operator) = (broker.connect(BusRole::Host).await, broker.connect(BusRole::Operator).await);
    for round in 0..40 {
        let (one, other) = (format!("XONE{round}"), format!("XOTHER{round}"));
        let (first, second, erased) = tokio::join!(
            host.offer_sealing_key(&JANE, &one, PRIVATE),
            host.offer_sealing_key(&JANE, &other, PRIVATE),
            operator.erase_subject(&JANE),
        );
        let claims = [first.unwrap(), second.unwrap()];
        erased.unwrap();
        if let Some(public) = operator.sealing_key(&JANE).await.unwrap() {
            let public = std::str::from_utf8(&public.payload).unwrap();
            let private = operator.sealing_private(&JANE, public).await.unwrap();
            assert!(private.is_some(), "round {round}, {public}: {claims:?}");
        }
    }
}
