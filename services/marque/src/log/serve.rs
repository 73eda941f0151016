//! `marque log serve`: a copy of the log over HTTP, for whoever reads C2SP tiles. Read-only, only the layout's paths.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;
use marque_identity::Code;
use marque_ledger::layout;
use marque_runtime::Shutdown;
use marque_runtime::http::{Showing, Shown, ShownFile, serve_files};
use serde_json::json;

use crate::Failure;
use crate::cli::Common;
use crate::dev::stop_signal;
use crate::output::{Answer, Format, Output, facts};

/// Which copy, where.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The copy.
    #[arg(value_name = "DIR")]
    log: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
}

/// Serves until it is asked to stop.
pub(super) async fn run(args: &ServeArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let leaves = super::stated(&args.log)?.size;
    let stop = stop_signal()?;
    let copy = args.log.clone();
    let (trigger, shutdown) = Shutdown::manual();
    let (address, served) = serve_files(&args.listen, move |path, _| file(copy.clone(), path), shutdown)
        .await
        .map_err(|error| Failure::new(Code::Unavailable, format!("{}: {error}", args.listen)))?;
    let url = format!("http://{address}/");
    let text = facts(&[
        ("log", args.log.display().to_string()),
        ("leaves", leaves.to_string()),
        ("url", url.clone()),
        ("verified", "no: `marque log verify` does".to_owned()),
    ]);
    // Whoever reads JSON gets the one document now: there is no other moment at which it is of use.
    if common.format() == Format::Human {
        out.line(text)?;
    } else {
        out.tell(&Answer::yes(json!({ "url": url, "leaves": leaves, "verified": false }), ""))?;
    }
    stop.await;
    trigger.ask();
    // A connection that does not end by itself is cut when the command ends: what is served is all on disk.
    drop(served);
    Ok(Answer::silent())
}

/// A file of the copy, of any size: the index grows with the log.
async fn file(copy: PathBuf, path: String) -> Showing {
    // INVARIANT: what is opened is a path of the layout, so nothing beside the copy is reached.
    let Some(layout::Served { content_type, cache_control }) = layout::served(&path) else {
        return Shown::refused(404, "the log has no such file").into();
    };
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::open(copy.join(path))?;
        let bytes = file.metadata()?.len();
        Ok::<_, std::io::Error>((file, bytes))
    });
    match opened.await {
        Ok(Ok((file, bytes))) => ShownFile { content_type, cache_control, file, bytes }.into(),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
            Shown::refused(404, "this copy has no such file").into()
        }
        Ok(Err(_)) | Err(_) => Shown::refused(500, "the file can't be read").into(),
    }
}
