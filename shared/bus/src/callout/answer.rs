//! The answer to a server's question: a user of one account with its permissions, or no.

use std::time::Duration;

use marque_identity::UnixSeconds;
use marque_json::JsonError;
use marque_signing::nkey::{self, Kind};
use marque_signing::xkey::SealError;
use marque_signing::{SigningKey, sha256};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Question, Questions, jwt};
use crate::permissions::{Account, Allowed};

/// How often, and for how long, an agent may answer on the reply subject of a message that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Messages.
    pub max: u32,
    /// From the question on.
    pub ttl: Duration,
}

/// Whom to let in, as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The name under which the server lists the connection and tells of it.
    pub name: String,
    /// What it may publish and subscribe to.
    pub allowed: Allowed,
    /// Whether it may answer where it is asked.
    pub responses: Option<Responses>,
    /// When the server ends the connection, so that it has to be asked again.
    pub expires_at: UnixSeconds,
}

/// Signs answers. TRUST: its key can place a user in any account; it places them in the agents' alone.
#[derive(Debug)]
pub struct Answerer {
    account: SigningKey,
    /// The account's nkey.
    issuer: String,
    questions: Questions,
}

/// Why no answer could be written.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The claims could not be written.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Answerer {
    /// Signs with the account key that the server's configuration names; seals with the xkey that questions come to.
    pub fn new(account: SigningKey, questions: Questions) -> Self {
        Self { issuer: nkey::public(Kind::Account, &account.public()), account, questions }
    }

    /// Opens what this answers.
    pub fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Lets a client in.
    pub fn admit(&self, question: &Question, admission: &Admission, now: UnixSeconds) -> Result<Vec<u8>, AnswerError> {
        let Admission { name, allowed, responses, expires_at } = admission;
        let mut nats = json!({
            "pub": { "allow": allowed.publish }, "sub": { "allow": allowed.subscribe },
            "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
        });
        // An empty list would mean everything.
        for (direction, patterns) in [("pub", &allowed.publish), ("sub", &allowed.subscribe)] {
            if patterns.is_empty() {
                nats[direction] = json!({ "deny": [">"] });
            }
        }
        if let Some(responses) = responses {
            let ttl = u64::try_from(responses.ttl.as_nanos()).unwrap_or(u64::MAX);
            nats["resp"] = json!({ "max": responses.max, "ttl": ttl });
        }
        let user = self.sign(&Claims {
            sub: &question.user_nkey,
            aud: Account::Agents.as_str(),
            name: Some(name),
            exp: Some(expires_at.0),
            iat: now.0,
            nats,
        })?;
        self.answer(question, json!({ "jwt": user }), now)
    }

    /// Turns a client away. The reason is for the server's own log: the client hears nothing of it.
    pub fn refuse(&self, question: &Question, reason: &str, now: UnixSeconds) -> Result<Vec<u8>, AnswerError> {
        self.answer(question, json!({ "error": reason }), now)
    }

    fn answer(&self, question: &Question, mut nats: Value, now: UnixSeconds) -> Result<Vec<u8>, AnswerError> {
        nats["type"] = json!("authorization_response");
        nats["version"] = json!(2);
        let (sub, aud) = (question.user_nkey.as_str(), question.server.as_str());
        let token = self.sign(&Claims { sub, aud, name: None, exp: None, iat: now.0, nats })?;
        Ok(match &question.server_xkey {
            Some(reader) => self.questions.xkey().seal(token.as_bytes(), reader)?,
            None => token.into_bytes(),
        })
    }

    /// Signs claims, with their issuer and id: members that they have not themselves.
    fn sign(&self, claims: &Claims<'_>) -> Result<String, AnswerError> {
        let mut payload = marque_json::to_canonical(claims)?;
        // NATS' ids are hashes of the claims, in base32. It and the issuer are plain words: nothing to be escaped.
        let jti = data_encoding::BASE32_NOPAD.encode(&sha256(&payload).0);
        payload.pop(); // the closing brace
        payload.extend_from_slice(format!(r#","iss":"{}","jti":"{jti}"}}"#, self.issuer).as_bytes());
        Ok(jwt::sign(&self.account, &payload))
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    nats: Value,
}

#[cfg(test)]
mod tests {
    use super::super::jwt::Jwt;
    use super::*;

    #[test]
    fn signs_claims_with_their_issuer_and_their_hash() {
        let account = SigningKey::from_seed(&[1; 32]);
        let (public, xkey) = (account.public(), marque_signing::xkey::SealingKey::from_seed(&[2; 32]));
        let answerer = Answerer::new(account, Questions::new(&public, xkey));
        let claims = Claims {
            sub: "U",
            aud: Account::Agents.as_str(),
            name: Some("\"}"),
            exp: Some(2),
            iat: 1,
            nats: json!({ "type": "user" }),
        };
        let token = answerer.sign(&claims).unwrap();
        let jwt = Jwt::split(&token).unwrap();
        jwt.verify(&public).unwrap();
        let read: Value = jwt.unverified(4096).unwrap(); // strictly: no member twice
        let mut expected = serde_json::to_value(&claims).unwrap();
        let hash = sha256(&marque_json::to_canonical(&expected).unwrap());
        expected["iss"] = nkey::public(Kind::Account, &public).into();
        expected["jti"] = data_encoding::BASE32_NOPAD.encode(&hash.0).into();
        assert_eq!(read, expected);
    }
}
