//! [`EgressProxy`]: the way to tool servers at URLs that sessions name (`mcp.connect`), if private
//! addresses are not allowed.
//!
//! Core's HTTP client resolves names itself and follows redirects. A check before the call could
//! not prevent it from reaching another address. So core gets a masked URL on loopback, which
//! contains the real URL and a secret of this process. The proxy forwards its requests through
//! [`super::connect`], which checks each address. It follows no redirects, because core would
//! follow them past the proxy.

use std::convert::Infallible;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http_body_util::Either;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::address;
use super::bounded_body::BoundedBody;
use super::connect;
use super::connect::Connector;
use super::connect::is_private;
use super::headers;
use crate::error::Error;
use crate::error::Kind;
use crate::shutdown::Shutdown;
use crate::tls;

/// The time limit for resolving a host in [`EgressProxy::admit`].
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

type Client = connect::Client<Incoming>;
type ProxyResponse = Response<Either<BoundedBody, Full<Bytes>>>;

/// A proxy on loopback for core's connections to tool servers.
#[derive(Debug, Clone)]
pub struct EgressProxy {
    /// `http://127.0.0.1:PORT/SECRET/`
    base: Arc<str>,
}

impl EgressProxy {
    /// Starts the proxy on a free loopback port.
    ///
    /// # Errors
    /// The loopback address cannot be bound, or the TLS configuration cannot be built.
    pub async fn open(shutdown: &Shutdown) -> anyhow::Result<Self> {
        Self::with_connector(Connector { allow_private: false }, shutdown).await
    }

    async fn with_connector(connector: Connector, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let secret = uuid::Uuid::new_v4().simple().to_string();
        let base = format!("http://{}/{secret}/", listener.local_addr()?);
        let tls = tls::client_config(tls::system_roots())?;
        let client: Client = tls::pooled_client(connector, tls);
        let secret: Arc<str> = secret.into();
        let handler = move |socket| serve(socket, client.clone(), Arc::clone(&secret));
        shutdown.spawn_listener("the egress proxy of tool servers", listener, handler);
        Ok(Self { base: base.into() })
    }

    /// Returns the masked URL of a server, for core.
    pub(crate) fn masked_url(&self, url: &str) -> String {
        format!("{}{}", self.base, URL_SAFE_NO_PAD.encode(url))
    }

    /// Replaces masked URLs in a text by the real ones.
    pub(crate) fn unmask(&self, text: &str) -> String {
        self.replace(text, str::to_owned)
    }

    fn replace(&self, text: &str, write: impl Fn(&str) -> String) -> String {
        let mut parts = text.split(&*self.base);
        let mut unmasked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_code = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let end = part.find(|c| !is_code(c)).unwrap_or(part.len());
            let (code, rest) = part.split_at_checked(end).unwrap_or((part, ""));
            unmasked.push_str(&write(&target(code).unwrap_or_default()));
            unmasked.push_str(rest);
        }
        unmasked
    }

    /// Replaces masked URLs in a JSON document by the real ones.
    pub(crate) fn unmask_json(&self, json: &mut Vec<u8>) {
        if memchr::memmem::find(json, self.base.as_bytes()).is_some() {
            // JSON is UTF-8. A URL may hold characters that JSON escapes.
            let escape = |url: &str| {
                let quoted = serde_json::Value::from(url).to_string();
                quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
            };
            *json = self.replace(&String::from_utf8_lossy(json), escape).into_bytes();
        }
    }

    /// Checks a URL in advance, for a better error than that of the first connection.
    ///
    /// # Errors
    /// `Forbidden` if the host has only private addresses.
    pub(crate) async fn admit(&self, uri: &Uri) -> Result<(), Error> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, 0)],
            Err(_) => {
                let lookup = tokio::net::lookup_host((host, 0));
                match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
                    Ok(Ok(found)) => found.collect(),
                    // The probe of the server reports a better error.
                    Ok(Err(_)) | Err(_) => return Ok(()),
                }
            }
        };
        if found.iter().any(|found| address::is_allowed(found.ip(), false)) || found.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Forbidden,
            "server_config.url: expected a public address, got a private one; set \
             gateway.allow_mcp_private = true to allow it",
        ))
    }
}

fn target(code: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(code).ok()?).ok()
}

