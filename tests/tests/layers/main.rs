//! The layer rules: a `[dependencies]` line between our crates points only down, services never depend on each
//! other, and only the rooms named for it know NATS, tokio or a cipher; and the sources of L0 to L2 do not touch the
//! world. One version of each crate, too. The README's map names every room.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod cold;
mod doubles;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Floor of each package; inside a floor only what `WITHIN` lists.
const FLOORS: &[(&str, u8)] = &[
    ("marque-json", 0),
    ("marque-identity", 0),
    ("marque-signing", 0),
    ("marque-credential", 1),
    ("marque-revocation", 1),
    ("marque-ledger", 1),
    ("marque-judgement", 2),
    ("marque-bus", 3),
    ("marque-runtime", 3),
    ("marque-agent", 3),
    ("marque-issuer", 4),
    ("marque-verifier", 4),
    ("marque-revocation-broadcaster", 4),
    ("marque-audit-sink", 4),
    ("marque-gatekeeper", 4),
    ("marque-attestor", 4),
    ("marque", 4),
    ("marque-test-support", 5),
    ("marque-tests", 5),
    ("marque-bench", 5),
];

/// The few lines that stay on one floor.
const WITHIN: &[(&str, &str)] = &[
    ("marque-signing", "marque-identity"),
    ("marque-signing", "marque-json"),
    ("marque-agent", "marque-bus"),
    ("marque-agent", "marque-runtime"),
    ("marque-bench", "marque-test-support"),
    ("marque-bench", "marque-tests"),
    ("marque-tests", "marque-test-support"),
];

/// Who may name a foreign crate: everybody not listed may not.
const ONLY: &[(&str, &[&str])] = &[
    ("ed25519-dalek", &["marque-signing", "marque-bench"]),
    ("crypto_box", &["marque-signing"]),
    // The last, in tests alone: a disk that fails beneath the stores.
    ("redb", &["marque-issuer", "marque-revocation-broadcaster", "marque-audit-sink", "marque-test-support"]),
    ("opentelemetry", &["marque-runtime"]),
    ("axum", &["marque-runtime"]),
    // The command line knows it for the commands that speak to the broker below our subjects.
    ("async-nats", &["marque-bus", "marque", "marque-tests", "marque-bench"]),
    ("ureq", &["marque-issuer", "marque-audit-sink"]),
    ("jsonwebtoken", &["marque-credential", "marque-issuer"]),
];

/// What L0 to L2 do without, so that a gateway or an auditor links them alone.
const COLD_WITHOUT: &[&str] = &["tokio", "async-nats", "futures", "tracing"];

/// Where L0 to L2 touch the world all the same: by these names, in these files, and nowhere else.
const TOUCHES: &[(&str, &[&str])] = &[
    // The id of a token or record: time and randomness, so that no two are the same.
    ("marque-identity", &["src/token.rs: uuid::Uuid::now_v7"]),
    // Where keys are made, and the nonces of what is sealed.
    (
        "marque-signing",
        &["src/key.rs: getrandom::fill", "src/xkey.rs: SigningKey::generate", "src/xkey.rs: getrandom::fill"],
    ),
    // A copy of the log is read from its folder, and verified on every core.
    (
        "marque-ledger",
        &[
            "src/directory.rs: std::fs::File",
            "src/directory.rs: std::fs::File::open",
            "src/directory.rs: std::fs::read_dir",
            "src/verify/in_order.rs: std::thread::scope",
        ],
    ),
    // A record's id, and the key of one sealed box.
    ("marque-judgement", &["src/record.rs: TokenId::generate", "src/sealed.rs: SealingKey::generate"]),
];

struct Package {
    name: String,
    folder: PathBuf,
    dependencies: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", root])
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
    let package = |package: &serde_json::Value| Package {
        name: package["name"].as_str().unwrap().to_owned(),
        folder: Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned(),
        dependencies: package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(normal)
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect(),
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn dependencies_point_down() {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let packages = packages();
    assert_eq!(packages.len(), FLOORS.len(), "a package has no floor, or a floor no package");
    for package in &packages {
        let floor = *floors.get(package.name.as_str()).unwrap_or_else(|| panic!("{} has no floor", package.name));
        for dependency in package.dependencies.iter().filter(|name| floors.contains_key(name.as_str())) {
            let below = floors[dependency.as_str()];
            let allowed = below < floor || WITHIN.contains(&(package.name.as_str(), dependency.as_str()));
            assert!(allowed, "{} (L{floor}) must not depend on {dependency} (L{below})", package.name);
        }
    }
}

#[test]
fn cold_rooms_stay_cold() {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    for package in packages() {
        if floors[package.name.as_str()] <= 2 {
            for warm in COLD_WITHOUT {
                assert!(!package.dependencies.contains(*warm), "{} must not know {warm}", package.name);
            }
        }
        for (foreign, rooms) in ONLY {
            let knows = package.dependencies.contains(*foreign);
            assert!(!knows || rooms.contains(&package.name.as_str()), "{} must not know {foreign}", package.name);
        }
    }
}

#[test]
fn cold_sources_touch_nothing() {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    for package in packages().iter().filter(|package| floors[package.name.as_str()] <= 2) {
        let known = TOUCHES.iter().find(|(name, _)| *name == package.name).map_or(&[][..], |(_, touches)| touches);
        assert_eq!(cold::touched(&package.folder), known, "{}", package.name);
    }
}

#[test]
fn the_readme_maps_every_room() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    for floor in ["shared", "services"] {
        for entry in std::fs::read_dir(format!("{root}/{floor}")).unwrap() {
            let room = entry.unwrap().file_name().into_string().unwrap();
            assert!(readme.contains(&format!("`{room}`")), "README.md does not name {floor}/{room}");
        }
    }
}
