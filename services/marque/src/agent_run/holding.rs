//! What the sidecar holds for its command: the key, the commission, the connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marque_agent::{
    ADMISSION_TIME, Agent, AgentKey, Answer, CallError, Commission, CommissionRequest, Delegation, Why,
};
use marque_bus::{Bus, subjects};
use marque_identity::UnixSeconds;
use marque_runtime::Clock;
use marque_signing::PublicKey;
use tokio::sync::RwLock;

use crate::agent::resume;
use crate::agent_home::{AgentHome, HeldKey};
use crate::cli::Common;
use crate::output::Output;
use crate::{Failure, bus_failure};

/// A commission is renewed when this part of its life is left, so that a slow issuer or a broken line has time to mend.
const RENEW_AT_PART_LEFT: i64 = 4;
/// Between two tries to renew.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// A commission is asked for anew at most this often, however short its life.
const RENEW_EVERY_MIN: Duration = Duration::from_secs(1);
/// A credential that ends sooner than the longest commission lives (an hour) is renewed with it.
const CREDENTIAL_LEFT_SECONDS: i64 = 3600;

/// The key, a commission of it, and the connection that presents it.
pub(super) struct Holding {
    held: HeldKey,
    /// Serialises what is written to the home.
    writing: Mutex<()>,
    bus: Bus,
    /// Read by calls, written by a renewal: it connects anew, and so waits for the calls in hand.
    commission: RwLock<Arc<Commission>>,
    renewal: Option<Renewal>,
}

/// How the commission is asked for again.
struct Renewal {
    home: AgentHome,
    request: CommissionRequest,
    issued_at: Mutex<UnixSeconds>,
}

impl Holding {
    /// A ready chain.
    pub(super) async fn ready(held: HeldKey, chain: String, url: &str) -> Result<Self, Failure> {
        let commission = Commission::adopt(held.key().clone(), chain)?;
        let bus = commission.connect(url, "marque agent run", ADMISSION_TIME).await.map_err(bus_failure)?;
        let commission = RwLock::new(Arc::new(commission));
        Ok(Self { held, writing: Mutex::default(), bus, commission, renewal: None })
    }

    /// A commission that is asked for now, and again before it ends.
    pub(super) async fn commissioned(
        held: HeldKey,
        home: AgentHome,
        request: CommissionRequest,
        common: &Common,
    ) -> Result<Self, Failure> {
        let connection = common.connection.resolve_agent(held.key(), home.credential()?)?;
        let bus = connection.connect("marque agent run").await?;
        let issued_at = Mutex::new(Clock::new().unix());
        let commission = resume(&bus, &home, held.key().clone())?.commission(&request).await?;
        bus.present(commission.chain(), ADMISSION_TIME).await.map_err(bus_failure)?;
        let renewal = Some(Renewal { home, request, issued_at });
        Ok(Self { held, writing: Mutex::default(), bus, commission: RwLock::new(Arc::new(commission)), renewal })
    }

    /// The key.
    pub(super) fn key(&self) -> &AgentKey {
        self.held.key()
    }

    /// The commission as it is now.
    pub(super) async fn commission(&self) -> Arc<Commission> {
        self.commission.read().await.clone()
    }

    /// The inboxes that the broker lets this agent read.
    pub(super) fn inbox_prefix(&self) -> String {
        subjects::inbox_prefix(&self.key().did())
    }

    /// One action. Whatever came of it, the key has signed, and that is written down before the answer is given.
    pub(super) async fn call(
        &self,
        subject: &str,
        args: Vec<u8>,
        why: Why,
        gate: bool,
    ) -> Result<Result<Answer, CallError>, Failure> {
        let commission = self.commission.read().await;
        let actor = commission.on(&self.bus);
        let outcome = match gate {
            true => actor.call_bytes_via_gate(subject, args.into(), why).await,
            false => actor.call_bytes(subject, args.into(), why).await,
        };
        drop(commission);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.held.keep_history()?;
        Ok(outcome)
    }

    /// A child of the commission, minted offline.
    pub(super) async fn delegate(&self, to: &PublicKey, grant: Delegation) -> Result<String, Failure> {
        Ok(self.commission.read().await.delegate(to, grant)?)
    }

    /// Renews the commission whenever little of its life is left. Never ends.
    pub(super) async fn renew_for_ever(&self, out: &Output) {
        let Some(renewal) = &self.renewal else { return std::future::pending().await };
        loop {
            let ends = self.commission.read().await.expires_at();
            let issued = *renewal.issued_at.lock().unwrap_or_else(PoisonError::into_inner);
            let margin = (ends.0 - issued.0).max(0) / RENEW_AT_PART_LEFT;
            let left = ends.0.saturating_sub(margin).saturating_sub(Clock::new().unix().0);
            tokio::time::sleep(Duration::from_secs(u64::try_from(left).unwrap_or(0)).max(RENEW_EVERY_MIN)).await;
            while let Err(failure) = self.renew(renewal).await {
                out.talk(format!("the commission is not renewed yet: {failure}"));
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }

    async fn renew(&self, renewal: &Renewal) -> Result<(), Failure> {
        let mut agent: Agent = resume(&self.bus, &renewal.home, self.key().clone())?;
        let now = Clock::new().unix();
        if agent.expires_at().0.saturating_sub(now.0) < CREDENTIAL_LEFT_SECONDS {
            let shown = self.commission.read().await.clone();
            let renewed = agent.renew().await;
            // To renew shows the credential from the next connect on; the commission is what is to be shown.
            self.bus.present_next(shown.chain());
            match renewed {
                Ok(()) => renewal.home.keep_credential(agent.credential())?,
                // It may be as good as a new one: a blueprint may give no longer life.
                Err(_) if agent.expires_at() > now => {}
                Err(error) => return Err(error.into()),
            }
        }
        let commission = agent.commission(&renewal.request).await?;
        let mut held = self.commission.write().await;
        self.bus.present(commission.chain(), ADMISSION_TIME).await.map_err(bus_failure)?;
        *held = Arc::new(commission);
        *renewal.issued_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    /// Sends what is buffered.
    pub(super) async fn close(&self) {
        // The command has ended: nobody is left to be told.
        let _ = self.bus.drain().await;
    }
}
