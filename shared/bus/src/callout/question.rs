//! The server's question: who wants in, and what it showed.

use marque_identity::UnixSeconds;
use marque_signing::nkey::{self, Kind};
use marque_signing::xkey::{PublicXkey, SealingKey};
use marque_signing::{PublicKey, base64url_decode};
use serde::Deserialize;

use super::jwt::{Jwt, JwtError};

/// A CONNECT line has at most 64 KiB here (`max_control_line`); a third more in base64, and the rest of the question.
pub const QUESTION_BYTES_MAX: usize = 128 * 1024;
/// How far the server's clock may be from ours, in seconds.
const SKEW_SECONDS: i64 = 30;
/// `aud` of every question.
const AUDIENCE: &str = "nats-authorization-request";
/// A server's nonce has 11 to 22 characters.
const NONCE_BYTES_MAX: usize = 64;
/// What is kept of a text that the client chose: its library's name.
const CLIENT_CHARS_MAX: usize = 64;

/// Why a question is not answered. Nothing that a client sends leads here: the server signs what it asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Larger than a server asks.
    #[error("{0} bytes are more than a question has")]
    Oversize(usize),
    /// Not sealed, though an xkey is configured, or not by the server that it names.
    #[error("it is not sealed for us by the server that it names")]
    NotSealed,
    /// Not a token that a server signed.
    #[error("it is not a server's token")]
    Token(#[source] JwtError),
    /// Signed by what is no server's key, or by another server than it names.
    #[error("it is not signed by the server that it names")]
    Server,
    /// For another responder, of another kind, or of another time.
    #[error("it is not for us, or not for now: {0}")]
    Misdirected(&'static str),
}

/// A question that a server asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The server's id, `N…`.
    pub server: String,
    /// The connection's number there.
    pub cid: u64,
    /// The key that the answer must name: the server's own for this connection, not the client's.
    pub user_nkey: String,
    /// What the server sealed with; the answer is sealed for it.
    pub server_xkey: Option<PublicXkey>,
    /// The client's key, where it showed one and signed the server's nonce with it.
    pub possession: Option<PublicKey>,
    /// What it presents.
    pub presented: String,
    /// Where it connects from, as the server sees it.
    pub host: String,
    /// Its library, as it says itself.
    pub client: String,
}

/// Opens questions.
#[derive(Debug)]
pub struct Questions {
    account: String,
    xkey: SealingKey,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: i64,
    nats: Nats,
}

#[derive(Deserialize)]
struct Nats {
    #[serde(rename = "type")]
    kind: String,
    server_id: ServerId,
    user_nkey: String,
    client_info: ClientInfo,
    connect_opts: ConnectOpts,
}

#[derive(Deserialize)]
struct ServerId {
    id: String,
}

#[derive(Deserialize)]
struct ClientInfo {
    id: u64,
    #[serde(default)]
    host: String,
    #[serde(default)]
    nonce: String,
}

#[derive(Deserialize)]
struct ConnectOpts {
    #[serde(default)]
    nkey: String,
    #[serde(default)]
    sig: String,
    #[serde(default)]
    auth_token: String,
    #[serde(default)]
    lang: String,
    #[serde(default)]
    version: String,
}

impl Questions {
    /// For the account key that the server's configuration names as issuer, sealed for `xkey`.
    pub fn new(account: &PublicKey, xkey: SealingKey) -> Self {
        Self { account: nkey::public(Kind::Account, account), xkey }
    }

    /// The key that seals and opens.
    pub(super) fn xkey(&self) -> &SealingKey {
        &self.xkey
    }

