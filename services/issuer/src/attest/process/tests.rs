use marque_credential::evidence::{PROCESS_EVIDENCE_TYPE, Process};
use marque_identity::{Digest, TokenId};
use marque_signing::{ServiceKey, SigningKey, jws};

use super::*;
use crate::testing;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn attestor() -> SigningKey {
    SigningKey::from_seed(&[0xa7; 32])
}

fn bundle() -> TrustBundle {
    let services = vec![ServiceKey { role: Role::Attestor, name: "node-1".into(), did: attestor().did() }];
    TrustBundle { services, ..testing::bundle() }
}

fn good() -> ProcessEvidence {
    ProcessEvidence {
        jti: TokenId("p1".into()),
        iss: attestor().did(),
        aud: "acme.example".parse().unwrap(),
        sub: testing::agent().did(),
        iat: NOW,
        exp: NOW.plus(EVIDENCE_LIFE_SECONDS),
        host: "node-1".into(),
        process: Process {
            pid: 42,
            started_ticks: 7,
            uid: 1000,
            gid: 1000,
            exe: "/usr/bin/agent".into(),
            exe_sha256: Digest([5; 32]),
            command_line: vec!["agent".into()],
            command_line_cut: false,
            cgroup: Some("/agents/a".into()),
            container_id: Some("c0ffee".into()),
        },
    }
}

fn verdict(evidence: &ProcessEvidence, demand: &ProcessDemand) -> Result<(), Code> {
    let token = evidence.sign(&attestor()).unwrap();
    examine(&token, Some(demand), &bundle(), &testing::agent().did(), NOW).map(drop).map_err(|refusal| refusal.code)
}

#[test]
fn refuses_an_attestor_that_speaks_for_another_machine() {
    let other = SigningKey::from_seed(&[0xa8; 32]);
    let mut bundle = bundle();
    bundle.services.push(ServiceKey { role: Role::Attestor, name: "node-2".into(), did: other.did() });
    // A key of the same name in another role gives no right.
    bundle.services.push(ServiceKey { role: Role::Host, name: "node-1".into(), did: other.did() });
    let judged = |host: &str| {
        let evidence = ProcessEvidence { iss: other.did(), host: host.into(), ..good() };
        examine(&evidence.sign(&other).unwrap(), None, &bundle, &testing::agent().did(), NOW).map(drop)
    };
    assert!(judged("node-2").is_ok());
    let refusal = judged("node-1").unwrap_err();
    assert_eq!(refusal.code, Code::EvidenceInvalid);
    assert!(refusal.message.contains("another machine"), "{}", refusal.message);
}

#[test]
fn refuses_each_broken_rule_of_the_statement() {
    let any = ProcessDemand::default();
    assert_eq!(verdict(&good(), &any), Ok(()));
    let invalid = |change: fn(&mut ProcessEvidence)| {
        let mut evidence = good();
        change(&mut evidence);
        assert_eq!(verdict(&evidence, &any), Err(Code::EvidenceInvalid), "{evidence:?}");
    };
    invalid(|evidence| evidence.host = "node-2".into());
    invalid(|evidence| evidence.sub = SigningKey::from_seed(&[9; 32]).did());
    invalid(|evidence| evidence.aud = "other.example".parse().unwrap());
    invalid(|evidence| evidence.iat = NOW.plus(WINDOW_SECONDS + 1));
    invalid(|evidence| (evidence.iat, evidence.exp) = (NOW.plus(-60), NOW));
    invalid(|evidence| evidence.exp = NOW.plus(EVIDENCE_LIFE_SECONDS + 1));
    invalid(|evidence| (evidence.iat, evidence.exp) = (NOW.plus(20), NOW.plus(10)));
    invalid(|evidence| evidence.jti = TokenId(String::new()));
    invalid(|evidence| evidence.jti = TokenId("x".repeat(JTI_BYTES_MAX + 1)));
    invalid(|evidence| evidence.iss = SigningKey::from_seed(&[9; 32]).did());

    // Whoever else signs it: an operator, the issuer, the agent itself.
    for stranger in [testing::operator(), testing::issuer(), testing::agent()] {
        let token = ProcessEvidence { iss: stranger.did(), ..good() }.sign(&stranger).unwrap();
        let refused = examine(&token, Some(&any), &bundle(), &testing::agent().did(), NOW).unwrap_err();
        assert_eq!(refused.code, Code::EvidenceInvalid);
    }
    let other_typ = jws::sign_as_did(&attestor(), "marque-join+jwt", &good()).unwrap();
    let huge =
        jws::sign(&attestor(), PROCESS_EVIDENCE_TYPE, Some(&attestor().did().url()), &[b' '; EVIDENCE_BYTES_MAX]);
    for (token, code) in
        [(other_typ, Code::EvidenceInvalid), (huge, Code::Oversize), ("…".into(), Code::EvidenceInvalid)]
    {
        assert_eq!(examine(&token, None, &bundle(), &testing::agent().did(), NOW).unwrap_err().code, code);
    }
}

#[test]
fn holds_each_demand_against_what_was_seen() {
    let texts = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let fits = ProcessDemand {
        exe_sha256: Some(vec![Digest([4; 32]), Digest([5; 32])]),
        exe: texts(&["/usr/bin/agent"]),
        uid: Some(vec![0, 1000]),
        cgroup_prefix: texts(&["/system", "/agents/"]),
        container_id: texts(&["c0ffee"]),
        hosts: texts(&["node-1"]),
    };
    assert_eq!(verdict(&good(), &fits), Ok(()));
    let substituted = [
        ProcessDemand { exe_sha256: Some(vec![Digest([4; 32])]), ..fits.clone() },
        ProcessDemand { exe: texts(&["/usr/bin/agen", "agent"]), ..fits.clone() },
        ProcessDemand { uid: Some(vec![0]), ..fits.clone() },
        ProcessDemand { cgroup_prefix: texts(&["/agent", "/agents/a/b", "agents"]), ..fits.clone() },
        ProcessDemand { container_id: texts(&["c0ffe"]), ..fits.clone() },
        ProcessDemand { hosts: texts(&["node-2"]), ..fits.clone() },
    ];
    for demand in substituted {
        assert_eq!(verdict(&good(), &demand), Err(Code::EvidenceMismatch), "{demand:?}");
    }
    let mut bare = good();
    (bare.process.cgroup, bare.process.container_id) = (None, None);
    assert_eq!(
        verdict(&bare, &ProcessDemand { cgroup_prefix: texts(&["/agents"]), ..ProcessDemand::default() }),
        Err(Code::EvidenceMismatch)
    );
    assert_eq!(
        verdict(&bare, &ProcessDemand { container_id: texts(&["c0ffee"]), ..ProcessDemand::default() }),
        Err(Code::EvidenceMismatch)
    );
}

#[test]
fn a_statement_is_called_by_its_attestor_and_its_jti() {
    let key = |evidence: &ProcessEvidence| {
        let token = evidence.sign(&attestor()).unwrap();
        examine(&token, None, &bundle(), &testing::agent().did(), NOW).unwrap().0.used.key
    };
    let of_another_process = Process { pid: 43, ..good().process };
    assert_eq!(key(&good()), key(&ProcessEvidence { process: of_another_process, ..good() }));
    assert_ne!(key(&good()), key(&ProcessEvidence { jti: TokenId("p2".into()), ..good() }));
    assert_ne!(key(&good()), crate::store::join_key(&attestor().did(), &TokenId("p1".into())));
}
