//! The layers of a configuration, each over the one below; unknown keys are named with their nearest.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use marque_runtime::config::{Layers, OriginKind};
use marque_runtime::{Common, ConfigError};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(flatten)]
    common: Common,
    issuer: Section,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Section {
    ttl_seconds: u64,
    strict: bool,
    names: Vec<String>,
    join_secret: Option<String>,
}

fn layers(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> (Layers, tempfile::TempDir) {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = file.map(|text| {
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    (Layers { service: "issuer".into(), flags: owned(flags), environment: owned(environment), file: path }, dir)
}

#[test]
fn each_layer_lies_over_the_one_below() {
    let file = "key_file = '/from/file'\n[nats]\nurl = 'nats://file:1'\nuser = 'file'\n[issuer]\nttl_seconds = 1";
    let environment = [
        ("MARQUE_NATS__URL", "nats://env:1"),
        ("MARQUE_ISSUER__TTL_SECONDS", "2"),
        ("MARQUE_ISSUER__NAMES", "a, b"),
        ("MARQUE_ISSUER__STRICT", "true"),
        ("MARQUE__STATE_DIR", "/from/env"),
        ("MARQUE_VERIFIER__ANYTHING", "belongs to another"),
        ("MARQUE_CONFIG", "is no key"),
        ("HOME", "is nobody's key"),
    ];
    let (layers, _dir) = layers(Some(file), &environment, &[("issuer.ttl_seconds", "3")]);
    let loaded = layers.load::<Config>().unwrap();
    let config = loaded.config;
    assert_eq!(config.common.nats.url, "nats://env:1");
    assert_eq!(config.common.nats.user.as_deref(), Some("file"));
    assert_eq!(config.common.key_file, Some(PathBuf::from("/from/file")));
    assert_eq!(config.common.state_dir, Some(PathBuf::from("/from/env")));
    assert_eq!((config.issuer.ttl_seconds, config.issuer.strict), (3, true));
    assert_eq!(config.issuer.names, ["a", "b"]);
    let origin = |key: &str| loaded.origins.iter().find(|origin| origin.key == key).unwrap().kind;
    assert_eq!(origin("issuer.ttl_seconds"), OriginKind::Flag);
    assert_eq!(origin("nats.url"), OriginKind::Environment);
    assert_eq!(origin("nats.user"), OriginKind::File);
    assert_eq!(origin("log.level"), OriginKind::Default);
}

/// One environment serves every program of ours: what is meant for another is no misspelt key of this one.
#[test]
fn passes_over_what_is_meant_for_another_service() {
    let sections = [
        "verifier",
        "broadcaster",
        "revocation_broadcaster",
        "audit_sink",
        "gatekeeper",
        "attestor",
        "agent",
        "marque",
    ];
    for section in sections {
        let name = format!("MARQUE_{}__ANYTHING", section.to_uppercase());
        let (layers, _dir) = layers(None, &[(&name, "x")], &[]);
        assert!(layers.load::<Config>().is_ok(), "{name}");
    }
    // Of its own section every key must be known, and of a section that nobody has, none is.
    for name in ["MARQUE_ISSUER__ANYTHING", "MARQUE_GATEKEEPERS__ANYTHING"] {
        let (layers, _dir) = layers(None, &[(name, "x")], &[]);
        assert!(matches!(layers.load::<Config>(), Err(ConfigError::UnknownKey { .. })), "{name}");
    }
}

#[test]
fn what_is_meant_for_one_service_wins() {
    let environment = [("MARQUE_ISSUER__NATS__USER", "issuer"), ("MARQUE_NATS__USER", "all")];
    let (layers, _dir) = layers(None, &environment, &[]);
    assert_eq!(layers.load::<Config>().unwrap().config.common.nats.user.as_deref(), Some("issuer"));
}

#[test]
fn a_secret_comes_from_a_file_and_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let environment = [("MARQUE_ISSUER__JOIN_SECRET_FILE", path.to_str().unwrap())];
    let (layers, _dir) = layers(None, &environment, &[]);
    let loaded = layers.load::<Config>().unwrap();
    assert_eq!(loaded.config.issuer.join_secret.as_deref(), Some("hunter2"));
    assert!(loaded.origins.iter().all(|origin| !origin.to_string().contains("hunter2")));
}

#[test]
fn unknown_keys_are_refused_everywhere_with_their_nearest() {
    for (file, environment, flags) in [
        (Some("[nats]\nurll = 'x'"), vec![], vec![]),
        (None, vec![("MARQUE_NATS__URLL", "x")], vec![]),
        (None, vec![("MARQUE_ISSUER__NATS__URLL", "x")], vec![]),
        (None, vec![], vec![("nats.urll", "x")]),
    ] {
        let (layers, _dir) = layers(file, &environment, &flags);
        let error = layers.load::<Config>().unwrap_err();
        assert!(matches!(error, ConfigError::UnknownKey { .. }), "{error}");
        if !error.to_string().contains("issuer.nats") {
            assert!(error.to_string().contains("did you mean `nats.url`?"), "{error}");
        }
    }
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    for flag in [("issuer.ttl_seconds", "soon"), ("issuer.strict", "maybe"), ("log.format", "loud")] {
        let (layers, _dir) = layers(None, &[], &[flag]);
        assert!(matches!(layers.load::<Config>(), Err(ConfigError::Value(_))), "{flag:?}");
    }
    let (layers, _dir) = layers(Some("nats = ["), &[], &[]);
    assert!(matches!(layers.load::<Config>(), Err(ConfigError::Syntax { .. })));
}
