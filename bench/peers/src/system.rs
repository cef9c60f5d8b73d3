//! The compared systems: a system has conversations, a conversation has turns.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::install::Peers;
use crate::timing::TurnTiming;

pub(crate) type TryBoxFuture<'a, T> = BoxFuture<'a, anyhow::Result<T>>;

/// A started system.
pub(crate) trait System: Send + Sync {
    /// Opens a conversation. Some systems start it only with the first turn.
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>>;

    /// The root processes of the system; empty if it runs in this process.
    fn processes(&self) -> Vec<u32>;
}

/// A conversation with one client.
pub(crate) trait Conversation: Send {
    /// Runs a turn, timed from `begun` on.
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming>;

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()>;
}

/// The time limit of a turn; a system that exceeds it has failed.
const TURN_TIMEOUT: Duration = Duration::from_secs(120);
/// The time limit of a close; the conversation stays open after it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs a turn in an open conversation.
///
/// # Errors
/// If the turn fails, or takes two minutes.
pub(crate) async fn turn(
    conversation: &mut dyn Conversation,
    prompt: &str,
    begun: Instant,
) -> anyhow::Result<TurnTiming> {
    tokio::time::timeout(TURN_TIMEOUT, conversation.turn(prompt, begun))
        .await
        .context("a turn timed out")?
}

/// Closes a conversation. A timeout is only logged: no measurement depends on it.
pub(crate) async fn close(conversation: Box<dyn Conversation>) {
    if let Err(error) = tokio::time::timeout(CLOSE_TIMEOUT, conversation.close()).await {
        eprintln!("a conversation did not close: {error}");
    }
}

/// Opens a conversation and runs its first turn, timed together.
///
/// # Errors
/// If either fails, or takes two minutes.
pub(crate) async fn first_turn(
    system: &dyn System,
    prompt: &str,
) -> anyhow::Result<(TurnTiming, Box<dyn Conversation>)> {
    let begun = Instant::now();
    let opened = tokio::time::timeout(TURN_TIMEOUT, system.open()).await;
    let mut conversation = opened.context("a start timed out")??;
    let timing = turn(&mut *conversation, prompt, begun).await?;
    Ok((timing, conversation))
}

/// The environment of a run.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The root of all folders of the run.
    pub(crate) home: PathBuf,
    /// The base URL of the scripted model.
    pub(crate) model_url: String,
    pub(crate) peers: Peers,
}

impl Setup {
    /// Returns the folder of this name below the home. Creates it if it is missing.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.home.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Writes a Codex configuration, as an operator would for a custom provider.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn configure(&self, codex_home: &Path, tuned: bool) -> anyhow::Result<()> {
        let Self { model_url, .. } = self;
        let (provider, features) = if tuned {
            ("supports_websockets = true\n", "[features]\nshell_snapshot = false\n")
        } else {
            ("", "")
        };
        let text = format!(
            "model = \"scripted\"\nmodel_provider = \"scripted\"\n\
             check_for_update_on_startup = false\n\
             [analytics]\nenabled = false\n\
             {features}\
             [model_providers.scripted]\nname = \"Scripted\"\nbase_url = \"{model_url}\"\n\
             wire_api = \"responses\"\n{provider}"
        );
        Ok(std::fs::write(codex_home.join("config.toml"), text)?)
    }
}
