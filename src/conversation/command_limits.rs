//! What a conversation does when its commands were ended because they exceeded a limit: it tells its
//! readers, and ends the turn if there is no room for another command.

use std::sync::Arc;

use codex_gateway_engine::children::Limit;
use codex_gateway_engine::children::Owner;
use codex_gateway_engine::children::Violation;
use serde_json::Value;
use tokio::sync::mpsc;

use super::conversation_ref::ConversationRef;
use super::handle::Conversation;
use super::id::ConversationId;
use super::registry::Registry;
use super::report::ErrorSource;

impl Registry {
    /// Tells conversations that their commands were ended, until the engine is dropped or the
    /// process drains.
    pub async fn run_command_limits(self: Arc<Self>, mut violations: mpsc::Receiver<Violation>) {
        loop {
            let violation = tokio::select! {
                violation = violations.recv() => violation,
                () = self.shared.shutdown.drain.cancelled() => None,
            };
            let Some(violation) = violation else { return };
            let Owner::Thread(id) = &violation.owner else { continue };
            if let Some(ConversationRef::Live(conversation)) =
                self.get_any(&ConversationId::new(id))
            {
                conversation.commands_ended(&violation);
            }
        }
    }
}

impl Conversation {
    /// Announces that commands were ended. The agent goes on, and learns of it by their exit code;
    /// but where a volume is nearly full no command starts, and the turn ends.
    fn commands_ended(&self, violation: &Violation) {
        let mut state = self.lock();
        let turn = state.running.as_ref().map(|running| running.id.clone());
        let message = violation.message.as_str();
        // Written by hand because readers of the log expect the tag first.
        let json = format!(
            r#"{{"id":{},"msg":{{"type":"gateway_commands_ended","limit":"{}","message":{}}}}}"#,
            Value::from(turn.as_deref().unwrap_or_default()),
            violation.limit.as_str(),
            Value::from(message),
        );
        self.log.append(json.as_bytes(), None);
        if violation.limit == Limit::Disk
            && let Some(running) = &mut state.running
        {
            running.report.fail(ErrorSource::Gateway, message);
            running.out_of_space.cancel();
        }
    }
}
