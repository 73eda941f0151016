use super::*;
use std::fs;

const GOOD: &str = r#"
name = "summarizer"
description = "Reads and summarizes."
sponsor = "team-research"
models = ["example-small-1"]
max_life_seconds = 7200
max_depth = 0

[tools."nats:tools.crm.query"]
customer = { constraint_type = "one_of", values = ["acme", "globex"] }
limit = { constraint_type = "range", max = 50, optional = true }
"#;

fn parse(text: &str) -> Result<Blueprint, BlueprintError> {
    Blueprint::parse(Path::new("blueprints/summarizer.toml"), text)
}

/// The key and reason that a changed file is refused for.
fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replace(from, to)).unwrap_err().to_string();
    error.strip_prefix("blueprint blueprints/summarizer.toml: ").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn reads_a_blueprint() {
    let blueprint = parse(GOOD).unwrap();
    assert_eq!((blueprint.token_life_seconds, blueprint.token_life_max_seconds), (900, 3600));
    let tools = serde_json::json!({"nats:tools.crm.query": {
        "customer": {"constraint_type": "one_of", "values": ["acme", "globex"]},
        "limit": {"constraint_type": "range", "max": 50, "optional": true},
    }});
    assert_eq!(blueprint.tools.to_json(), tools);
    assert_eq!(
        parse(&GOOD.replace("max_depth", "token_life_max_seconds = 60\nmax_depth")).unwrap().token_life_seconds,
        60
    );
}

#[test]
fn names_file_key_and_nearest() {
    assert_eq!(refused("models =", "model ="), "`model`: unknown key: did you mean `models`?");
    assert!(refused("max_depth", "colour = 1\nmax_depth").starts_with("`colour`: unknown key; known are name, "));
    assert_eq!(refused("sponsor = \"team-research\"\n", ""), "`sponsor`: is not set");
    assert!(refused("max_depth = 0", "max_depth = ").starts_with("`line 7`: "));
    assert!(refused("\"summarizer\"", "\"other\"").starts_with("`name`: `other` is not the file's name"));
    assert!(refused("\"summarizer\"", "\"Su mm\"").starts_with("`name`: "));
}

#[test]
fn bounds_every_number() {
    assert_eq!(refused("7200", "0"), "`max_life_seconds`: 0 is not within 1 to 86400");
    assert_eq!(refused("7200", "86401"), "`max_life_seconds`: 86401 is not within 1 to 86400");
    assert!(refused("7200", "7200.0").starts_with("`max_life_seconds`: "));
    let with = |key: &str| refused("max_depth = 0", &format!("max_depth = 0\n{key}"));
    assert_eq!(with("token_life_max_seconds = 3601"), "`token_life_max_seconds`: 3601 is not within 1 to 3600");
    assert_eq!(
        with("token_life_max_seconds = 60\ntoken_life_seconds = 61"),
        "`token_life_seconds`: 61 is not within 1 to 60"
    );
    assert_eq!(refused("max_depth = 0", "max_depth = 65"), "`max_depth`: 65 is not within 0 to 64");
    assert!(refused("max_depth = 0", "max_depth = -1").starts_with("`max_depth`: "));
    assert!(refused("[\"example-small-1\"]", "[]").starts_with("`models`: lists 1 to 64"));
}

#[test]
fn refuses_tools_that_no_token_could_carry() {
    assert!(refused("one_of", "oneof").contains("tool `nats:tools.crm.query`, argument `customer`"));
    assert!(refused("values", "value").starts_with("`tools`: "));
    assert_eq!(
        refused("\"acme\"", "2026-01-01"),
        "`tools.\"nats:tools.crm.query\".customer.values[0]`: is a date; JSON has none: put it in quotes"
    );
    assert!(refused("max = 50", "max = inf").contains("is no number that JSON has"));
    assert!(refused("max = 50", "max = 9007199254740993").contains("does not survive its canonical form"));
    let without = GOOD.split("[tools").next().unwrap();
    assert!(parse(without).unwrap_err().to_string().ends_with("`tools`: is not set"));
    assert!(parse(&format!("{without}[tools]\n")).unwrap_err().to_string().ends_with("`tools`: grants no tool"));
    assert!(parse(&format!("{without}tools = 3\n")).is_err() && parse(&format!("{without}[tools]\na = 3\n")).is_err());
}

#[test]
fn loads_a_directory_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Blueprints::load(dir.path()), Err(BlueprintError::Count { count: 0, .. })));
    assert!(matches!(Blueprints::load(&dir.path().join("absent")), Err(BlueprintError::Unreadable { .. })));
    fs::write(dir.path().join("summarizer.toml"), GOOD).unwrap();
    fs::write(dir.path().join("README.md"), "not one").unwrap();
    let blueprints = Blueprints::load(dir.path()).unwrap();
    assert!(blueprints.get(&"summarizer".parse().unwrap()).is_ok());
    assert_eq!(blueprints.get(&"other".parse().unwrap()).unwrap_err().code, Code::BlueprintUnknown);
    fs::write(dir.path().join("bad.toml"), "name =").unwrap();
    assert!(Blueprints::load(dir.path()).unwrap_err().to_string().contains("bad.toml"));
    fs::write(dir.path().join("bad.toml"), vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(Blueprints::load(dir.path()), Err(BlueprintError::Oversize { .. })));
}

#[test]
fn loads_the_shipped_examples() {
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/blueprints"));
    let names: Vec<_> = Blueprints::load(shipped).unwrap().iter().map(|b| b.name.to_string()).collect();
    assert_eq!(names, ["research-orchestrator", "summarizer"]);
}

#[test]
fn allows_listed_models_alone() {
    let blueprint = parse(GOOD).unwrap();
    assert!(blueprint.allow_model("example-small-1").is_ok());
    for other in ["example-large-1", "", "Example-small-1", "example-small-1 "] {
        assert_eq!(blueprint.allow_model(other).unwrap_err().code, Code::ModelNotAllowed);
    }
}
