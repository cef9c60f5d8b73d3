//! Configuration: [`File`] as it is written, [`Config`] as it is used.
//!
//! - [`model_source`]: which model answers;
//! - [`file`]: the `[gateway]` table as it is written;
//! - [`models`]: aliases and fallbacks;
//! - [`providers`]: who the bridge calls, from three places;
//! - this file: what they resolve to.
//!
//! One `config.toml` holds Codex's own keys and a `[gateway]` table. The environment wins over the
//! file, the command line over both. Every error names the key and says what it takes.

mod file;
mod model_source;
pub mod models;
mod providers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use codex_gateway_engine::codex::Bridge;
use codex_gateway_engine::codex::Bridged;
use codex_gateway_engine::codex::Options as EngineOptions;
use toml::Value as TomlValue;

use crate::access::Keys;
use crate::bridge::Endpoint;
use crate::bridge::built_in::BUILT_IN;
use crate::bridge::demo;
use crate::bridge::provider;
use crate::conversation;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::proxy::upstream::Upstream;
use crate::telemetry;
use crate::terminal::TerminalLimits;
use crate::web;

pub use file::File;
use file::at_least;
use file::env_parse;
use file::gateway_table;
use file::millis;
use file::read;
pub use model_source::ModelSource;
use models::Models;

