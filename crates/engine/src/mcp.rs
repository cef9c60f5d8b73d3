//! Tool servers (Model Context Protocol), as the gateway describes them to an engine.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

/// A tool server.
#[derive(Clone)]
pub struct McpServer {
    /// Name for the model: `[a-zA-Z0-9_-]+`.
    pub name: String,
    pub transport: McpTransport,
    /// Time limit from the start until its tools are listed.
    pub startup: Duration,
}

impl fmt::Debug for McpServer {
    /// Without the transport: arguments and variables may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpServer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The transport of a tool server.
#[derive(Clone)]
pub enum McpTransport {
    /// A process on this machine, outside the sandbox, over its standard input and output.
    Stdio {
        /// Program.
        command: String,
        /// Arguments.
        args: Vec<String>,
        /// Environment variables, in addition to `PATH`, `HOME` and the like.
        env: BTreeMap<String, String>,
    },
    /// Streamable HTTP.
    Http {
        /// Endpoint.
        url: String,
        /// The environment variable of the gateway that holds the bearer token.
        bearer_token_env: Option<String>,
    },
}

impl fmt::Debug for McpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio { .. } => "Stdio",
            Self::Http { .. } => "Http",
        })
    }
}

/// A tool of a tool server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct McpTool {
    /// Name on the server.
    pub name: String,
    /// The server's description of it.
    pub description: Option<String>,
}

/// The state of a conversation's own instance of a tool server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpState {
    /// Starting.
    Starting,
    /// Tools are available.
    Ready,
    /// Did not start, or has ended; holds the reason.
    Failed(String),
}
