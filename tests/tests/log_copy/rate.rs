//! What verifying a copy costs beside the bare hashes and signatures that it cannot do without.

use std::time::{Duration, Instant};

use marque::log::verify::verify;
use marque_ledger::{Entry, Hash};
use marque_signing::{Compact, PublicKey, jws, sha256};
use marque_tests::exported::{Exported, acts, framed, sink_key, trust};

const LEAVES: usize = 20_000;
const RUNS: usize = 3;

fn best(mut run: impl FnMut()) -> Duration {
    let timed = |_| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    (0..RUNS).map(timed).min().unwrap()
}

/// One leaf hash, one digest and one strict signature for each leaf, over as many threads, and nothing else.
fn bare(frames: &[Vec<u8>], signer: &PublicKey, threads: usize) {
    std::thread::scope(|scope| {
        for share in frames.chunks(frames.len().div_ceil(threads)) {
            scope.spawn(move || {
                for frame in share {
                    let payload = Entry::decode(frame).unwrap().payload;
                    std::hint::black_box((Hash::leaf(frame), sha256(payload)));
                    let compact = Compact::split(std::str::from_utf8(payload).unwrap()).unwrap();
                    compact.check_signature(signer).unwrap();
                }
            });
        }
    });
}

/// `cargo test --release -p marque-tests --test log_copy -- --ignored --nocapture costs`; the aim is 1.3.
#[test]
#[ignore = "measures"]
fn costs_little_more_than_its_hashes_and_signatures() {
    let payloads = acts(LEAVES);
    let frames = framed(&payloads);
    let exported = Exported::of(&frames, sink_key());
    let signer = jws::claimed_signer(&payloads[0]).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bare = best(|| bare(&frames, &signer, threads));
    let trust = trust();
    let whole = best(|| assert!(verify(&exported.copy(), &trust, None, &|_, _| {}).valid));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / LEAVES as f64;
    let ratio = whole.as_secs_f64() / bare.as_secs_f64();
    println!(
        "{threads} threads, {LEAVES} leaves: bare {:.1} µs a leaf, whole {:.1} µs, ratio {ratio:.2}",
        each(bare),
        each(whole)
    );
}
