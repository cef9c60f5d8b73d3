//! The engine: codex-core, linked into this process.
//!
//! This is the only crate that names codex crates. Core's async functions are generic state
//! machines that compile, for minutes, into whichever crate calls them. Here they stay behind boxed
//! futures, so that the gateway itself rebuilds in seconds.
//!
//! The gateway sees the traits in this file: an [`Engine`] starts [`Thread`]s (codex's word for a
//! conversation); a thread takes [`Submission`]s and yields [`Event`]s. All types in their
//! signatures except [`process::Process`] can be built outside this crate, so a test can implement
//! both traits with a script. Reading order:
//!
//! - this file, then `facts`, `spec`, `submission` and `error`: the seam, re-exported here;
//! - [`approval`]: requests of the agent for approval or input; [`history`]: recorded turns;
//! - [`arg0`]: the start of `main`, because core re-executes its own binary as helpers;
//! - [`codex`]: the real engine (`ThreadManager`, extensions, configuration);
//! - [`children`]: limits and ends of the processes that this one starts;
//! - [`process`]: a running one-off command;
//! - [`patch`]: applies patches in a scratch folder;
//! - [`mcp`]: tool servers; [`login`]: Codex's own login;
//! - [`model_socket`]: core's connection to its model;
//! - [`terminal`]: a program on a terminal of its own; `view`: what commands see of the disk;
//! - [`sandbox`]: the self-test that finds out what confines tool calls.

// The layout of core's nested futures is deeper than the default limit in a release build.
#![recursion_limit = "256"]

pub mod approval;
pub mod arg0;
pub mod children;
pub mod codex;
mod deny_read;
mod error;
mod facts;
pub mod history;
pub mod login;
pub mod mcp;
pub mod patch;
pub mod process;
pub mod sandbox;
mod spec;
mod stray_files;
mod submission;
pub mod terminal;
#[cfg(target_os = "linux")]
mod view;

use std::collections::HashMap;
use std::collections::HashSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use self::error::EngineError;
pub use self::facts::EngineFacts;
pub use self::facts::RecordedConversation;
pub use self::facts::ThreadFacts;
pub use self::facts::TraceContext;
pub use self::spec::Approval;
pub use self::spec::Command;
pub use self::spec::Sandbox;
pub use self::spec::ThreadSpec;
pub use self::submission::Prompt;
pub use self::submission::Review;
pub use self::submission::Submission;

use self::history::HistoryPage;
use self::mcp::McpServer;
use self::mcp::McpState;
use self::mcp::McpTool;
use self::protocol::Event;

/// Core's connections to its model: WebSockets inside this process, answered by the listener at the
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
    /// The largest number of characters that core accepts as user input.
    pub use codex_protocol::user_input::MAX_USER_INPUT_TEXT_CHARS;
}

/// A boxed future: one allocation in exchange for a rebuild in seconds.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts and reads conversations. Called once per conversation, never on the event path.
pub trait Engine: Send + Sync + 'static {
    /// Facts for `/health` and the banner.
    fn facts(&self) -> &EngineFacts;

    /// Starts a new conversation.
    fn start(&self, spec: ThreadSpec) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>>;

    /// Resumes a conversation from its recording on disk.
    fn resume(
        &self,
        thread_id: String,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>>;

    /// Starts a conversation with the history of another one, up to the end of `after_turn`; `None`
    /// is the last turn that has ended.
    fn fork(
        &self,
        thread_id: String,
        after_turn: Option<String>,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>>;

    /// At most `limit` recorded turns of a conversation after the turn `after`, oldest first.
    fn history(
        &self,
        thread_id: String,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<HistoryPage, EngineError>>;

    /// What recordings say of their conversations, but for the `known` ones. Reads all of them.
    fn recorded_conversations(
        &self,
        _known: HashSet<String>,
    ) -> BoxFuture<'_, Vec<RecordedConversation>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Moves the recording of a conversation that is not live into the archive, or back.
    fn archive(&self, thread_id: String, archived: bool) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Starts a one-off command, confined like the commands of a conversation in the same folder.
    fn exec(&self, command: Command) -> BoxFuture<'_, Result<process::Process, EngineError>>;

    /// Starts a tool server in a folder, lists its tools and ends it again. Dropping the future
    /// ends the server.
    fn probe_mcp(
        &self,
        server: McpServer,
        cwd: PathBuf,
    ) -> BoxFuture<'_, Result<Vec<McpTool>, EngineError>>;

    /// Names that a connected tool server must not have.
    fn reserved_mcp_names(&self) -> Vec<String>;

    /// Starts a program on a terminal of its own, in the sandbox of the spec.
    fn open_terminal(
        &self,
        spec: terminal::TerminalSpec,
    ) -> BoxFuture<'_, Result<terminal::OpenTerminal, EngineError>>;

    /// Free space where commands write. `None` if the engine does not know.
    fn space(&self) -> Option<children::Space> {
        None
    }

    /// Ends every conversation and flushes its history. Returns how many did not end in time.
    fn shutdown(&self, limit: Duration) -> BoxFuture<'_, usize>;
}

/// How a conversation was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It has ended.
    Ended,
    /// It did not end in time and was given up. Its history is on disk, and no event follows.
    Abandoned,
}

/// One live conversation.
pub trait Thread: Send + Sync + 'static {
    /// Facts that were settled when the conversation started.
    fn facts(&self) -> &ThreadFacts;

    /// Submits to core under an id that the caller chose; the id of a prompt is the id of its turn.
    /// Core's work for it is traced below `trace`.
    fn submit(
        &self,
        id: String,
        submission: Submission,
        trace: Option<TraceContext>,
    ) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Replaces the tool servers that the conversation has beside those of the configuration, from
    /// its next turn on.
    fn set_mcp_servers(&self, servers: Vec<McpServer>) -> BoxFuture<'_, Result<(), EngineError>>;

    /// States of the tool servers started so far, by name.
    fn mcp_states(&self) -> HashMap<String, McpState>;

    /// The next event, or `None` once the conversation has ended. One consumer.
    fn next_event(&self) -> BoxFuture<'_, Option<Event>>;

    /// Brings all of its history to the disk.
    fn flush(&self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Ends the conversation and waits until its history is on disk, for a limited time: a tool
    /// server or a hook may hang.
    fn close(&self) -> BoxFuture<'_, Closed>;
}

/// Appends an event's JSON, `{"id":…,"msg":{"type":…}}`, to `out`.
///
/// # Errors
/// Only if a value inside the event cannot be JSON, which core's types rule out.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, event)
}
