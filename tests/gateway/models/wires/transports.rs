//! How providers are reached: compressed answers, SOCKS proxies, dead connections.

use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;

use flate2::Compression;
use flate2::write::GzEncoder;
use flate2::write::ZlibEncoder;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::connections::trusting;
use super::endings::assert_failed;
use super::whole::unended;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::ask;
use crate::support::eventually;
use crate::support::provider::Provider;
use crate::support::provider::Transport;

/// A server that answers each request with these bytes and records the heads of requests.
async fn raw(answer: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (answer, record) = (answer.clone(), Arc::clone(&record));
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut buffer = vec![0; 64 << 10];
                loop {
                    let read = socket.read(&mut buffer).await.unwrap_or(0);
                    request.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request).to_lowercase();
                    if read == 0 {
                        return;
                    }
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.split("content-length: ").nth(1).unwrap();
                    let length: usize = length.lines().next().unwrap().parse().unwrap();
                    if body.len() >= length {
                        record.lock().unwrap().push(head.to_owned());
                        break;
                    }
                }
                let _ = socket.write_all(&answer).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    (address, heads)
}

fn http(status: &str, encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\ncontent-encoding: {encoding}\r\n\
         connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_stream_is_read_although_not_asked_for() {
    for dialect in &DIALECTS[..4] {
        let wire = dialect.name();
        let body = dialect.text("Unpacked.").body;
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(body.as_bytes()).unwrap();
        for (encoding, bytes) in [("gzip", gzip(&body)), ("deflate", zlib.finish().unwrap())] {
            let (address, heads) = raw(http("200 OK", encoding, &bytes)).await;
            let provider = Provider::start([dialect.text("x")]).await;
            let mut setup = dialect.setup(&provider);
            setup.config = setup.config.replace(&provider.address, &address);
            let answer = ask(&setup.start(), "hello").await;
            assert_eq!(
                answer["task_result"]["summary"], "Unpacked.",
                "{wire}, {encoding}: {answer}"
            );
            assert!(heads.lock().unwrap()[0].contains("accept-encoding: identity"), "{wire}");
        }
    }
}

#[tokio::test]
async fn compressed_error_and_unknown_encoding_are_told() {
    let dialect = &DIALECTS[1];
    let error = r#"{"error":{"message":"packed words"}}"#;
    for (answer, words) in [
        (http("400 Bad Request", "gzip", &gzip(error)), "packed words"),
        (http("200 OK", "br", b"?"), "content-encoding: expected identity or gzip, got br"),
        (http("200 OK", "gzip", b"data: no gzip\n\n"), "compressed stream is malformed"),
    ] {
        let (address, heads) = raw(answer).await;
        let provider = Provider::start([dialect.text("x")]).await;
        let mut setup = dialect.setup(&provider);
        setup.config = setup.config.replace(&provider.address, &address);
        let answer = ask(&setup.start(), "hello").await;
        assert_failed("chat", &answer, words);
        assert_eq!(heads.lock().unwrap().len(), 1, "{words}");
    }
}

/// The connection breaks after the answer has said why it ends.
#[tokio::test]
async fn broken_connection_after_the_end_is_no_failure() {
    for dialect in &DIALECTS[..4] {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000000\r\n\r\n";
        let (address, heads) = raw(format!("{head}{}", unended(dialect)).into_bytes()).await;
        let provider = Provider::start([dialect.text("x")]).await;
        let mut setup = dialect.setup(&provider);
        setup.config = setup.config.replace(&provider.address, &address);
        let answer = ask(&setup.start(), "hello").await;
        assert_eq!(answer["task_result"]["summary"], "Finished.", "{}: {answer}", dialect.name());
        assert_eq!(heads.lock().unwrap().len(), 1, "{}", dialect.name());
    }
}

/// A SOCKS 5 proxy (RFC 1928) without authentication. Records the names that it is to resolve.
async fn socks(target: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let names: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&names);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (target, record) = (target.clone(), Arc::clone(&record));
            tokio::spawn(async move {
                let mut head = [0; 2];
                client.read_exact(&mut head).await.unwrap();
                assert_eq!(head[0], 5, "the version of SOCKS");
                let mut methods = vec![0; usize::from(head[1])];
                client.read_exact(&mut methods).await.unwrap();
                client.write_all(&[5, 0]).await.unwrap();
                let mut request = [0; 4];
                client.read_exact(&mut request).await.unwrap();
                let mut length = [4];
                if request[3] == 3 {
                    client.read_exact(&mut length).await.unwrap();
                }
                let mut name = vec![0; usize::from(length[0])];
                client.read_exact(&mut name).await.unwrap();
                let mut port = [0; 2];
                client.read_exact(&mut port).await.unwrap();
                record.lock().unwrap().push(String::from_utf8_lossy(&name).into_owned());
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, names)
}

#[tokio::test]
async fn socks_proxy_carries_model_calls() {
    let dialect = &DIALECTS[1];
    let provider = Provider::start([dialect.text("Through the proxy.")]).await;
    let target = provider.address.trim_start_matches("http://").to_owned();
    let (proxy, names) = socks(target).await;
    let mut setup = dialect.setup(&provider).env("ALL_PROXY", &format!("socks5h://{proxy}"));
    // A name that only the proxy resolves.
    setup.config = setup.config.replace(&provider.address, "http://model.invalid:80");
    let answer = ask(&setup.start(), "hello").await;
    assert_eq!(answer["task_result"]["summary"], "Through the proxy.", "{answer}");
    assert_eq!(*names.lock().unwrap(), ["model.invalid"]);
}

/// A relay that can be frozen: then its connections stay open and carry nothing, as behind a
/// firewall that forgot them.
async fn relay(target: String) -> (String, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (freeze, frozen) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut frozen = frozen.clone();
            let target = target.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                // Only connections that were open then are dead.
                frozen.mark_unchanged();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = frozen.changed() => std::future::pending().await,
                }
            });
        }
    });
    (address, freeze)
}

#[tokio::test]
async fn dead_http2_connection_is_left() {
    let dialect = &DIALECTS[1];
    let provider =
        Provider::over(Transport::TlsH2, ["One.", "Two."].map(|text| dialect.text(text))).await;
    let target = provider.address.trim_start_matches("https://").to_owned();
    let (relay, freeze) = relay(target.clone()).await;
    let mut setup = trusting(dialect, &provider);
    setup.config = setup.config.replace(&target, &relay);
    let gateway = setup.start();
    assert_eq!(ask(&gateway, "one").await["task_result"]["summary"], "One.");
    freeze.send(true).unwrap();
    // Far less than the 120 s of first_byte_timeout_ms, after which nothing would be repeated.
    let answer = ask(&gateway, "two").await;
    assert_eq!(answer["task_result"]["summary"], "Two.", "{answer}");
    eventually("a second connection", || async {
        provider.connections.load(std::sync::atomic::Ordering::SeqCst) == 2
    })
    .await;
}