/// What the command line says about configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`.
    pub config_path: Option<PathBuf>,
    /// `--host`.
    pub host: Option<IpAddr>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--workspace-root`.
    pub workspace_root: Option<PathBuf>,
}

/// The configuration, resolved and valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Who may call. Empty: development mode.
    pub keys: Keys,
    /// The folder under which conversations work.
    pub workspace_root: PathBuf,
    /// Bounds of connections and bodies.
    pub server: web::Limits,
    /// Bounds of turns and their events.
    pub turns: conversation::limits::Limits,
    /// Bounds of terminals.
    pub terminals: TerminalLimits,
    /// Where reverse calls may go.
    pub proxies: Vec<Upstream>,
    /// Whether a request may ask for `danger-full-access`.
    pub allow_danger_full_access: bool,
    /// Whether a request may have the agent ask before it acts, and let what is approved leave the
    /// sandbox.
    pub allow_approvals: bool,
    /// Whether a request may ask for `raw_response_*` events, which carry the system prompt.
    pub allow_raw_events: bool,
    /// Which tool servers may be connected.
    pub mcp: McpRules,
    /// What operators see.
    pub telemetry: telemetry::Settings,
    /// Codex's home.
    pub codex_home: PathBuf,
    /// Where the file is, whether or not it exists.
    pub config_path: PathBuf,
    /// Which model answers.
    pub model_source: ModelSource,
    /// `CODEX_UNSAFE_ALLOW_NO_SANDBOX`.
    pub allow_no_sandbox: bool,
    /// Providers that are called through the bridge.
    pub providers: Vec<provider::Provider>,
    /// Built-in ones that the operator gives no key, for sessions that bring one.
    pub keyless: Vec<provider::Provider>,
    /// Aliases and fallbacks.
    pub models: Models,
    /// `model` of the file.
    model: Option<String>,
    /// `model_provider` of the file.
    model_provider: Option<String>,
    /// The features that the gateway turns off and the file says nothing about.
    features_off: Vec<&'static str>,
}

/// Which tool servers a request may connect.
#[derive(Debug, Clone)]
pub struct McpRules {
    /// Programs of this machine, which run outside the sandbox.
    pub allow_stdio: bool,
    /// Servers at private addresses: this machine's, the cloud's own, the house's.
    pub allow_private: bool,
    /// The variables of this process that a server may get as its bearer token.
    pub token_variables: Vec<String>,
}

impl Config {
    /// Resolves the command line, the environment and the file.
    ///
    /// # Errors
    /// A value is not what its key takes, the file cannot be read, or the address is open to
    /// others without a key.
    pub fn load(overrides: &Overrides) -> anyhow::Result<Self> {
        let codex_home = codex_gateway_engine::arg0::codex_home()
            .context("CODEX_HOME must name a folder, or HOME must be set")?;
        Self::resolve(overrides, &|name| std::env::var(name).ok(), codex_home)
    }

    fn resolve(
        overrides: &Overrides,
        env: &dyn Fn(&str) -> Option<String>,
        codex_home: PathBuf,
    ) -> anyhow::Result<Self> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let config_path = overrides
            .config_path
            .clone()
            .or_else(|| env("CODEX_CONFIG_PATH").map(PathBuf::from))
            .unwrap_or_else(|| codex_home.join("config.toml"));
        let named = overrides.config_path.is_some() || env("CODEX_CONFIG_PATH").is_some();
        let document = read(&config_path, named)?;
        let file = gateway_table(&document, &config_path)?;

        let host = match overrides.host {
            Some(host) => Some(host),
            None => env_parse(&env, "HOST", "an IP address such as 0.0.0.0")?.or(file.host),
        };
        let port = match overrides.port {
            Some(port) => Some(port),
            None => env_parse(&env, "PORT", "a port number, 0 to 65535")?.or(file.port),
        };
        let keys = match env("GATEWAY_API_KEY") {
            Some(list) => Keys::parse(list.split(',')).context("GATEWAY_API_KEY")?,
            None => Keys::parse(file.api_keys.iter().flatten().map(String::as_str))
                .context("gateway.api_keys")?,
        };
        let host = host.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        if keys.is_empty() && !host.is_loopback() {
            bail!(
                "refusing to listen on {host} without an API key: anyone who reaches the port could \
                 run commands here. Set GATEWAY_API_KEY (or gateway.api_keys in {}), or listen on \
                 127.0.0.1",
                config_path.display()
            );
        }

        let development = keys.is_empty();
        let timeout = match env_parse::<u64>(&env, "CODEX_TIMEOUT_MS", "milliseconds")? {
            Some(timeout) => timeout,
            None => file.default_timeout_ms.unwrap_or(300_000),
        };
        if !TIMEOUT_RANGE_MS.contains(&timeout) {
            bail!(
                "gateway.default_timeout_ms (CODEX_TIMEOUT_MS) is {timeout}; it takes {} to {}",
                TIMEOUT_RANGE_MS.start(),
                TIMEOUT_RANGE_MS.end()
            );
        }
        let in_file = file.workspace_root.map(|root| {
            // As Codex reads paths in the file: relative to it.
            config_path.parent().map_or_else(|| root.clone(), |folder| folder.join(&root))
        });
        let workspace_root = overrides
            .workspace_root
            .clone()
            .or(in_file)
            .unwrap_or_else(|| codex_home.join("workspaces"));

        let providers = providers::resolve(
            &document,
            &file.providers,
            &env,
            config_path.parent().unwrap_or(Path::new("")),
        )?;
        let codexs_own = model_source::codexs_own(&document, &env, &codex_home);
        let keyless = providers::keyless(&document, &providers, &env, codexs_own)?;
        let ids: Vec<&str> =
            providers.iter().chain(&keyless).map(|provider| provider.id.as_str()).collect();
        let models = Models::resolve(&file.models, &ids)?;
        let text = |key: &str| document.get(key).and_then(TomlValue::as_str).map(str::to_owned);
        let (model, model_provider) = (text("model"), text("model_provider"));
        let alias = model.as_deref().and_then(|model| models.get(model));
        if let (Some(alias), Some(other)) = (alias, &model_provider)
            && alias.primary.provider != *other
        {
            bail!(
                "model is an alias of {}, and model_provider says {other:?}; expected one of the two",
                alias.primary
            );
        }

        let written = file.telemetry.unwrap_or_default();
        // Programs of the file's tool servers are not started for nobody, unless the file says so.
        let servers = document.get("mcp_servers").and_then(TomlValue::as_table);
        let ahead = if servers.is_none_or(toml::Table::is_empty) { 2 } else { 0 };
        Ok(Self {
            host,
            port: port.unwrap_or(8080),
            keys,
            workspace_root,
            server: web::Limits {
                max_connections: at_least("max_connections", file.max_connections, 1, 1024)?,
                body_limit: at_least("body_limit_bytes", file.body_limit_bytes, 1024, 1 << 20)?,
                header_timeout: millis("header_timeout_ms", file.header_timeout_ms, 10_000)?,
                body_timeout: millis("body_timeout_ms", file.body_timeout_ms, 30_000)?,
                drain_timeout: millis("drain_timeout_ms", file.drain_timeout_ms, 10_000)?,
            },
            turns: conversation::limits::Limits {
                default_timeout: Duration::from_millis(timeout),
                prompt_limit_chars: at_least(
                    "prompt_limit_chars",
                    file.prompt_limit_chars,
                    1,
                    codex_gateway_engine::protocol::MAX_USER_INPUT_TEXT_CHARS,
                )?
                .min(codex_gateway_engine::protocol::MAX_USER_INPUT_TEXT_CHARS),
                max_queued: file.max_queued_prompts.unwrap_or(16),
                max_live: at_least("max_live_conversations", file.max_live_conversations, 1, 1000)?,
                idle: millis("conversation_idle_ms", file.conversation_idle_ms, 1_800_000)?,
                started_ahead: file.conversations_ahead.unwrap_or(ahead),
                event_log_bytes: at_least("event_log_bytes", file.event_log_bytes, 4096, 8 << 20)?,
                heartbeat: millis("heartbeat_ms", file.heartbeat_ms, 15_000)?,
            },
            terminals: TerminalLimits {
                max: at_least("max_terminals", file.max_terminals, 1, 16)?,
                idle: millis("terminal_idle_ms", file.terminal_idle_ms, 900_000)?,
                lifetime: millis("terminal_lifetime_ms", file.terminal_lifetime_ms, 3_600_000)?,
            },
            proxies: file
                .proxy
                .iter()
                .flatten()
                .map(|(name, written)| written.resolve(name, &env))
                .collect::<anyhow::Result<_>>()?,
            allow_danger_full_access: file.allow_danger_full_access.unwrap_or(false),
            allow_approvals: file.allow_approvals.unwrap_or(true),
            allow_raw_events: file.allow_raw_events.unwrap_or(false),
            mcp: McpRules {
                allow_stdio: file.allow_mcp_stdio.unwrap_or(development),
                allow_private: file.allow_mcp_private.unwrap_or(development),
                token_variables: file.mcp_token_variables.unwrap_or_default(),
            },
            telemetry: telemetry::Settings {
                capture_content: written.capture_content.unwrap_or(false),
                metrics_open: written.metrics_open.unwrap_or(false),
                log_format: written.log_format.unwrap_or_default(),
            },
            allow_no_sandbox: env("CODEX_UNSAFE_ALLOW_NO_SANDBOX")
                .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
            model_source: match alias {
                Some(_) => ModelSource::Codex,
                None => model_source::choose(&document, &env, &codex_home),
            },
            providers,
            keyless,
            models,
            model,
            model_provider,
            features_off: features_off(&document),
            codex_home,
            config_path,
        })
    }

    /// No key is configured.
    pub fn is_development(&self) -> bool {
        self.keys.is_empty()
    }

    /// What core is told over and above the file.
    pub fn engine_options(
        &self,
        helpers: codex_gateway_engine::arg0::HelperPaths,
        bridge: &Endpoint,
    ) -> EngineOptions {
        let mut overrides: Vec<(String, TomlValue)> = Vec::new();
        let mut set = |key: &str, value: TomlValue| overrides.push((key.to_owned(), value));
        for feature in &self.features_off {
            set(&format!("features.{feature}"), false.into());
        }
        let alias = self.model.as_deref().and_then(|model| self.models.get(model));
        match (&self.model_source, alias) {
            (_, Some(alias)) => set("model", alias.primary.model.clone().into()),
            (ModelSource::Demo, None) => set("model", "demo".into()),
            (ModelSource::BuiltIn(provider), None) if self.model.is_none() => {
                set("model", provider.model.into());
            }
            (ModelSource::BuiltIn(_) | ModelSource::Codex, None) => {}
        }
        EngineOptions {
            codex_home: self.codex_home.clone(),
            config_path: Some(self.config_path.clone()).filter(|path| path.exists()),
            workspace_root: self.workspace_root.clone(),
            overrides,
            demo_model: matches!(self.model_source, ModelSource::Demo),
            bridge: Some(Bridge {
                base_url: bridge.base_url.clone(),
                bearer_token: bridge.bearer_token.clone(),
                providers: self.bridged(),
                default: match &self.model_source {
                    ModelSource::Demo => Some(demo::ID.to_owned()),
                    ModelSource::BuiltIn(provider) => Some(provider.id.to_owned()),
                    ModelSource::Codex => alias.map(|alias| alias.primary.provider.clone()),
                },
            }),
            allow_no_sandbox: self.allow_no_sandbox,
            helpers,
        }
    }
}

impl Config {
    /// Every provider that is called through the bridge.
    pub fn bridged_providers(&self) -> impl Iterator<Item = &provider::Provider> + Clone {
        self.providers.iter().chain(&self.keyless)
    }

    /// What the bridge answers for.
    fn bridged(&self) -> Vec<Bridged> {
        let demo = matches!(self.model_source, ModelSource::Demo).then(|| Bridged {
            id: demo::ID.to_owned(),
            name: demo::ID.to_owned(),
            stream_max_retries: None,
            secrets: Vec::new(),
            wire: None,
        });
        let providers = self.bridged_providers().map(|provider| Bridged {
            id: provider.id.clone(),
            name: provider.name.clone(),
            stream_max_retries: provider.stream_retries,
            secrets: provider.secrets.clone(),
            wire: Some(provider.api.for_core()),
        });
        providers.chain(demo).collect()
    }

    /// The models of a provider that configuration names.
    pub fn models_of(&self, provider: &str) -> BTreeSet<&str> {
        let model = self.model.as_deref().filter(|model| self.models.get(model).is_none());
        let chosen = match &self.model_source {
            ModelSource::Demo => Some((demo::ID, demo::ID)),
            ModelSource::BuiltIn(built_in) => Some((built_in.id, model.unwrap_or(built_in.model))),
            ModelSource::Codex => self.model_provider.as_deref().zip(model),
        };
        let built_in = BUILT_IN.iter().map(|built_in| (built_in.id, built_in.model));
        let named = built_in.chain(chosen).filter(|(id, _)| *id == provider);
        named.map(|(_, model)| model).chain(self.models.of(provider)).collect()
    }
}

/// Features of core that are on by default and do not fit a server. `config.toml.example` says why
/// at more length.
///
/// - `shell_snapshot`: a login shell per conversation, minutes when many start at once;
/// - `unified_exec`: what a command prints in its first 150 ms is missing from its output events,
///   and its end may be announced after the turn's.
const FEATURES_OFF: [&str; 2] = ["shell_snapshot", "unified_exec"];

fn features_off(document: &toml::Table) -> Vec<&'static str> {
    let in_file = document.get("features");
    FEATURES_OFF
        .into_iter()
        .filter(|feature| in_file.and_then(|features| features.get(*feature)).is_none())
        .collect()
}