async fn serve(socket: TcpStream, client: Client, secret: Arc<str>) {
    let service = service_fn(move |request| {
        let (client, secret) = (client.clone(), Arc::clone(&secret));
        async move { Ok::<_, Infallible>(forward(request, &client, &secret).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection of a tool server ended");
    }
}

/// Forwards a request, and streams the response back.
async fn forward(request: Request<Incoming>, client: &Client, secret: &str) -> ProxyResponse {
    let path = request.uri().path().trim_start_matches('/');
    let (given, code) = path.split_once('/').unwrap_or((path, ""));
    if !bool::from(given.as_bytes().ct_eq(secret.as_bytes())) {
        return refuse(StatusCode::NOT_FOUND, "this listener is private to the gateway");
    }
    let uri: Option<Uri> = target(code).and_then(|target| target.parse().ok());
    let Some(uri) = uri else {
        return refuse(StatusCode::NOT_FOUND, "expected a masked URL of a server");
    };
    let (head, body) = request.into_parts();
    let mut forwarded = Request::new(body);
    *forwarded.method_mut() = head.method;
    *forwarded.uri_mut() = uri;
    *forwarded.headers_mut() = headers::outgoing(head.headers, &HeaderMap::new());
    match client.request(forwarded).await {
        Ok(response) if response.status().is_redirection() => {
            refuse(StatusCode::BAD_GATEWAY, "the server redirects, and redirects are not followed")
        }
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            headers::strip(&mut head.headers);
            let body = BoundedBody::new(body, &head.headers);
            Response::from_parts(head, Either::Left(body))
        }
        Err(error) if is_private(&error) => refuse(
            StatusCode::FORBIDDEN,
            "its address is private, which requires gateway.allow_mcp_private = true",
        ),
        Err(error) => {
            tracing::debug!(error = ?error, "cannot reach a tool server");
            refuse(StatusCode::BAD_GATEWAY, "the server could not be reached")
        }
    }
}

fn refuse(status: StatusCode, message: &'static str) -> ProxyResponse {
    let mut response = Response::new(Either::Right(Full::from(message)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper_util::client::legacy;
    use hyper_util::client::legacy::connect::HttpConnector;
    use hyper_util::rt::TokioExecutor;

    use super::*;

    #[test]
    fn unmask_restores_real_urls() {
        let egress = EgressProxy { base: "http://127.0.0.1:7/secret/".into() };
        let (one, two) =
            (egress.masked_url("https://a.example/mcp?x=1"), egress.masked_url("http://b.example"));
        assert!(!one.contains("example"), "{one}");
        let text = egress.unmask(&format!("cannot send to {one}: no; nor (to {two})"));
        assert_eq!(text, "cannot send to https://a.example/mcp?x=1: no; nor (to http://b.example)");
        assert_eq!(egress.unmask("nothing"), "nothing");

        let url = "https://a.example/?q=\"x\"";
        let document =
            serde_json::json!({ "error": format!("cannot send to {}", egress.masked_url(url)) });
        let mut json = document.to_string().into_bytes();
        egress.unmask_json(&mut json);
        let shown: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(shown["error"], format!("cannot send to {url}"));
    }

    /// A server that echoes the request, and redirects from one path.
    async fn server(shutdown: &Shutdown) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = shutdown.clone();
        shutdown.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service_fn(|request: Request<Incoming>| async move {
                    let mut said = format!("{} {}", request.method(), request.uri());
                    for name in ["authorization", "host", "x-hop"] {
                        let value = request.headers().get(name);
                        said +=
                            &format!(" {name}={:?}", value.and_then(|value| value.to_str().ok()));
                    }
                    let redirects = request.uri().path() == "/redirects";
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    said += &format!(" {}", String::from_utf8_lossy(&body));
                    let mut response = Response::new(Full::new(Bytes::from(said)));
                    if redirects {
                        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                    }
                    Ok::<_, Infallible>(response)
                });
                let socket = TokioIo::new(socket);
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(socket, service);
                tasks.spawn(async move { drop(connection.await) });
            }
        });
        format!("http://{address}")
    }

    async fn post(url: &str) -> (StatusCode, String) {
        let connector = HttpConnector::new();
        let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
        let request = Request::post(url)
            .header("authorization", "Bearer t")
            .header("x-hop", "1")
            .header("connection", "x-hop")
            .body(Full::new(Bytes::from("hello")))
            .unwrap();
        let response = client.request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_reach_the_named_server_only() {
        let shutdown = Shutdown::default();
        let server = server(&shutdown).await;
        let egress = EgressProxy::with_connector(Connector { allow_private: true }, &shutdown)
            .await
            .unwrap();
        let (status, said) = post(&egress.masked_url(&format!("{server}/mcp?a=b"))).await;
        let host = server.strip_prefix("http://").unwrap();
        assert_eq!(status, StatusCode::OK);
        let expected = format!(
            "POST /mcp?a=b authorization=Some(\"Bearer t\") host=Some(\"{host}\") x-hop=None hello"
        );
        assert_eq!(said, expected);

        let (status, said) = post(&egress.masked_url(&format!("{server}/redirects"))).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(said.contains("redirects"), "{said}");
        let (status, _) = post(&egress.masked_url("http://127.0.0.1:9/")).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        let (origin, _) = egress.base.trim_end_matches('/').rsplit_once('/').unwrap();
        let guessed = format!("{origin}/guess/{}", URL_SAFE_NO_PAD.encode(&server));
        for url in [format!("{}no-url", egress.base), guessed] {
            assert_eq!(post(&url).await.0, StatusCode::NOT_FOUND, "{url}");
        }
    }

    #[tokio::test]
    async fn private_addresses_are_refused_early_and_late() {
        let shutdown = Shutdown::default();
        let server = server(&shutdown).await;
        let egress = EgressProxy::open(&shutdown).await.unwrap();
        let (status, said) = post(&egress.masked_url(&server)).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(said.contains("allow_mcp_private"), "{said}");
        for url in
            [server.as_str(), "http://localhost/", "http://[::1]:7/", "http://169.254.169.254/"]
        {
            let refused = egress.admit(&url.parse().unwrap()).await.unwrap_err();
            assert_eq!(*refused.kind(), Kind::Forbidden, "{url}");
        }
        assert!(egress.admit(&"https://1.1.1.1/".parse().unwrap()).await.is_ok());
    }
}
