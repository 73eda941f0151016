//! `schemas/` is what the code says: generated files, registrations, limits.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use marque_bus::subjects::SUBJECTS;
use marque_credential::{Constraint, limits};
use marque_json::{Json, Limits};
use marque_ledger::epoch::{Genesis, Lost, REASON_BYTES_MAX};
use marque_ledger::{Checkpoint, Hash};
use marque_signing::SigningKey;
use marque_tests::schemas::files;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas")).to_owned()
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn generated_files_are_in_step() {
    let expected = files();
    for (name, expected) in &expected {
        assert!(text(name) == *expected, "{name} differs: run `cargo run -p marque-tests --bin generate-schemas`");
    }
    let generated = |name: &String| name.ends_with(".schema.json") || name.ends_with(".yaml");
    let found: BTreeSet<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(generated)
        .collect();
    assert_eq!(found, expected.keys().cloned().collect());
}

/// Every `$ref` in the document names a file or a place in it.
#[test]
fn asyncapi_names_every_subject_and_no_missing_schema() {
    let document = text("asyncapi.yaml");
    let addresses: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("    address: ")).collect();
    let expected: Vec<String> =
        SUBJECTS.iter().map(|subject| format!("'{}'", subject.pattern.replace("...}", "}"))).collect();
    assert_eq!(addresses, expected);
    for part in document.split("$ref: './").skip(1) {
        let name = part.split('\'').next().unwrap();
        assert!(root().join(name).is_file(), "{name} is not there");
    }
}

/// Every schema's inner references lead somewhere.
#[test]
fn references_within_a_schema_resolve() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match (name.as_str(), value) {
                ("$ref", Value::String(reference)) => found.push(reference),
                _ => references(value, found),
            }),
            Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    for (name, text) in files().iter().filter(|(name, _)| name.ends_with(".json")) {
        let schema: Value = serde_json::from_str(text).unwrap();
        let mut found = Vec::new();
        references(&schema, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{name}: {reference}"));
            assert!(schema.pointer(pointer).is_some(), "{name}: {reference}");
        }
    }
}

fn constraint(json: &Json<'_>) -> Constraint {
    Constraint::parse(json, 1).unwrap()
}

