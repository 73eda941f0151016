//! Being asked to stop: a value that every loop can wait for.

use std::future::Future;

use tokio::sync::watch;

/// How far stopping has been asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Go on.
    Running,
    /// Take nothing new, finish what was begun.
    Draining,
    /// Stop at once.
    Stopping,
}

/// Tells when to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Stage>);

/// Asks to stop: held by the signal handler, or by a test.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<Stage>);

impl Shutdown {
    /// A shutdown and what triggers it. A dropped trigger asks to drain.
    pub fn manual() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(Stage::Running);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Waits until draining (or more) is asked for.
    pub async fn requested(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until stopping at once is asked for.
    pub async fn forced(&self) {
        self.reached(Stage::Stopping).await;
    }

    /// What `wait` gives, or nothing if draining is asked for first.
    pub async fn cut_short<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.requested() => None,
            value = wait => Some(value),
        }
    }

    /// How far stopping has been asked for.
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Whether draining (or more) has been asked for.
    pub fn is_requested(&self) -> bool {
        self.stage() >= Stage::Draining
    }

    async fn reached(&self, stage: Stage) {
        let mut receiver = self.0.clone();
        // An error says that the trigger is gone: nobody will ask any more, so stop as far as draining goes.
        if receiver.wait_for(|reached| *reached >= stage).await.is_err() && stage == Stage::Stopping {
            std::future::pending::<()>().await;
        }
    }
}

impl ShutdownTrigger {
    /// Asks to drain; asked again, to stop at once.
    pub fn ask(&self) {
        self.0.send_modify(|stage| {
            *stage = match *stage {
                Stage::Running => Stage::Draining,
                Stage::Draining | Stage::Stopping => Stage::Stopping,
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_is_cut_short_once_draining_is_asked_for() {
        let (trigger, shutdown) = Shutdown::manual();
        assert_eq!(shutdown.cut_short(async { 7 }).await, Some(7));
        trigger.ask();
        assert_eq!(shutdown.cut_short(std::future::pending::<u8>()).await, None);
    }
}
