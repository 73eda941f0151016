//! What an agent reaches on the wire: its chain's grants, and nothing else.

use marque_agent::AgentKey;
use marque_bus::{Bus, Presented, subjects};
use marque_identity::Did;
use marque_tests::system::{DEADLINE, TestSystem};

use super::{HOSTED, blueprint, commission, complaints, connect, enrol};

/// Every subject of the system, and the server's own: each is denied but the agent's own and what its chain grants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reaches_what_its_chain_grants_and_nothing_else() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    let key = root.key().did().multibase();
    let other = Did::from_key_bytes([7; 32]).multibase();

    let mut subjects: Vec<String> =
        subjects::SUBJECTS.iter().map(|row| row.wildcard().replace(['*', '>'], "x")).collect();
    for beyond in [
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.USER.AUTH",
        "$SYS.ACCOUNT.AGENTS.CONNECT",
        "$JS.API.INFO",
        "$JS.API.STREAM.CREATE.X",
        "$JS.API.STREAM.DELETE.MARQUE_AUDIT",
        "$JS.API.DIRECT.GET.MARQUE_AUDIT",
        "$JS.ACK.MARQUE_AUDIT.c.1.1.1.1.1",
        "$KV.bucket.key",
        "$O.bucket.C.x",
        "$SRV.PING",
        "$G.x",
        "_R_.x.y",
        "other.x",
        "team",
        "tools.ledger",
        "tools.ledger.read.more",
        "tools.ledger.write",
    ] {
        subjects.push(beyond.to_owned());
    }
    for kind in ["decided", "issued", "connected", "completed", "risk", "kicked"] {
        subjects.push(format!("marque.record.{kind}.{key}"));
    }
    for kind in ["delegated", "requested"] {
        subjects.push(format!("marque.record.{kind}.{other}"));
    }
    subjects.push(format!("_INBOX.{other}.reply"));
    let allowed_to_publish = [
        "marque.issuer.issue".to_owned(),
        "marque.issuer.renew".to_owned(),
        "marque.issuer.bundle".to_owned(),
        "marque.revocation.request".to_owned(),
    ];
    let mut attempts = Vec::new();
    for subject in &subjects {
        if !allowed_to_publish.contains(subject) {
            attempts.push((true, subject.clone()));
        }
        attempts.push((false, subject.clone()));
    }
    for wide in [">", "*", "*.>", "*.x", "_INBOX.>", "_INBOX.*.x", "marque.>", "tools.>", "$SYS.>", "$JS.>", "team2.>"]
    {
        attempts.push((false, wide.to_owned()));
    }
    let heard = complaints(&bus, &attempts).await;
    for ((publish, subject), text) in attempts.iter().zip(&heard) {
        let way = if *publish { "Publish" } else { "Subscription" };
        assert!(text.contains(way) && text.contains(&format!("\"{subject}\"")), "{way} {subject}: heard {text}");
    }
    assert_eq!(heard.len(), attempts.len(), "exactly what is beyond is denied");

    // And its own works: what it was granted, its inbox, its statements, its questions.
    let own = [
        (true, "team.a.b".to_owned()),
        (true, format!("_INBOX.{key}.self")),
        (true, HOSTED.to_owned()),
        (true, format!("marque.gate.{HOSTED}")),
        (true, format!("marque.record.delegated.{key}")),
        (true, format!("marque.record.requested.{key}")),
        (false, "team.a.*".to_owned()),
        (false, "team.>".to_owned()),
        (false, format!("_INBOX.{key}.>")),
    ];
    let own: Vec<_> = own.into_iter().chain(allowed_to_publish.map(|subject| (true, subject))).collect();
    assert!(complaints(&bus, &own).await.is_empty());

    // Whoever shows nothing but a key, or a credential, reaches less.
    let visitor_key = AgentKey::generate().unwrap();
    let options = visitor_key.connect_options(system.url(), "visitor", Presented::new(Presented::ENROL));
    let visitor = Bus::connect_now(options, DEADLINE).await.unwrap();
    let beyond: Vec<_> =
        ["marque.issuer.issue", "marque.revocation.request", HOSTED, "team.a"].map(|s| (true, s.to_owned())).into();
    assert_eq!(complaints(&visitor, &beyond).await.len(), beyond.len());
    let beyond: Vec<_> =
        ["marque.issuer.enrol", HOSTED, "team.a", "marque.gate.x"].map(|s| (true, s.to_owned())).into();
    assert_eq!(complaints(agent.bus(), &beyond).await.len(), beyond.len());
    system.stop().await;
}
