//! Hostile bytes at every parser: truncated, oversize, doubled members, not UTF-8, deeply nested, random, and valid
//! samples with bytes changed. The bodies are the fuzz targets'.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::BTreeSet;

use marque_tests::hostile::{TARGETS, Target, sample};
use proptest::prelude::*;

fn each(mut run: impl FnMut(&Target)) {
    TARGETS.iter().for_each(&mut run);
}

#[test]
fn takes_a_valid_sample_whole_and_cut_anywhere() {
    each(|(name, body)| {
        let sample = sample(name);
        body(&sample);
        // Every cut of a short sample, some two hundred of a long one.
        let stride = sample.len() / 200 + 1;
        for end in (0..sample.len()).step_by(stride) {
            body(&sample[..end]);
            body(&sample[end..]);
        }
    });
}

#[test]
fn takes_deep_nesting() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"constraint_type":"all","constraints":["#, "]}")] {
        for depth in [31, 32, 33, 63, 64, 65, 127, 128, 129, 100_000] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            each(|(_, body)| body(nested.as_bytes()));
        }
        each(|(_, body)| body(open.repeat(50_000).as_bytes()));
    }
}

#[test]
fn takes_oversize() {
    for byte in [b'A', b'.', b'{', b'"', b'0', 0, 0xff, b'~', b'\n', b'1'] {
        let large = vec![byte; 1 << 18];
        each(|(_, body)| body(&large));
    }
}

#[test]
fn takes_what_is_not_utf8() {
    let bytes: [&[u8]; 5] =
        [b"\xff", b"\"\xc0\x80\"", b"{\"a\xed\xa0\x80\":1}", b"\xef\xbb\xbf{}", b"{\"a\":\"\xf5\"}"];
    for bytes in bytes {
        each(|(_, body)| body(bytes));
    }
}

#[test]
fn takes_doubled_members_and_strange_numbers() {
    let texts = [
        r#"{"jti":"1","jti":"2"}"#,
        r#"{"a":{"b":1,"\u0062":2}}"#,
        r#"{"iat":1e400,"exp":-0,"del_depth":00}"#,
        r#"{"n":123456789012345678901234567890123456789012345678901234567890e-999999999999999999999}"#,
        r#"{"constraint_type":"range","min":1e308,"max":1.7976931348623157e308}"#,
        "\"\\ud800\"",
        "\"\\u0000\"",
    ];
    for text in texts {
        each(|(_, body)| body(text.as_bytes()));
    }
}

/// Fuzz targets and property tests are the same set: files, `[[bin]]`s and `TARGETS`, each running the body of its name.
#[test]
fn every_target_has_its_fuzzer_and_every_fuzzer_its_target() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/fuzz_targets");
    let files: BTreeSet<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(targets.len(), TARGETS.len(), "a name stands twice");
    assert_eq!(files, targets);
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let bins: BTreeSet<String> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| {
            let name = bin["name"].as_str().unwrap();
            assert_eq!(bin["path"].as_str().unwrap(), format!("fuzz_targets/{name}.rs"));
            format!("{name}.rs")
        })
        .collect();
    assert_eq!(bins, targets);
    each(|(name, _)| {
        let text = std::fs::read_to_string(format!("{folder}/{name}.rs")).unwrap();
        // The crate that it is about has the name already.
        let body = if *name == "jws" { "jws_compact" } else { name };
        assert!(text.contains(&format!("marque_tests::hostile::{body}(data)")), "{name} runs another's body");
    });
}

/// What the workspace has built serves the fuzzers too, in the versions that are tested.
#[test]
fn the_fuzzers_are_built_as_the_workspace_is() {
    let read = |path: &str| -> toml::Table {
        std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap().parse().unwrap()
    };
    assert_eq!(read("fuzz/Cargo.toml")["profile"]["dev"], read("../Cargo.toml")["profile"]["dev"]);
    let versions = |lock: &toml::Table| -> BTreeSet<(String, String)> {
        let text = |package: &toml::Value, of: &str| package[of].as_str().unwrap().to_owned();
        let packages = lock["package"].as_array().unwrap();
        packages.iter().map(|package| (text(package, "name"), text(package, "version"))).collect()
    };
    let tested = versions(&read("../Cargo.lock"));
    let own = ["marque-fuzz", "libfuzzer-sys", "arbitrary", "jobserver"];
    for (name, version) in versions(&read("fuzz/Cargo.lock")) {
        let known = own.contains(&name.as_str()) || tested.contains(&(name.clone(), version.clone()));
        assert!(known, "{name} {version}: `cp ../../Cargo.lock . && cargo update --workspace` in tests/fuzz");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn takes_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        each(|(_, body)| body(&bytes));
    }

    #[test]
    fn takes_random_json(text in r#"[\[\]{}",:0-9eE.+\-a-c\\u ]{0,200}"#) {
        each(|(_, body)| body(text.as_bytes()));
    }

    #[test]
    fn takes_mutated_samples(at in any::<proptest::sample::Index>(), to in any::<u8>(), from in any::<proptest::sample::Index>(), length in 0usize..40) {
        each(|(name, body)| {
            let sample = sample(name);
            let mut changed = sample.clone();
            changed[at.index(sample.len())] = to;
            body(&changed);
            // A piece moved elsewhere, doubled.
            let start = from.index(sample.len());
            let piece = sample[start..(start + length).min(sample.len())].to_vec();
            let mut spliced = sample.clone();
            let into = at.index(sample.len());
            spliced.splice(into..into, piece);
            body(&spliced);
        });
    }
}
