//! Whether a directive stands against what is about to be granted: the issuer's own view of the feed.

use std::time::Duration;

use marque_bus::Feed;
use marque_identity::{Code, Refusal, TrustDomain};
use marque_revocation::{Freshness, Overlay, TargetRef, View};

use crate::commitment::About;

/// Says whether a grant may be made now.
pub trait Directives: Send + Sync + 'static {
    /// Refuses what a directive has ended or suspended, and everything while the view is too old to tell.
    fn check(&self, about: &About) -> Result<(), Refusal>;
}

/// The live feed, judged against this issuer's names.
#[derive(Clone)]
pub struct LiveDirectives {
    feed: Feed,
    iss: String,
    domain: TrustDomain,
    bound: Duration,
}

impl LiveDirectives {
    /// Asks `feed`, which must not be older than `bound`.
    pub fn new(feed: Feed, iss: String, domain: TrustDomain, bound: Duration) -> Self {
        Self { feed, iss, domain, bound }
    }

    /// Why nothing can be granted now, if so.
    pub fn pending(&self) -> Option<String> {
        not_fresh(self.feed.view().freshness(self.feed.now(), self.bound)).map(|refusal| refusal.message)
    }

    /// Age of the view; none while cold.
    pub fn age(&self) -> Option<Duration> {
        self.feed.view().age(self.feed.now())
    }
}

impl Directives for LiveDirectives {
    fn check(&self, about: &About) -> Result<(), Refusal> {
        judge(&self.feed.view(), about, &self.iss, &self.domain, self.feed.now(), self.bound)
    }
}

/// Steps 9 and 11 of PROTOCOL §3 for a grant: no directive on it, and a view fresh enough to say so. Narrowings are
/// not looked at: they are judged call by call, on whatever was granted.
fn judge(
    view: &View,
    about: &About,
    iss: &str,
    domain: &TrustDomain,
    now: Duration,
    bound: Duration,
) -> Result<(), Refusal> {
    let targets = [
        Some((TargetRef::Domain(domain.as_str()), "the trust domain")),
        Some((TargetRef::Issuer(iss), "the issuer")),
        Some((TargetRef::Blueprint(about.blueprint.as_str()), "the blueprint")),
        Some((TargetRef::Key(&about.agent), "the agent's key")),
        about.manifest.as_ref().map(|digest| (TargetRef::Manifest(digest), "the agent's manifest")),
        about.task.as_ref().map(|task| (TargetRef::Task(task.as_str()), "the task")),
        about.credential.as_ref().map(|digest| (TargetRef::Token(digest), "the identity credential")),
    ];
    for (target, what) in targets.into_iter().flatten() {
        for directive in view.overlay(target) {
            let (code, done) = match directive.overlay() {
                Overlay::Revoked => (Code::Revoked, "revoked"),
                Overlay::Suspended => (Code::Suspended, "suspended"),
                Overlay::Narrow(_) => continue,
            };
            return Err(Refusal::at("9", code, format!("{what} is {done} by directive {}", directive.id())));
        }
    }
    not_fresh(view.freshness(now, bound)).map_or(Ok(()), Err)
}

