//! `marque log export`: the index comes page by page, and a copy that broke off goes on where it did.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use marque_ledger::layout::{CHECKPOINT, VERDICTS};
use marque_runtime::Shutdown;
use marque_runtime::http::{Shown, serve_files};
use marque_runtime::shutdown::ShutdownTrigger;
use marque_tests::exported::{Exported, acts, framed, sink_key};
use serde_json::Value;

use super::answered;

const LEAVES: usize = 700;
/// Leaves in a page; the last one has fewer.
const PAGE: usize = 128;
const PAGES: usize = LEAVES.div_ceil(PAGE);
/// A copy on its way.
const NEXT: &str = "marque/verdicts.jsonl.next";

/// A sink's page that remembers what it was asked for, and refuses the index after so many pages.
struct Page {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    pages_left: Arc<AtomicUsize>,
    _serving: ShutdownTrigger,
}

impl Page {
    async fn serve(exported: &Exported) -> Self {
        let (desk, asked) = (exported.desk(), Arc::new(Mutex::new(Vec::new())));
        let pages_left = Arc::new(AtomicUsize::new(usize::MAX));
        let (told, left) = (asked.clone(), pages_left.clone());
        let show = move |path: String, query: Option<String>| {
            let path = path.strip_prefix("log/").unwrap_or_default().to_owned();
            told.lock().unwrap().push(format!("{path}?{}", query.clone().unwrap_or_default()));
            let one_less = |left: usize| if path == VERDICTS { left.checked_sub(1) } else { Some(left) };
            let refused = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err();
            let desk = desk.clone();
            async move { if refused { Shown::refused(500, "no more") } else { desk.file(path, query).await } }
        };
        let (trigger, shutdown) = Shutdown::manual();
        let (address, _) = serve_files("127.0.0.1:0", show, shutdown).await.unwrap();
        Self { address, asked, pages_left, _serving: trigger }
    }

    /// Exports into a directory; gives the exit code, the answer, and what was asked of the page for it.
    fn export(&self, to: &Path) -> (i32, Value, Vec<String>) {
        self.asked.lock().unwrap().clear();
        let (from, page, to) = (self.address.to_string(), PAGE.to_string(), to.display().to_string());
        let args = ["log", "export", &to, "--from", &from, "--page-leaves", &page];
        let (code, said) = tokio::task::block_in_place(|| answered(&args));
        (code, said, std::mem::take(&mut *self.asked.lock().unwrap()))
    }
}

fn of(asked: &[String], path: &str) -> usize {
    asked.iter().filter(|asked| asked.starts_with(path)).count()
}

