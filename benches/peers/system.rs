//! What is compared: a system has conversations, a conversation has turns.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::install::Peers;
use crate::seen::Seen;

pub(crate) type Job<'a, T> = BoxFuture<'a, anyhow::Result<T>>;

/// A started system.
pub(crate) trait System: Send + Sync {
    /// A new conversation. Its first turn may be what really starts it.
    fn open(&self) -> Job<'_, Box<dyn Conversation>>;

    /// Its processes, without those that they started; none where it is part of the bench itself.
    fn processes(&self) -> Vec<u32>;
}

/// A conversation, used by one client.
pub(crate) trait Conversation: Send {
    /// A turn, timed from `begun` on.
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen>;

    /// Lets go of it.
    fn close(self: Box<Self>) -> Job<'static, ()>;
}

/// Longer than any turn takes; a system that hangs is out.
const PATIENCE: Duration = Duration::from_secs(120);
/// A conversation that is not closed by then stays open.
const CLOSING: Duration = Duration::from_secs(15);

/// A turn in a conversation that is open.
///
/// # Errors
/// It fails, or takes two minutes.
pub(crate) async fn turn(
    conversation: &mut dyn Conversation,
    prompt: &str,
    begun: Instant,
) -> anyhow::Result<Seen> {
    tokio::time::timeout(PATIENCE, conversation.turn(prompt, begun))
        .await
        .context("a turn hangs")?
}

/// Lets go of a conversation: nothing depends on whether a system can.
pub(crate) async fn close(conversation: Box<dyn Conversation>) {
    if let Err(error) = tokio::time::timeout(CLOSING, conversation.close()).await {
        eprintln!("a conversation did not close: {error}");
    }
}

/// A new conversation and its first turn, timed together.
///
/// # Errors
/// Either fails, or takes two minutes.
pub(crate) async fn first_turn(
    system: &dyn System,
    prompt: &str,
) -> anyhow::Result<(Seen, Box<dyn Conversation>)> {
    let begun = Instant::now();
    let opened = tokio::time::timeout(PATIENCE, system.open()).await;
    let mut conversation = opened.context("a start hangs")??;
    let seen = turn(&mut *conversation, prompt, begun).await?;
    Ok((seen, conversation))
}

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Site {
    /// A folder of this run's own.
    pub(crate) home: PathBuf,
    /// The scripted model.
    pub(crate) model_url: String,
    /// The programs to compare with.
    pub(crate) peers: Peers,
}

impl Site {
    /// A folder of this name in the run's own, made anew where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.home.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Codex's configuration, as an operator would write it for a provider of their own.
    ///
    /// # Errors
    /// It cannot be written.
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
