//! One of two gatekeepers drains: nobody who asks at that moment is left without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use marque::service_config::Service;
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};
use tokio::task::JoinSet;

use super::{blueprint, commission, connect, enrol, grant};

/// Who states at once, without a pause.
const STATING: usize = 8;
/// Statements after which the first one is asked to drain: both have served some of them by then.
const STATED_BEFORE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_falls_between_a_gatekeeper_that_drains_and_the_other() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    system.start_second_gatekeeper().await.unwrap();
    let agent = enrol(&system).await;
    let root = Arc::new(commission(&agent).await);
    let bus = connect(&system, &root).await.unwrap();
    let (gone, stated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut stating = JoinSet::new();
    for _ in 0..STATING {
        let (root, bus, gone, stated) = (root.clone(), bus.clone(), gone.clone(), stated.clone());
        stating.spawn(async move {
            while !gone.load(Ordering::SeqCst) {
                let child = cast::delegate(&root, tools(grant()), 0);
                root.record_delegation(&bus, child.chain()).await.unwrap();
                stated.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    eventually("both serve", DEADLINE, || async {
        if stated.load(Ordering::SeqCst) < STATED_BEFORE { Err("not yet") } else { Ok(()) }
    })
    .await;
    system.terminate(Service::Gatekeeper);
    assert_eq!(system.until_ended(Service::Gatekeeper), Some(0));
    gone.store(true, Ordering::SeqCst);
    stating.join_all().await;
    system.stop().await;
}
