//! `marque log export`: the index comes page by page, and a copy that broke off goes on where it did.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use marque_ledger::layout::{BUNDLE, CHECKPOINT, KEPT_CHECKPOINTS, VERDICTS, kept_checkpoint};
use marque_ledger::{KeyKind, VerifierKey};
use marque_runtime::Shutdown;
use marque_runtime::http::{Shown, serve_files};
use marque_runtime::shutdown::ShutdownTrigger;
use marque_signing::SigningKey;
use marque_tests::exported::{Exported, ORIGIN, acts, framed, sink_key, sink_vkey};
use serde_json::Value;

use super::answered;

const LEAVES: usize = 700;
/// Leaves in a page; the last one has fewer.
const PAGE: usize = 128;
const PAGES: usize = LEAVES.div_ceil(PAGE);
/// A copy on its way.
const NEXT: &str = "marque/verdicts.jsonl.next";
/// The bundle that its lines were made under.
const NEXT_BUNDLE: &str = "marque/bundle.jwt.next";
/// What a page that lies makes of an answer: the path, how often that file was asked for before, what the log has.
type Lie = dyn Fn(&str, usize, Shown) -> Shown + Send + Sync;

/// A sink's page that remembers what it was asked for, and refuses the index after so many pages.
struct Page {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    pages_left: Arc<AtomicUsize>,
    lie: Arc<Mutex<Arc<Lie>>>,
    _serving: ShutdownTrigger,
}

impl Page {
    async fn serve(exported: &Exported) -> Self {
        let honest: Arc<Lie> = Arc::new(|_, _, shown| shown);
        let lie = Arc::new(Mutex::new(honest));
        let (desk, asked) = (exported.desk(), Arc::new(Mutex::new(Vec::<String>::new())));
        let pages_left = Arc::new(AtomicUsize::new(usize::MAX));
        let (told, left, lies) = (asked.clone(), pages_left.clone(), lie.clone());
        let show = move |path: String, query: Option<String>| {
            let path = path.strip_prefix("log/").unwrap_or_default().to_owned();
            let before = {
                let mut told = told.lock().unwrap();
                let before = told.iter().filter(|asked| asked.split('?').next() == Some(path.as_str())).count();
                told.push(format!("{path}?{}", query.clone().unwrap_or_default()));
                before
            };
            let one_less = |left: usize| if path == VERDICTS { left.checked_sub(1) } else { Some(left) };
            let refused = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err();
            let (desk, lie) = (desk.clone(), lies.lock().unwrap().clone());
            async move {
                if refused {
                    return Shown::refused(500, "no more");
                }
                let shown = desk.file(path.clone(), query).await;
                lie(&path, before, shown)
            }
        };
        let (trigger, shutdown) = Shutdown::manual();
        let (address, _) = serve_files("127.0.0.1:0", show, shutdown).await.unwrap();
        Self { address, asked, pages_left, lie, _serving: trigger }
    }

    /// From now on it answers otherwise.
    fn lies(&self, lie: impl Fn(&str, usize, Shown) -> Shown + Send + Sync + 'static) {
        *self.lie.lock().unwrap() = Arc::new(lie);
    }

    /// Exports into a directory; gives the exit code, the answer, and what was asked of the page for it.
    fn export(&self, to: &Path) -> (i32, Value, Vec<String>) {
        self.export_of(&sink_vkey(), to)
    }

