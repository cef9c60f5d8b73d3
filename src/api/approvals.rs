//! `/api/v1/conversations/{id}/approvals`: what the running turn asks.

use std::sync::Arc;

use crate::app::App;
pub(crate) use crate::conversation::id::ApprovalId;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::ops;
pub(crate) use crate::ops::approvals::Answer;
pub(crate) use crate::ops::approvals::Approvals;
pub(crate) use crate::ops::approvals::Decided;
use crate::web::Json;
use crate::web::RequestContext;

/// `GET …/{id}/approvals`
pub(crate) async fn list(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
) -> Result<Json<Approvals>, Error> {
    ops::approvals::approvals(app, context.caller(), &id).map(Json)
}

/// `POST …/{id}/approvals/{approval_id}`
pub(crate) async fn approve(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    approval_id: ApprovalId,
    Json(answer): Json<Answer>,
) -> Result<Json<Decided>, Error> {
    ops::approvals::approve(app, context.caller(), &id, approval_id, answer).await.map(Json)
}
