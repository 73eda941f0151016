//! Keys and documents that the unit tests share.

use crate::blueprint::{Blueprint, Blueprints};
use crate::rules::Rules;
use marque_identity::UnixSeconds;

use marque_signing::{Anchor, Operator, SigningKey, TrustBundle};

pub(crate) fn issuer() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub(crate) fn agent() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

pub(crate) fn operator() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

pub(crate) fn bundle() -> TrustBundle {
    TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: UnixSeconds(1),
        issuers: vec![Anchor { iss: "https://acme.example".into(), did: issuer().did() }],
        services: vec![],
        operators: vec![Operator { name: "ada".into(), did: operator().did() }],
    }
}

pub(crate) fn blueprint() -> Blueprint {
    let text = r#"
        name = "orchestrator"
        description = "Plans."
        sponsor = "team-research"
        models = ["example-large-1"]
        max_life_seconds = 7200
        max_depth = 4
        [tools."nats:tools.crm.query"]
        customer = { constraint_type = "one_of", values = ["acme", "globex"] }
    "#;
    Blueprint::parse(std::path::Path::new("orchestrator.toml"), text).unwrap()
}

pub(crate) fn rules() -> Rules {
    Rules::new(bundle(), Blueprints::of([blueprint()]), &issuer().public()).unwrap()
}