    /// The same by somebody who trusts this key.
    fn export_of(&self, key: &VerifierKey, to: &Path) -> (i32, Value, Vec<String>) {
        self.asked.lock().unwrap().clear();
        let (from, page, to) = (self.address.to_string(), PAGE.to_string(), to.display().to_string());
        let key = key.to_string();
        let args = ["log", "export", &to, "--from", &from, "--key", &key, "--page-leaves", &page];
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
    assert!(!copy.join(NEXT).exists() && !copy.join(NEXT_BUNDLE).exists());
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
    // Another log's lines, and noise without an end; of more than this log has, its own lines alone are gone on from.
    let twice = [&lines[..], &lines[..]].concat();
    for (kept, due) in [(foreign.into_bytes(), 1 + PAGES), (vec![b'x'; 100_000], PAGES), (twice, 1)] {
        std::fs::create_dir_all(next.parent().unwrap()).unwrap();
        std::fs::write(&next, kept).unwrap();
        std::fs::write(folder.path().join(NEXT_BUNDLE), exported.read(BUNDLE)).unwrap();
        let (code, said, asked) = page.export(folder.path());
        assert_eq!((code, of(&asked, VERDICTS)), (0, due), "{said} {asked:?}");
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

/// The names in a copy's folder of kept checkpoints.
fn kept(copy: &Path) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(copy.join(KEPT_CHECKPOINTS)) else { return Vec::new() };
    let mut names: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort_by_key(|name| name.parse::<u64>().unwrap_or(u64::MAX));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_each_checkpoint_that_it_had_and_goes_on_from_all() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let mut before: Vec<(usize, Vec<u8>)> = Vec::new();
    for size in [7, 20, 255, 256, 257, 520] {
        let exported = Exported::sound(size);
        let page = Page::serve(&exported).await;
        // A dry run looks, and writes nothing; the second time there is nothing new to keep.
        let (from, to, key) = (page.address.to_string(), copy.display().to_string(), sink_vkey().to_string());
        let dry = ["log", "export", &to, "--from", &from, "--key", &key, "--dry-run"];
        assert_eq!(tokio::task::block_in_place(|| answered(&dry)).0, 0, "{size}");
        assert_eq!(kept(&copy).len(), before.len().saturating_sub(1), "{size}");
        for _ in 0..2 {
            let (code, said, _) = page.export(&copy);
            assert_eq!(code, 0, "{size}: {said}");
            let names: Vec<String> = before.iter().map(|(size, _)| size.to_string()).collect();
            assert_eq!(kept(&copy), names, "{size}");
        }
        let (code, said) = answered(&["log", "verify", &to]);
        assert_eq!((code, &said["report"]["kept"]["checked"]), (0, &before.len().into()), "{size}: {said}");
        for (size, note) in &before {
            assert!(std::fs::read(copy.join(kept_checkpoint(*size as u64))).unwrap() == *note, "{size} differs");
        }
        before.push((size, exported.read(CHECKPOINT)));
    }
    // Killed between the two: the one that is kept is still the newest.
    std::fs::write(copy.join(kept_checkpoint(520)), &before.last().unwrap().1).unwrap();
    let exported = Exported::sound(600);
    let page = Page::serve(&exported).await;
    assert_eq!(answered(&["log", "verify", &copy.display().to_string()]).0, 0);
    assert_eq!(page.export(&copy).0, 0);
    assert_eq!(kept(&copy).len(), 6);
    // One under its name that is another's is not written over.
    std::fs::write(copy.join(kept_checkpoint(600)), &before[0].1).unwrap();
    let larger = Exported::sound(601);
    let page = Page::serve(&larger).await;
    let (code, said, _) = page.export(&copy);
    assert!(code == 6 && said["error"]["code"] == "conflict", "{said}");
    assert!(std::fs::read(copy.join(kept_checkpoint(600))).unwrap() == before[0].1);
    assert!(std::fs::read(copy.join(CHECKPOINT)).unwrap() == exported.read(CHECKPOINT));
}

/// Every file of a folder, and what it holds.
fn all_of(exported: &Exported) -> Vec<(String, Vec<u8>)> {
    exported.files().into_iter().map(|path| (path.clone(), exported.read(&path))).collect()
}

/// The sink's own key under a history that was rewritten: larger, and its tiles are right.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_does_not_go_on_from_the_copys_is_refused_and_both_are_kept() {
    const REFUSED: &str = "marque/checkpoint.refused";
    let rewritten = |count: usize| {
        let mut acts = acts(count);
        acts[3] = acts[4].clone();
        Exported::of(&framed(&acts), sink_key())
    };
    for (had, now) in [(20, 30), (256, 600), (300, 700)] {
        let (there, forked) = (Exported::sound(had), rewritten(now));
        let page = Page::serve(&forked).await;
        let (files, to) = (all_of(&there), there.copy().display().to_string());
        let (from, key) = (page.address.to_string(), sink_vkey().to_string());
        let dry = ["log", "export", &to, "--from", &from, "--key", &key, "--dry-run"];
        assert_eq!(tokio::task::block_in_place(|| answered(&dry)).0, 1);
        assert_eq!(all_of(&there), files, "{had}: a dry run writes");
        let (code, said, asked) = page.export(&there.copy());
        assert_eq!((code, &said["error"]["code"]), (1, &"log_invalid".into()), "{said}");
        assert!(said.to_string().contains("does not go on") && said.to_string().contains(REFUSED), "{said}");
        assert!(said["error"]["hint"].as_str().unwrap().contains("--from"), "{said}");
        // A few tiles show it; nothing of the copy was touched, and it holds as before.
        assert!(asked.len() <= 8, "{asked:?}");
        assert!(there.read(REFUSED) == forked.read(CHECKPOINT));
        std::fs::remove_file(there.copy().join(REFUSED)).unwrap();
        assert_eq!(all_of(&there), files, "{had}");
        assert_eq!(answered(&["log", "verify", &to]).0, 0);
        // The first one is kept, whatever is shown later; and an honest sink's is taken.
        page.export(&there.copy());
        let later = rewritten(now + 1);
        let page = Page::serve(&later).await;
        assert_eq!(page.export(&there.copy()).0, 1);
        assert!(there.read(REFUSED) == forked.read(CHECKPOINT));
        let honest = Exported::sound(now);
        let page = Page::serve(&honest).await;
        assert_eq!(page.export(&there.copy()).0, 0);
        assert_eq!(answered(&["log", "verify", &to]).0, 0);
    }
}

/// Tiles that don't show from what the log goes on, and are none at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_show_from_what_it_goes_on_is_refused() {
    let (there, exported) = (Exported::sound(20), Exported::sound(30));
    let page = Page::serve(&exported).await;
    let files = all_of(&there);
    for (what, bytes, code) in [("short", 32, "log_invalid"), ("noise", 30 * 32, "log_invalid")] {
        page.lies(move |path, _, shown| match path.starts_with("tile/") {
            true => Shown { body: vec![7; bytes], ..shown },
            false => shown,
        });
        let (exit, said, _) = page.export(&there.copy());
        assert_eq!((exit, &said["error"]["code"]), (1, &code.into()), "{what}: {said}");
        let _ = std::fs::remove_file(there.copy().join("marque/checkpoint.refused"));
        assert_eq!(all_of(&there), files, "{what}");
    }
    page.lies(|_, _, shown| shown);
    assert_eq!(page.export(&there.copy()).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_nobody_trusted_signed_is_not_kept() {
    let there = Exported::of(&framed(&acts(7)), SigningKey::from_seed(&[99; 32]));
    let exported = Exported::sound(20);
    let page = Page::serve(&exported).await;
    let files = all_of(&there);
    let (code, said, asked) = page.export(&there.copy());
    assert_eq!((code, &said["error"]["code"]), (1, &"signature_invalid".into()), "{said}");
    assert!(asked.len() == 1 && said["error"]["hint"].as_str().unwrap().contains("--key"), "{said} {asked:?}");
    assert_eq!(all_of(&there), files);
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

/// Nothing is fetched for a checkpoint that nobody trusted has signed, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_believed_before_anything_else_is_fetched() {
    let exported = Exported::sound(20);
    let page = Page::serve(&exported).await;
    let stranger = VerifierKey::new(ORIGIN, KeyKind::Ed25519, SigningKey::from_seed(&[99; 32]).public()).unwrap();
    for key in [stranger, sink_vkey()] {
        let folder = tempfile::tempdir().unwrap();
        let (code, said, asked) = page.export_of(&key, folder.path());
        assert!(code != 0 && said.to_string().contains("the checkpoint of the sink"), "{said}");
        assert_eq!((asked.len(), std::fs::read_dir(folder.path()).unwrap().count()), (1, 0), "{asked:?}");
        // The log's own key, under a checkpoint that was touched.
        page.lies(|path, _, mut shown| {
            if path == CHECKPOINT {
                let at = shown.body.len() - 20;
                shown.body[at] = if shown.body[at] == b'A' { b'B' } else { b'A' };
            }
            shown
        });
    }
    // Nobody is trusted: nobody is asked.
    let (folder, from) = (tempfile::tempdir().unwrap(), page.address.to_string());
    page.asked.lock().unwrap().clear();
    let args = ["log", "export", &folder.path().display().to_string(), "--from", &from];
    assert_eq!(tokio::task::block_in_place(|| answered(&args)).0, 2);
    assert!(page.asked.lock().unwrap().is_empty());
}

/// A quorum that the policy asks for is asked of the sink's checkpoint too.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_no_witness_has_seen_is_not_enough_for_a_policy_that_asks_for_one() {
    let exported = Exported::sound(20);
    let page = Page::serve(&exported).await;
    let folder = tempfile::tempdir().unwrap();
    let witness = VerifierKey::new("w.example", KeyKind::Cosignature, SigningKey::from_seed(&[98; 32]).public());
    let (witness, from) = (witness.unwrap(), page.address.to_string());
    let (policy, copy) = (folder.path().join("policy"), folder.path().join("copy").display().to_string());
    for (quorum, wanted, asked) in [("w", false, 1), ("none", true, usize::MAX)] {
        std::fs::write(&policy, format!("log {}\nwitness w {witness}\nquorum {quorum}\n", sink_vkey())).unwrap();
        page.asked.lock().unwrap().clear();
        let args = ["log", "export", &copy, "--from", &from, "--policy", &policy.display().to_string()];
        let (code, said) = tokio::task::block_in_place(|| answered(&args));
        assert_eq!(code == 0, wanted, "{quorum}: {said}");
        assert!(page.asked.lock().unwrap().len() <= asked, "{quorum}");
    }
}

/// Whatever a sink sends that can't be its log's is refused, leaves no checkpoint, and an honest sink finishes the copy.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_sink_sends_is_bounded_and_never_whole() {
    const MIB: usize = 1 << 20;
    let longer = |shown: Shown, bytes: usize| Shown { body: vec![b'x'; bytes], ..shown };
    let exported = Exported::sound(LEAVES);
    let page = Page::serve(&exported).await;
    let lies: Vec<(&str, &str, Arc<Lie>)> = vec![
        ("a checkpoint without end", CHECKPOINT, Arc::new(move |_, _, shown| longer(shown, MIB))),
        ("a tile of more hashes", "tile/0/", Arc::new(move |_, _, shown| longer(shown, MIB))),
        ("a tile of fewer hashes", "tile/0/", Arc::new(|_, _, shown| Shown { body: vec![0; 32], ..shown })),
        (
            "hashes above them of another tree",
            "tile/1/",
            Arc::new(|_, _, mut shown| {
                shown.body[40] ^= 1;
                shown
            }),
        ),
        ("a bundle of entries without end", "tile/entries/", Arc::new(move |_, _, shown| longer(shown, 20 * MIB))),
        ("no bundle of entries", "tile/entries/", Arc::new(move |_, _, shown| longer(shown, 1000))),
        (
            "entries of another log",
            "tile/entries/",
            Arc::new(|_, _, mut shown| {
                shown.body[100] ^= 1;
                shown
            }),
        ),
        ("a trust bundle without end", BUNDLE, Arc::new(move |_, _, shown| longer(shown, 2 * MIB))),
        ("a page without end", VERDICTS, Arc::new(move |_, _, shown| longer(shown, 9 * MIB))),
        ("a line without end", VERDICTS, Arc::new(move |_, _, shown| longer(shown, 70_000))),
        ("a page of nothing", VERDICTS, Arc::new(move |_, _, shown| longer(shown, 0))),
        (
            "a long line",
            VERDICTS,
            Arc::new(|_, _, mut shown| {
                let line = format!("{{\"leaf\":0,\"record\":\"{}\",\"verdict\":\"valid\"}}\n", "x".repeat(66_000));
                shown.body = line.into_bytes();
                shown
            }),
        ),
        (
            "more lines than were asked for",
            VERDICTS,
            Arc::new(|_, _, mut shown| {
                let more: String =
                    (PAGE..=PAGE * 2).map(|leaf| format!("{{\"leaf\":{leaf},\"verdict\":\"valid\"}}\n")).collect();
                shown.body.extend_from_slice(more.as_bytes());
                shown
            }),
        ),
        (
            "the same page again",
            VERDICTS,
            Arc::new(|_, before, shown| {
                let line = b"{\"leaf\":0,\"verdict\":\"valid\"}\n".to_vec();
                if before == 0 { shown } else { Shown { body: line, ..shown } }
            }),
        ),
        (
            "an index that outgrows the log",
            VERDICTS,
            Arc::new(|_, before, mut shown| {
                let first = before * PAGE;
                let id = "x".repeat(40_000);
                let line = |leaf| format!("{{\"leaf\":{leaf},\"record\":\"{id}\",\"verdict\":\"valid\"}}\n");
                shown.body = (first..first + PAGE).map(line).collect::<String>().into_bytes();
                shown
            }),
        ),
    ];
    for (what, of_path, lie) in lies {
        let told = move |path: &str, before: usize, shown: Shown| {
            let its = path.starts_with(of_path) && (of_path != "tile/0/" || path == "tile/0/000");
            if its { lie(path, before, shown) } else { shown }
        };
        page.lies(told);
        let folder = tempfile::tempdir().unwrap();
        let (code, said, _) = page.export(folder.path());
        assert_eq!(code, 1, "{what}: {said}");
        assert!(said.to_string().contains("hint"), "{what}: {said}");
        assert!(!folder.path().join(CHECKPOINT).exists() && !folder.path().join(VERDICTS).exists(), "{what}");
        let (code, _) =
            tokio::task::block_in_place(|| answered(&["log", "verify", &folder.path().display().to_string()]));
        assert_ne!(code, 0, "{what}");
        page.lies(|_, _, shown| shown);
        let (code, said, _) = page.export(folder.path());
        assert_eq!(code, 0, "{what}: {said}");
        is_whole(folder.path(), &exported);
    }
}

