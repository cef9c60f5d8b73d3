//! TLS for outbound connections: root certificates, the rustls client configuration, and HTTP
//! clients with a connection pool.

use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context as _;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Reads the certificates of a PEM file.
///
/// # Errors
/// The file cannot be read, is malformed, or contains no certificate.
pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(std::iter::Iterator::collect);
    let found =
        found.with_context(|| format!("cannot read certificates from {}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} contains no certificate in PEM format", path.display());
    Ok(found)
}

/// Returns the system's root certificates, or those of `SSL_CERT_FILE`. Reads them once per
/// process.
pub(crate) fn system_roots() -> RootCertStore {
    static ROOTS: LazyLock<RootCertStore> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "cannot read some root certificates");
        }
        roots.add_parsable_certificates(found.certs);
        roots
    });
    ROOTS.clone()
}

/// Builds the TLS configuration of a client that trusts `roots`.
///
/// # Errors
/// The TLS library does not support its own default protocol versions.
pub(crate) fn client_config(roots: RootCertStore) -> anyhow::Result<rustls::ClientConfig> {
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .context("TLS")?
    .with_root_certificates(roots)
    .with_no_client_auth())
}

/// The time after which an idle connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The time between the PINGs of an HTTP/2 connection, and how long each may take. A connection
/// that a firewall has forgotten, or whose peer is gone, is left then; without this every call on it
/// would wait for its own timeout.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds an HTTP/1.1 and HTTP/2 client that pools the connections of `connector`. Plain HTTP is
/// allowed.
pub(crate) fn pooled_client<C, B>(
    connector: C,
    tls: rustls::ClientConfig,
) -> Client<HttpsConnector<C>, B>
where
    HttpsConnector<C>: Connect + Clone,
    B: http_body::Body + Send,
    B::Data: Send,
{
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .timer(TokioTimer::new())
        .build(https)
}
