//! A collector's part in OTLP over http: takes what is posted to `/v1/traces`, and keeps it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const POSTED: &str = "POST /v1/traces HTTP/1.1";
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

/// The collector; its clones are the same one. Each body is an `ExportTraceServiceRequest`, as protobuf.
#[derive(Clone, Default)]
pub struct TestCollector(Arc<Mutex<Vec<Vec<u8>>>>);

impl TestCollector {
    /// Listens on 127.0.0.1; gives the URL for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(collector.clone().take(stream));
            }
        });
        format!("http://{address}")
    }

    /// What was posted so far.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes posts until the connection ends.
    async fn take(self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut request = String::new();
            if stream.read_line(&mut request).await? == 0 {
                return Ok(());
            }
            assert_eq!(request.trim_end(), POSTED);
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                let Some((name, value)) = line.trim_end().split_once(':') else { break };
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(body);
            stream.write_all(TAKEN).await?;
        }
    }
}
