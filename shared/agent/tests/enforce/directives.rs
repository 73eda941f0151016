//! Directives reach a host: a revoked link ends what hangs below it, and a stale view denies.

use std::sync::atomic::Ordering;

use marque_agent::{AgentKey, Commission, Delegation, Why};
use marque_identity::Code;
use marque_judgement::record::Outcome;
use marque_revocation::Target;
use marque_test_support::until;
use serde_json::json;

use crate::stage::{BOUND, Stage, TOOL, crm};

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
    let (_served, ran) = stage.serve_counting().await;
    let actor = stage.actor(crm());
    let call = async || actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await;
    call().await.unwrap();

    stage.silence();
    until("the view is stale", || !stage.feed.is_fresh(BOUND)).await;
    let denied = call().await.unwrap_err();
    assert_eq!((denied.code(), denied.denial().unwrap().step.as_deref()), (Code::ViewStale, Some("11")));
    let (_, decided) = stage.decided(denied.denial().unwrap().record.as_ref().unwrap()).await;
    assert!(decided.view_age_ms.unwrap() >= decided.staleness_bound_ms);

    stage.sound();
    stage.feed.fresh(BOUND).await;
    call().await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

/// A record whose ack takes long is when a directive overtakes a permit: nothing runs.
#[tokio::test]
async fn a_directive_that_comes_while_the_permit_is_being_recorded_stops_it() {
    use crate::replay::Presented;
    use crate::stage::policy;
    use marque_agent::enforce::Ruling;

    let mut stage = Stage::set().await;
    let point = stage.point(policy());
    let actor = stage.actor(crm());
    let mut overtaken = 0;
    // The permit is decided at once; its ack needs a broker that is stopped just then. The directive's raw copy can't
    // come through that broker either, so it is the view's age that overtakes.
    let presented = Presented::new(&actor, r#"{"region":"eu"}"#);
    stage.silence();
    pause(stage.broker.pid());
    let (ruling, ()) = tokio::join!(presented.at(&point), async {
        until("the view is stale", || !stage.feed.is_fresh(BOUND)).await;
        resume(stage.broker.pid());
    });
    if let Ruling::Denied(denied) = ruling {
        assert_eq!(denied.refusal.code, Code::ViewStale);
        let id = denied.record.expect("it had been recorded");
        let completed = stage.completed(&id).await.expect("and so was that it did not run");
        assert_eq!((completed.outcome, completed.status.as_deref()), (Outcome::Error, Some("view_stale")));
        overtaken += 1;
    }
    assert_eq!(overtaken, 1);
    stage.sound();
}

async fn publish(stage: &Stage, target: Target) -> String {
    let mut broadcaster = stage.broadcaster.lock().await;
    let revocation = broadcaster.revocation(target);
    let before = stage.feed.view().active_count();
    broadcaster.publish(&revocation).await;
    until("the directive is applied", || stage.feed.view().active_count() > before).await;
    revocation.directive().id.to_string()
}

fn pause(pid: u32) {
    signal("-STOP", pid);
}

fn resume(pid: u32) {
    signal("-CONT", pid);
}

fn signal(signal: &str, pid: u32) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}
