//! A hostile server can't have a token signed as a nonce.

use std::sync::Arc;
use std::time::Duration;

use marque_bus::{Bus, ConnectOptions, Presented};
use marque_signing::SigningKey;
use marque_test_support::DEADLINE;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// A server that greets with this nonce: what the client sends, until it hangs up.
async fn greeted_with(nonce: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let info = serde_json::json!({
        "server_id": "N", "server_name": "n", "version": "2.15.1", "go": "go", "host": "127.0.0.1", "port": 4222,
        "headers": true, "max_payload": 65536, "proto": 1, "client_id": 1, "auth_required": true, "nonce": nonce,
    });
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        // Whatever it says first; one that hangs up has said nothing.
        let _ = stream.read_line(&mut line).await;
        let mut rest = [0; 1];
        let _ = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut rest)).await;
        line
    });
    let key = Arc::new(SigningKey::from_seed(&[7; 32]));
    let options = ConnectOptions::new(url, "victim").agent(key, Presented::new(Presented::ENROL));
    let connecting = tokio::spawn(async move { Bus::connect_now(options, DEADLINE).await.map(drop) });
    let said = tokio::time::timeout(DEADLINE, server).await.unwrap().unwrap();
    connecting.abort();
    said
}

#[tokio::test]
async fn signs_a_nonce_and_nothing_that_is_shaped_like_a_token() {
    let said = greeted_with("iSDrUxroKI6HWYM").await;
    assert!(said.contains("\"sig\":\"") && said.contains("\"auth_token\":\"enrol\""), "{said}");
    for hostile in ["eyJ0eXAiOiJhYXQrand0In0.eyJqdGkiOiJ4In0", "a.b", &"n".repeat(65)] {
        let said = greeted_with(hostile).await;
        assert!(!said.contains("\"sig\":\""), "{hostile}: {said}");
        assert!(!said.contains("enrol"), "nor does it show what it has: {said}");
    }
}
