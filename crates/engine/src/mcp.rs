//! Servers of tools (the Model Context Protocol), as the gateway names them to an engine.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

/// A server that conversations may use the tools of.
#[derive(Clone)]
pub struct McpServer {
    /// What the model knows it by: `[a-zA-Z0-9_-]+`.
    pub name: String,
    /// How it is reached.
    pub transport: McpTransport,
    /// How long it may take until its tools are listed.
    pub startup: Duration,
}

impl fmt::Debug for McpServer {
    /// Without the transport: arguments and variables may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpServer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a server is reached.
#[derive(Clone)]
pub enum McpTransport {
    /// A process on this machine, outside the sandbox, over its standard input and output.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its variables, beside `PATH`, `HOME` and their like.
        env: BTreeMap<String, String>,
    },
    /// Streamable HTTP.
    Http {
        /// Where.
        url: String,
        /// The variable of this process that holds its bearer token.
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

/// A tool of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct McpTool {
    /// Its name on the server.
    pub name: String,
    /// What the server says of it.
    pub description: Option<String>,
}

/// What a conversation's own instance of a server is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpState {
    /// It is being started.
    Starting,
    /// Its tools are there.
    Ready,
    /// It did not start, or ended; why.
    Failed(String),
}
