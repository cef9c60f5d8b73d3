//! `interactive.start`, `.input`, `.resize`, `.stop`, `.read`, `.attach`: shells on terminals.
//!
//! Over a socket, output comes as `interactive.output` notifications and the end as
//! `interactive.exited`; over plain HTTP both come from `interactive.read`. A terminal is its caller's
//! (the name of the key); to others it is not found.

mod follow;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::sandbox::Tools;
use codex_gateway_engine::terminal::TerminalSize;
use codex_gateway_engine::terminal::TerminalSpec;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::app::App;
use crate::conversation::id::ConversationKey;
use crate::conversation::registry::unknown;
use crate::error::Error;
use crate::error::Kind;
use crate::rpc::call_context::CallContext;
use crate::rpc::reply::Reply;
use crate::terminal::Output;
use crate::terminal::Reason;
use crate::terminal::Terminal;
use crate::terminal::TerminalOptions;

/// The size unless a client says otherwise.
const DEFAULT_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };
const MAX_CELLS: u16 = 1000;

/// How long `interactive.read` waits unless a client says otherwise, and at most.
const DEFAULT_WAIT_MS: u64 = 25_000;
const MAX_WAIT_MS: u64 = 60_000;

/// The most output in one answer of `interactive.read`.
const MAX_READ_BYTES: usize = 128 << 10;

/// How a terminal is to be.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Start {
    /// A conversation, in whose folder and sandbox it starts. A name that no conversation has stands for
    /// a new folder.
    session_id: Option<String>,
    conversation_id: Option<String>,
    /// A program: an absolute path or a name on PATH. Default: bash, else sh.
    shell: Option<String>,
    /// Columns, 80 by default.
    cols: Option<u16>,
    /// Rows, 24 by default.
    rows: Option<u16>,
    /// A folder inside the workspace root, as a prompt names it.
    cwd: Option<String>,
    sandbox: Option<Sandbox>,
    /// It goes on when its socket is closed. Over plain HTTP it always does.
    #[serde(default)]
    detached: bool,
}

/// A terminal.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Started {
    terminal_id: String,
    pid: u32,
    cols: u16,
    rows: u16,
    /// It goes on when its socket is closed.
    detached: bool,
    /// How many bytes it has printed: where `interactive.read` would go on.
    offset: u64,
}

impl Started {
    fn new(terminal: &Terminal, offset: u64) -> Self {
        let TerminalSize { cols, rows } = terminal.size();
        let (terminal_id, pid) = (terminal.id().to_string(), terminal.pid());
        Self { terminal_id, pid, cols, rows, detached: terminal.is_detached(), offset }
    }
}

/// A terminal that ends when this is dropped, unless somebody has heard of it.
struct Fresh {
    terminal: Arc<Terminal>,
    heard_of: bool,
}

impl Fresh {
    fn tell(mut self) -> Arc<Terminal> {
        self.heard_of = true;
        Arc::clone(&self.terminal)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.heard_of {
            self.terminal.stop(Reason::Disconnected);
        }
    }
}

pub(super) async fn start(call: &CallContext, params: Start) -> Result<Reply<Started>, Error> {
    let app = call.app();
    let size = TerminalSize {
        cols: cells("cols", params.cols.unwrap_or(DEFAULT_SIZE.cols))?,
        rows: cells("rows", params.rows.unwrap_or(DEFAULT_SIZE.rows))?,
    };
    let conversations = app.conversations();
    let key =
        ConversationKey::parse(params.session_id.as_deref(), params.conversation_id.as_deref())?;
    let known = conversations.find(&key);
    if let (None, Some(id)) = (&known, &key.conversation_id) {
        return Err(unknown(id));
    }
    let sandbox = params.sandbox.or_else(|| known.as_ref().map(|known| known.sandbox()));
    let sandbox = sandbox.unwrap_or(Sandbox::WorkspaceWrite);
    permitted(app, sandbox)?;
    let place = conversations.place(known.as_ref(), params.cwd.as_deref()).await?;
    let folder = place.folder.clone();
    let own_folder = place.is_new.then_some(place.folder);
    let options = TerminalOptions {
        spec: TerminalSpec { shell: params.shell, cwd: folder, sandbox, size },
        owner: call.caller().into(),
        detached: params.detached || call.socket().is_none(),
        own_folder: own_folder.clone(),
    };
    let app_ = Arc::clone(app);
    let starting = app.detached(async move {
        match app_.terminals().start(options).await {
            Ok(terminal) => Ok(Fresh { terminal, heard_of: false }),
            Err(error) => {
                if let Some(folder) = own_folder {
                    let _ = tokio::fs::remove_dir(folder).await;
                }
                Err(error)
            }
        }
    });
    let terminal = starting.await?.tell();
    let reply = Reply::from(Started::new(&terminal, 0));
    Ok(match call.socket() {
        Some(socket) => reply.then(follow::follow(&terminal, socket.clone(), 0)),
        None => reply,
    })
}

fn permitted(app: &App, sandbox: Sandbox) -> Result<(), Error> {
    let found = &app.facts().sandbox;
    match found.tools {
        Tools::Off => {
            let fix = found.fix.unwrap_or_default();
            Err(Error::new(
                Kind::Forbidden,
                format!("no sandbox works here, so there are no terminals: {fix}"),
            ))
        }
        Tools::On | Tools::Unsandboxed
            if sandbox == Sandbox::DangerFullAccess && !app.config().allow_danger_full_access =>
        {
            Err(Error::new(
                Kind::Forbidden,
                "sandbox: danger-full-access needs gateway.allow_danger_full_access; expected read-only \
                 or workspace-write",
            ))
        }
        Tools::On | Tools::Unsandboxed => Ok(()),
    }
}