/// Verdicts under two bundles are no index: the copy begins anew under the later one, and not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_of_one_bundle() {
    let exported = Exported::sound(LEAVES);
    // The bundle that was there when the copy began, and after its first page, is another than the one since.
    let page = Page::serve(&exported).await;
    page.lies(|path, before, shown| match (path, before) {
        (BUNDLE, 0 | 1) => Shown { body: b"another".to_vec(), ..shown },
        _ => shown,
    });
    let folder = tempfile::tempdir().unwrap();
    let (code, said, asked) = page.export(folder.path());
    // Two pages under the first bundle, then all of them.
    assert_eq!((code, of(&asked, VERDICTS)), (0, 2 + PAGES), "{said} {asked:?}");
    is_whole(folder.path(), &exported);
    page.lies(|path, before, shown| match path {
        BUNDLE => Shown { body: format!("bundle {before}").into_bytes(), ..shown },
        _ => shown,
    });
    let folder = tempfile::tempdir().unwrap();
    let (code, said, asked) = page.export(folder.path());
    assert!(code == 3 && said.to_string().contains("changed its trust bundle"), "{said}");
    assert_eq!(of(&asked, VERDICTS), 4, "{asked:?}");
    assert!(!folder.path().join(CHECKPOINT).exists() && !folder.path().join(VERDICTS).exists());
}
