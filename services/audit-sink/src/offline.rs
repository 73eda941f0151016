//! What the binary does beside serving: on the state directory of a stopped sink.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use marque_bus::{Bus, BusError};
use marque_ledger::Checkpoint;
use marque_ledger::epoch::{Genesis, epoch_of};
use marque_runtime::Clock;
use marque_runtime::config::Layers;

use crate::SinkError;
use crate::archive::{archive, read_checkpoint};
use crate::compact::compact;
use crate::config::Config;
use crate::epoch::{Frozen, Vacancy, Why, at, enter, set_aside, vacancy};
use crate::files::{INDEX_FILE, INVENTORY_FILE, LOG_FILE, newest_note};
use crate::restore::{is_restored, restore};
use crate::seal::Sealer;
use crate::serve::connect_options;
use crate::store::LogStore;

const BOOTSTRAP: &str = "bootstrap --from-archive DIR [--config FILE] [--set KEY=VALUE]…";
const NEW_EPOCH: &str = "new-epoch (--reason TEXT | --genesis FILE) [--config FILE] [--set KEY=VALUE]…";
/// How long the broker may take to be there.
const BROKER_TIME: Duration = Duration::from_secs(30);

/// Does what the command line asks for, and gives what is to be said; none where it asks to serve.
///
/// `export STATE_DIR DIR`, `archive STATE_DIR DIR`, `compact STATE_DIR`, and two that read the service's own configuration,
/// its state directory, its bundle, its policy: [`BOOTSTRAP`], and [`NEW_EPOCH`], which asks the broker, too.
pub fn offline(arguments: &[OsString]) -> Option<Result<String, SinkError>> {
    let (verb, rest) = arguments.split_first()?;
    Some(match (verb.to_str()?, rest) {
        ("export", [state_dir, to]) => export_of(state_dir.as_ref(), to.as_ref()),
        ("archive", [state_dir, to]) => archive_of(state_dir.as_ref(), to.as_ref()),
        ("compact", [state_dir]) => compact_all(state_dir.as_ref()),
        ("bootstrap", rest) => bootstrap(rest),
        ("new-epoch", rest) => new_epoch(rest),
        _ => return None,
    })
}

fn export_of(state_dir: &Path, to: &Path) -> Result<String, SinkError> {
    let size = crate::export(state_dir, to)?;
    Ok(format!("{size} leaves"))
}

fn archive_of(state_dir: &Path, to: &Path) -> Result<String, SinkError> {
    let note = newest_note(state_dir)?;
    let stated = Checkpoint::stated(note.as_bytes())?;
    let store = LogStore::open(&state_dir.join(LOG_FILE), &stated.origin)?;
    let done = archive(&store.view()?, &note, to)?;
    Ok(format!("{} leaves, {} files written", done.size, done.files))
}

fn compact_all(state_dir: &Path) -> Result<String, SinkError> {
    let mut said = Vec::new();
    for name in [LOG_FILE, INDEX_FILE, INVENTORY_FILE] {
        let path = state_dir.join(name);
        if name == LOG_FILE || path.exists() {
            let done = compact(&path)?;
            said.push(format!("{name}: {} bytes on disk, {} before", done.after, done.before));
        }
    }
    Ok(said.join("\n"))
}

/// What a verb with flags is told.
struct Told {
    /// The one flag of its own that it takes, by name.
    own: (String, OsString),
    config: Config,
}

impl Told {
    fn read(rest: &[OsString], own_flags: &[&str], usage: &str) -> Result<Self, SinkError> {
        let usage = || SinkError::Asked(format!("usage: marque-audit-sink {usage}"));
        let mut file = std::env::var_os("MARQUE_CONFIG").map(PathBuf::from);
        let (mut own, mut flags) = (None, Vec::new());
        let (pairs, odd) = rest.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(usage());
        }
        for [flag, value] in pairs {
            match flag.to_str() {
                Some("--config" | "-c") => file = Some(PathBuf::from(value)),
                Some("--set") => {
                    let (key, value) = value.to_str().and_then(|text| text.split_once('=')).ok_or_else(usage)?;
                    flags.push((key.to_owned(), value.to_owned()));
                }
                Some(flag) if own.is_none() && own_flags.contains(&flag) => {
                    own = Some((flag.to_owned(), value.clone()));
                }
                Some(_) | None => return Err(usage()),
            }
        }
        let own = own.ok_or_else(usage)?;
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let layers = Layers { service: crate::SPEC.section.to_owned(), flags, environment, file };
        Ok(Self { own, config: layers.load::<Config>().map_err(asked)?.config })
    }
}

