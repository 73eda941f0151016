//! The third stage: each leaf is judged once and in order, whether it was handed over or not.

use marque_identity::UnixSeconds;
use marque_signing::TrustBundle;

use super::*;
use crate::files;

fn intake(directory: &std::path::Path) -> Intake {
    let bundle = TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: UnixSeconds(1_700_000_000),
        issuers: Vec::new(),
        services: Vec::new(),
        operators: Vec::new(),
    };
    let at = |name: &str| directory.join(name);
    Intake {
        store: Arc::new(LogStore::open(&at(files::LOG_FILE), "acme.example/audit").unwrap()),
        index: Arc::new(Index::open(&at(files::INDEX_FILE), "print", 0).unwrap()),
        inventory: Arc::new(Inventory::open(&at(files::INVENTORY_FILE), bundle.clone(), "print", 0).unwrap()),
        judge: Arc::new(Judge::new(bundle)),
        threads: 2,
        metrics: Metrics::default(),
    }
}

fn leaves(range: std::ops::Range<u64>) -> Leaves {
    let message = |leaf: u64| Stored {
        sequence: leaf + 1,
        time_ns: leaf as i64,
        subject: "marque.record.noise".into(),
        payload: leaf.to_be_bytes().to_vec().into(),
    };
    range.map(|leaf| (leaf, message(leaf))).collect()
}

/// Appends these as the second stage does.
fn append(intake: &Intake, leaves: &Leaves) {
    let frames: Vec<_> = leaves.iter().map(|(_, message)| frame(message).unwrap()).collect();
    intake.store.append(leaves[0].0, &frames).unwrap();
}

/// What the third stage makes of what is handed over, from this leaf on, until it has judged so many or ends by itself: of
/// each leaf its number and the broker's time, which is the same.
async fn judged(
    intake: &Intake,
    hand: Option<mpsc::Sender<Leaves>>,
    handed: mpsc::Receiver<Leaves>,
    from: u64,
    count: usize,
) -> Vec<(u64, i64)> {
    let (to, mut come) = mpsc::channel::<Vec<Indexed>>(1);
    let mut hand = hand;
    let pressed = AtomicBool::default();
    let found = async {
        let mut found = Vec::new();
        while let Some(batch) = come.recv().await {
            found.extend(batch.iter().map(|entry| (entry.leaf, entry.broker_ts_ns)));
            if found.len() >= count {
                hand.take();
            }
        }
        found
    };
    let (done, found) = tokio::join!(intake.judge(handed, to, from, &pressed), found);
    done.unwrap();
    found
}

#[tokio::test]
async fn what_was_not_handed_over_is_judged_out_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let intake = intake(directory.path());
    append(&intake, &leaves(0..9));
    let (hand, handed) = mpsc::channel(8);
    // Some are handed over, some not, and some come that were read out of the log before.
    for (share, handed_over) in [(9..12, true), (12..20, false), (20..21, true), (21..30, false)] {
        append(&intake, &leaves(share.clone()));
        if handed_over {
            hand.send(leaves(share)).await.unwrap();
        }
    }
    hand.send(leaves(18..30)).await.unwrap();
    let found = judged(&intake, Some(hand), handed, 5, 25).await;
    assert_eq!(found, (5..30).map(|leaf| (leaf, leaf as i64)).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_log_waits_for_no_verdict_nor_does_its_end() {
    const SHARE: u64 = BATCH_MESSAGES_MAX as u64;
    let directory = tempfile::tempdir().unwrap();
    let intake = intake(directory.path());
    let (fetch, fetched) = mpsc::channel(8);
    for first in 0..8 {
        fetch.send(leaves(first * SHARE..(first + 1) * SHARE)).await.unwrap();
    }
    drop(fetch);
    // Nobody takes what is appended.
    let (to, kept) = mpsc::channel(BATCHES_WAITING_MAX);
    intake.append(fetched, to, &AtomicBool::default()).await.unwrap();
    assert_eq!(intake.store.head().size, 8 * SHARE);
    // What was handed over is judged to the end, and the rest by whoever begins there.
    let first = judged(&intake, None, kept, 0, 0).await;
    assert!(!first.is_empty() && first.len() < 8 * BATCH_MESSAGES_MAX, "{}", first.len());
    let (hand, handed) = mpsc::channel(1);
    let left = 8 * BATCH_MESSAGES_MAX - first.len();
    let rest = judged(&intake, Some(hand), handed, first.len() as u64, left).await;
    assert!(first.into_iter().chain(rest).map(|(leaf, _)| leaf).eq(0..8 * SHARE));
}

#[tokio::test]
async fn the_log_is_pressed_while_what_waits_fills_its_batches() {
    const SHARE: u64 = BATCH_MESSAGES_MAX as u64;
    let directory = tempfile::tempdir().unwrap();
    let intake = intake(directory.path());
    let (fetch, fetched) = mpsc::channel::<Leaves>(8);
    let (to, mut appended) = mpsc::channel::<Leaves>(8);
    let pressed = AtomicBool::default();
    let seen = || pressed.load(Ordering::Relaxed);
    let feeding = async {
        for (share, expected) in [(0..1, false), (1..1 + SHARE, true), (1 + SHARE..2 + SHARE, false)] {
            fetch.send(leaves(share.clone())).await.unwrap();
            assert_eq!(appended.recv().await.map(|leaves| leaves.len() as u64), Some(share.end - share.start));
            assert_eq!(seen(), expected, "{share:?}");
        }
        fetch.send(leaves(2 + SHARE..2 + 2 * SHARE)).await.unwrap();
        appended.recv().await.unwrap();
        assert!(seen());
        marque_test_support::until("nothing more comes", || !seen()).await;
        drop(fetch);
    };
    let (done, ()) = tokio::join!(intake.append(fetched, to, &pressed), feeding);
    done.unwrap();
}

#[test]
fn half_of_the_judges_rest_while_the_log_is_pressed_but_never_the_last() {
    for (threads, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)] {
        let many = BATCH_MESSAGES_MAX;
        assert_eq!((judging(threads, many, true), judging(threads, many, false)), (expected, threads));
    }
}

#[test]
fn no_thread_is_woken_for_less_than_a_share() {
    for (leaves, expected) in [(1, 1), (SHARE_MIN, 1), (2 * SHARE_MIN - 1, 1), (2 * SHARE_MIN, 2), (9 * SHARE_MIN, 4)] {
        assert_eq!(judging(4, leaves, false), expected, "{leaves}");
    }
}
