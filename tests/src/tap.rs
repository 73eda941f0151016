//! A tap on a system's bus: everything that travels among the services, and the schema that the published contract
//! (`schemas/asyncapi.yaml`) gives each message.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use marque::service_config::Service;
use marque_bus::async_nats::Message;
use marque_bus::subjects::{SUBJECTS, Subject, matches};
use marque_bus::{Bus, ConnectOptions, header};
use marque_signing::{Compact, SigningKey, nkey};
use serde_json::Value;

use crate::schemas::payloads;
use crate::system::{DEADLINE, TestSystem};

/// What was heard so far.
pub struct Tap {
    heard: Arc<Mutex<Vec<Message>>>,
    // Keeps it listening.
    _bus: Bus,
}

impl Tap {
    /// Taps a running system: its broker is started again with one user more, who may hear everything.
    pub async fn on(system: &mut TestSystem) -> Result<Self, String> {
        let key = SigningKey::generate().map_err(said)?;
        let conf = system.directory().nats_conf();
        let text = std::fs::read_to_string(&conf).map_err(said)?;
        let (before, marque) = text.split_once("  MARQUE {").ok_or("no account of the services")?;
        let listener = format!("users: [\n      {{ nkey: {} }}\n", nkey::user_public(&key.public()));
        let marque = marque.replacen("users: [\n", &listener, 1);
        system.kill_broker();
        std::fs::write(&conf, format!("{before}  MARQUE {{{marque}")).map_err(said)?;
        system.start_broker()?;
        let options = ConnectOptions::new(system.url(), "test-tap").signing_key(Arc::new(key));
        let bus = Bus::connect_now(options, DEADLINE).await.map_err(said)?;
        let mut everything = bus.client().subscribe(">").await.map_err(said)?;
        bus.client().flush().await.map_err(said)?;
        for service in Service::ALL {
            system.until_ready(service).await?;
        }
        let heard: Arc<Mutex<Vec<Message>>> = Arc::default();
        let kept = heard.clone();
        tokio::spawn(async move {
            while let Some(message) = everything.next().await {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        });
        Ok(Self { heard, _bus: bus })
    }

    /// Name of the schema and message, in the order in which they were heard; without the questions that were refused,
    /// which may be anything.
    pub fn instances(&self) -> Vec<(&'static str, Value)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let refused: HashSet<&str> = heard.iter().filter(|m| is_refusal(m)).map(|m| m.subject.as_str()).collect();
        // Reply subject → what answers there.
        let mut awaited: HashMap<&str, Option<&'static str>> = HashMap::new();
        let mut instances = Vec::new();
        for message in heard.iter() {
            let reply = message.reply.as_deref();
            let schema = match row(&message.subject) {
                Some(row) => {
                    let (asked, answered) = payloads(row.name);
                    awaited.extend(reply.map(|reply| (reply, answered)));
                    asked.filter(|_| reply.is_none_or(|reply| !refused.contains(reply)))
                }
                None if is_refusal(message) => Some("refusal"),
                None => awaited.get(message.subject.as_str()).copied().flatten(),
            };
            if let Some(schema) = schema {
                let text = || String::from_utf8_lossy(&message.payload).into_owned();
                instances.push((schema, value(&message.payload).unwrap_or_else(|| Value::String(text()))));
            }
        }
        instances
    }
}

fn row(subject: &str) -> Option<&'static Subject> {
    SUBJECTS.iter().find(|row| matches(&row.wildcard(), subject))
}

fn is_refusal(message: &Message) -> bool {
    message.headers.as_ref().is_some_and(|headers| headers.get(header::SERVICE_ERROR_CODE).is_some())
}

/// JSON, or the payload of a JWT: its schema is that.
pub fn value(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Ok(compact) = Compact::split(text) {
        return serde_json::from_slice(&compact.payload().ok()?).ok();
    }
    serde_json::from_str(text).ok()
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
