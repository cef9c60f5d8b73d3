//! Conversations that are not live: the archive, forks, recorded turns, the list.

use std::sync::Arc;

use codex_gateway_engine::EngineError;
use codex_gateway_engine::history::PastTurn;

use super::Conversation;
use super::ConversationRef;
use super::id::ConversationId;
use super::id::SessionId;
use super::registry::Registry;
use super::registry::as_recorded;
use super::registry::cell;
use super::registry::unknown;
use super::workspace;
use crate::conversation::sessions::StoredConversation;
use crate::error::Error;
use crate::error::Kind;

impl Registry {
    /// Takes a conversation up again, also out of the archive.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn unarchive(
        &self,
        id: &ConversationId,
        caller: &str,
    ) -> Result<Arc<Conversation>, Error> {
        if let Some(ConversationRef::Stored(mut record)) = self.known(id)
            && record.archived
        {
            let name = &record.session_id;
            let newest = self.sessions.by_session(name);
            if newest.is_some_and(|newest| newest.conversation_id != *id) {
                return Err(Error::invalid(format!(
                    "another conversation goes by the session_id {name} now: expected that one to be \
                     archived first"
                )));
            }
            self.engine.archive(id.to_string(), false).await?;
            record.archived = false;
            self.sessions.insert(record).map_err(not_written)?;
        }
        self.load(id, caller).await
    }

    /// Ends a conversation and puts its record into the archive. One that is there already stays.
    ///
    /// # Errors
    /// `NotFound`; the archive cannot be written.
    pub async fn archive(&self, id: &ConversationId) -> Result<(), Error> {
        if let Some(ConversationRef::Live(conversation)) = self.known(id) {
            if let Some(turn) = conversation.stop(None) {
                turn.report().await?;
            }
            conversation.close().await;
            self.forget(&conversation);
        }
        let Some(mut record) = self.sessions.by_conversation(id) else { return Err(unknown(id)) };
        if record.archived {
            return Ok(());
        }
        match self.engine.archive(id.to_string(), true).await {
            // Nothing was said in it yet, so core recorded nothing.
            Ok(()) | Err(EngineError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        record.archived = true;
        self.sessions.insert(record).map_err(not_written)
    }

    /// Starts a conversation with the history of another one, in the same folder.
    ///
    /// # Errors
    /// `InvalidRequest` where the session name is taken, or the turn is not the conversation's.
    pub async fn fork(
        &self,
        source: &ConversationRef,
        after_turn: Option<String>,
        session_id: Option<SessionId>,
    ) -> Result<Arc<Conversation>, Error> {
        let session_id = session_id.unwrap_or_else(SessionId::generate);
        if self.find(&session_id.clone().into()).is_some() {
            return Err(Error::invalid(format!(
                "session_id: expected a name that no conversation has, got {session_id}"
            )));
        }
        let id = source.id();
        let record = self.sessions.by_conversation(id).ok_or_else(|| unknown(id))?;
        workspace::revisit(&self.root, &record.cwd).await?;
        let (mut spec, resumption) = as_recorded(&record, None);
        let servers = self.servers.wanted(Some(id));
        spec.mcp_servers = servers.iter().map(|one| one.server.clone()).collect();
        let thread = self.engine.fork(id.to_string(), after_turn, spec).await?;
        let conversation = self.adopt(thread, &session_id, resumption);
        self.servers.started(&conversation.id, servers);
        self.names().insert(session_id, cell(&conversation));
        self.remember(&conversation);
        Ok(conversation)
    }

    /// What is recorded of a conversation.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn history(&self, id: &ConversationId) -> Result<Vec<PastTurn>, Error> {
        match self.engine.history(id.to_string()).await {
            // Known here, but nothing was said in it yet.
            Err(EngineError::NotFound(_)) => Ok(Vec::new()),
            history => Ok(history?),
        }
    }

    /// At most `limit` conversations from the newest on, or from the one that began before `before`.
    pub fn newest_first(
        &self,
        before: Option<&ConversationId>,
        limit: usize,
    ) -> Vec<ConversationRef> {
        let records = self.sessions.newest_first(before, limit);
        let live = self.live();
        let known = |record: StoredConversation| match live.get(&record.conversation_id) {
            Some(conversation) => ConversationRef::Live(Arc::clone(conversation)),
            None => ConversationRef::Stored(record),
        };
        records.into_iter().map(known).collect()
    }
}

fn not_written(error: std::io::Error) -> Error {
    Error::new(Kind::Internal, format!("the session file cannot be written: {error}"))
}
