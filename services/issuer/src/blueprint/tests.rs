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

/// [`GOOD`] with these lines before its tools.
fn attesting(lines: &str) -> Result<Blueprint, String> {
    let text = GOOD.replace("[tools.", &format!("{lines}\n[tools."));
    parse(&text)
        .map_err(|error| error.to_string().trim_start_matches("blueprint blueprints/summarizer.toml: ").to_owned())
}

const OIDC: &str = "[attest.oidc]\nissuers = [\"ci\"]\naudience = \"marque\"\n";

#[test]
fn demands_a_join_token_unless_told_otherwise() {
    use super::attest::Attestor::{JoinToken, Manifest, Oidc, Process};
    assert_eq!(parse(GOOD).unwrap().attest.require, [JoinToken]);
    assert_eq!(attesting("[attest]").unwrap().attest.require, [JoinToken]);
    let digest = "05".repeat(32);
    let all = format!(
        "[attest]\nrequire = [\"manifest\", \"process\", \"oidc\", \"join_token\", \"oidc\"]\n{OIDC}\
         claims = {{ sub = \"repo:acme/*\", \"kubernetes.io\" = {{ namespace = \"agents\" }}, owner.id = 7, ok = true }}\n\
         [attest.process]\nexe_sha256 = [\"{digest}\"]\nuid = [1000]\n[attest.manifest]\nallowed = [\"{digest}\"]"
    );
    let attest = attesting(&all).unwrap().attest;
    assert_eq!(attest.require, [JoinToken, Oidc, Process, Manifest]);
    let paths: Vec<_> = attest.oidc.as_ref().unwrap().claims.iter().map(|claim| claim.path.as_str()).collect();
    assert_eq!(paths, ["kubernetes.io.namespace", "ok", "owner.id", "sub"]);
    assert_eq!(attest.process.unwrap().uid, Some(vec![1000]));
}

#[test]
fn refuses_demands_that_keep_nobody_out_or_nobody_makes() {
    let refused = |lines: &str| attesting(lines).unwrap_err();
    let oidc = |rest: &str| refused(&format!("[attest]\nrequire = [\"oidc\"]\n{OIDC}{rest}"));
    assert!(refused("[attest]\nrequire = []").contains("anybody could enrol"));
    assert!(
        refused("[attest]\nrequire = [\"manifest\"]\n[attest.manifest]\nmodel_digest = [\"m\"]").contains("anybody")
    );
    assert!(oidc("").contains("`attest.oidc.claims`: demands no claim"));
    assert!(oidc("claims = { sub = \"*\" }").contains("matches everything"));
    assert!(oidc("claims = { sub = \"\" }").contains("matches everything"));
    assert!(oidc("claims = { sub = \"a*b\" }").contains("`attest.oidc.claims.sub`: has a `*`"));
    assert!(oidc("claims = { sub = [\"a\"] }").contains("`attest.oidc.claims.sub`: is not a text"));
    assert!(oidc("claims = { \"a.b.c.d.e.f.g.h.i\" = \"x\" }").contains("more than 8 parts"));
    let process = |rest: &str| refused(&format!("[attest]\nrequire = [\"process\"]\n[attest.process]\n{rest}"));
    assert!(process("").contains("`attest.process`: demands nothing"));
    assert!(process("uid = []").contains("`attest.process.uid`: is empty"));
    assert!(process("cgroup_prefix = [\"/\"]").contains("holds every control group"));
    assert!(process("exe_sha256 = [\"05\"]").contains("`attest.process.exe_sha256`"));
    assert!(refused("[attest]\nrequire = [\"process\"]").contains("`attest.process`: is not set"));
    assert!(refused("[attest.process]\nuid = [1]").contains("`attest.process`: is set, but"));
    assert!(
        refused("[attest]\nrequire = [\"oidc\"]\n[attest.oidc]\nissuers = [\"ci\"]")
            .contains("`attest.oidc.audience`: is not set")
    );
}

#[test]
fn names_the_nearest_demand() {
    let refused = |lines: &str| attesting(lines).unwrap_err();
    assert_eq!(refused("[attest]\nrequires = [\"oidc\"]"), "`attest.requires`: unknown key: did you mean `require`?");
    assert_eq!(
        refused("[attest]\nrequire = [\"jointoken\"]"),
        "`attest.require`: `jointoken` is no attestor: did you mean `join_token`?"
    );
    let process = "[attest]\nrequire = [\"process\"]\n[attest.process]\nhost = [\"a\"]";
    assert_eq!(refused(process), "`attest.process.host`: unknown key: did you mean `hosts`?");
}

#[test]
fn a_credential_is_held_against_what_is_demanded_today() {
    use marque_credential::{Assurance, EvidenceDigest, EvidenceKind, IdentityClaims, Runtime};
    use marque_identity::{Digest, TokenId, UnixSeconds};
    let claims = |kinds: &[EvidenceKind], manifest_hash| IdentityClaims {
        jti: TokenId("vc".into()),
        iat: UnixSeconds(1),
        exp: UnixSeconds(2),
        subject: crate::testing::agent().did(),
        blueprint: "summarizer".parse().unwrap(),
        sponsor: "team".parse().unwrap(),
        runtime: Runtime { model_id: "m".into(), manifest_hash, assurance: Assurance::Claimed },
        evidence: kinds.iter().map(|kind| EvidenceDigest::new(*kind, Digest([1; 32]))).collect(),
        status: None,
    };
    let plain = parse(GOOD).unwrap().attest;
    let enrolled = [EvidenceKind::JoinToken, EvidenceKind::Request];
    assert!(plain.check_held(&claims(&enrolled, None)).is_ok());
    assert_eq!(plain.check_held(&claims(&[EvidenceKind::Request], None)).unwrap_err().code, Code::EvidenceMissing);
    let listed = format!(
        "[attest]\nrequire = [\"join_token\", \"manifest\"]\n[attest.manifest]\nallowed = [\"{}\"]",
        Digest([5; 32])
    );
    let listed = attesting(&listed).unwrap().attest;
    let with_manifest = [EvidenceKind::JoinToken, EvidenceKind::Manifest];
    assert_eq!(listed.check_held(&claims(&enrolled, Some(Digest([5; 32])))).unwrap_err().code, Code::EvidenceMissing);
    assert!(listed.check_held(&claims(&with_manifest, Some(Digest([5; 32])))).is_ok());
    for other in [None, Some(Digest([6; 32]))] {
        assert_eq!(listed.check_held(&claims(&with_manifest, other)).unwrap_err().code, Code::EvidenceMismatch);
    }
}
