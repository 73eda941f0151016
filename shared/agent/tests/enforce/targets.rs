//! Every kind of target, under every directive: what it names is denied at the enforcement point, and permitted again
//! when the directive is ended. A revocation is not ended.

use marque_agent::enforce::Ruling;
use marque_agent::{Actor, AgentKey, Commission};
use marque_identity::{Code, Digest};
use marque_revocation::{Op, SignedDirective, Target, TargetKind};
use marque_test_support::until;
use serde_json::json;

use crate::replay::Presented;
use crate::stage::{DOMAIN, Stage, crm, policy};

const MANIFEST: Digest = Digest([0x6a; 32]);

/// What names this actor, by this kind.
fn target(kind: TargetKind, actor: &Actor) -> Target {
    match kind {
        TargetKind::Token => Target::Token(actor.commission().root_digest()),
        TargetKind::Key => Target::Key(actor.commission().key().did()),
        TargetKind::Blueprint => Target::Blueprint("web-reader".parse().unwrap()),
        TargetKind::Task => Target::Task("urn:task:q3".parse().unwrap()),
        TargetKind::Manifest => Target::Manifest(MANIFEST),
        TargetKind::Issuer => Target::Issuer(format!("https://{DOMAIN}")),
        TargetKind::Domain => Target::Domain(DOMAIN.parse().unwrap()),
    }
}

/// Whether another agent of the same blueprint, task, issuer and domain, of no manifest, is meant as well.
fn means_others(kind: TargetKind) -> bool {
    match kind {
        TargetKind::Token | TargetKind::Key | TargetKind::Manifest => false,
        TargetKind::Blueprint | TargetKind::Task | TargetKind::Issuer | TargetKind::Domain => true,
    }
}

async fn put_in_force(stage: &Stage, directive: &SignedDirective) {
    let target = &directive.directive().target;
    stage.broadcaster.lock().await.publish(directive).await;
    let tightens = directive.directive().op.tightens();
    until("the directive is applied", || stage.feed.view().overlay(target.as_ref()).is_empty() != tightens).await;
}

async fn each_directive_ends_what_it_names(kind: TargetKind) {
    let stage = Stage::set().await;
    let point = stage.point(policy());
    let (key, tools) = (AgentKey::generate().unwrap(), crm());
    let root = stage.root_of_manifest(&key.public(), tools, 0, Some(MANIFEST));
    let actor = Commission::adopt(key, root).unwrap().on(&stage.agent);
    let other = stage.actor(crm());
    let call = async |actor: &Actor, region: &str| match Presented::new(actor, &json!({ "region": region }).to_string())
        .at(&point)
        .await
    {
        Ruling::Permitted(_) => Ok(()),
        Ruling::Denied(denied) => Err((denied.refusal.code, denied.refusal.step)),
    };
    let sign = async |op, ended: Option<&SignedDirective>| {
        let lifts = ended.map(|directive| directive.directive().id);
        stage.broadcaster.lock().await.sign(op, target(kind, &actor), lifts)
    };
    let free = async || {
        for region in ["eu", "us"] {
            assert_eq!((call(&actor, region).await, call(&other, region).await), (Ok(()), Ok(())), "{kind:?}");
        }
    };
    free().await;

    // Suspended, and ended in both ways.
    for end in [Op::Resume, Op::Lift] {
        let suspended = sign(Op::Suspend, None).await;
        put_in_force(&stage, &suspended).await;
        let denied = Err((Code::Suspended, Some("9")));
        assert_eq!(call(&actor, "eu").await, denied, "{kind:?}");
        assert_eq!(call(&other, "eu").await, if means_others(kind) { denied } else { Ok(()) }, "{kind:?}");
        put_in_force(&stage, &sign(end, Some(&suspended)).await).await;
        free().await;
    }
    // Narrowed: what is left is permitted.
    let left =
        json!({ "tools": { "nats:tools.crm.query": { "region": { "constraint_type": "exact", "value": "eu" } } } });
    let narrowed = stage.broadcaster.lock().await.narrowing(target(kind, &actor), left);
    put_in_force(&stage, &narrowed).await;
    let denied = Err((Code::Narrowed, Some("10")));
    assert_eq!((call(&actor, "eu").await, call(&actor, "us").await), (Ok(()), denied), "{kind:?}");
    assert_eq!(call(&other, "us").await, if means_others(kind) { denied } else { Ok(()) }, "{kind:?}");
    put_in_force(&stage, &sign(Op::Lift, Some(&narrowed)).await).await;
    free().await;
    // Revoked, and whatever is said of it afterwards.
    let revoked = sign(Op::Revoke, None).await;
    put_in_force(&stage, &revoked).await;
    let denied = Err((Code::Revoked, Some("9")));
    for end in [Op::Resume, Op::Lift] {
        assert_eq!(call(&actor, "eu").await, denied, "{kind:?}");
        assert_eq!(call(&other, "eu").await, if means_others(kind) { denied } else { Ok(()) }, "{kind:?}");
        let lift = sign(end, Some(&revoked)).await;
        let epoch = stage.broadcaster.lock().await.publish(&lift).await;
        until("it has been looked at", || stage.feed.view().epoch() >= epoch).await;
    }
    assert_eq!(call(&actor, "eu").await, denied, "{kind:?}");
}

#[tokio::test]
async fn tokens_and_keys_and_manifests() {
    for kind in TargetKind::ALL.into_iter().filter(|kind| !means_others(*kind)) {
        each_directive_ends_what_it_names(kind).await;
    }
}

#[tokio::test]
async fn blueprints_tasks_issuers_and_domains() {
    for kind in TargetKind::ALL.into_iter().filter(|kind| means_others(*kind)) {
        each_directive_ends_what_it_names(kind).await;
    }
}
