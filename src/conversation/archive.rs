//! Conversations that are not live: the archive, forks, recorded turns.

use std::sync::Arc;

use codex_gateway_engine::EngineError;
use codex_gateway_engine::history::HistoryPage;

use super::conversation_ref::ConversationRef;
use super::handle::Conversation;
use super::id::ConversationId;
use super::id::SessionId;
use super::mcp_servers::specs;
use super::open::MAX_ROUNDS;
use super::open::cell;
use super::open::keeps_ending;
use super::open::started;
use super::record_status::not_stored;
use super::registry::Registry;
use super::registry::archived;
use super::registry::not_found;
use super::start_options::StartOptions;
use crate::error::Error;
use crate::error::Kind;

impl Registry {
    /// A live conversation, unarchived and resumed where it is not.
    ///
    /// # Errors
    /// `NotFound` for an unknown id, or another caller's; `Conflict` where another conversation has
    /// its session name; otherwise as of [`Self::open`].
    pub async fn unarchive(
        &self,
        id: &ConversationId,
        caller: &str,
    ) -> Result<Arc<Conversation>, Error> {
        if self.get(caller, id).is_none() {
            return Err(not_found(id));
        }
        if let Some(mut stored) = self.sessions.by_conversation(id)
            && stored.archived
        {
            let name = &stored.session_id;
            let newest = self.sessions.by_session(name);
            if newest.is_some_and(|newest| newest.conversation_id != *id) {
                return Err(Error::new(
                    Kind::Conflict,
                    format!(
                        "another conversation has the name {name} of its session now: archive that \
                         one first"
                    ),
                ));
            }
            self.engine.archive(id.to_string(), false).await?;
            stored.archived = false;
            self.sessions.insert(stored).map_err(|error| not_stored("the archive", &error))?;
        }
        self.load(id, caller).await
    }

    /// A live conversation, resumed where it is only stored.
    async fn load(&self, id: &ConversationId, caller: &str) -> Result<Arc<Conversation>, Error> {
        self.open(&id.clone().into(), &StartOptions::new(caller)).await
    }

    /// Ends a conversation, and archives it unless it is archived already.
    ///
    /// # Errors
    /// `NotFound` for an unknown id; `InsufficientStorage` where that cannot be stored;
    /// propagates `EngineError`.
    pub async fn archive(&self, id: &ConversationId) -> Result<(), Error> {
        self.sessions.check_room()?;
        let session_id = match self.get_any(id) {
            Some(known) => known.session_id().clone(),
            None => return Err(not_found(id)),
        };
        for _ in 0..MAX_ROUNDS {
            if let Some(ConversationRef::Live(conversation)) = self.get_any(id) {
                if let Some(turn) = conversation.interrupt(None) {
                    turn.report().await?;
                }
                conversation.close().await;
                self.remove(&conversation);
            }
            // In the name's cell, so that no prompt loads the conversation at the same time: whoever
            // waits for the cell finds it archived.
            let cell = Arc::clone(self.names().entry(session_id.clone()).or_default());
            let archived = cell
                .get_or_try_init(|| async {
                    Err::<Arc<Conversation>, _>(self.archive_stored(id).await)
                })
                .await;
            match archived {
                Err(archived) => {
                    self.drop_empty_cell(&session_id);
                    return archived;
                }
                // A prompt has loaded it in between.
                Ok(live) if live.id == *id => {}
                // The name is another conversation's by now.
                Ok(_) => return self.archive_stored(id).await,
            }
        }
        Err(keeps_ending())
    }

    /// Archives a conversation that is not live, unless it is archived already.
    async fn archive_stored(&self, id: &ConversationId) -> Result<(), Error> {
        let Some(mut stored) = self.sessions.by_conversation(id) else { return Err(not_found(id)) };
        if stored.archived {
            return Ok(());
        }
        match self.engine.archive(id.to_string(), true).await {
            // Core recorded nothing, because the conversation had no turn.
            Ok(()) | Err(EngineError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        stored.archived = true;
        self.mcp_servers.forget(id);
        self.sessions.insert(stored).map_err(|error| not_stored("the archive", &error))
    }

    /// Starts a conversation with the history of another one, in the same folder. It belongs to the
    /// caller.
    ///
    /// # Errors
    /// `InvalidRequest` where the session name is taken, or the turn is not the conversation's;
    /// `NotFound` where it is in the archive; `Forbidden` where the folder has become a link;
    /// `InsufficientStorage` where the fork cannot be stored; `Unavailable` while the process
    /// drains; propagates `EngineError`.
    pub async fn fork(
        &self,
        caller: &str,
        source: &ConversationRef,
        after_turn: Option<String>,
        session_id: Option<SessionId>,
    ) -> Result<Arc<Conversation>, Error> {
        self.sessions.check_room()?;
        if self.shared.shutdown.drain.is_cancelled() {
            return Err(Error::new(Kind::Unavailable, "the gateway is shutting down"));
        }
        let session_id = session_id.unwrap_or_else(SessionId::generate);
        if self.find_any(&session_id.clone().into()).is_some() {
            return Err(Error::invalid(format!(
                "new_session_id: expected a name that no conversation has, got {session_id}"
            )));
        }
        let id = source.id();
        let stored = self.sessions.by_conversation(id).ok_or_else(|| not_found(id))?;
        if stored.archived {
            return Err(archived(id));
        }
        self.workspaces.verify(&stored.cwd).await?;
        let (mut spec, mut resumed) = self.resume_spec(stored, None);
        resumed.owner = Some(caller.to_owned());
        let servers = self.mcp_servers.for_start(Some(id), Some(caller));
        spec.mcp_servers = specs(&servers);
        let place = self.room().await?;
        let thread = started(self.engine.fork(id.to_string(), after_turn, spec)).await?;
        let conversation = self.adopt_new(thread, &session_id, resumed, servers, place)?;
        self.names().insert(session_id, cell(&conversation));
        Ok(conversation)
    }

    /// At most `limit` recorded turns of a conversation after the turn `after`, oldest first.
    ///
    /// # Errors
    /// `InvalidRequest` where `after` is no turn of it; propagates `EngineError`.
    pub async fn history(
        &self,
        id: &ConversationId,
        after: Option<String>,
        limit: usize,
    ) -> Result<HistoryPage, Error> {
        match self.engine.history(id.to_string(), after, limit).await {
            // Core recorded nothing, because the conversation had no turn.
            Err(EngineError::NotFound(_)) => Ok(HistoryPage::default()),
            history => Ok(history?),
        }
    }
}
