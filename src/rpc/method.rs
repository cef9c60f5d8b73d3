//! The method table: names, summaries, params, results, transports and notifications. Dispatch,
//! `rpc.discover` and docs/api.md come from it.

use serde_json::Value;
use serde_json::value::RawValue;

use super::apply;
use super::auth;
use super::call_context::CallContext;
use super::conversation;
use super::conversation::ConversationParams;
use super::conversation::InConversation;
use super::conversation::PerhapsConversation;
use super::conversations;
use super::discover;
use super::exec;
use super::interactive;
use super::mcp;
use super::mcp::InScope;
use super::prompt;
use super::proto;
use super::proxy;
use super::reply::Reply;
use super::spec::Spec;
use super::spec::Transport;
use super::subscription;
use crate::access::Access;
use crate::error::Error;
use crate::error::Kind;
use crate::input;
use crate::text::excerpt;

/// Declares the methods: documentation, name, params, result and the function that runs it; then,
/// unless they are the default, the transports and the notifications.
macro_rules! methods {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $name:literal, $params:ty => $result:ty, $run:path
        $(, $transport:ident)? $(, [$($notifies:literal),+])?;
    )+) => {
        /// A method.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Method {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Method {
            /// Every method.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The description of the method.
            pub fn spec(self) -> Spec {
                match self {
                    $(Self::$variant => Spec {
                        name: $name,
                        summary: concat!($($doc),+).trim_ascii_start(),
                        access: Access::Key,
                        transport: methods!(@transport $($transport)?),
                        notifies: &[$($($notifies),+)?],
                        params: |schemas| schemas.subschema_for::<$params>(),
                        result: |schemas| schemas.subschema_for::<$result>(),
                    },)+
                }
            }

            /// Runs a call of the method. Returns the encoded result.
            ///
            /// # Errors
            /// `InvalidRequest` names the param that is wrong; all others are the method's own.
            pub(super) async fn run(
                self,
                call: &CallContext,
                params: Option<&RawValue>,
            ) -> Result<Reply<Box<RawValue>>, Error> {
                match self {
                    $(Self::$variant => {
                        let params: $params = decode(params)?;
                        let reply: Reply<$result> = $run(call, params).await?.into();
                        reply.encode()
                    })+
                }
            }
        }
    };
    (@transport) => { Transport::Any };
    (@transport $transport:ident) => { Transport::$transport };
}

