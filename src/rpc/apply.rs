//! `apply`.

use super::call_context::CallContext;
use crate::error::Error;
use crate::ops::patches;
pub(super) use crate::ops::patches::PatchRequest;
pub(super) use crate::ops::patches::PatchResult;

/// `apply`
pub(super) async fn apply(call: &CallContext, request: PatchRequest) -> Result<PatchResult, Error> {
    patches::apply(call.app(), request).await
}
