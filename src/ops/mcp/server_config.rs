//! The configuration of an MCP server, as a client gives it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use codex_gateway_engine::mcp::McpServer;
use codex_gateway_engine::mcp::McpTransport;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;

use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::input::argument::Argument;
use crate::input::argument::Program;
use crate::input::whole::Whole;
use crate::text::excerpt;

/// The time until the tools of a server are listed, in milliseconds.
const MIN_STARTUP_MS: u64 = 100;
const MAX_STARTUP_MS: u64 = 60_000;
const STARTUP_MS: u64 = 10_000;

/// A server: either `command` with `args` and `env`, or `url` with `bearer_token_env`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {
        "required": ["command"],
        "properties": {
            "command": { "type": "string" },
            "url": { "type": "null" },
            "bearer_token_env": { "type": "null" },
        },
    },
    {
        "required": ["url"],
        "properties": {
            "url": { "type": "string" },
            "command": { "type": "null" },
            "args": { "type": "null" },
            "env": { "type": "null" },
        },
    },
]))]
pub(crate) struct ServerConfig {
    /// The name, also for the model.
    name: ServerName,
    /// A program that speaks MCP over its standard input and output. It runs outside the sandbox.
    command: Option<Program>,
    args: Option<Vec<Argument>>,
    /// Its variables, in addition to `PATH`, `HOME` and the like.
    env: Option<BTreeMap<VariableName, Argument>>,
    /// An MCP server over streamable HTTP.
    #[schemars(regex(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://"))]
    url: Option<String>,
    /// The gateway's variable that holds the bearer token; one of `gateway.mcp_token_variables`.
    bearer_token_env: Option<String>,
    /// The time until its tools are listed, in milliseconds.
    #[schemars(extend("default" = STARTUP_MS))]
    startup_timeout_ms: Option<Whole<MIN_STARTUP_MS, MAX_STARTUP_MS>>,
}

impl ServerConfig {
    /// Validates the configuration.
    ///
    /// # Errors
    /// `InvalidRequest` names the field; `Forbidden` for what the operator does not permit.
    pub(super) fn validate(self, app: &App) -> Result<McpServer, Error> {
        let startup = self.startup_timeout_ms.map_or(STARTUP_MS, Whole::get);
        let startup = Duration::from_millis(startup);
        let ServerName(name) = self.name.clone();
        let transport = match (self.command.is_some(), self.url.is_some()) {
            (true, false) => self.stdio(app)?,
            (false, true) => self.http(app)?,
            (both, _) => {
                let got = if both { "both" } else { "neither" };
                return Err(Error::invalid(format!(
                    "server_config: expected either command, a program that speaks MCP over its \
                     standard input and output, or url, an MCP server over HTTP, got {got}"
                )));
            }
        };
        Ok(McpServer { name, transport, startup })
    }

    fn stdio(self, app: &App) -> Result<McpTransport, Error> {
        if self.bearer_token_env.is_some() {
            return Err(Error::invalid(
                "server_config.bearer_token_env: expected it beside url only; pass the secrets of a \
                 program in env",
            ));
        }
        let command = self.command.map_or_else(String::new, Program::into_string);
        let args = self.args.into_iter().flatten().map(Argument::into_string).collect();
        let env = self.env.into_iter().flatten();
        let env = env.map(|(VariableName(name), value)| (name, value.into_string())).collect();
        if !app.config().mcp.allow_stdio {
            return Err(Error::new(
                Kind::Forbidden,
                "server_config.command: programs outside the sandbox need gateway.allow_mcp_stdio = \
                 true; use a url, which is always allowed",
            ));
        }
        Ok(McpTransport::Stdio { command, args, env })
    }

    fn http(self, app: &App) -> Result<McpTransport, Error> {
        if self.args.is_some() || self.env.is_some() {
            return Err(Error::invalid(
                "server_config.args, .env: expected them beside command only",
            ));
        }
        let url = self.url.unwrap_or_default();
        let parsed: Option<http::Uri> = url.parse().ok();
        let is_valid = parsed.is_some_and(|uri| {
            uri.host().is_some_and(|host| !host.is_empty())
                && matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        if !is_valid {
            // Not quoted: it may hold a secret.
            return Err(Error::invalid(
                "server_config.url: expected an http or https URL without a user name, got another",
            ));
        }
        let allowed = &app.config().mcp.token_variables;
        if let Some(name) = &self.bearer_token_env
            && !allowed.contains(name)
        {
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "server_config.bearer_token_env: expected one of gateway.mcp_token_variables, \
                     which the operator sets, got {}",
                    excerpt(name)
                ),
            ));
        }
        Ok(McpTransport::Http { url, bearer_token_env: self.bearer_token_env })
    }
}

/// The name of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ServerName(pub(super) String);

impl TryFrom<String> for ServerName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
            return Ok(Self(name));
        }
        let got = excerpt(&name);
        Err(Error::invalid(format!("expected 1 to 64 characters of A-Z a-z 0-9 _ -, got {got}")))
    }
}

impl JsonSchema for ServerName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ServerName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
    }
}

/// The name of a variable of a program.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct VariableName(String);

impl TryFrom<String> for VariableName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        if name.is_empty() || name.contains(['=', '\0']) {
            let got = excerpt(&name);
            return Err(Error::invalid(format!("expected names without = and NUL, got {got}")));
        }
        Ok(Self(name))
    }
}

impl JsonSchema for VariableName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "McpVariableName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[^=\u0000]+$" })
    }
}
