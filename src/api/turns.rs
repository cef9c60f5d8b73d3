//! `POST /api/v1/conversations/{id}/interrupt`, `steer`, `compact`, `rollback` and `review`.

use std::sync::Arc;

use crate::app::App;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::ops;
pub(crate) use crate::ops::turns::Cancelled;
pub(crate) use crate::ops::turns::ReviewRequest;
pub(crate) use crate::ops::turns::RollbackRequest;
pub(crate) use crate::ops::turns::RolledBack;
pub(crate) use crate::ops::turns::SteerRequest;
pub(crate) use crate::ops::turns::Steered;
pub(crate) use crate::ops::turns::TurnOutcome;
use crate::web::Json;
use crate::web::RequestContext;

/// `POST …/{id}/interrupt`
pub(crate) async fn interrupt(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
) -> Result<Json<Cancelled>, Error> {
    ops::turns::interrupt(&ops::find(app, context.caller(), &id)?).await.map(Json)
}

/// `POST …/{id}/steer`
pub(crate) async fn steer(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    Json(steer): Json<SteerRequest>,
) -> Result<Json<Steered>, Error> {
    ops::turns::steer(app, context.caller(), &id, steer).await.map(Json)
}

/// `POST …/{id}/compact`
pub(crate) async fn compact(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
) -> Result<Json<TurnOutcome>, Error> {
    ops::turns::compact(app, context.caller(), id).await.map(Json)
}

/// `POST …/{id}/rollback`
pub(crate) async fn rollback(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    Json(rollback): Json<RollbackRequest>,
) -> Result<Json<RolledBack>, Error> {
    ops::turns::rollback(app, context.caller(), id, rollback).await.map(Json)
}

/// `POST …/{id}/review`
pub(crate) async fn review(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    Json(request): Json<ReviewRequest>,
) -> Result<Json<TurnOutcome>, Error> {
    ops::turns::review(app, context.caller(), id, request).await.map(Json)
}
