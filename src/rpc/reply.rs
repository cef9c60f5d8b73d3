//! The result of a method, and the work that follows its response.

use std::pin::Pin;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::error::Kind;

/// Work for after the response.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The result of a method. A method without a follow-up returns the result itself.
pub(super) struct Reply<T> {
    pub(super) result: T,
    pub(super) follow_up: Option<Task>,
}

impl<T> From<T> for Reply<T> {
    fn from(result: T) -> Self {
        Self { result, follow_up: None }
    }
}

impl<T> Reply<T> {
    /// Adds a task that runs on the socket once the response is sent, so that its notifications
    /// come after the response. Over plain HTTP it does not run.
    pub(super) fn then(self, follow_up: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { follow_up: Some(Box::pin(follow_up)), ..self }
    }
}

impl<T: Serialize> Reply<T> {
    /// Encodes the result.
    ///
    /// # Errors
    /// `Internal` if the result has no JSON form.
    pub(super) fn encode(self) -> Result<Reply<Box<RawValue>>, Error> {
        let result = serde_json::value::to_raw_value(&self.result)
            .map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
        Ok(Reply { result, follow_up: self.follow_up })
    }
}
