//! `marque tour`: the whole story on a running system, each step measured, each with its expected outcome.

mod expect;
mod forge;
mod ledger;
mod people;
mod stage;
mod story;
mod teller;

use clap::Args;
use marque_identity::TrustDomain;
use serde_json::json;

use crate::cli::Common;
use crate::dev::{self, System, SystemPlan};
use crate::directory::Directory;
use crate::output::{Answer, Format, Output, Paint};
use crate::{Exit, Failure};
use stage::Place;
use teller::Teller;

/// On which system.
#[derive(Debug, Args)]
pub struct TourArgs {
    /// The sink's page, `host:port`; the default stands in the bootstrap directory.
    #[arg(long, value_name = "HOST:PORT")]
    sink: Option<String>,
    /// Run the binaries as they are, even where cargo could build them.
    #[arg(long)]
    no_build: bool,
}

/// The trust domain of a system that lives as long as the tour.
const DOMAIN: &str = "acme.example";

/// Tells it. With --dir on the system that runs out of that directory, else on one of its own.
pub(crate) async fn run(args: &TourArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let stop = dev::stop_signal()?;
    tokio::pin!(stop);
    let mut system = None;
    let told = tokio::select! {
        told = tell(args, common, out, &mut system) => told,
        () = &mut stop => Err(Failure::new(marque_identity::Code::Unavailable, "the tour was stopped")),
    };
    if let Some((system, _folder)) = system {
        System::stop(system).await;
    }
    told
}

/// A system of the tour's own, and the folder that goes with it.
type OwnSystem = Option<(System, tempfile::TempDir)>;

async fn tell(args: &TourArgs, common: &Common, out: &Output, own: &mut OwnSystem) -> Result<Answer, Failure> {
    let mut teller = Teller::new(*out);
    out.line(out.paint(Paint::Bold, "The story of an agent: who it is, what it may do, and what it did."))?;
    // 1. The system: one that runs, or one of our own.
    let place = match &common.connection.dir {
        Some(dir) => running(args, common, Directory::at(dir))?,
        None => {
            out.talk("starting a system of its own on loopback (development mode; it ends with the tour)");
            let folder = dev::temporary_folder("marque-tour-")?;
            let domain: TrustDomain = DOMAIN.parse().map_err(|_| Failure::usage("no trust domain"))?;
            let plan = SystemPlan {
                folder: folder.path().to_path_buf(),
                domain,
                port: None,
                build: !args.no_build,
                example: false,
            };
            // Building is not part of the story, so it is not part of the time.
            dev::build::binaries(plan.build, out).await?;
            let plan = SystemPlan { build: false, ..plan };
            let system = teller
                .step("a system", async {
                    let system = System::start(&plan, out).await?;
                    let told = format!("nats-server and five services at {}, separate processes", system.url());
                    Ok((system, told))
                })
                .await?;
            let place = Place {
                directory: system.directory().clone(),
                url: system.url().to_owned(),
                sink_page: system.directory().sink_page()?,
            };
            *own = Some((system, folder));
            place
        }
    };
    // 2. The story.
    let outcome = story::tell(&place, &mut teller).await;
    let steps = teller.told();
    let seen = steps.iter().filter(|step| step.ok).count();
    if let Err(failure) = outcome {
        if common.format() == Format::Human {
            return Err(failure);
        }
        let exit = failure.exit;
        return Ok(Answer::yes(json!({ "ok": false, "steps": steps, "error": failure }), "").exit(exit));
    }
    let text =
        format!("\n{} {seen} steps, each with the outcome that was expected.", out.paint(Paint::Green, "The end:"));
    // In NDJSON mode each step has had its line.
    let data = match common.format() {
        Format::Ndjson => json!({ "ok": true }),
        Format::Human | Format::Json => json!({ "ok": true, "steps": steps }),
    };
    Ok(Answer::yes(data, text).exit(Exit::Yes))
}

fn running(args: &TourArgs, common: &Common, directory: Directory) -> Result<Place, Failure> {
    let url = match &common.connection.server {
        Some(url) => url.clone(),
        None => directory.nats_url()?,
    };
    let sink_page = match &args.sink {
        Some(page) => page.clone(),
        None => directory.sink_page()?,
    };
    Ok(Place { directory, url, sink_page })
}