fn bootstrap(rest: &[OsString]) -> Result<String, SinkError> {
    let Told { own: (_, from), config: Config { common, audit_sink } } =
        Told::read(rest, &["--from-archive"], BOOTSTRAP)?;
    let from = PathBuf::from(from);
    let (bundle, state_dir) = (common.trust_bundle().map_err(asked)?, common.state_dir().map_err(asked)?);
    let first = marque_ledger::origin(&bundle.trust_domain);
    // An archive of a later epoch fills that epoch's folder.
    let stated = read_checkpoint(&from)?.map(|stated| stated.origin).unwrap_or_default();
    let place = at(&state_dir, &first, epoch_of(&first, &stated).unwrap_or(1));
    let vacancy = vacancy(&state_dir, &first, place.epoch)?;
    let trusted = audit_sink.trusted(&place.origin, &bundle).map_err(asked)?;
    // What a try has left that broke off before the epoch was named is gone on from, or put aside.
    let left = match vacancy {
        Vacancy::Empty => None,
        Vacancy::Unnamed => is_restored(&from, &place.folder, &trusted)?,
    };
    let head = match left {
        Some(head) => head,
        None => {
            if vacancy == Vacancy::Unnamed {
                set_aside(&place.folder)?;
            }
            restore(&from, &place.folder, &trusted)?
        }
    };
    if place.epoch > 1 {
        enter(&state_dir, place.epoch)?;
    }
    Ok(format!("{} leaves, root {}", head.size, head.root))
}

fn new_epoch(rest: &[OsString]) -> Result<String, SinkError> {
    let Told { own: (flag, value), config } = Told::read(rest, &["--reason", "--genesis"], NEW_EPOCH)?;
    let bundle = config.common.trust_bundle().map_err(asked)?;
    let frozen =
        Frozen::open(&config.common.state_dir().map_err(asked)?, &marque_ledger::origin(&bundle.trust_domain))?;
    let (store_end, key) = (frozen.store.head().size, config.common.signing_key().map_err(asked)?);
    let (folder, origin) = (frozen.standing.folder.clone(), frozen.standing.origin.clone());
    let policy = config.audit_sink.policy(&origin, &key.did(), &bundle).map_err(asked)?;
    let why = match flag.as_str() {
        "--genesis" => {
            let path = Path::new(&value);
            let genesis = Genesis::parse(&std::fs::read(path).map_err(SinkError::at(path))?)?;
            Why::Of { genesis, trusted: config.audit_sink.trusted(&origin, &bundle).map_err(asked)? }
        }
        _ => Why::Reason(value.to_string_lossy().into_owned()),
    };
    let sealer = Sealer::open(&folder, &origin, key, policy)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let genesis = runtime.map_err(SinkError::at(Path::new("the runtime")))?.block_on(async {
        let bus = Bus::connect(connect_options(&config).map_err(asked)?).await?;
        let there = tokio::time::timeout(BROKER_TIME, bus.connected()).await;
        there.map_err(|_| BusError::Unavailable("the broker does not answer".into()))?;
        let genesis = frozen.next(&bus, &sealer, why, Clock::new().unix_millis().0).await?;
        bus.drain().await?;
        Ok::<_, SinkError>(genesis)
    })?;
    let lost = match genesis.lost {
        Some(lost) => format!("; records {} to {} are lost", lost.from, lost.to),
        None => String::new(),
    };
    let Genesis { origin: next, first_sequence, .. } = &genesis;
    Ok(format!("{next} begins with message {first_sequence}, after the {store_end} leaves of {origin}{lost}"))
}

fn asked(error: marque_runtime::ConfigError) -> SinkError {
    SinkError::Asked(error.to_string())
}
