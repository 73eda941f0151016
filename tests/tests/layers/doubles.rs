//! One version of each crate, but for those that `deny.toml` skips, each with its reason there.

use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with the list, a line each: a double that is not in it, an entry that is none, one too many.
fn wrong(lock: &toml::Table, deny: &toml::Table) -> Vec<String> {
    let text = |of: &toml::Value, member: &str| of[member].as_str().unwrap().to_owned();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    let mut wrong = Vec::new();
    for skipped in deny["bans"]["skip"].as_array().unwrap() {
        let (name, version) = (text(skipped, "name"), text(skipped, "version"));
        let known = versions.get_mut(&name).is_some_and(|of| of.remove(version.trim_start_matches('=')));
        if !known {
            wrong.push(format!("{name} {version} is skipped, and not in Cargo.lock"));
        }
    }
    wrong.extend(versions.iter().filter(|(_, left)| left.len() != 1).map(|(name, left)| format!("{name}: {left:?}")));
    wrong
}

fn read(path: &str) -> toml::Table {
    std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap().parse().unwrap()
}

#[test]
fn each_crate_has_one_version_or_a_reason() {
    let deny = read("deny.toml");
    assert_eq!(deny["bans"]["multiple-versions"].as_str(), Some("deny"));
    assert_eq!(wrong(&read("Cargo.lock"), &deny), [""; 0]);
}

#[test]
fn a_double_without_a_reason_is_found_and_a_reason_without_a_double_too() {
    let lock = |packages: &[(&str, &str)]| -> toml::Table {
        let package = |(name, version): &(&str, &str)| format!("[[package]]\nname='{name}'\nversion='{version}'\n");
        packages.iter().map(package).collect::<String>().parse().unwrap()
    };
    let deny: toml::Table = "[bans]\nskip = [{ name = 'a', version = '=1.0.0' }]".parse().unwrap();
    assert_eq!(wrong(&lock(&[("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")]), &deny), [""; 0]);
    assert_eq!(wrong(&lock(&[("a", "1.0.0"), ("a", "2.0.0"), ("a", "3.0.0")]), &deny).len(), 1);
    assert_eq!(wrong(&lock(&[("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0"), ("b", "2.0.0")]), &deny).len(), 1);
    assert_eq!(wrong(&lock(&[("a", "2.0.0")]), &deny).len(), 1);
    assert_eq!(wrong(&lock(&[("a", "1.0.0")]), &deny).len(), 1, "the only one is skipped");
}
