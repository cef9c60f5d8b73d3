//! The method table: the one place that says which methods there are, what they take and give, and
//! over what they may be called. `rpc.discover` and the README's list are made from it or checked
//! against it.

use schemars::Schema;
use schemars::SchemaGenerator;
use serde_json::Value;
use serde_json::value::RawValue;

use super::apply;
use super::auth;
use super::conversation;
use super::conversation::Which;
use super::discover;
use super::exec;
use super::interactive;
use super::manage;
use super::mcp;
use super::peer::Peer;
use super::proto;
use super::proxy;
use super::subscription;
use crate::access::Access;
use crate::error::Error;
use crate::error::Kind;
use crate::web::json;

/// What a method may be called over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// `POST /jsonrpc` and `GET /ws`.
    Both,
    /// `GET /ws` alone: it is about notifications.
    Socket,
}

/// What is known of a method before it is called.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does, in a sentence or two.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it may be called over.
    pub over: Over,
    /// The notifications that it causes on a socket.
    pub notifies: &'static [&'static str],
    /// The JSON Schema of its params.
    pub params: fn(&mut SchemaGenerator) -> Schema,
    /// The JSON Schema of its result.
    pub result: fn(&mut SchemaGenerator) -> Schema,
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec").field("name", &self.name).field("over", &self.over).finish()
    }
}

/// Declares the methods: documentation, name, params, result, the function that runs it, and where
/// they are not the usual ones, what it may be called over and the notifications that it causes.
macro_rules! methods {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $name:literal, $params:ty => $result:ty, $run:path
        $(, $over:ident)? $(, [$($notifies:literal),+])?;
    )+) => {
        /// A method.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Method {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Method {
            /// Every method.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// What is known of it.
            pub fn spec(self) -> Spec {
                match self {
                    $(Self::$variant => Spec {
                        name: $name,
                        summary: concat!($($doc),+).trim_ascii_start(),
                        access: Access::Key,
                        over: methods!(@over $($over)?),
                        notifies: &[$($($notifies),+)?],
                        params: |schemas| schemas.subschema_for::<$params>(),
                        result: |schemas| schemas.subschema_for::<$result>(),
                    },)+
                }
            }

            /// Runs a call of it.
            ///
            /// # Errors
            /// What the method says; `InvalidRequest` names the param that is wrong.
            pub(super) async fn run(
                self,
                peer: &Peer,
                params: Option<&RawValue>,
            ) -> Result<Value, Error> {
                match self {
                    $(Self::$variant => {
                        let params: $params = decode(params)?;
                        let result: $result = $run(peer, params).await?;
                        serde_json::to_value(result)
                            .map_err(|error| Error::new(Kind::Internal, error.to_string()))
                    })+
                }
            }
        }
    };
    (@over) => { Over::Both };
    (@over $over:ident) => { Over::$over };
}

