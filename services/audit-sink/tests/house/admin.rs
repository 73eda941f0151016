//! A user who may do everything in the services' account: what an operator is who changes a stream by hand.

use marque_bus::async_nats;
use marque_bus::streams::AUDIT;
use marque_test_support::{Broker, DEADLINE, eventually};
use serde_json::{Value, json};

pub async fn administrator(broker: &mut Broker) -> async_nats::Client {
    let conf = broker.dir().join("nats.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    let (before, account) = text.split_once("  MARQUE {").unwrap();
    let account = account.replacen("users: [\n", "users: [\n      { user: admin, password: admin }\n", 1);
    std::fs::write(&conf, format!("{before}  MARQUE {{{account}")).unwrap();
    broker.kill();
    broker.restart();
    let options = async_nats::ConnectOptions::with_user_and_password("admin".into(), "admin".into());
    let url = broker.url();
    eventually("a connection", DEADLINE, || async { options.clone().connect(&url).await }).await
}

pub async fn api(admin: &async_nats::Client, subject: String, body: Value) -> Value {
    let reply = admin.request(subject, body.to_string().into()).await.unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert!(reply.get("error").is_none(), "{reply}");
    reply
}

/// Drops the stream's head, as an operator with the archive in hand: for a moment only so many messages are allowed,
/// and the old ones go.
pub async fn purge_to_the_last(admin: &async_nats::Client, messages: u64) {
    cut_to(admin, "max_msgs", messages).await;
}

/// The same of each subject's messages: it leaves holes.
pub async fn keep_the_last_of_each_subject(admin: &async_nats::Client) {
    cut_to(admin, "max_msgs_per_subject", 1).await;
}

async fn cut_to(admin: &async_nats::Client, limit: &str, messages: u64) {
    let settings = api(admin, format!("$JS.API.STREAM.INFO.{AUDIT}"), json!({})).await["config"].clone();
    let mut cut = settings.clone();
    (cut["discard"], cut[limit]) = (json!("old"), json!(messages));
    api(admin, format!("$JS.API.STREAM.UPDATE.{AUDIT}"), cut).await;
    api(admin, format!("$JS.API.STREAM.UPDATE.{AUDIT}"), settings).await;
}
