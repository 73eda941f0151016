//! What the sidecar holds for its command: the key, the commission, the connection.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marque_agent::{
    ADMISSION_TIME, Agent, AgentKey, Answer, CallError, Commission, CommissionRequest, Delegation, Why,
};
use marque_bus::{Bus, subjects};
use marque_identity::{Code, UnixSeconds};
use marque_runtime::Clock;
use marque_signing::PublicKey;
use tokio::sync::{Notify, RwLock, watch};

use crate::agent::resume;
use crate::agent_home::{AgentHome, HeldKey};
use crate::cli::{Common, ConnectionFlags};
use crate::output::Output;
use crate::{Failure, bus_failure, tools_arg};

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
    /// Read by calls, written by a renewal: it connects anew, and so waits for the calls in hand.
    live: RwLock<Live>,
    /// The chain as it is, for the links that have shown an earlier one.
    chains: watch::Sender<Arc<str>>,
    connection: ConnectionFlags,
    renewal: Renewal,
    /// The connection has ended for good: it is opened anew at once, whenever the next renewal is due.
    lost: Arc<Notify>,
}

/// A commission, and the connection that presents it.
struct Live {
    bus: Bus,
    commission: Arc<Commission>,
    since: UnixSeconds,
}

/// Where the next commission comes from.
enum Renewal {
    /// It is asked for again, and the credential that it rests on is renewed with it.
    Asked { home: AgentHome, attestor: Option<PathBuf>, request: CommissionRequest },
    /// Whoever delegates writes a later chain into this file; none: what was given is all there is.
    Given(Option<String>),
}

impl Holding {
    /// A ready chain, in a file or (`-`) on stdin. A file is read again before the chain ends: a parent renews it
    /// there.
    pub(super) async fn ready(held: HeldKey, file: &str, common: &Common) -> Result<Self, Failure> {
        let commission = tools_arg::commission(held.key(), file)?;
        let bus = connect(&common.connection, held.key(), commission.chain()).await?;
        let file = (file != "-").then(|| file.to_owned());
        Ok(Self::of(held, bus, commission, common, Renewal::Given(file)))
    }

    /// A commission that is asked for now, and again before it ends.
    pub(super) async fn commissioned(
        held: HeldKey,
        home: AgentHome,
        attestor: Option<PathBuf>,
        request: CommissionRequest,
        common: &Common,
    ) -> Result<Self, Failure> {
        let bus = connect(&common.connection, held.key(), home.credential()?).await?;
        let mut agent = attested(resume(&bus, &home, held.key().clone())?, attestor.as_deref());
        // A credential that ends sooner than the commission is asked for bears none.
        let left = agent.expires_at().0.saturating_sub(Clock::new().unix().0);
        if request.ttl_seconds.is_some_and(|seconds| left < seconds) {
            renew_credential(&mut agent, &home).await?;
        }
        let commission = agent.commission(&request).await?;
        bus.present(commission.chain(), ADMISSION_TIME).await.map_err(bus_failure)?;
        Ok(Self::of(held, bus, commission, common, Renewal::Asked { home, attestor, request }))
    }

    fn of(held: HeldKey, bus: Bus, commission: Commission, common: &Common, renewal: Renewal) -> Self {
        let lost = Arc::new(Notify::new());
        notify_when_lost(&bus, &lost);
        let chains = watch::Sender::new(commission.chain().into());
        let live = RwLock::new(Live { bus, commission: Arc::new(commission), since: Clock::new().unix() });
        Self { held, writing: Mutex::default(), live, chains, connection: common.connection.clone(), renewal, lost }
    }

    /// The key.
    pub(super) fn key(&self) -> &AgentKey {
        self.held.key()
    }

    /// The commission as it is now.
    pub(super) async fn commission(&self) -> Arc<Commission> {
        self.live.read().await.commission.clone()
    }

    /// The chain, and each later one once it is presented here.
    pub(super) fn chains(&self) -> watch::Receiver<Arc<str>> {
        self.chains.subscribe()
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
        let live = self.live.read().await;
        let actor = live.commission.on(&live.bus);
        let outcome = match gate {
            true => actor.call_bytes_via_gate(subject, args.into(), why).await,
            false => actor.call_bytes(subject, args.into(), why).await,
        };
        drop(live);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.held.keep_history()?;
        Ok(outcome)
    }

    /// A child of the commission, and whether the log has our word on it. Where it has not, whoever verifies the child
    /// first records it.
    pub(super) async fn delegate(&self, to: &PublicKey, grant: Delegation) -> Result<(String, bool), Failure> {
        let live = self.live.read().await;
        let child = live.commission.delegate(to, grant)?;
        let recorded = live.commission.record_delegation(&live.bus, &child).await.is_ok();
        Ok((child, recorded))
    }

