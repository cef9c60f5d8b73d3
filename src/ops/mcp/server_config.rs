//! The configuration of an MCP server, as a client gives it.

use std::collections::BTreeMap;
use std::time::Duration;

use codex_gateway_engine::mcp::McpServer;
use codex_gateway_engine::mcp::McpTransport;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;

/// The time until the tools of a server are listed, in milliseconds.
const STARTUP_RANGE_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
const STARTUP_MS: u64 = 10_000;
const MAX_NAME: usize = 64;

/// A server: either `command` with `args` and `env`, or `url` with `bearer_token_env`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ServerConfig {
    /// The name, also for the model: 1 to 64 characters of `A-Za-z0-9_-`.
    name: String,
    /// A program that speaks MCP over its standard input and output. It runs outside the sandbox.
    command: Option<String>,
    args: Option<Vec<String>>,
    /// Its variables, in addition to `PATH`, `HOME` and the like.
    env: Option<BTreeMap<String, String>>,
    /// An MCP server over streamable HTTP.
    url: Option<String>,
    /// The gateway's variable that holds the bearer token; one of `gateway.mcp_token_variables`.
    bearer_token_env: Option<String>,
    /// The time until its tools are listed, 100 to 60000; 10000 by default.
    startup_timeout_ms: Option<u64>,
}

impl ServerConfig {
    /// Validates the configuration.
    ///
    /// # Errors
    /// `InvalidRequest` names the field; `Forbidden` for what the operator does not permit.
    pub(super) fn validate(self, app: &App) -> Result<McpServer, Error> {
        validate_name("server_config.name", &self.name)?;
        let startup_ms = self.startup_timeout_ms.unwrap_or(STARTUP_MS);
        if !STARTUP_RANGE_MS.contains(&startup_ms) {
            return Err(Error::invalid(format!(
                "server_config.startup_timeout_ms: expected {} to {} milliseconds, got {startup_ms}",
                STARTUP_RANGE_MS.start(),
                STARTUP_RANGE_MS.end()
            )));
        }
        let startup = Duration::from_millis(startup_ms);
        let name = self.name.clone();
        let transport = match (self.command.is_some(), self.url.is_some()) {
            (true, false) => self.stdio(app)?,
            (false, true) => self.http(app)?,
            (true, true) | (false, false) => {
                return Err(Error::invalid(
                    "server_config: expected either command, a program that speaks MCP over its \
                     standard input and output, or url, an MCP server over HTTP",
                ));
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
        let (command, args) = (self.command.unwrap_or_default(), self.args.unwrap_or_default());
        let env = self.env.unwrap_or_default();
        let is_valid = |text: &str| !text.contains('\0');
        if command.trim().is_empty() || !is_valid(&command) {
            return Err(Error::invalid("server_config.command: expected the name of a program"));
        }
        if !args.iter().all(|argument| is_valid(argument)) {
            return Err(Error::invalid("server_config.args: expected strings without NUL"));
        }
        for (name, value) in &env {
            if name.is_empty() || name.contains('=') || !is_valid(name) || !is_valid(value) {
                return Err(Error::invalid(
                    "server_config.env: expected names without `=` and strings without NUL",
                ));
            }
        }
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
            return Err(Error::invalid(
                "server_config.url: expected an http or https URL without a user name",
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

/// Validates the name of a server, in a field of the request.
pub(super) fn validate_name(field: &str, name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field}: expected 1 to {MAX_NAME} characters of A-Z, a-z, 0-9, _ and -, got {}",
        excerpt(name)
    )))
}
