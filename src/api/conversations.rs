//! `/api/v1/conversations`: list, start, show, archive, resume, fork.

use std::sync::Arc;

use crate::app::App;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::ops;
pub(crate) use crate::ops::conversations::Archived;
pub(crate) use crate::ops::conversations::ConversationDetail;
pub(crate) use crate::ops::conversations::ConversationPage;
pub(crate) use crate::ops::conversations::ConversationView;
pub(crate) use crate::ops::conversations::ForkRequest;
pub(crate) use crate::ops::conversations::ListRequest;
pub(crate) use crate::ops::conversations::StartRequest;
use crate::web::Json;
use crate::web::RequestContext;
use crate::web::extract::OptionalJson;
use crate::web::extract::Query;
use crate::web::respond::Created;
use crate::web::respond::CreatedOrFound;

/// `GET /api/v1/conversations`
pub(crate) async fn list(
    app: &Arc<App>,
    context: &RequestContext,
    Query(list): Query<ListRequest>,
) -> Result<Json<ConversationPage>, Error> {
    ops::conversations::list(app, context.caller(), &list).map(Json)
}

/// `POST /api/v1/conversations`
pub(crate) async fn start(
    app: &Arc<App>,
    context: &RequestContext,
    OptionalJson(start): OptionalJson<StartRequest>,
) -> Result<CreatedOrFound<ConversationView>, Error> {
    let (document, is_new) = ops::conversations::start(app, context.caller(), start).await?;
    Ok(CreatedOrFound { document, is_new })
}

/// `GET …/{id}`
pub(crate) async fn show(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
) -> Result<Json<ConversationDetail>, Error> {
    ops::conversations::show(app, context.caller(), &id).map(Json)
}

/// `DELETE …/{id}`
pub(crate) async fn archive(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
) -> Result<Json<Archived>, Error> {
    ops::conversations::archive(app, context.caller(), id).await.map(Json)
}

/// `POST …/{id}/resume`
pub(crate) async fn resume(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
) -> Result<Json<ConversationView>, Error> {
    ops::conversations::resume(app, context.caller(), id).await.map(Json)
}

/// `POST …/{id}/fork`
pub(crate) async fn fork(
    app: &Arc<App>,
    context: &RequestContext,
    id: ConversationId,
    OptionalJson(fork): OptionalJson<ForkRequest>,
) -> Result<Created<ConversationView>, Error> {
    ops::conversations::fork(app, context.caller(), &id, fork).await.map(Created)
}