/// Each registration's examples, judged.
#[test]
fn registrations_say_what_the_code_does() {
    let ours = &Constraint::TYPE_NAMES[9..];
    for name in ours {
        let registration = text(&format!("constraints/{name}.md"));
        let examples = registration.split("```jsonl\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let (mut admitted, mut subsumed) = (BTreeSet::new(), BTreeSet::new());
        for line in examples.lines() {
            let example = marque_json::parse(line.as_bytes(), Limits::DEFAULT).unwrap();
            let member = |name: &str| example.as_object().and_then(|object| object.get(name));
            if let (Some(one), Some(value), Some(admits)) = (member("constraint"), member("value"), member("admits")) {
                assert_eq!(Some(constraint(one).check(value)), admits.as_bool(), "{line}");
                admitted.insert(admits.as_bool());
            } else {
                let (parent, child) = (constraint(member("parent").unwrap()), constraint(member("child").unwrap()));
                let subsumes = member("subsumes").unwrap().as_bool();
                assert_eq!(Some(parent.subsumes(&child)), subsumes, "{line}");
                subsumed.insert(subsumes);
            }
        }
        assert_eq!((admitted.len(), subsumed.len()), (2, 2), "{name}: examples of both answers to both questions");
    }
    let found = std::fs::read_dir(root().join("constraints")).unwrap().count();
    assert_eq!(found, ours.len());
}

/// The schema of constraints knows the types that the code knows.
#[test]
fn the_constraint_schema_lists_every_type() {
    let schema: Value = serde_json::from_str(&text("constraint.schema.json")).unwrap();
    let titles: Vec<&str> =
        schema["oneOf"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect();
    assert_eq!(titles, Constraint::TYPE_NAMES);
}

#[test]
fn the_readme_states_the_limits_as_they_are() {
    let readme = text("README.md");
    let number = |value: usize| i128::try_from(value).unwrap();
    for (name, value) in [
        ("TOKEN_BYTES_MAX", number(limits::TOKEN_BYTES_MAX)),
        ("CHAIN_BYTES_MAX", number(limits::CHAIN_BYTES_MAX)),
        ("DELEGATION_DEPTH_MAX", limits::DELEGATION_DEPTH_MAX.into()),
        ("LIFETIME_SECONDS_MAX", limits::LIFETIME_SECONDS_MAX.into()),
        ("IAT_SKEW_SECONDS_MAX", limits::IAT_SKEW_SECONDS_MAX.into()),
        ("PROOF_WINDOW_SECONDS", marque_judgement::proof::PROOF_WINDOW_SECONDS.into()),
        ("CONSTRAINT_DEPTH_MAX", number(limits::CONSTRAINT_DEPTH_MAX)),
        ("TOOLS_MAX", number(limits::TOOLS_MAX)),
        ("ARGUMENTS_MAX", number(limits::ARGUMENTS_MAX)),
        ("TOOL_NAME_BYTES_MAX", number(limits::TOOL_NAME_BYTES_MAX)),
        ("CONSTRAINT_VALUE_BYTES_MAX", number(limits::CONSTRAINT_VALUE_BYTES_MAX)),
        ("URL_NAMES_MAX", number(limits::URL_NAMES_MAX)),
        ("HEADER_BYTES_MAX", number(marque_signing::jws::HEADER_BYTES_MAX)),
        ("DIRECTIVE_BYTES_MAX", number(marque_revocation::DIRECTIVE_BYTES_MAX)),
        ("NARROW_BYTES_MAX", number(marque_revocation::NARROW_BYTES_MAX)),
        ("REASON_BYTES_MAX", number(marque_revocation::REASON_BYTES_MAX)),
        ("HEARTBEAT_BYTES_MAX", number(marque_revocation::HEARTBEAT_BYTES_MAX)),
        ("ACK_BYTES_MAX", number(marque_revocation::ACK_BYTES_MAX)),
        ("BUNDLE_BYTES_MAX", number(marque_signing::bundle::BUNDLE_BYTES_MAX)),
        ("ENTRY_BYTES_MAX", number(marque_ledger::ENTRY_BYTES_MAX)),
        ("EVIDENCE_BYTES_MAX", number(marque_credential::evidence::EVIDENCE_BYTES_MAX)),
        ("MANIFEST_BYTES_MAX", number(marque_credential::evidence::MANIFEST_BYTES_MAX)),
        ("LINE_BYTES_MAX", number(marque_judgement::plumbing::LINE_BYTES_MAX)),
    ] {
        assert!(readme.contains(&format!("| `{name}` | {value} |")), "{name} is {value}");
    }
}

/// A genesis as the code writes it is what the schema says, and what the schema refuses the code refuses too.
#[test]
fn the_schema_of_an_epoch_is_what_the_code_reads_and_writes() {
    let (schema, noted): (Value, _) = (serde_json::from_str(&text("epoch.schema.json")).unwrap(), |origin: &str| {
        let checkpoint = Checkpoint { origin: origin.to_owned(), size: 5, root: Hash::leaf(b"5") };
        checkpoint.sign(&SigningKey::from_seed(&[3; 32])).unwrap()
    });
    let schema = jsonschema::validator_for(&schema).unwrap();
    let both = |value: &Value| (schema.is_valid(value), Genesis::parse(value.to_string().as_bytes()).is_ok());
    let lost = Some(Lost { from: 6, to: 7 });
    for (before, lost) in
        [("acme.example/audit", lost), ("acme.example/audit/e2", None), ("acme.example/audit/e63", lost)]
    {
        let genesis = Genesis::after(noted(before), "purged".into(), 1_764_000_000_123, 8, lost).unwrap();
        let value = serde_json::to_value(&genesis).unwrap();
        assert_eq!(both(&value), (true, true), "{value}");
        let with = |member: &str, other: Value| {
            let mut changed = value.clone();
            changed[member] = other;
            changed
        };
        let without = |member: &str| {
            let mut changed = value.clone();
            changed.as_object_mut().unwrap().remove(member);
            changed
        };
        for bad in [
            with("kind", "marque-record".into()),
            with("origin", "acme.example/audit".into()),
            with("origin", "acme.example/audit/e65".into()),
            with("origin", "acme.example/audit/e02".into()),
            with("reason", "".into()),
            with("reason", "x".repeat(REASON_BYTES_MAX + 1).into()),
            with("at_ms", (-1).into()),
            with("at_ms", (1_u64 << 53).into()),
            with("first_sequence", 0.into()),
            with("first_sequence", "8".into()),
            with("lost", serde_json::json!({ "from": 6 })),
            with("lost", serde_json::json!({ "from": 6, "to": 7, "why": "" })),
            with("more", true.into()),
            without("kind"),
            without("origin"),
            without("previous"),
            without("reason"),
            without("at_ms"),
            without("first_sequence"),
        ] {
            assert_eq!(both(&bad), (false, false), "{bad}");
        }
    }
}
