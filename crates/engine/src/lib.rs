//! The engine: codex-core, linked in this process.
//!
//! This is the only crate that names codex crates. Core's async functions are generic state
//! machines that are compiled into whichever crate calls them, minutes of work; here they stay
//! behind boxed futures, so that the gateway itself rebuilds in seconds.
//!
//! What the gateway sees is the seam in this file: an [`Engine`] starts [`Thread`]s (codex's word
//! for a conversation), a thread takes [`Submission`]s and yields [`Event`]s. Reading order:
//!
//! - this file: the seam;
//! - [`approval`]: what the agent stops to ask; [`history`]: what core recorded;
//! - [`arg0`]: how `main` must start, because core re-executes its own binary as helpers;
//! - [`codex`]: the real engine (`ThreadManager`, extensions, configuration);
//! - [`process`]: a one-off command that is running;
//! - [`patch`]: patches, applied in a folder of copies;
//! - [`mcp`]: servers of tools;
//! - [`model_socket`]: how core reaches its model;
//! - [`terminal`]: the seam's other half: a program on a terminal of its own;
//! - [`sandbox`]: what protects tool calls, found out by trying.

// The layout of core's nested futures is deeper than the default limit in a release build.
#![recursion_limit = "256"]

pub mod approval;
pub mod arg0;
pub mod codex;
mod denied;
pub mod history;
pub mod mcp;
pub mod patch;
pub mod process;
pub mod sandbox;
pub mod terminal;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

/// Core's connections to its model: WebSockets within this process, answered by whoever listens at the
/// address that core was given.
pub mod model_socket {
    pub use codex_websocket_client::Call;
    pub use codex_websocket_client::ConnectError;
    pub use codex_websocket_client::Listener;
    pub use codex_websocket_client::Socket;
    pub use codex_websocket_client::connect;
    pub use codex_websocket_client::listen;
}

/// Core's protocol types that cross the seam.
pub mod protocol {
    pub use codex_protocol::models::ResponseItem;
    pub use codex_protocol::protocol::ErrorEvent;
    pub use codex_protocol::protocol::Event;
    pub use codex_protocol::protocol::EventMsg;
    pub use codex_protocol::protocol::ExecOutputStream;
    pub use codex_protocol::protocol::FileChange;
    pub use codex_protocol::protocol::TokenUsage;
    pub use codex_protocol::protocol::TurnAbortReason;
    /// Core rejects user input of more characters than this.
    pub use codex_protocol::user_input::MAX_USER_INPUT_TEXT_CHARS;
}

use approval::Answer;
use approval::Question;
use history::PastTurn;
use mcp::McpServer;
use mcp::McpState;
use mcp::McpTool;
use protocol::Event;

/// A boxed future: the price of one allocation buys a rebuild in seconds.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What can go wrong between the gateway and core.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Core would not take the request as it was put.
    #[error("{0}")]
    Rejected(String),
    /// No conversation with that id is kept on disk.
    #[error("no conversation {0} is kept")]
    NotFound(String),
    /// The turn to steer is not running (not yet, or no longer).
    #[error("no turn is running that could be steered")]
    NoActiveTurn,
    /// A tool server is not to be used, and why.
    #[error("{0}")]
    ToolServer(String),
    /// A tool server took too long.
    #[error("{0}")]
    ToolServerTimedOut(String),
    /// Core itself failed.
    #[error("{0}")]
    Failed(String),
}

/// Where conversations come from. Called once per conversation, never on the event path.
pub trait Engine: Send + Sync + 'static {
    /// What this engine is, for `/health` and the banner.
    fn facts(&self) -> &EngineFacts;

    /// Starts a new conversation.
    fn start(&self, spec: ThreadSpec) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>>;

    /// Takes up a conversation that an earlier process recorded on disk.
    fn resume(
        &self,
        thread_id: String,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>>;

    /// Starts a conversation with the history of another one: up to the end of a turn, or of the last
    /// that has ended.
    fn fork(
        &self,
        thread_id: String,
        after_turn: Option<String>,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>>;

    /// What is recorded of a conversation.
    fn history(&self, thread_id: String) -> BoxFuture<'_, Result<Vec<PastTurn>, EngineError>>;

    /// Puts the record of a conversation that is not live into the archive, or takes it out.
    fn archive(&self, thread_id: String, archived: bool) -> BoxFuture<'_, Result<(), EngineError>>;
    /// Starts a one-off command, confined as the commands of a conversation in that folder are.
    fn exec(&self, command: Command) -> BoxFuture<'_, Result<process::Process, EngineError>>;

    /// Starts a tool server in a folder to see that it works, and ends it again: its tools. Dropping
    /// the future ends what was started.
    fn try_mcp(
        &self,
        server: McpServer,
        cwd: PathBuf,
    ) -> BoxFuture<'_, Result<Vec<McpTool>, EngineError>>;

    /// The names that a tool server may not take.
    fn taken_mcp_names(&self) -> Vec<String>;

    /// Starts a program on a terminal of its own, in the sandbox that was chosen.
    fn open_terminal(
        &self,
        spec: terminal::TerminalSpec,
    ) -> BoxFuture<'_, Result<terminal::OpenTerminal, EngineError>>;

    /// Ends every conversation, flushing its history. Returns how many did not end in time.
    fn shutdown(&self, limit: Duration) -> BoxFuture<'_, usize>;
}

/// One live conversation.
pub trait Thread: Send + Sync + 'static {
    /// What was settled when the conversation started.
    fn facts(&self) -> &ThreadFacts;

    /// Hands core a submission under an id that the caller chose; a prompt's id is its turn's id.
    /// What core does for it is traced below `trace`.
    fn submit(
        &self,
        id: String,
        submission: Submission,
        trace: Option<TraceContext>,
    ) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Says which tool servers the conversation has from its next turn on, beside those of the
    /// configuration.
    fn set_mcp_servers(&self, servers: Vec<McpServer>) -> BoxFuture<'_, Result<(), EngineError>>;

    /// What became of the tool servers that were started so far, by name.
    fn mcp_states(&self) -> HashMap<String, McpState>;

    /// The next event, or `None` once the conversation has ended. One consumer.
    fn next_event(&self) -> BoxFuture<'_, Option<Event>>;

    /// Ends the conversation and waits until its history is on disk.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What an engine says about itself.
#[derive(Debug, Clone, Serialize)]
pub struct EngineFacts {
    /// `codex-core`, or the name of a stand-in.
    pub name: &'static str,
    /// The model that a prompt gets unless it names another.
    pub model: String,
    /// The id of the model's provider in the configuration.
    pub model_provider: String,
    /// The ids of all providers that a conversation may have.
    pub model_providers: Vec<String>,
    /// What protects tool calls.
    pub sandbox: sandbox::Report,
}

/// Where in which trace something is caused (W3C Trace Context).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`
    pub traceparent: String,
    /// `tracestate`
    pub tracestate: Option<String>,
}

