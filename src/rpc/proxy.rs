//! `bff.proxy`.

use super::call_context::CallContext;
use crate::error::Error;
use crate::ops::upstream;
pub(super) use crate::ops::upstream::UpstreamRequest;
pub(super) use crate::ops::upstream::UpstreamResponse;

/// `bff.proxy`
pub(super) async fn call(
    call: &CallContext,
    request: UpstreamRequest,
) -> Result<UpstreamResponse, Error> {
    upstream::call(call.app(), call.caller(), request).await
}