fn cells(field: &str, cells: u16) -> Result<u16, Error> {
    if (1..=MAX_CELLS).contains(&cells) {
        return Ok(cells);
    }
    Err(Error::invalid(format!("{field}: expected 1 to {MAX_CELLS}, got {cells}")))
}

/// What is typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Input {
    terminal_id: String,
    /// The bytes, in base64.
    data: String,
}

/// The bytes are on their way, in the order of the calls.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Accepted {
    /// How many they are.
    accepted: usize,
}

pub(super) async fn input(call: &CallContext, params: Input) -> Result<Accepted, Error> {
    let terminal = find(call, &params.terminal_id)?;
    let bytes = STANDARD.decode(&params.data).map_err(|error| {
        Error::invalid(format!("data: expected base64 (RFC 4648, section 4): {error}"))
    })?;
    let accepted = bytes.len();
    terminal.write(bytes)?;
    Ok(Accepted { accepted })
}

/// A size.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Resize {
    terminal_id: String,
    cols: u16,
    rows: u16,
}

/// The size that a terminal has now.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Resized {
    terminal_id: String,
    cols: u16,
    rows: u16,
}

pub(super) async fn resize(call: &CallContext, params: Resize) -> Result<Resized, Error> {
    let size =
        TerminalSize { cols: cells("cols", params.cols)?, rows: cells("rows", params.rows)? };
    find(call, &params.terminal_id)?.resize(size)?;
    Ok(Resized { terminal_id: params.terminal_id, cols: size.cols, rows: size.rows })
}

/// Which terminal.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct TerminalParams {
    terminal_id: String,
}

/// The terminal has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Stopped {
    /// False where it had ended by itself.
    stopped: bool,
    terminal_id: String,
    exit_code: i32,
    reason: Reason,
}

pub(super) async fn stop(call: &CallContext, params: TerminalParams) -> Result<Stopped, Error> {
    let terminal = find(call, &params.terminal_id)?;
    terminal.stop(Reason::Stopped);
    let ending = terminal.ended().await;
    Ok(Stopped {
        stopped: ending.reason == Reason::Stopped,
        terminal_id: params.terminal_id,
        exit_code: ending.exit_code,
        reason: ending.reason,
    })
}

/// Which output of which terminal.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Read {
    terminal_id: String,
    /// How many bytes of its output the client has: `next` of the last answer. 0 by default.
    #[serde(default)]
    after: u64,
    /// How long to wait for output, 25000 by default.
    timeout_ms: Option<u64>,
}

/// What a terminal printed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Printed {
    terminal_id: String,
    /// How many bytes were printed before these.
    offset: u64,
    /// How many bytes after `after` are no longer kept.
    lost: u64,
    /// The bytes, in base64. None where the time was up.
    data: String,
    /// The `after` of the next call.
    next: u64,
    /// The terminal has ended, and this was all.
    exited: bool,
    exit_code: Option<i32>,
    reason: Option<Reason>,
}

pub(super) async fn read(call: &CallContext, params: Read) -> Result<Printed, Error> {
    let terminal = find(call, &params.terminal_id)?;
    expect_printed(&terminal, "after", params.after)?;
    let wait = params.timeout_ms.unwrap_or(DEFAULT_WAIT_MS);
    if wait > MAX_WAIT_MS {
        return Err(Error::invalid(format!(
            "timeout_ms: expected 0 to {MAX_WAIT_MS} milliseconds, got {wait}"
        )));
    }
    let next = terminal.next(params.after, MAX_READ_BYTES);
    let Output { piece, ending } =
        match tokio::time::timeout(Duration::from_millis(wait), next).await {
            Ok(output) => output,
            Err(_) => terminal.output(params.after, MAX_READ_BYTES),
        };
    Ok(Printed {
        terminal_id: params.terminal_id,
        offset: piece.offset,
        lost: piece.lost,
        next: piece.next(),
        data: STANDARD.encode(&piece.data),
        exited: ending.is_some(),
        exit_code: ending.map(|ending| ending.exit_code),
        reason: ending.map(|ending| ending.reason),
    })
}

/// Which terminal, and from where on.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Attach {
    terminal_id: String,
    /// How many bytes of its output the client has; by default all that was printed up to now.
    after: Option<u64>,
}

pub(super) async fn attach(call: &CallContext, params: Attach) -> Result<Reply<Started>, Error> {
    let socket = call.require_socket()?;
    let terminal = find(call, &params.terminal_id)?;
    let after = params.after.unwrap_or_else(|| terminal.printed());
    expect_printed(&terminal, "after", after)?;
    let reply = Reply::from(Started::new(&terminal, after));
    Ok(reply.then(follow::follow(&terminal, socket.clone(), after)))
}

fn expect_printed(terminal: &Terminal, field: &str, after: u64) -> Result<(), Error> {
    let printed = terminal.printed();
    if after <= printed {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field}: expected an offset in the terminal's output, at most {printed}, got {after}"
    )))
}

fn find(call: &CallContext, id: &str) -> Result<std::sync::Arc<Terminal>, Error> {
    call.app().terminals().find(call.caller(), id)
}
