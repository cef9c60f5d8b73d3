//! `exec`. Over a socket, output is sent as `exec.output` notifications.

use serde_json::Value;
use serde_json::json;

use super::call_context::CallContext;
use super::socket::Socket;
use crate::error::Error;
use crate::ops::commands;
pub(super) use crate::ops::commands::CommandRequest;
pub(super) use crate::ops::commands::CommandResult;
use crate::ops::commands::OutputChunk;
use crate::ops::commands::OutputSink;

/// Sends output as notifications.
struct Notifications<'a> {
    socket: &'a Socket,
    call_id: Option<&'a Value>,
}

impl OutputSink for Notifications<'_> {
    async fn write(&mut self, chunk: &OutputChunk) {
        let OutputChunk { seq, stream, text } = chunk;
        let params = json!({ "id": self.call_id, "seq": seq, "stream": stream, "chunk": text });
        // A closed socket ends the call.
        let _ = self.socket.notify("exec.output", &params).await;
    }
}

/// `exec`
pub(super) async fn exec(
    call: &CallContext,
    request: CommandRequest,
) -> Result<CommandResult, Error> {
    let notifications = call.socket().map(|socket| Notifications { socket, call_id: call.id() });
    commands::run(call.app(), request, notifications).await
}
