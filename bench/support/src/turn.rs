//! Conversations and turns on core, without HTTP.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use codex_gateway_engine::Engine;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Submission;
use codex_gateway_engine::Thread;
use codex_gateway_engine::ThreadSpec;
use codex_gateway_engine::protocol::EventMsg;

/// Starts a conversation.
///
/// # Errors
/// If core cannot start it.
pub async fn start(engine: &dyn Engine, cwd: &Path) -> anyhow::Result<Arc<dyn Thread>> {
    Ok(engine.start(ThreadSpec { cwd: cwd.to_owned(), ..ThreadSpec::default() }).await?)
}

/// Runs a turn to its end. `on_event` receives each event on arrival.
///
/// # Errors
/// If the turn fails or is interrupted, or core ends.
pub async fn turn(
    thread: &dyn Thread,
    prompt: &str,
    mut on_event: impl FnMut(&EventMsg),
) -> anyhow::Result<()> {
    let id = uuid::Uuid::now_v7().to_string();
    let prompt = Prompt { text: prompt.to_owned(), ..Prompt::default() };
    thread.submit(id, Submission::Prompt(prompt), None).await?;
    loop {
        let event = thread.next_event().await.context("core ended within a turn")?;
        on_event(&event.msg);
        match event.msg {
            EventMsg::TurnComplete(_) => return Ok(()),
            EventMsg::Error(error) => anyhow::bail!("the turn failed: {}", error.message),
            EventMsg::TurnAborted(_) => anyhow::bail!("the turn was interrupted"),
            _ => {}
        }
    }
}
