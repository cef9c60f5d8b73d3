//! `interactive.start`, `.input`, `.resize`, `.stop`, `.read`, `.attach`.
//!
//! Over a socket, output is sent as `interactive.output` notifications and the exit as
//! `interactive.exited`. Over plain HTTP, `interactive.read` returns both.

mod follow;

use self::follow::follow;
use super::call_context::CallContext;
use super::reply::Reply;
use crate::error::Error;
use crate::ops::terminals;
pub(super) use crate::ops::terminals::AcceptedInput;
pub(super) use crate::ops::terminals::AttachRequest;
pub(super) use crate::ops::terminals::InputRequest;
pub(super) use crate::ops::terminals::ReadRequest;
pub(super) use crate::ops::terminals::ResizeRequest;
pub(super) use crate::ops::terminals::ResizedTerminal;
pub(super) use crate::ops::terminals::StopRequest;
pub(super) use crate::ops::terminals::StoppedTerminal;
pub(super) use crate::ops::terminals::TerminalOutput;
pub(super) use crate::ops::terminals::TerminalRequest;
pub(super) use crate::ops::terminals::TerminalView;

/// `interactive.start`
pub(super) async fn start(
    call: &CallContext,
    mut request: TerminalRequest,
) -> Result<Reply<TerminalView>, Error> {
    request.detached |= call.socket().is_none();
    let terminal = terminals::start(call.app(), call.caller(), request).await?;
    let reply = Reply::from(TerminalView::new(&terminal, 0));
    Ok(match call.socket() {
        Some(socket) => reply.then(follow(&terminal, socket.clone(), 0)),
        None => reply,
    })
}

/// `interactive.input`
pub(super) async fn input(
    call: &CallContext,
    request: InputRequest,
) -> Result<AcceptedInput, Error> {
    terminals::write(call.app(), call.caller(), request)
}

/// `interactive.resize`
pub(super) async fn resize(
    call: &CallContext,
    request: ResizeRequest,
) -> Result<ResizedTerminal, Error> {
    terminals::resize(call.app(), call.caller(), request)
}

/// `interactive.stop`
pub(super) async fn stop(
    call: &CallContext,
    request: StopRequest,
) -> Result<StoppedTerminal, Error> {
    terminals::stop(call.app(), call.caller(), request).await
}

/// `interactive.read`
pub(super) async fn read(
    call: &CallContext,
    request: ReadRequest,
) -> Result<TerminalOutput, Error> {
    terminals::read(call.app(), call.caller(), request).await
}

/// `interactive.attach`
pub(super) async fn attach(
    call: &CallContext,
    request: AttachRequest,
) -> Result<Reply<TerminalView>, Error> {
    let socket = call.require_socket()?;
    let (terminal, after) = terminals::attach(call.app(), call.caller(), &request)?;
    let reply = Reply::from(TerminalView::new(&terminal, after));
    Ok(reply.then(follow(&terminal, socket.clone(), after)))
}
