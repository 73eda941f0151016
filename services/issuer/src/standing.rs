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
