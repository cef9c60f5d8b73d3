//! [`Respond`]: the results of handlers, each turned into a response by its type, and each known to
//! the OpenAPI document.

use http::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::body::Body;
use super::describe::Operation;
use super::reply;

/// A result of a handler.
pub(crate) trait Respond {
    /// Adds its statuses and media types to the description of the operation.
    fn describe(operation: &mut Operation<'_>);

    /// Turns it into a response.
    fn into_response(self) -> Response<Body>;
}

/// A JSON document, as a body in either direction; 200 as a response.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize + JsonSchema> Respond for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.gives::<T>(StatusCode::OK);
    }

    fn into_response(self) -> Response<Body> {
        reply::json(StatusCode::OK, &self.0)
    }
}

/// The JSON document of something new: 201.
#[derive(Debug)]
pub(crate) struct Created<T>(pub(crate) T);

impl<T: Serialize + JsonSchema> Respond for Created<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.gives::<T>(StatusCode::CREATED);
    }

    fn into_response(self) -> Response<Body> {
        reply::json(StatusCode::CREATED, &self.0)
    }
}

/// The JSON document of something that is new (201) or was there (200).
#[derive(Debug)]
pub(crate) struct CreatedOrFound<T> {
    pub(crate) document: T,
    pub(crate) is_new: bool,
}

impl<T: Serialize + JsonSchema> Respond for CreatedOrFound<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.gives::<T>(StatusCode::CREATED);
        operation.gives::<T>(StatusCode::OK);
    }

    fn into_response(self) -> Response<Body> {
        let status = if self.is_new { StatusCode::CREATED } else { StatusCode::OK };
        reply::json(status, &self.document)
    }
}
