use marque_signing::{SigningKey, base64url};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::attest::OidcConfig;
use crate::blueprint::attest::{ClaimDemand, ClaimValue};

#[path = "../../../tests/keys/mod.rs"]
mod keys;

use keys::Kind;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
const ISS: &str = "https://ci.example";

struct Desk {
    issuers: Issuers,
    demand: OidcDemand,
    _dir: tempfile::TempDir,
}

fn agent() -> PublicKey {
    SigningKey::from_seed(&[2; 32]).public()
}

fn other() -> PublicKey {
    SigningKey::from_seed(&[3; 32]).public()
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        std::fs::write(&file, keys::key_set()).unwrap();
        let section = |name: &str, iss: &str| OidcConfig {
            name: name.into(),
            iss: iss.into(),
            jwks_file: Some(file.clone()),
            jwks_url: None,
            ca_file: None,
        };
        let issuers = Issuers::new(&[section("ci", ISS), section("other", "https://other.example")]).unwrap();
        let claim = |path: &str, value| ClaimDemand { path: path.into(), value };
        let demand = OidcDemand {
            issuers: vec!["ci".into()],
            audience: "marque".into(),
            claims: vec![
                claim("sub", ClaimValue::Beginning("repo:acme/".into())),
                claim("kubernetes.io.namespace", ClaimValue::Exactly("agents".into())),
            ],
        };
        Self { issuers, demand, _dir: dir }
    }

    async fn examine(&self, token: &str) -> Result<Attested, Refusal> {
        examine(token, &self.demand, &self.issuers, &agent(), NOW).await
    }

    async fn code(&self, token: &str) -> Result<(), Code> {
        self.examine(token).await.map(drop).map_err(|refusal| refusal.code)
    }
}

fn good() -> Value {
    json!({
        "iss": ISS, "sub": "repo:acme/agents", "aud": ["other", "marque"], "exp": NOW.0 + 300, "iat": NOW.0 - 5,
        "nbf": NOW.0 - 5, "jti": "t1", "kubernetes.io": {"namespace": "agents"},
    })
}

fn with(change: Value) -> Value {
    let mut claims = good();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

#[tokio::test]
async fn accepts_each_algorithm_of_the_list() {
    let desk = Desk::new();
    for kind in Kind::ALL {
        let attested = desk.examine(&kind.token(&good())).await.unwrap();
        assert_eq!(attested.evidence.kind, EvidenceKind::Oidc);
        assert_eq!(attested.used.keep_until, UnixSeconds(NOW.0 + 300 + EVIDENCE_MEMORY_SECONDS));
        // `typ` may be left out, or be one that a JWT has.
        for typ in ["jwt", "JOSE"] {
            let header = json!({"alg": kind.alg(), "kid": kind.kid(), "typ": typ});
            assert_eq!(desk.code(&kind.token_with(&header, &good())).await, Ok(()));
        }
        assert_eq!(desk.code(&kind.token_with(&json!({"alg": kind.alg(), "kid": kind.kid()}), &good())).await, Ok(()));
    }
}

#[tokio::test]
async fn refuses_every_other_algorithm_and_key() {
    let desk = Desk::new();
    let header = |alg: &str, kid: &str| json!({"alg": alg, "typ": "JWT", "kid": kid});
    for alg in ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES384", "Ed25519", "rs256", ""] {
        for kind in Kind::ALL {
            let token = kind.token_with(&header(alg, kind.kid()), &good());
            assert_eq!(desk.code(&token).await, Err(Code::AlgorithmNotAllowed), "{alg}");
        }
    }
    assert_eq!(desk.code(&keys::hs256_with_the_public_key(&good())).await, Err(Code::AlgorithmNotAllowed));
    let unsigned = Kind::Ed.token_with(&header("none", "ed-1"), &good());
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert_eq!(desk.code(&unsigned).await, Err(Code::EvidenceInvalid));

    // A key of another algorithm, a key that the set does not have, none; a key in the header is nobody's.
    for (alg, kid) in [("RS256", "ec-1"), ("ES256", "ed-1"), ("EdDSA", "rsa-1"), ("EdDSA", "ed-2"), ("EdDSA", "")] {
        let token = Kind::Ed.token_with(&header(alg, kid), &good());
        assert_eq!(desk.code(&token).await, Err(Code::EvidenceInvalid), "{alg} {kid}");
    }
    let thief = SigningKey::from_seed(&[9; 32]);
    let jwk = thief.public().jwk();
    for extra in [json!({"jwk": jwk}), json!({"jku": "https://evil.example/k"}), json!({"x5c": ["AA"]})] {
        let mut header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "ed-1"});
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let input =
            format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(good().to_string().as_bytes()));
        let token = format!("{input}.{}", base64url(&thief.sign(input.as_bytes())));
        assert_eq!(desk.code(&token).await, Err(Code::EvidenceInvalid));
    }
    let critical = json!({"alg": "EdDSA", "typ": "JWT", "kid": "ed-1", "crit": ["b64"], "b64": false});
    assert_eq!(desk.code(&Kind::Ed.token_with(&critical, &good())).await, Err(Code::CriticalUnknown));
    for typ in [json!("vc+jwt"), json!("aat+jwt"), json!(""), json!(1)] {
        let header = json!({"alg": "EdDSA", "typ": typ, "kid": "ed-1"});
        assert_eq!(desk.code(&Kind::Ed.token_with(&header, &good())).await, Err(Code::TypeMismatch), "{typ}");
    }
}