    /// Opens a question.
    ///
    /// 1. its size
    /// 2. sealed for us by the xkey in its header
    /// 3. a token, signed by the server that it names
    /// 4. for us, and for now
    /// 5. possession: the client's signature over the server's nonce
    pub fn open(&self, payload: &[u8], server_xkey: Option<&str>, now: UnixSeconds) -> Result<Question, QuestionError> {
        // 1
        if payload.len() > QUESTION_BYTES_MAX {
            return Err(QuestionError::Oversize(payload.len()));
        }
        // 2
        let sender = server_xkey.and_then(|text| PublicXkey::parse(text).ok()).ok_or(QuestionError::NotSealed)?;
        let token = self.xkey.open(payload, &sender).map_err(|_| QuestionError::NotSealed)?;
        let token = String::from_utf8(token).map_err(|_| QuestionError::Token(JwtError::NotCompact))?;
        // 3
        let jwt = Jwt::split(&token).map_err(QuestionError::Token)?;
        let claims: Claims = jwt.unverified(QUESTION_BYTES_MAX).map_err(QuestionError::Token)?;
        let server = nkey::parse_public(Kind::Server, &claims.iss).map_err(|_| QuestionError::Server)?;
        jwt.verify(&server).map_err(QuestionError::Token)?;
        if claims.nats.server_id.id != claims.iss {
            return Err(QuestionError::Server);
        }
        // 4
        let timely =
            claims.exp > now.0.saturating_sub(SKEW_SECONDS) && claims.iat <= now.0.saturating_add(SKEW_SECONDS);
        for (holds, rule) in [
            (claims.aud == AUDIENCE, "`aud`"),
            (claims.sub == self.account, "`sub`"),
            (claims.nats.kind == "authorization_request", "`type`"),
            (timely, "`iat`, `exp`"),
        ] {
            if !holds {
                return Err(QuestionError::Misdirected(rule));
            }
        }
        // 5
        let Nats { user_nkey, client_info, connect_opts, .. } = claims.nats;
        let possession = possession(&connect_opts.nkey, &connect_opts.sig, &client_info.nonce);
        let client = format!("{} {}", connect_opts.lang, connect_opts.version);
        Ok(Question {
            server: claims.iss,
            cid: client_info.id,
            user_nkey,
            server_xkey: Some(sender),
            possession,
            presented: connect_opts.auth_token,
            host: short(&client_info.host),
            client: short(client.trim()),
        })
    }
}

/// The key that signed this nonce. The server does not check: with a callout it is the responder's to do.
fn possession(key: &str, signature: &str, nonce: &str) -> Option<PublicKey> {
    // Without a nonce the signature could be an old one; one shaped like a token we would not have signed.
    if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX || nonce.contains('.') {
        return None;
    }
    let key = nkey::parse_public(Kind::User, key).ok()?;
    // Clients write it in either alphabet, with padding or without.
    let plain: String = signature.trim_end_matches('=').chars().map(url_safe).collect();
    let signature: [u8; 64] = base64url_decode(plain)?.try_into().ok()?;
    key.verify(nonce.as_bytes(), &signature).ok().map(|()| key)
}