methods! {
    /// Runs a prompt. Responds when the turn has ended.
    Prompt = "conversation.prompt", prompt::PromptRequest => prompt::AiResponse, prompt::prompt;
    /// The state of a conversation.
    Status = "conversation.status",
        ConversationParams => conversation::Found<conversation::ConversationStatus>,
        conversation::status;
    /// Interrupts the running turn. Responds when the turn has stopped.
    Cancel = "conversation.cancel",
        ConversationParams => conversation::Found<conversation::Cancelled>,
        conversation::cancel;
    /// Starts a conversation. With a prompt, starts its first turn and does not wait for it.
    Start = "conversation.start", conversations::StartRequest => conversations::ConversationView,
        conversations::start;
    /// The conversations, newest first, in pages.
    List = "conversation.list", conversations::ListRequest => conversations::ConversationPage,
        conversations::list;
    /// Loads a conversation from disk or from the archive.
    Resume = "conversation.resume", ConversationParams => conversations::ConversationView,
        conversations::resume;
    /// Starts a conversation with the history of another.
    Fork = "conversation.fork", InConversation<conversations::ForkRequest> => conversations::ConversationView,
        conversations::fork;
    /// Ends a conversation and archives its record.
    Archive = "conversation.archive", ConversationParams => conversations::Archived,
        conversations::archive;
    /// The recorded turns of a conversation, oldest first, a page at a time.
    History = "conversation.history", InConversation<conversations::HistoryRequest> => conversations::History,
        conversations::history;
    /// Adds a prompt to the running turn.
    Steer = "conversation.steer", InConversation<conversations::SteerRequest> => conversations::Steered,
        conversations::steer;
    /// Summarises the history to make room for more. Responds when that is done.
    Compact = "conversation.compact", ConversationParams => conversations::TurnOutcome,
        conversations::compact;
    /// Removes the last turns from what the model remembers. Files stay as they are.
    Rollback = "conversation.rollback", InConversation<conversations::RollbackRequest> => conversations::RolledBack,
        conversations::rollback;
    /// Has the agent review code. Responds when the review has ended.
    Review = "conversation.review", InConversation<conversations::ReviewRequest> => conversations::TurnOutcome,
        conversations::review;
    /// Answers a pending approval of the running turn.
    Approve = "conversation.approve", InConversation<conversations::ApproveRequest> => conversations::Decided,
        conversations::approve;
    /// Sends the events of a conversation as notifications: those after `after_seq`, then live
    /// ones.
    Subscribe = "conversation.subscribe", InConversation<subscription::SubscribeRequest> => subscription::Subscribed,
        subscription::subscribe, WebSocket, ["conversation.event"];
    /// Ends a subscription.
    Unsubscribe = "conversation.unsubscribe", ConversationParams => subscription::Unsubscribed,
        subscription::unsubscribe, WebSocket;
    /// Starts a shell on a new terminal, in the sandbox.
    InteractiveStart = "interactive.start",
        interactive::TerminalRequest => interactive::TerminalView,
        interactive::start, Any, ["interactive.output", "interactive.exited"];
    /// Writes input to a terminal.
    InteractiveInput = "interactive.input", interactive::InputRequest => interactive::AcceptedInput,
        interactive::input;
    /// Resizes a terminal.
    InteractiveResize = "interactive.resize",
        interactive::ResizeRequest => interactive::ResizedTerminal,
        interactive::resize;
    /// Ends a terminal and all its processes.
    InteractiveStop = "interactive.stop", interactive::StopRequest => interactive::StoppedTerminal,
        interactive::stop;
    /// The output of a terminal after an offset. Waits for some, at most `timeout_ms`.
    InteractiveRead = "interactive.read", interactive::ReadRequest => interactive::TerminalOutput,
        interactive::read;
    /// Moves a terminal to this socket, which is sent the output after an offset, or from now on.
    InteractiveAttach = "interactive.attach",
        interactive::AttachRequest => interactive::TerminalView,
        interactive::attach, WebSocket, ["interactive.output", "interactive.exited"];
    /// Calls an upstream that the operator configured.
    Proxy = "bff.proxy", proxy::UpstreamRequest => proxy::UpstreamResponse,
        proxy::call;
    /// Runs a command in the sandbox. Over a socket, its output is sent as it is printed.
    Exec = "exec", exec::CommandRequest => exec::CommandResult,
        exec::exec, Any, ["exec.output"];
    /// Applies a patch to a folder, as a whole or not at all.
    Apply = "apply", apply::PatchRequest => apply::PatchResult, apply::apply;
    /// Connects an MCP server after a trial start. A conversation gets its tools with its next
    /// turn; if none is named, every conversation that the caller starts afterwards gets them.
    McpConnect = "mcp.connect", InScope<mcp::ConnectRequest> => mcp::ConnectedServer, mcp::connect;
    /// The MCP servers of a conversation; if none is named, those of the caller's new conversations.
    McpList = "mcp.list", PerhapsConversation => mcp::ServerList, mcp::list;
    /// Disconnects an MCP server from a conversation; if none is named, from all of the caller.
    McpDisconnect = "mcp.disconnect", InScope<mcp::DisconnectRequest> => mcp::DisconnectedServer, mcp::disconnect;
    /// Sets the key of a session for a provider. The key is kept in memory only.
    Login = "auth.login", auth::LoginRequest => auth::LoggedIn, auth::login;
    /// Removes the keys of a session.
    Logout = "auth.logout", auth::LogoutRequest => auth::LoggedOut, auth::logout;
    /// Takes a submission in protobuf. Over a socket, the events of its turn follow.
    Proto = "proto", proto::ProtoRequest => proto::ProtoMessage, proto::submit, Any, ["proto.event"];
    /// The methods, as an OpenRPC document.
    Discover = "rpc.discover", discover::NoParams => Value, discover;
}

/// `rpc.discover`
async fn discover(_call: &CallContext, _params: discover::NoParams) -> Result<Value, Error> {
    let specs: Vec<Spec> = Method::ALL.iter().map(|method| method.spec()).collect();
    Ok(discover::document(&specs))
}

impl Method {
    /// Whether a call starts a conversation or a turn.
    pub(super) fn starts_work(self) -> bool {
        matches!(
            self,
            Self::Prompt
                | Self::Start
                | Self::Resume
                | Self::Fork
                | Self::Compact
                | Self::Review
                | Self::Proto
        )
    }

    /// Finds a method by its name.
    ///
    /// # Errors
    /// `UnknownMethod`, which lists the methods.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|method| method.spec().name == name);
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|method| method.spec().name).collect();
            Error::new(
                Kind::UnknownMethod,
                format!("method: expected one of {}, got {}", known.join(", "), excerpt(name)),
            )
        })
    }
}

/// Decodes named params. Positional ones are refused: every method has optional params.
fn decode<T: serde::de::DeserializeOwned>(params: Option<&RawValue>) -> Result<T, Error> {
    match params {
        None => input::from_json(b"{}"),
        Some(params) if params.get().starts_with('[') => {
            Err(Error::invalid("params: expected an object of named params, got a list"))
        }
        Some(params) => input::from_params(params),
    }
}

#[cfg(test)]
mod tests {
    use schemars::SchemaGenerator;

    use super::*;

    #[test]
    fn every_method_parses_and_is_described() {
        let mut schemas = SchemaGenerator::default();
        for method in Method::ALL {
            let spec = method.spec();
            assert_eq!(Method::parse(spec.name).unwrap(), *method);
            assert!(spec.summary.ends_with('.'), "{}", spec.name);
            (spec.params)(&mut schemas);
            (spec.result)(&mut schemas);
            let over_socket =
                ["conversation.subscribe", "conversation.unsubscribe", "interactive.attach"];
            assert_eq!(
                spec.transport == Transport::WebSocket,
                over_socket.contains(&spec.name),
                "{}",
                spec.name
            );
        }
    }
}
