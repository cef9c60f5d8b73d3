//! [`Connector`]: resolves a host once, checks each address, and connects to one that passed. So a
//! second resolution cannot lead elsewhere (DNS rebinding).

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::address;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client with the connections of a [`Connector`]. `B` is the type of request bodies.
pub(super) type Client<B> = legacy::Client<HttpsConnector<Connector>, B>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The host has only addresses that are not allowed.
#[derive(Debug, thiserror::Error)]
#[error("its address is private")]
struct PrivateAddress;

/// Returns whether a call failed because the host has only addresses that are not allowed.
pub(super) fn is_private(error: &legacy::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.is::<PrivateAddress>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Connects directly. Proxies of the environment are bypassed, because the gateway could not check
/// where they connect to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connector {
    pub(super) allow_private: bool,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let allow_private = self.allow_private;
        let connect = async move {
            let host = target.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let tls = target.scheme() == Some(&http::uri::Scheme::HTTPS);
            let port = target.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
            let allowed: Vec<SocketAddr> = found
                .iter()
                .copied()
                .filter(|found| address::is_allowed(found.ip(), allow_private))
                .collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(PrivateAddress.into());
            }
            let stream = TcpStream::connect(allowed.as_slice()).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        };
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIMEOUT, connect)
                .await
                .map_err(|_| BoxError::from("connecting timed out"))?
        })
    }
}