/// The copy is what the sink would write itself, and holds.
fn is_whole(copy: &Path, exported: &Exported) {
    for path in exported.files() {
        assert!(std::fs::read(copy.join(&path)).unwrap() == exported.read(&path), "{path} differs");
    }
    assert!(!copy.join(NEXT).exists());
    let (code, verified) = answered(&["log", "verify", &copy.display().to_string()]);
    assert_eq!((code, &verified["report"]["leaves_checked"]), (0, &LEAVES.into()), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_is_copied_in_pages() {
    let exported = Exported::sound(LEAVES);
    let page = Page::serve(&exported).await;
    let folder = tempfile::tempdir().unwrap();
    let (code, said, asked) = page.export(folder.path());
    assert_eq!((code, of(&asked, VERDICTS)), (0, PAGES), "{said} {asked:?}");
    is_whole(folder.path(), &exported);
    let bytes: u64 = exported.files().iter().map(|path| exported.read(path).len() as u64).sum();
    assert_eq!((&said["leaves"], &said["bytes"]), (&LEAVES.into(), &bytes.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_broke_off_goes_on_where_it_did() {
    let exported = Exported::sound(LEAVES);
    let page = Page::serve(&exported).await;
    let folder = tempfile::tempdir().unwrap();
    page.pages_left.store(2, Ordering::SeqCst);
    let (code, said, _) = page.export(folder.path());
    assert!(code != 0 && !folder.path().join(CHECKPOINT).exists(), "{said}");
    // Killed in the middle of a line, too.
    let next = folder.path().join(NEXT);
    let kept = std::fs::read(&next).unwrap();
    std::fs::write(&next, &kept[..kept.len() - 7]).unwrap();
    page.pages_left.store(usize::MAX, Ordering::SeqCst);
    let (code, said, asked) = page.export(folder.path());
    // One line is compared; the entries are there already.
    let lines = 2 * PAGE - 1;
    let due = 1 + (LEAVES - lines).div_ceil(PAGE);
    assert_eq!((code, of(&asked, VERDICTS), of(&asked, "tile/entries/")), (0, due, 0), "{said} {asked:?}");
    is_whole(folder.path(), &exported);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_this_logs_is_copied_anew() {
    let exported = Exported::sound(LEAVES);
    let page = Page::serve(&exported).await;
    let folder = tempfile::tempdir().unwrap();
    let next = folder.path().join(NEXT);
    let lines = exported.read(VERDICTS);
    let foreign = String::from_utf8(lines[..lines.len() / 2].to_vec()).unwrap().replace("01890000", "01890001");
    // Another log's lines, more than this log has, and noise without an end.
    for kept in [foreign.into_bytes(), [&lines[..], &lines[..]].concat(), vec![b'x'; 100_000]] {
        std::fs::create_dir_all(next.parent().unwrap()).unwrap();
        std::fs::write(&next, kept).unwrap();
        let (code, said, asked) = page.export(folder.path());
        assert!(code == 0 && of(&asked, VERDICTS) >= PAGES, "{said} {asked:?}");
        is_whole(folder.path(), &exported);
    }
    // A bundle that was touched does not hash to its tile.
    let entries = exported.files().into_iter().find(|path| path.starts_with("tile/entries/")).unwrap();
    let mut touched = exported.read(&entries);
    touched[1000] ^= 1;
    std::fs::write(folder.path().join(&entries), touched).unwrap();
    let (code, said, asked) = page.export(folder.path());
    assert_eq!((code, of(&asked, "tile/entries/")), (0, 1), "{said} {asked:?}");
    is_whole(folder.path(), &exported);
}

/// A copy may be all that is left of another log, or the evidence of one that was cut or differs.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_another_log_is_not_written_over() {
    let exported = Exported::sound(20);
    let page = Page::serve(&exported).await;
    let larger = Exported::sound(30);
    let other = Exported::of(&framed(&acts(21)[1..]), sink_key());
    let foreign = Exported::of_log("other.example/audit", &framed(&acts(5)), sink_key());
    for (there, why) in [(&larger, "holds 30 leaves"), (&other, "holds root"), (&foreign, "holds log")] {
        let files = there.files().into_iter().map(|path| (there.read(&path), path)).collect::<Vec<_>>();
        let (code, said, asked) = page.export(&there.copy());
        assert!(code != 0 && said.to_string().contains(why), "{why}: {said}");
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(files.iter().all(|(bytes, path)| there.read(path) == *bytes), "{why}");
    }
    // Its own, and a smaller one of it.
    for size in [20, 7] {
        assert_eq!(page.export(&Exported::sound(size).copy()).0, 0, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_asked_for_rightly_or_refused() {
    let exported = Exported::sound(LEAVES);
    let desk = exported.desk();
    let shown = async |query: &str| desk.file(VERDICTS.to_owned(), Some(query.to_owned())).await;
    let lines = String::from_utf8(exported.read(VERDICTS)).unwrap();
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    let (body, rest) = (shown("from=3&leaves=2&tree_size=600").await, shown("tree_size=600&from=598").await);
    assert_eq!((body.status, body.body), (200, lines[3..5].concat().into_bytes()));
    assert_eq!((rest.status, rest.body), (200, lines[598..600].concat().into_bytes()));
    assert_eq!(shown("").await.body, lines.concat().into_bytes());
    for (query, status) in [
        ("from=x", 400),
        ("from=-1", 400),
        ("from=1&from=2", 400),
        ("from=1&leaves=0", 400),
        ("tree_size=701&from=0", 404),
        ("from=18446744073709551615&leaves=18446744073709551615", 200),
    ] {
        assert_eq!(shown(query).await.status, status, "{query}");
    }
    assert_eq!(desk.file(CHECKPOINT.to_owned(), Some("from=0".to_owned())).await.status, 400);
}
