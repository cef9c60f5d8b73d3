//! Starts a shell on a new terminal.

use std::path::PathBuf;
use std::sync::Arc;

use codex_gateway_engine::Sandbox;
use codex_gateway_engine::terminal::TerminalSize;
use codex_gateway_engine::terminal::TerminalSpec;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::policy::allow_sandbox;
use super::super::sandbox::require_sandbox;
use super::size::Cells;
use super::size::cells;
use crate::app::App;
use crate::conversation::ConversationRef;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::id::SessionId;
use crate::conversation::registry::not_found;
use crate::error::Error;
use crate::input::argument::Program;
use crate::input::path::FolderPath;
use crate::terminal::ExitReason;
use crate::terminal::Terminal;
use crate::terminal::TerminalOptions;

const DEFAULT_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// A terminal to start.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TerminalRequest {
    /// A conversation, whose folder and sandbox it starts in. An unknown name stands for a new folder.
    session_id: Option<SessionId>,
    #[serde(alias = "conversationId")]
    conversation_id: Option<ConversationId>,
    /// A program: an absolute path or a name on PATH. Default: bash, else sh.
    shell: Option<Program>,
    /// Columns.
    #[schemars(extend("default" = DEFAULT_SIZE.cols))]
    cols: Option<Cells>,
    /// Rows.
    #[schemars(extend("default" = DEFAULT_SIZE.rows))]
    rows: Option<Cells>,
    /// A folder inside the workspace root, as in a prompt.
    cwd: Option<FolderPath>,
    #[serde(alias = "sandbox_mode", alias = "sandboxMode")]
    sandbox: Option<Sandbox>,
    /// Whether it outlives its socket. Always so over plain HTTP.
    #[serde(default)]
    pub(crate) detached: bool,
}

/// The folder that was made for a terminal; removed on drop if it is empty.
struct OwnFolder(PathBuf);

impl Drop for OwnFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Ends a new terminal if its caller was dropped before it could take the terminal.
struct StopOnDrop {
    terminal: Arc<Terminal>,
    armed: bool,
}

impl StopOnDrop {
    fn disarm(mut self) -> Arc<Terminal> {
        self.armed = false;
        Arc::clone(&self.terminal)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.terminal.stop(ExitReason::Disconnected);
        }
    }
}

/// Starts a terminal. If the caller is dropped meanwhile, the terminal ends at once.
///
/// # Errors
/// `InvalidRequest` names the field; `NotFound` for an unknown conversation id; `Forbidden` for a
/// sandbox that is not permitted or does not work; `Overloaded` if too many terminals run.
pub(crate) async fn start(
    app: &Arc<App>,
    caller: &str,
    request: TerminalRequest,
) -> Result<Arc<Terminal>, Error> {
    let size = TerminalSize {
        cols: request.cols.map_or(DEFAULT_SIZE.cols, cells),
        rows: request.rows.map_or(DEFAULT_SIZE.rows, cells),
    };
    let conversations = app.conversations();
    let key = ConversationKey {
        session_id: request.session_id,
        conversation_id: request.conversation_id,
    };
    let known = conversations.find(caller, &key);
    if let (None, Some(id)) = (&known, &key.conversation_id) {
        return Err(not_found(id));
    }
    if let Some(session_id) = &key.session_id {
        conversations.check_name(caller, session_id)?;
    }
    let sandbox = request.sandbox.or_else(|| known.as_ref().map(|known| known.sandbox()));
    let sandbox = sandbox.unwrap_or(Sandbox::WorkspaceWrite);
    require_sandbox(app, "terminals")?;
    allow_sandbox(app.config(), Some(sandbox))?;
    let conversation = known.as_ref().map(ConversationRef::cwd);
    let cwd = request.cwd.as_ref().map(FolderPath::as_str);
    let dir = conversations.workspaces().working_dir(conversation, cwd).await?;
    let shell = request.shell.map(Program::into_string);
    let own_folder = dir.is_new.then(|| OwnFolder(dir.folder.clone()));
    let until_gone = own_folder.map(|folder| Arc::new(folder) as Arc<_>);
    let options = TerminalOptions {
        spec: TerminalSpec { shell, cwd: dir.folder, sandbox, size, until_gone },
        owner: caller.into(),
        detached: request.detached,
    };
    let starting = app.detached(|app| async move {
        let terminal = app.terminals().start(options).await?;
        Ok(StopOnDrop { terminal, armed: true })
    });
    Ok(starting.await?.disarm())
}
