use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use marque_signing::SigningKey;
use serde_json::json;

use super::*;

fn key_set(kids: &[&str]) -> String {
    let jwk = SigningKey::from_seed(&[5; 32]).public().jwk();
    let keys: Vec<_> = kids.iter().map(|kid| json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "kid": kid})).collect();
    json!({ "keys": keys }).to_string()
}

/// A web server on this machine that says what it is told to and counts.
struct Web {
    url: String,
    says: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Web {
    fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (says, asked) = (Arc::new(Mutex::new(answer.to_owned())), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (says.clone(), asked.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let lines = BufReader::new(&connection).lines();
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = told.lock().unwrap().clone();
                let _ = connection.write_all(answer.as_bytes());
            }
        });
        Self { url, says, asked }
    }

    fn say(&self, answer: &str) {
        *self.says.lock().unwrap() = answer.to_owned();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

const LONG: Duration = Duration::from_secs(3_600);

fn issuer(web: &Web, pace: Pace) -> Issuer {
    let keys = Keys::Url(Box::new(KeyUrl::new(web.url.clone(), false, None, pace).unwrap()));
    Issuer { name: "ci".into(), iss: "https://ci.example".into(), keys }
}

async fn code(issuer: &Issuer, kid: &str) -> Result<(), Code> {
    issuer.key(kid, Alg::EdDsa).await.map(drop).map_err(|refusal| refusal.code)
}

#[tokio::test]
async fn a_set_is_fetched_once_and_kept() {
    let web = Web::start(&ok(&key_set(&["a"])));
    let issuer = issuer(&web, Pace { fresh: LONG, usable: LONG, retry: LONG });
    assert_eq!(web.asked(), 0, "nothing is asked before it is needed");
    for _ in 0..5 {
        assert_eq!(code(&issuer, "a").await, Ok(()));
    }
    // Invented names make nobody busy.
    for n in 0..5 {
        assert_eq!(code(&issuer, &format!("invented-{n}")).await, Err(Code::EvidenceInvalid));
    }
    assert_eq!(web.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_named() {
    let web = Web::start(&ok(&key_set(&["a"])));
    let issuer = issuer(&web, Pace { fresh: LONG, usable: LONG, retry: Duration::ZERO });
    assert_eq!(code(&issuer, "a").await, Ok(()));
    web.say(&ok(&key_set(&["b"])));
    assert_eq!(code(&issuer, "b").await, Ok(()));
    assert_eq!(code(&issuer, "a").await, Err(Code::EvidenceInvalid), "withdrawn with the set that held it");
}

#[tokio::test]
async fn an_old_set_is_used_while_it_can_not_be_fetched_and_no_longer() {
    let web = Web::start(&ok(&key_set(&["a"])));
    let patient = issuer(&web, Pace { fresh: Duration::ZERO, usable: LONG, retry: Duration::ZERO });
    let strict = issuer(&web, Pace { fresh: Duration::ZERO, usable: Duration::ZERO, retry: Duration::ZERO });
    assert_eq!(code(&patient, "a").await, Ok(()));
    assert_eq!(code(&strict, "a").await, Err(Code::Unavailable), "too old at once");
    web.say("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(code(&patient, "a").await, Ok(()));
    assert_eq!(code(&strict, "a").await, Err(Code::Unavailable));
}

#[tokio::test]
async fn whatever_the_server_says_is_no_set_unless_it_is_one() {
    let huge = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{\"keys\":[{}", " ".repeat(2 * SET_BYTES_MAX));
    let redirect = {
        let elsewhere = Web::start(&ok(&key_set(&["a"])));
        let to = format!(
            "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            elsewhere.url
        );
        std::mem::forget(elsewhere);
        to
    };
    let answers = [
        String::new(),
        "not HTTP".into(),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        ok(""),
        ok("{}"),
        ok(r#"{"keys":[]}"#),
        ok(r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}"#),
        huge,
        redirect,
    ];
    for answer in answers {
        let web = Web::start(&answer);
        let issuer = issuer(&web, Pace { fresh: LONG, usable: LONG, retry: Duration::ZERO });
        assert_eq!(code(&issuer, "a").await, Err(Code::Unavailable), "{}", &answer[..answer.len().min(60)]);
        web.say(&ok(&key_set(&["a"])));
        assert_eq!(code(&issuer, "a").await, Ok(()), "and it recovers");
    }
}

#[tokio::test]
async fn many_at_once_fetch_once() {
    let web = Web::start(&ok(&key_set(&["a"])));
    let issuer = Arc::new(issuer(&web, Pace { fresh: LONG, usable: LONG, retry: LONG }));
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let issuer = issuer.clone();
            tokio::spawn(async move { code(&issuer, "a").await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), Ok(()));
    }
    assert_eq!(web.asked(), 1);
}

/// The same over TLS, once a connection, with the certificate that stands beside the tests.
fn serve_tls(body: String) -> String {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(certificate()).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate_path("web.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/keys", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, connection.unwrap());
            let lines = BufReader::new(&mut stream).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let _ = stream.write_all(ok(&body).as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    url
}

fn certificate_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

fn certificate() -> PathBuf {
    certificate_path("web.pem")
}

#[tokio::test]
async fn a_server_is_known_by_its_certificate() {
    let url = serve_tls(key_set(&["a"]));
    let pace = Pace { fresh: LONG, usable: LONG, retry: Duration::ZERO };
    let by = |ca_file: Option<&Path>| Issuer {
        name: "ci".into(),
        iss: "https://ci.example".into(),
        keys: Keys::Url(Box::new(KeyUrl::new(url.clone(), true, ca_file, pace).unwrap())),
    };
    assert_eq!(code(&by(Some(&certificate())), "a").await, Ok(()));
    assert_eq!(code(&by(None), "a").await, Err(Code::Unavailable), "the public web does not vouch for it");
    let not_one = certificate_path("web.key.pem");
    assert!(KeyUrl::new(url.clone(), true, Some(&not_one), pace).is_err());
    assert!(KeyUrl::new(url.clone(), true, Some(Path::new("/nonexistent")), pace).is_err());
}

fn section(name: &str, file: &Path) -> OidcConfig {
    OidcConfig {
        name: name.into(),
        iss: "https://ci.example".into(),
        jwks_file: Some(file.to_owned()),
        jwks_url: None,
        ca_file: None,
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_nothing_outlives_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    assert!(Issuers::new(&[section("ci", &file)]).is_err(), "it must be there at the start");
    std::fs::write(&file, key_set(&["a"])).unwrap();
    let issuers = Issuers::new(&[section("ci", &file)]).unwrap();
    let names = ["ci".to_owned()];
    let issuer = issuers.by_iss(&names, "https://ci.example").unwrap();
    assert_eq!(code(issuer, "a").await, Ok(()));
    std::fs::write(&file, key_set(&["b", "c"])).unwrap();
    assert_eq!(code(issuer, "b").await, Ok(()));
    assert_eq!(code(issuer, "a").await, Err(Code::EvidenceInvalid));
    std::fs::write(&file, "{").unwrap();
    assert_eq!(code(issuer, "b").await, Err(Code::Unavailable), "what can't be read is not guessed");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(code(issuer, "b").await, Err(Code::Unavailable));
}

#[test]
fn an_issuer_stands_there_once_and_is_found_by_its_exact_iss() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    std::fs::write(&file, key_set(&["a"])).unwrap();
    assert!(Issuers::new(&[section("ci", &file), section("ci", &file)]).is_err());
    let many: Vec<_> = (0..=OIDC_ISSUERS_MAX).map(|n| section(&n.to_string(), &file)).collect();
    assert!(matches!(Issuers::new(&many), Err(OidcConfigError::Count(_))));
    let issuers = Issuers::new(&[section("ci", &file)]).unwrap();
    let (named, other) = (["ci".to_owned()], ["cd".to_owned()]);
    assert!(issuers.by_iss(&named, "https://ci.example").is_some());
    assert!(issuers.by_iss(&named, "https://ci.example/").is_none());
    assert!(issuers.by_iss(&other, "https://ci.example").is_none(), "the blueprint does not go by it");
    assert!(issuers.knows("ci") && !issuers.knows("cd"));
}
