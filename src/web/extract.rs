//! [`Extract`]: the arguments of handlers, each taken from a request by its type, and each known to
//! the OpenAPI document.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::Json;
use super::Limits;
use super::RequestContext;
use super::describe::Operation;
use super::json;
use crate::error::Error;
use crate::input;

/// A request whose caller is known.
#[derive(Debug)]
pub(crate) struct AdmittedRequest {
    /// The facts of its head.
    pub(crate) context: Arc<RequestContext>,
    /// The head; its headers are those of the context.
    head: Parts,
    /// The body, until an argument takes it.
    body: Option<Incoming>,
}

impl AdmittedRequest {
    /// Joins the parts; `context` holds the headers of `head`.
    pub(crate) fn new(context: RequestContext, head: Parts, body: Incoming) -> Self {
        Self { context: Arc::new(context), head, body: Some(body) }
    }

    /// The body, if it is not taken and may hold something.
    fn body(&mut self) -> Option<Incoming> {
        self.body.take().filter(|body| !http_body::Body::is_end_stream(body))
    }
}

/// An argument of a handler.
pub(crate) trait Extract: Sized {
    /// Adds its parameters or its body to the description of the operation.
    fn describe(operation: &mut Operation<'_>);

    /// Takes it from a request.
    ///
    /// # Errors
    /// `InvalidRequest` names the parameter or member and what it takes; for a body, see [`json`].
    async fn extract(request: &mut AdmittedRequest, limits: &Limits) -> Result<Self, Error>;
}

/// A JSON body.
impl<T: DeserializeOwned + JsonSchema> Extract for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes::<T>(true);
    }

    async fn extract(request: &mut AdmittedRequest, limits: &Limits) -> Result<Self, Error> {
        input::from_json(&RawJson::<T>::extract(request, limits).await?.bytes).map(Self)
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + JsonSchema + Default> Extract for OptionalJson<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes::<T>(false);
    }

    async fn extract(request: &mut AdmittedRequest, limits: &Limits) -> Result<Self, Error> {
        let Some(body) = request.body() else { return Ok(Self(T::default())) };
        let bytes = json::read(&request.context.headers, body, limits).await?;
        input::from_json(&bytes).map(Self)
    }
}

/// A JSON body of the shape of `T`, read and not decoded.
#[derive(Debug)]
pub(crate) struct RawJson<T> {
    pub(crate) bytes: Bytes,
    shape: PhantomData<T>,
}

impl<T: JsonSchema> Extract for RawJson<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes::<T>(true);
    }

    async fn extract(request: &mut AdmittedRequest, limits: &Limits) -> Result<Self, Error> {
        let body = request.body.take();
        let bytes = match body {
            Some(body) => json::read(&request.context.headers, body, limits).await?,
            None => Bytes::new(),
        };
        Ok(Self { bytes, shape: PhantomData })
    }
}

/// The parameters of the query, by the fields of `T`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + JsonSchema> Extract for Query<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<T>();
    }

    async fn extract(request: &mut AdmittedRequest, _limits: &Limits) -> Result<Self, Error> {
        input::from_query(request.context.query()).map(Self)
    }
}

/// `X-Cancel-On-Disconnect: true`: whether the turn ends with the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CancelOnDisconnect(pub(crate) bool);

impl Extract for CancelOnDisconnect {
    fn describe(operation: &mut Operation<'_>) {
        operation.header(
            "X-Cancel-On-Disconnect",
            serde_json::json!({ "type": "string", "examples": ["true"] }),
            "`true`: interrupt the turn when this connection ends. Other values change nothing.",
        );
    }

    async fn extract(request: &mut AdmittedRequest, _limits: &Limits) -> Result<Self, Error> {
        Ok(Self(request.context.cancel_on_disconnect()))
    }
}

/// The head of a request that asks for another protocol, with the connection to hand over.
#[derive(Debug)]
pub(crate) struct Upgrade(pub(crate) Request<()>);

impl Extract for Upgrade {
    fn describe(_operation: &mut Operation<'_>) {}

    async fn extract(request: &mut AdmittedRequest, _limits: &Limits) -> Result<Self, Error> {
        let (mut head, ()) = Request::new(()).into_parts();
        std::mem::swap(&mut head, &mut request.head);
        head.headers.clone_from(&request.context.headers);
        Ok(Self(Request::from_parts(head, ())))
    }
}

impl<A: Extract, B: Extract> Extract for (A, B) {
    fn describe(operation: &mut Operation<'_>) {
        A::describe(operation);
        B::describe(operation);
    }

    async fn extract(request: &mut AdmittedRequest, limits: &Limits) -> Result<Self, Error> {
        Ok((A::extract(request, limits).await?, B::extract(request, limits).await?))
    }
}
