//! Restores sessions whose lines in the session file are damaged, from the recordings of their
//! conversations.

use std::collections::HashSet;
use std::path::Path;

use chrono::DateTime;
use chrono::Utc;
use codex_gateway_engine::Engine;
use codex_gateway_engine::RecordedConversation;

use super::id::ConversationId;
use super::id::SessionId;
use super::sessions::Sessions;
use super::sessions::StoredConversation;
use super::settings::Settings;

/// Restores what damaged lines have lost. A conversation whose name is lost too gets a new one; one
/// whose owner is lost belongs to nobody.
pub(crate) async fn restore(sessions: &Sessions, engine: &dyn Engine, root: &Path) {
    let damaged = sessions.take_damaged();
    if damaged.is_empty() {
        return;
    }
    let known: HashSet<String> = sessions.ids().iter().map(ToString::to_string).collect();
    let mut restored = 0;
    for recorded in engine.recorded_conversations(known).await {
        // Other programs may use this home, with conversations of their own.
        if !recorded.cwd.starts_with(root) || recorded.cwd == root {
            continue;
        }
        let id = ConversationId::new(&recorded.id);
        let line = damaged.iter().find(|line| line.conversation_id.as_ref() == Some(&id));
        let name = line.and_then(|line| line.session_id.clone());
        let owner = line.and_then(|line| line.owner.clone());
        let session_id = name.clone().unwrap_or_else(SessionId::generate);
        tracing::warn!(
            conversation = %id, %session_id, name_was_lost = name.is_none(),
            "a session was restored from its recording"
        );
        if let Err(error) = sessions.insert_older(stored(recorded, session_id, owner)) {
            tracing::error!(%error, conversation = %id, "a restored session cannot be stored");
        }
        restored += 1;
    }
    tracing::warn!(lines = damaged.len(), restored, "damaged sessions were restored");
}

fn stored(
    recorded: RecordedConversation,
    session_id: SessionId,
    owner: Option<String>,
) -> StoredConversation {
    let created_at = DateTime::parse_from_rfc3339(&recorded.created_at);
    StoredConversation {
        session_id,
        conversation_id: ConversationId::new(&recorded.id),
        cwd: recorded.cwd,
        defaults: Settings {
            model: recorded.model,
            sandbox: recorded.sandbox,
            approval_policy: recorded.approval_policy,
        },
        model_provider: recorded.model_provider,
        owner,
        created_at: created_at.map_or_else(|_| Utc::now(), |time| time.with_timezone(&Utc)),
        archived: recorded.archived,
    }
}
