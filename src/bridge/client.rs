//! Pooled HTTP clients for the providers: rustls, HTTP/2 where offered, keep-alive, proxies from
//! the environment. The system's root certificates are loaded once.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV4;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::tls;

/// The connection pool of a client.
pub type Pool = hyper_util::client::legacy::Client<HttpsConnector<Connector>, Full<Bytes>>;

/// A client, set up on first use: reading the system's root certificates takes tens of
/// milliseconds, and many providers only exist for sessions that may bring a key.
#[derive(Debug, Clone)]
pub struct Client(Arc<Setup>);

#[derive(Debug)]
struct Setup {
    /// Root certificates beside the system's.
    roots: RootCertStore,
    connect_timeout: Duration,
    pool: OnceLock<Pool>,
}

impl Client {
    /// The pool, which the first call sets up.
    pub fn pool(&self) -> &Pool {
        let Setup { roots, connect_timeout, pool } = &*self.0;
        pool.get_or_init(|| {
            let mut all = tls::system_roots();
            all.roots.extend(roots.roots.iter().cloned());
            let tls =
                tls::client_config(all).expect("ring has the cipher suites of TLS 1.2 and 1.3");
            tls::pooled_client(Connector::new(*connect_timeout, &tls), tls)
        })
    }
}

/// The clients of this process, one per connect timeout and file of additional root certificates.
#[derive(Debug, Default)]
pub struct Clients(HashMap<(Option<PathBuf>, Duration), Client>);

impl Clients {
    /// Returns the client for these settings.
    ///
    /// # Errors
    /// The file cannot be read, or a certificate in it is no root certificate.
    pub fn get(
        &mut self,
        ca_file: Option<&Path>,
        connect_timeout: Duration,
    ) -> anyhow::Result<Client> {
        let key = (ca_file.map(Path::to_owned), connect_timeout);
        if let Some(client) = self.0.get(&key) {
            return Ok(client.clone());
        }
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            for certificate in tls::certificates(path)? {
                roots.add(certificate).with_context(|| path.display().to_string())?;
            }
        }
        let client = Client(Arc::new(Setup { roots, connect_timeout, pool: OnceLock::new() }));
        self.0.insert(key, client.clone());
        Ok(client)
    }
}

/// Connects directly, or through the proxy of `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
#[derive(Debug, Clone)]
pub struct Connector {
    http: HttpConnector,
    /// Connections to a proxy over TLS.
    https: HttpsConnector<HttpConnector>,
    proxies: Arc<Matcher>,
}

impl Connector {
    fn new(connect_timeout: Duration, tls: &rustls::ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        // A peer that is gone is noticed within a minute, idle or not.
        http.set_keepalive(Some(Duration::from_secs(30)));
        http.set_keepalive_interval(Some(Duration::from_secs(10)));
        http.set_keepalive_retries(Some(3));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(Duration::from_secs(60)));
        // CONNECT is HTTP/1.1.
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_only()
            .enable_http1()
            .wrap_connector(http.clone());
        Self { http, https, proxies: Arc::new(Matcher::from_env()) }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;
type Connected = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Service<Uri> for Connector {
    type Response = Connected;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let mut http = self.http.clone();
        let Some(proxy) = self.proxies.intercept(&target) else {
            return Box::pin(async move { Ok(Connected::Http(http.call(target).await?)) });
        };
        let address = proxy.uri().clone();
        match address.scheme_str() {
            Some("socks5" | "socks5h") => {
                // With `h` the proxy resolves names.
                let local = address.scheme_str() == Some("socks5");
                let mut socks = SocksV5::new(address, http).local_dns(local);
                if let Some((user, password)) = proxy.raw_auth() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                Box::pin(async move { Ok(Connected::Http(socks.call(target).await?)) })
            }
            Some("socks4" | "socks4a") => {
                let local = address.scheme_str() == Some("socks4");
                let mut socks = SocksV4::new(address, http).local_dns(local);
                Box::pin(async move { Ok(Connected::Http(socks.call(target).await?)) })
            }
            // CONNECT for both schemes of the target: the bytes inside the tunnel are the same.
            Some("https") => {
                let mut tunnel = Tunnel::new(address, self.https.clone());
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::pin(async move { Ok(tunnel.call(target).await?) })
            }
            _ => {
                let mut tunnel = Tunnel::new(address, http);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::pin(async move { Ok(Connected::Http(tunnel.call(target).await?)) })
            }
        }
    }
}
