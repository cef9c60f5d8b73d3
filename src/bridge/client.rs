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
use hyper_util::client::legacy::connect::HttpConnector;
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
            tls::pooled_client(Connector::new(*connect_timeout), tls)
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
    proxies: Arc<Matcher>,
}

impl Connector {
    fn new(connect_timeout: Duration) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        http.set_keepalive(Some(Duration::from_secs(30)));
        Self { http, proxies: Arc::new(Matcher::from_env()) }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let mut http = self.http.clone();
        match self.proxies.intercept(&target) {
            // CONNECT for both schemes: the bytes inside the tunnel are the same.
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::pin(async move { Ok(tunnel.call(target).await?) })
            }
            None => Box::pin(async move { Ok(http.call(target).await?) }),
        }
    }
}