fn url_safe(c: char) -> char {
    match c {
        '+' => '-',
        '/' => '_',
        c => c,
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(CLIENT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callout::jwt;
    use marque_signing::{SigningKey, base64url};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
    const NONCE: &str = "iSDrUxroKI6HWYM";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn xkey(seed: u8) -> SealingKey {
        SealingKey::from_seed(&[seed; 32])
    }

    fn questions() -> Questions {
        Questions::new(&key(1).public(), xkey(2))
    }

    fn server() -> String {
        nkey::public(Kind::Server, &key(3).public())
    }

    fn claims() -> Value {
        json!({
            "iss": server(), "sub": nkey::public(Kind::Account, &key(1).public()), "aud": AUDIENCE,
            "iat": NOW.0, "exp": NOW.0 + 5, "jti": "J",
            "nats": {
                "type": "authorization_request", "version": 2, "server_id": { "id": server(), "name": "n" },
                "user_nkey": nkey::user_public(&key(4).public()),
                "client_info": { "id": 10, "host": "127.0.0.1", "nonce": NONCE },
                "connect_opts": {
                    "nkey": nkey::user_public(&key(5).public()),
                    "sig": base64url(&key(5).sign(NONCE.as_bytes())),
                    "auth_token": "a~b", "lang": "python3", "version": "2", "protocol": 1,
                },
            },
        })
    }

    fn ask(claims: &Value, signer: &SigningKey) -> Result<Question, QuestionError> {
        let token = jwt::sign(signer, claims.to_string().as_bytes());
        let reader = PublicXkey::parse(&xkey(2).public()).unwrap();
        let sealed = xkey(6).seal(token.as_bytes(), &reader).unwrap();
        questions().open(&sealed, Some(&xkey(6).public()), NOW)
    }

    #[test]
    fn opens_what_a_server_asks() {
        let question = ask(&claims(), &key(3)).unwrap();
        assert_eq!((question.server, question.cid, question.presented), (server(), 10, "a~b".to_owned()));
        assert_eq!(question.possession, Some(key(5).public()));
        assert_eq!(question.client, "python3 2");
    }

    #[test]
    fn refuses_what_no_server_asks_us() {
        assert_eq!(ask(&claims(), &key(9)).unwrap_err(), QuestionError::Token(JwtError::Signature));
        for (pointer, value, fault) in [
            ("/iss", json!(nkey::public(Kind::Server, &key(9).public())), None),
            ("/iss", json!(nkey::user_public(&key(3).public())), Some(QuestionError::Server)),
            ("/nats/server_id/id", json!("N"), Some(QuestionError::Server)),
            ("/aud", json!("other"), Some(QuestionError::Misdirected("`aud`"))),
            ("/sub", json!(nkey::public(Kind::Account, &key(9).public())), Some(QuestionError::Misdirected("`sub`"))),
            ("/nats/type", json!("user"), Some(QuestionError::Misdirected("`type`"))),
            ("/exp", json!(NOW.0 - 31), Some(QuestionError::Misdirected("`iat`, `exp`"))),
            ("/iat", json!(NOW.0 + 31), Some(QuestionError::Misdirected("`iat`, `exp`"))),
            ("/nats/client_info/id", json!("10"), None),
        ] {
            let mut claims = claims();
            *claims.pointer_mut(pointer).unwrap() = value;
            let error = ask(&claims, &key(3)).unwrap_err();
            assert!(fault.is_none_or(|fault| fault == error), "{pointer}: {error}");
        }
    }

    #[test]
    fn refuses_what_is_not_sealed() {
        let token = jwt::sign(&key(3), claims().to_string().as_bytes());
        let open = |payload: &[u8], xkey: Option<&str>| questions().open(payload, xkey, NOW).unwrap_err();
        assert_eq!(open(token.as_bytes(), None), QuestionError::NotSealed);
        assert_eq!(open(token.as_bytes(), Some(&xkey(6).public())), QuestionError::NotSealed);
        assert_eq!(open(&vec![0; QUESTION_BYTES_MAX + 1], None), QuestionError::Oversize(QUESTION_BYTES_MAX + 1));
    }

    #[test]
    fn possession_is_a_signature_over_this_nonce() {
        let with = |member: &str, value: String| {
            let mut claims = claims();
            claims["nats"]["connect_opts"][member] = json!(value);
            ask(&claims, &key(3)).unwrap().possession
        };
        let padded = {
            use data_encoding::BASE64;
            BASE64.encode(&key(5).sign(NONCE.as_bytes()))
        };
        assert_eq!(with("sig", padded), Some(key(5).public()));
        assert_eq!(with("sig", base64url(&key(5).sign(b"another nonce"))), None);
        assert_eq!(with("sig", base64url(&key(9).sign(NONCE.as_bytes()))), None);
        assert_eq!(with("sig", String::new()), None);
        assert_eq!(with("nkey", nkey::user_public(&key(9).public())), None);
        assert_eq!(with("nkey", String::new()), None);
        for nonce in ["", "eyJ0eXAi.e30", &"n".repeat(NONCE_BYTES_MAX + 1)] {
            let mut claims = claims();
            claims["nats"]["client_info"]["nonce"] = json!(nonce);
            claims["nats"]["connect_opts"]["sig"] = json!(base64url(&key(5).sign(nonce.as_bytes())));
            assert_eq!(ask(&claims, &key(3)).unwrap().possession, None, "{nonce}");
        }
    }

    proptest! {
        #[test]
        fn noise_opens_nothing(payload in proptest::collection::vec(any::<u8>(), 0..300), sealed: bool) {
            let payload = if sealed {
                xkey(6).seal(&payload, &PublicXkey::parse(&xkey(2).public()).unwrap()).unwrap()
            } else {
                payload
            };
            prop_assert!(questions().open(&payload, Some(&xkey(6).public()), NOW).is_err());
        }
    }
}
