//! Directives reach a host: a revoked link ends what hangs below it, and a stale view denies.

use std::sync::atomic::Ordering;
use std::time::Duration;

use marque_agent::enforce::{EnforcementPoint, Ruling};
use marque_agent::{AgentKey, Commission, Delegation, Why};
use marque_bus::permissions::BusRole;
use marque_identity::Code;
use marque_judgement::record::{Body, Outcome, Verb};
use marque_revocation::Target;
use marque_test_support::{Broker, DEADLINE, eventually, fresh, until};
use serde_json::json;

use crate::replay::Presented;
use crate::stage::{Stage, TOOL, crm, host_key, policy, records};

/// Short enough to wait for a view to become stale.
const SHORT: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_revoked_root_ends_its_offline_grandchild_and_no_sibling() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting().await;
    let root = stage.commission(crm(), 2);
    let below = |parent: &Commission, further| {
        let key = AgentKey::generate().unwrap();
        let chain = parent.delegate(&key.public(), Delegation::new(crm()).further_depth(further)).unwrap();
        Commission::adopt(key, chain).unwrap()
    };
    let (child, sibling) = (below(&root, 1), below(&root, 0));
    let grandchild = below(&child, 0);
    let call = async |commission: &Commission| {
        let called = commission.on(&stage.agent).call(TOOL, &json!({"region": "eu"}), Why::default()).await;
        called.map(drop).map_err(|error| error.code())
    };

    // One sub-agent is revoked: its own subtree ends, of which nobody has seen the grandchild yet.
    publish(&stage, Target::Token(child.leaf_digest())).await;
    assert_eq!(call(&grandchild).await, Err(Code::Revoked));
    assert_eq!(call(&child).await, Err(Code::Revoked));
    assert_eq!(call(&sibling).await, Ok(()));
    assert_eq!(call(&root).await, Ok(()));
    // The root is: everything does.
    publish(&stage, Target::Token(root.root_digest())).await;
    assert_eq!(call(&sibling).await, Err(Code::Revoked));
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_denial_by_directive_names_it() {
    let stage = Stage::set().await;
    let (_served, _) = stage.serve_counting().await;
    let actor = stage.actor(crm());
    let directive = publish(&stage, Target::Key(actor.commission().key().did())).await;
    let denied = actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap_err();
    let denial = denied.denial().unwrap();
    assert_eq!((denial.code, denial.step.as_deref()), (Code::Revoked, Some("9")));
    let (_, decided) = stage.decided(denial.record.as_ref().unwrap()).await;
    assert_eq!(decided.directive, Some(directive));
}

#[tokio::test]
async fn a_stale_view_denies_and_opens_again_after_catch_up() {
    let mut stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting_with(policy().with_bounds(SHORT, SHORT)).await;
    let actor = stage.actor(crm());
    let call = async || actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await;
    // On a machine that stands still for a moment the view may be stale for one.
    let permitted = async || {
        eventually("a call is permitted", DEADLINE, async || match call().await {
            Err(denied) if denied.code() == Code::ViewStale => Err(denied),
            outcome => {
                outcome.unwrap();
                Ok(())
            }
        })
        .await;
    };
    permitted().await;

    stage.silence().await;
    until("the view is stale", || !stage.feed.is_fresh(SHORT)).await;
    let denied = call().await.unwrap_err();
    assert_eq!((denied.code(), denied.denial().unwrap().step.as_deref()), (Code::ViewStale, Some("11")));
    let (_, decided) = stage.decided(denied.denial().unwrap().record.as_ref().unwrap()).await;
    assert!(decided.view_age_ms.unwrap() >= decided.staleness_bound_ms);

    stage.sound();
    fresh(&stage.feed, SHORT).await;
    permitted().await;
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

/// A record whose ack takes long is when a directive overtakes a permit: nothing runs.
#[tokio::test]
async fn a_directive_that_comes_while_the_permit_is_being_recorded_stops_it() {
    let stage = Stage::set().await;
    // The host records at a broker of its own, which stands still just then: the directive comes by the other one.
    let records_at = Broker::start().await;
    let (host, sink) = (records_at.connect(BusRole::Host).await, records_at.connect(BusRole::Sink).await);
    let point = EnforcementPoint::new(&host, host_key(), "host", &stage.bundle, stage.feed.clone(), policy());
    let denied = eventually("a permit is overtaken", DEADLINE, async || {
        let actor = stage.actor(crm());
        let presented = Presented::new(&actor, r#"{"region":"eu"}"#);
        signal("-STOP", records_at.pid());
        // The permit is decided when it is first looked at, before the directive is.
        let (ruling, _) = tokio::join!(presented.at(&point), async {
            publish(&stage, Target::Key(actor.commission().key().did())).await;
            signal("-CONT", records_at.pid());
        });
        match ruling {
            Ruling::Permitted(permitted) => panic!("{permitted:?}"),
            // The broker stood still for longer than an ack is waited for.
            Ruling::Denied(denied) if denied.refusal.code == Code::NotRecorded => Err(denied.refusal.message),
            Ruling::Denied(denied) => Ok(denied),
        }
    })
    .await;
    assert_eq!((denied.refusal.code, denied.refusal.step), (Code::Revoked, Some("9")));
    let id = denied.record.expect("it had been recorded");
    let recorded = records(&sink).await;
    let permit = recorded.iter().find(|record| record.id == id).map(|record| &record.body);
    assert!(matches!(permit, Some(Body::Decided(decided)) if decided.decision == Verb::Permit), "{permit:?}");
    let end = recorded.iter().find_map(|record| match &record.body {
        Body::Completed(completed) if completed.decided == id => Some(completed),
        _ => None,
    });
    let end = end.expect("and so was that it did not run");
    assert_eq!((end.outcome, end.status.as_deref()), (Outcome::Error, Some("revoked")));
}

async fn publish(stage: &Stage, target: Target) -> String {
    let mut broadcaster = stage.broadcaster.lock().await;
    let revocation = broadcaster.revocation(target);
    let before = stage.feed.view().active_count();
    broadcaster.publish(&revocation).await;
    until("the directive is applied", || stage.feed.view().active_count() > before).await;
    revocation.directive().id.to_string()
}

fn signal(signal: &str, pid: u32) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}
