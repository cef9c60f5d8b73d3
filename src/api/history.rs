//! `GET /api/v1/conversations/{id}/history` and `diff`.

use std::sync::Arc;

use crate::app::App;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::ops;
pub(crate) use crate::ops::history::Diff;
pub(crate) use crate::ops::history::History;
pub(crate) use crate::ops::history::HistoryRequest;
use crate::web::Json;
use crate::web::RequestContext;
use crate::web::extract::Query;

/// `GET …/{id}/history`
pub(crate) async fn history(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    Query(request): Query<HistoryRequest>,
) -> Result<Json<History>, Error> {
    ops::history::history(app, context.caller(), &id, request).await.map(Json)
}

/// `GET …/{id}/diff`
pub(crate) async fn diff(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
) -> Result<Json<Diff>, Error> {
    ops::history::diff(app, context.caller(), &id).map(Json)
}