/// What was settled when a conversation started.
#[derive(Debug, Clone)]
pub struct ThreadFacts {
    /// Codex's thread id: a UUID.
    pub id: String,
    /// The model in use.
    pub model: String,
    /// The id of the model's provider.
    pub model_provider: String,
    /// The folder that the conversation works in.
    pub cwd: PathBuf,
}

/// What a caller may choose when a conversation starts; `None` means the configured default.
#[derive(Debug, Clone, Default)]
pub struct ThreadSpec {
    /// The folder to work in. It exists.
    pub cwd: PathBuf,
    /// Model slug.
    pub model: Option<String>,
    /// Provider id, a key of `model_providers`.
    pub model_provider: Option<String>,
    /// What commands may touch.
    pub sandbox: Option<Sandbox>,
    /// When core asks before it acts.
    pub approval_policy: Option<Approval>,
    /// Tool servers beside those of the configuration.
    pub mcp_servers: Vec<McpServer>,
    /// Where its start is traced.
    pub trace: Option<TraceContext>,
}

/// A one-off command.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program's path, and its arguments.
    pub argv: Vec<String>,
    /// The folder that it works in. It exists.
    pub cwd: PathBuf,
    /// Its environment, all of it. The names are those of shell variables.
    pub env: BTreeMap<String, String>,
    /// What it may touch.
    pub sandbox: Sandbox,
}

/// What commands of the agent may touch (core's `sandbox_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Read everything, write nothing, no network.
    ReadOnly,
    /// Read everything, write the conversation's folder and the temporary folder, no network.
    WorkspaceWrite,
    /// No sandbox.
    DangerFullAccess,
}

/// When the agent stops to ask (core's `approval_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Never: what the sandbox refuses, fails.
    Never,
    /// When the model asks to leave the sandbox.
    OnRequest,
    /// For every command that is not known to only read.
    Untrusted,
}

/// What goes into a conversation.
#[derive(Debug, Clone)]
pub enum Submission {
    /// Starts a turn.
    Prompt(Prompt),
    /// Adds text and images to the turn that is running, if it is this one.
    Steer { turn_id: String, text: String, images: Vec<String> },
    /// Answers what the agent asked.
    Answer(Question, Answer),
    /// Starts a turn that sums up the history, to make room for more.
    Compact,
    /// Starts a turn that reviews code.
    Review(Review),
    /// Takes the last turns out of the history. Files stay as they are.
    Rollback { turns: u32 },
    /// Stops the turn that is running, with the processes that it left in the background.
    Interrupt,
}

/// What a review looks at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Review {
    /// What is not committed yet: staged, unstaged and untracked.
    UncommittedChanges,
    /// What the branch changes.
    BaseBranch {
        /// Against this one.
        branch: String,
    },
    /// What one commit changed.
    Commit {
        /// The commit.
        sha: String,
    },
    /// What the instructions say.
    Custom {
        /// What to look at, and for.
        instructions: String,
    },
}

/// One prompt and what it overrides for its turn and the ones after it.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// What the user says.
    pub text: String,
    /// `data:` URIs of images.
    pub images: Vec<String>,
    /// JSON Schema that the final message must satisfy.
    pub output_schema: Option<Value>,
    /// Model slug.
    pub model: Option<String>,
    /// What commands may touch.
    pub sandbox: Option<Sandbox>,
    /// When core asks before it acts.
    pub approval_policy: Option<Approval>,
}

/// Appends an event's JSON, `{"id":…,"msg":{"type":…}}`, to `out`.
///
/// # Errors
/// Only if a value inside the event cannot be JSON, which core's types rule out.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, event)
}