methods! {
    /// Runs a prompt and answers when its turn has ended.
    Prompt = "conversation.prompt", conversation::PromptRequest => conversation::AiResponse,
        conversation::prompt;
    /// What a conversation is doing.
    Status = "conversation.status", Which => conversation::Found<conversation::StatusOf>,
        conversation::status;
    /// Interrupts the running turn and answers when it has stopped.
    Cancel = "conversation.cancel", Which => conversation::Found<conversation::Cancelled>,
        conversation::cancel;
    /// Starts a conversation; with a prompt, begins its turn and does not wait for it.
    Start = "conversation.start", manage::Start => manage::Document, manage::start;
    /// The conversations that there are, newest first, a page at a time.
    List = "conversation.list", manage::List => manage::Page, manage::list;
    /// Takes a conversation up again from disk, also out of the archive.
    Resume = "conversation.resume", Which => manage::Document, manage::resume;
    /// Starts another conversation with the history of this one.
    Fork = "conversation.fork", manage::Fork => manage::Document, manage::fork;
    /// Ends a conversation and puts its record into the archive.
    Archive = "conversation.archive", Which => manage::Archived, manage::archive;
    /// What is recorded of a conversation, turn by turn.
    History = "conversation.history", Which => manage::History, manage::history;
    /// Adds a prompt to the running turn.
    Steer = "conversation.steer", manage::Steer => manage::Steered, manage::steer;
    /// Sums up the history to make room for more; answers when that is done.
    Compact = "conversation.compact", Which => manage::Ended, manage::compact;
    /// Takes the last turns out of what the model remembers; files stay as they are.
    Rollback = "conversation.rollback", manage::Rollback => manage::RolledBack, manage::rollback;
    /// Has the agent review code; answers when it is done.
    Review = "conversation.review", manage::ReviewParams => manage::Ended, manage::review;
    /// Decides what a running turn waits for.
    Approve = "conversation.approve", manage::Approve => manage::Decided, manage::approve;
    /// Sends a conversation's events as notifications: those after `after_seq`, then live.
    Subscribe = "conversation.subscribe", subscription::Subscribe => subscription::Subscribed,
        subscription::subscribe, Socket, ["conversation.event"];
    /// Ends a subscription.
    Unsubscribe = "conversation.unsubscribe", subscription::Unsubscribe => subscription::Unsubscribed,
        subscription::unsubscribe, Socket;
    /// Starts a shell on a terminal of its own, in the sandbox.
    InteractiveStart = "interactive.start", interactive::Start => interactive::Started,
        interactive::start, Both, ["interactive.output", "interactive.exited"];
    /// Types into a terminal.
    InteractiveInput = "interactive.input", interactive::Input => interactive::Accepted,
        interactive::input;
    /// Changes the size of a terminal.
    InteractiveResize = "interactive.resize", interactive::Resize => interactive::Resized,
        interactive::resize;
    /// Ends a terminal with all its processes.
    InteractiveStop = "interactive.stop", interactive::Which => interactive::Stopped,
        interactive::stop;
    /// What a terminal printed after an offset; waits until there is something to say.
    InteractiveRead = "interactive.read", interactive::Read => interactive::Printed,
        interactive::read;
    /// Gives a terminal to this socket, which is sent what it prints from now on, or from an offset on.
    InteractiveAttach = "interactive.attach", interactive::Attach => interactive::Started,
        interactive::attach, Socket, ["interactive.output", "interactive.exited"];
    /// Calls an upstream that the operator configured, and answers what it answered.
    Proxy = "bff.proxy", proxy::Call => proxy::Answered,
        proxy::call;
    /// Runs a command in codex's sandbox; over a socket, what it prints comes as it is printed.
    Exec = "exec", exec::Exec => exec::Executed, exec::exec, Both, ["exec.output"];
    /// Applies a patch to a folder, all of it or nothing.
    Apply = "apply", apply::Apply => apply::Applied, apply::apply;
    /// Connects an MCP server: tries it out, and gives its tools to a conversation from its next turn on,
    /// or, where none is named, to every conversation that starts afterwards.
    McpConnect = "mcp.connect", mcp::Connect => mcp::ConnectedTo, mcp::connect;
    /// The MCP servers of a conversation, or those that new conversations get.
    McpList = "mcp.list", mcp::List => mcp::Listed, mcp::list;
    /// Takes an MCP server away: from a conversation, or, where none is named, from all.
    McpDisconnect = "mcp.disconnect", mcp::Disconnect => mcp::Disconnected, mcp::disconnect;
    /// Has a session use its own key with a provider. The key is kept in memory only.
    Login = "auth.login", auth::Login => auth::LoggedIn, auth::login;
    /// Forgets the keys of a session.
    Logout = "auth.logout", auth::Logout => auth::LoggedOut, auth::logout;
    /// Takes a submission in protobuf; over a socket, the events of its turn follow.
    Proto = "proto", proto::Envelope => proto::Envelope, proto::submit, Both, ["proto.event"];
    /// The methods, as an OpenRPC document.
    Discover = "rpc.discover", discover::Nothing => Value, discover::discover;
}

impl Method {
    /// Finds a method by its name.
    ///
    /// # Errors
    /// `UnknownMethod`, with the methods that there are.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|method| method.spec().name == name);
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|method| method.spec().name).collect();
            Error::new(
                Kind::UnknownMethod,
                format!(
                    "method: expected one of {}, got {}",
                    known.join(", "),
                    crate::text::excerpt(name)
                ),
            )
        })
    }
}

/// Named params. (A list of positional ones is refused: every method has optional ones.)
fn decode<'a, T: serde::Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, Error> {
    let text = params.map_or("{}", RawValue::get);
    if text.starts_with('[') {
        return Err(Error::invalid("params: expected an object of named params, got a list"));
    }
    // JSON it is: what still cannot be read is too deep, a number too large, half a surrogate.
    json::decode(text.as_bytes()).map_err(|error| match error.kind() {
        Kind::InvalidJson => Error::invalid(format!("params: {error}")),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_name_and_described() {
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
                spec.over == Over::Socket,
                over_socket.contains(&spec.name),
                "{}",
                spec.name
            );
        }
    }
}