    /// Renews the commission whenever little of its life is left, and the connection where it is lost. Never ends.
    pub(super) async fn renew_for_ever(&self, out: &Output) {
        loop {
            tokio::select! {
                () = self.due() => {}
                () = self.lost.notified() => {}
            }
            let mut told = false;
            while let Err(failure) = self.renew().await {
                if !told {
                    out.talk(format!("the commission is not renewed yet: {failure}"));
                }
                told = true;
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }

    /// Waits until the commission is to be renewed; for ever where nothing renews it.
    async fn due(&self) {
        if matches!(self.renewal, Renewal::Given(None)) {
            return std::future::pending().await;
        }
        let (ends, since) = {
            let live = self.live.read().await;
            (live.commission.expires_at(), live.since)
        };
        let margin = (ends.0 - since.0).max(0) / RENEW_AT_PART_LEFT;
        let left = ends.0.saturating_sub(margin).saturating_sub(Clock::new().unix().0);
        tokio::time::sleep(Duration::from_secs(u64::try_from(left).unwrap_or(0)).max(RENEW_EVERY_MIN)).await;
    }

    /// 1. The next commission, over the connection that there is or, where that has ended, over a new one.
    /// 2. It is presented, once the calls in hand are answered; then over the links of the NATS port.
    async fn renew(&self) -> Result<(), Failure> {
        let (bus, shown) = {
            let live = self.live.read().await;
            (live.bus.clone(), live.commission.clone())
        };
        let now = Clock::new().unix();
        let bus = (shown.expires_at() > now && bus.is_connected()).then_some(bus);
        // 1.
        let (bus, commission) = match (&self.renewal, bus) {
            (Renewal::Asked { home, attestor, request }, bus) => {
                let (bus, shown) = match bus {
                    Some(bus) => (bus, Some(shown.chain())),
                    None => (self.open(home.credential()?).await?, None),
                };
                let agent = attested(resume(&bus, home, self.key().clone())?, attestor.as_deref());
                (bus, asked(agent, home, request, shown, now).await?)
            }
            (Renewal::Given(file), bus) => {
                let given = self.given(file.as_deref(), &shown)?;
                let after = if bus.is_some() { shown.expires_at() } else { now };
                if given.expires_at() <= after {
                    return Err(Failure::new(Code::TokenExpired, "the chain ends, and its file holds no later one"));
                }
                match bus {
                    Some(bus) => (bus, given),
                    None => (self.open(given.chain()).await?, given),
                }
            }
        };
        // 2.
        let mut live = self.live.write().await;
        bus.present(commission.chain(), ADMISSION_TIME).await.map_err(bus_failure)?;
        self.chains.send_replace(commission.chain().into());
        *live = Live { bus, commission: Arc::new(commission), since: now };
        Ok(())
    }

    /// What the file holds now; without one, what was given first.
    fn given(&self, file: Option<&str>, shown: &Commission) -> Result<Commission, Failure> {
        Ok(match file {
            Some(file) => Commission::adopt(self.key().clone(), tools_arg::chain(file)?)?,
            None => shown.clone(),
        })
    }

    /// A new connection in place of one that has ended.
    async fn open(&self, presented: impl Into<Arc<str>>) -> Result<Bus, Failure> {
        let bus = connect(&self.connection, self.key(), presented).await?;
        notify_when_lost(&bus, &self.lost);
        Ok(bus)
    }

    /// Sends what is buffered.
    pub(super) async fn close(&self) {
        // The command has ended: nobody is left to be told.
        let _ = self.live.read().await.bus.drain().await;
    }
}

async fn connect(flags: &ConnectionFlags, key: &AgentKey, presented: impl Into<Arc<str>>) -> Result<Bus, Failure> {
    flags.resolve_agent(key, presented)?.connect("marque agent run").await
}

/// Says so when nobody drives this connection any more.
fn notify_when_lost(bus: &Bus, lost: &Arc<Notify>) {
    let lost = lost.clone();
    bus.when_lost(move || lost.notify_one());
}

/// The agent, which has this attestor vouch for the process when it renews.
fn attested(agent: Agent, attestor: Option<&Path>) -> Agent {
    match attestor {
        Some(socket) => agent.with_attestor(socket),
        None => agent,
    }
}

/// A commission that is asked for again; before it the credential, where that ends soon. `shown`: the chain that the
/// connection presents.
async fn asked(
    mut agent: Agent,
    home: &AgentHome,
    request: &CommissionRequest,
    shown: Option<&str>,
    now: UnixSeconds,
) -> Result<Commission, Failure> {
    if agent.expires_at().0.saturating_sub(now.0) < CREDENTIAL_LEFT_SECONDS {
        let renewed = renew_credential(&mut agent, home).await;
        // To renew shows the credential from the next connect on; a commission that stands is what is to be shown.
        shown.into_iter().for_each(|chain| agent.bus().present_next(chain));
        // It may be as good as a new one: a blueprint may give no longer life.
        renewed.or_else(|failure| if agent.expires_at() > now { Ok(()) } else { Err(failure) })?;
    }
    Ok(agent.commission(request).await?)
}

async fn renew_credential(agent: &mut Agent, home: &AgentHome) -> Result<(), Failure> {
    agent.renew().await?;
    home.keep_credential(agent.credential())
}