#[tokio::test]
async fn refuses_changed_bytes() {
    let desk = Desk::new();
    for kind in Kind::ALL {
        let token = kind.token(&good());
        let (input, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = input.split_once('.').unwrap();
        let wider = with(json!({"sub": "repo:acme/other"}));
        for changed in [
            format!("{header}.{}.{signature}", base64url(wider.to_string().as_bytes())),
            format!("{input}.{}", &signature[..signature.len() - 4]),
            format!("{input}.{}", base64url(&[0; 64])),
            format!("{input}.{}", base64url(&[0; 256])),
        ] {
            assert_eq!(desk.code(&changed).await, Err(Code::EvidenceInvalid));
        }
    }
}

#[tokio::test]
async fn judges_time_within_the_window() {
    let desk = Desk::new();
    let code = async |change: Value| desk.code(&Kind::Ed.token(&with(change))).await;
    assert_eq!(code(json!({"exp": NOW.0 - 29})).await, Ok(()));
    assert_eq!(code(json!({"nbf": NOW.0 + 30, "iat": NOW.0 + 30})).await, Ok(()));
    assert_eq!(code(json!({"nbf": null, "iat": null})).await, Ok(()));
    assert_eq!(code(json!({"exp": NOW.0 + OIDC_LIFE_SECONDS_MAX})).await, Ok(()));
    for change in [
        json!({"exp": NOW.0 - 30}),
        json!({"exp": null}),
        json!({"exp": "1800000000"}),
        json!({"exp": 1.5}),
        json!({"exp": NOW.0 + OIDC_LIFE_SECONDS_MAX + 1}),
        json!({"exp": i64::MAX}),
        json!({"exp": i64::MIN}),
        json!({"nbf": NOW.0 + 31}),
        json!({"iat": NOW.0 + 31}),
        json!({"nbf": "now"}),
    ] {
        assert_eq!(code(change.clone()).await, Err(Code::EvidenceInvalid), "{change}");
    }
}

#[tokio::test]
async fn judges_issuer_audience_and_claims() {
    let desk = Desk::new();
    let code = async |change: Value| desk.code(&Kind::Ed.token(&with(change))).await;
    assert_eq!(code(json!({"aud": "marque"})).await, Ok(()));
    for change in [
        json!({"iss": "https://ci.example/"}),
        json!({"iss": "https://other.example"}),
        json!({"aud": "marque2"}),
        json!({"aud": []}),
        json!({"aud": ["marque", 1]}),
        json!({"aud": null}),
        json!({"aud": {"marque": "marque"}}),
        json!({"sub": "repo:acme"}),
        json!({"sub": "repo:evil/repo:acme/"}),
        json!({"sub": ["repo:acme/x"]}),
        json!({"sub": null}),
        json!({"kubernetes.io": {"namespace": "agents2"}}),
        json!({"kubernetes.io": {"namespace": {"x": "agents"}}}),
        json!({"kubernetes.io": null}),
        // Two ways to read one path: undecidable.
        json!({"kubernetes": {"io": {"namespace": "agents"}}}),
        json!({"kubernetes.io.namespace": "agents"}),
    ] {
        assert_eq!(code(change.clone()).await, Err(Code::EvidenceMismatch), "{change}");
    }
    assert_eq!(code(json!({"iss": null})).await, Err(Code::EvidenceInvalid));
    assert_eq!(code(json!({"kubernetes.io": null, "kubernetes": {"io": {"namespace": "agents"}}})).await, Ok(()));
    // What a parser might read either way is not read at all.
    let twice = good().to_string().replacen("{", "{\"sub\":\"repo:acme/agents\",", 1);
    assert_eq!(
        desk.code(&Kind::Ed.token_of(r#"{"alg":"EdDSA","kid":"ed-1"}"#, &twice)).await,
        Err(Code::EvidenceInvalid)
    );
    let header = r#"{"alg":"EdDSA","alg":"none","kid":"ed-1"}"#;
    assert_eq!(desk.code(&Kind::Ed.token_of(header, &good().to_string())).await, Err(Code::EvidenceInvalid));
}

#[tokio::test]
async fn truth_values_and_integers_are_claims_too() {
    let mut desk = Desk::new();
    desk.demand.claims = vec![
        ClaimDemand { path: "verified".into(), value: ClaimValue::Bool(true) },
        ClaimDemand { path: "owner.id".into(), value: ClaimValue::Integer(7) },
    ];
    let code = async |change: Value| desk.code(&Kind::Ed.token(&with(change))).await;
    assert_eq!(code(json!({"verified": true, "owner": {"id": 7}})).await, Ok(()));
    for (verified, id) in
        [(json!("true"), json!(7)), (json!(false), json!(7)), (json!(true), json!("7")), (json!(true), json!(7.5))]
    {
        let change = json!({"verified": verified, "owner": {"id": id}});
        assert_eq!(code(change.clone()).await, Err(Code::EvidenceMismatch), "{change}");
    }
}

#[tokio::test]
async fn a_token_that_names_a_key_is_for_that_key() {
    let desk = Desk::new();
    let code = async |change: Value| desk.code(&Kind::Ed.token(&with(change))).await;
    let (ours, others) = (agent(), other());
    for good in [
        json!({"cnf": {"jkt": ours.thumbprint()}}),
        json!({"cnf": {"jwk": ours.jwk()}}),
        json!({"cnf": {"jwk": ours.jwk(), "kid": "mine"}}),
        json!({"nonce": ours.thumbprint_uri()}),
        json!({"nonce": ours.did()}),
        json!({"nonce": "n-0S6_WzA2Mj"}),
    ] {
        assert_eq!(code(good.clone()).await, Ok(()), "{good}");
    }
    for bad in [
        json!({"cnf": {"jkt": others.thumbprint()}}),
        json!({"cnf": {"jwk": others.jwk()}}),
        json!({"cnf": {"jkt": ours.thumbprint(), "jwk": others.jwk()}}),
        json!({"cnf": {"x5t#S256": "AAAA"}}),
        json!({"cnf": {"kid": "mine"}}),
        json!({"cnf": {}}),
        json!({"cnf": "x"}),
        json!({"nonce": others.thumbprint_uri()}),
        json!({"nonce": others.did()}),
    ] {
        assert_eq!(code(bad.clone()).await, Err(Code::EvidenceInvalid), "{bad}");
    }
}

#[tokio::test]
async fn a_token_is_called_by_its_jti_or_its_bytes() {
    let desk = Desk::new();
    let key = async |change: Value| desk.examine(&Kind::Ed.token(&with(change))).await.unwrap().used.key;
    let named = key(json!({})).await;
    assert_eq!(key(json!({"iat": NOW.0 - 6})).await, named, "one `jti`, one token");
    assert_ne!(key(json!({"jti": "t2"})).await, named);
    let unnamed = key(json!({"jti": null})).await;
    assert_ne!(unnamed, named);
    assert_eq!(key(json!({"jti": null})).await, unnamed);
    assert_ne!(key(json!({"jti": null, "iat": NOW.0 - 6})).await, unnamed);
    for jti in [json!(""), json!(1), json!("x".repeat(JTI_BYTES_MAX + 1))] {
        assert_eq!(desk.code(&Kind::Ed.token(&with(json!({ "jti": jti })))).await, Err(Code::EvidenceInvalid));
    }
}

#[tokio::test]
async fn bounds_its_size() {
    let desk = Desk::new();
    let empty = Kind::Ed.token(&with(json!({"pad": ""})));
    // Three bytes of padding are four of base64.
    let room = OIDC_BYTES_MAX - empty.len();
    let fits = Kind::Ed.token(&with(json!({"pad": "x".repeat(room * 3 / 4)})));
    assert!(fits.len() <= OIDC_BYTES_MAX && fits.len() + 4 > OIDC_BYTES_MAX);
    assert_eq!(desk.code(&fits).await, Ok(()));
    let over = Kind::Ed.token(&with(json!({"pad": "x".repeat(room * 3 / 4 + 4)})));
    assert_eq!(desk.code(&over).await, Err(Code::Oversize));
}

proptest! {
    #[test]
    fn noise_is_refused(text in "[ -~.]{0,300}", header in ".{0,60}", claims in ".{0,60}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let desk = Desk::new();
        for token in [text, Kind::Ed.token_of(&header, &claims)] {
            prop_assert!(runtime.block_on(desk.examine(&token)).is_err());
        }
    }
}