fn not_fresh(freshness: Freshness) -> Option<Refusal> {
    let (code, message) = match freshness {
        Freshness::Fresh { .. } => return None,
        Freshness::Stale { age, .. } => {
            (Code::ViewStale, format!("the issuer's view of the directives is {} ms old", age.as_millis()))
        }
        Freshness::Cold => (Code::ViewStale, "the issuer has not caught up with the directives yet".to_owned()),
        Freshness::Diverged { epoch } => {
            (Code::ViewDiverged, format!("the issuer's set of directives differs from the heartbeat at {epoch}"))
        }
    };
    Some(Refusal::at("11", code, message))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use marque_identity::{Did, Digest, Epoch, UnixMillis, UnixSeconds};
    use marque_revocation::{ActiveSet, Directive, DirectiveId, Event, Heartbeat, Item, Op, SignedDirective, Target};
    use marque_signing::SigningKey;

    use super::*;

    const BOUND: Duration = Duration::from_secs(15);
    const ISS: &str = "https://acme.example";

    fn domain() -> TrustDomain {
        "acme.example".parse().unwrap()
    }

    fn about() -> About {
        About {
            agent: Did::from_key_bytes([7; 32]),
            blueprint: "summarizer".parse().unwrap(),
            manifest: Some(Digest([1; 32])),
            task: Some("urn:task:q3".parse().unwrap()),
            credential: Some(Digest([2; 32])),
        }
    }

    fn directive(op: Op, target: Target) -> SignedDirective {
        let mut id = [0x70; 16];
        id[..8].copy_from_slice(&marque_signing::sha256(target.value().as_bytes()).0[..8]);
        id[6] = 0x70;
        id[8] = 0x80;
        let key = SigningKey::from_seed(&[0xb0; 32]);
        let directive = Directive {
            id: DirectiveId::from_bytes(id),
            op,
            target,
            until: None,
            narrow: None,
            lifts: None,
            reason: "test".into(),
            requested_by: key.did(),
            iat: UnixSeconds(1),
            domain: domain(),
        };
        SignedDirective::sign(directive, &key).unwrap()
    }

    /// A view that has seen a heartbeat, these directives and a heartbeat, at time zero.
    fn view(directives: &[SignedDirective]) -> View {
        let mut view = View::new();
        let mut set = ActiveSet::new();
        let heartbeat = |seq: u64, set: &ActiveSet| {
            let t = UnixMillis(2_000);
            let (set_digest, active) = set.at(t);
            let iss = SigningKey::from_seed(&[0xb0; 32]).did();
            Item::Heartbeat(Heartbeat { iss, t, boot: UnixMillis(1), n: seq, epoch: Epoch(seq), active, set_digest })
        };
        let mut items = vec![heartbeat(1, &set)];
        for signed in directives {
            set.commit(Epoch(items.len() as u64 + 1), signed);
            items.push(Item::Directive(Arc::new(signed.clone())));
        }
        items.push(heartbeat(items.len() as u64 + 1, &set));
        for (seq, item) in (1..).zip(items) {
            view.on(Event::Committed { seq: Epoch(seq), item }, Duration::ZERO);
        }
        // Nothing lies before what was seen.
        view.on(Event::Filled { from: Epoch(1), items: Vec::new() }, Duration::ZERO);
        view
    }

    fn verdict(view: &View, now: Duration) -> Result<(), Code> {
        judge(view, &about(), ISS, &domain(), now, BOUND).map_err(|refusal| refusal.code)
    }

    #[test]
    fn refuses_whatever_a_directive_can_name() {
        let about = about();
        let targets = [
            Target::Key(about.agent),
            Target::Blueprint(about.blueprint),
            Target::Manifest(about.manifest.unwrap()),
            Target::Task(about.task.unwrap()),
            Target::Token(about.credential.unwrap()),
            Target::Issuer(ISS.into()),
            Target::Domain(domain()),
        ];
        assert_eq!(verdict(&view(&[]), Duration::ZERO), Ok(()));
        for target in targets {
            for (op, code) in [(Op::Revoke, Code::Revoked), (Op::Suspend, Code::Suspended)] {
                let view = view(&[directive(op, target.clone())]);
                assert_eq!(verdict(&view, Duration::ZERO), Err(code), "{target}");
                assert_eq!(verdict(&view, BOUND * 2), Err(code), "a definite no needs no fresh view");
            }
            let mut cold = View::new();
            cold.on(Event::Raw(Arc::new(directive(Op::Revoke, target))), Duration::ZERO);
            assert_eq!(verdict(&cold, Duration::ZERO), Err(Code::Revoked), "the raw copy tightens at once");
        }
    }

    #[test]
    fn lets_others_directives_pass() {
        let others = [
            Target::Key(Did::from_key_bytes([8; 32])),
            Target::Blueprint("other".parse().unwrap()),
            Target::Task("urn:task:q4".parse().unwrap()),
            Target::Issuer("https://other.example".into()),
            Target::Token(Digest([1; 32])),
            Target::Manifest(Digest([2; 32])),
        ];
        let directives: Vec<_> = others.into_iter().map(|target| directive(Op::Revoke, target)).collect();
        assert_eq!(verdict(&view(&directives), Duration::ZERO), Ok(()));
    }

    #[test]
    fn refuses_while_the_view_is_too_old() {
        assert_eq!(verdict(&View::new(), Duration::ZERO), Err(Code::ViewStale), "cold");
        assert_eq!(verdict(&view(&[]), BOUND), Ok(()));
        assert_eq!(verdict(&view(&[]), BOUND + Duration::from_millis(1)), Err(Code::ViewStale));
    }
}
