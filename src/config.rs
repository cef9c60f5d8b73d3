//! Configuration: [`File`] as it is written, [`Config`] as it is used.
//!
//! One `config.toml` holds Codex's own keys and a `[gateway]` table. The environment wins over the
//! file, the command line over both. Every error names the key and says what it takes.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use codex_gateway_engine::codex::Bridge;
use codex_gateway_engine::codex::Options as EngineOptions;
use serde::Deserialize;
use serde::Serialize;
use toml::Value as TomlValue;

use crate::access::Keys;
use crate::bridge::Endpoint;
use crate::bridge::provider;
use crate::bridge::provider::BUILT_IN;
use crate::bridge::provider::BuiltIn;

/// The `[gateway]` table as it is written. `config.toml.example` explains each key.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    host: Option<IpAddr>,
    port: Option<u16>,
    api_keys: Option<Vec<String>>,
    workspace_root: Option<PathBuf>,
    default_timeout_ms: Option<u64>,
    max_connections: Option<usize>,
    max_queued_prompts: Option<usize>,
    max_live_conversations: Option<usize>,
    conversation_idle_ms: Option<u64>,
    body_limit_bytes: Option<usize>,
    prompt_limit_chars: Option<usize>,
    header_timeout_ms: Option<u64>,
    body_timeout_ms: Option<u64>,
    drain_timeout_ms: Option<u64>,
    event_log_bytes: Option<usize>,
    heartbeat_ms: Option<u64>,
    allow_danger_full_access: Option<bool>,
    allow_approvals: Option<bool>,
    allow_raw_events: Option<bool>,
}

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
    pub server: ServerLimits,
    /// Bounds of turns and their events.
    pub turns: TurnLimits,
    /// Whether a request may ask for `danger-full-access`.
    pub allow_danger_full_access: bool,
    /// Whether a request may have the agent ask before it acts, and let what is approved leave the
    /// sandbox.
    pub allow_approvals: bool,
    /// Whether a request may ask for `raw_response_*` events, which carry the system prompt.
    pub allow_raw_events: bool,
    /// Codex's home.
    pub codex_home: PathBuf,
    /// Where the file is, whether or not it exists.
    pub config_path: PathBuf,
    /// Which model answers.
    pub provider: Provider,
    /// `CODEX_UNSAFE_ALLOW_NO_SANDBOX`.
    pub allow_no_sandbox: bool,
    /// Providers that are called through the bridge.
    pub providers: Vec<provider::Provider>,
    /// The file chooses a model.
    model_set: bool,
    /// The features that the gateway turns off and the file says nothing about.
    features_off: Vec<&'static str>,
}

/// Bounds of connections and bodies.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Open connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// The largest body.
    pub body_limit: usize,
    /// How long a request head may take.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// From SIGTERM to exit.
    pub drain_timeout: Duration,
}

/// Bounds of turns and their events.
#[derive(Debug, Clone)]
pub struct TurnLimits {
    /// A turn's time limit unless the request names one.
    pub default_timeout: Duration,
    /// The longest prompt.
    pub prompt_limit_chars: usize,
    /// Prompts that may wait for a conversation's running turn.
    pub max_queued: usize,
    /// Conversations kept live; above it, those idle longest rest on disk.
    pub max_live: usize,
    /// How long an idle conversation stays live.
    pub idle: Duration,
    /// How much of a conversation's events is kept in memory.
    pub event_log_bytes: usize,
    /// The pause after which a silent stream gets a comment.
    pub heartbeat: Duration,
}

/// Which model answers.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Nothing is configured: the demo model in this process.
    Demo,
    /// The key of a built-in provider is set, and nothing else chooses one.
    BuiltIn(&'static BuiltIn),
    /// What Codex's own configuration or login says.
    Codex,
}

impl Provider {
    /// Why this one, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Demo => "no model is configured: the built-in demo model answers".to_owned(),
            Self::BuiltIn(provider) => format!("{} is set", provider.variable),
            Self::Codex => "chosen by config.toml or a Codex login".to_owned(),
        }
    }
}

/// The id of the demo model's provider.
pub const DEMO: &str = "demo";

/// Shortest and longest `timeout_ms` of a turn.
pub const TIMEOUT_RANGE_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

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

        Ok(Self {
            host,
            port: port.unwrap_or(8080),
            keys,
            workspace_root,
            server: ServerLimits {
                max_connections: at_least("max_connections", file.max_connections, 1, 1024)?,
                body_limit: at_least("body_limit_bytes", file.body_limit_bytes, 1024, 1 << 20)?,
                header_timeout: millis("header_timeout_ms", file.header_timeout_ms, 10_000)?,
                body_timeout: millis("body_timeout_ms", file.body_timeout_ms, 30_000)?,
                drain_timeout: millis("drain_timeout_ms", file.drain_timeout_ms, 10_000)?,
            },
            turns: TurnLimits {
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
                event_log_bytes: at_least("event_log_bytes", file.event_log_bytes, 4096, 8 << 20)?,
                heartbeat: millis("heartbeat_ms", file.heartbeat_ms, 15_000)?,
            },
            allow_danger_full_access: file.allow_danger_full_access.unwrap_or(false),
            allow_approvals: file.allow_approvals.unwrap_or(true),
            allow_raw_events: file.allow_raw_events.unwrap_or(false),
            provider: choose_provider(&document, &env, &codex_home),
            allow_no_sandbox: env("CODEX_UNSAFE_ALLOW_NO_SANDBOX")
                .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
            providers: providers(&document, &env)?,
            model_set: document.contains_key("model"),
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
        for provider in &self.providers {
            // Core knows one wire, and refuses a file that names another.
            if provider.in_file {
                set(&format!("model_providers.{}.wire_api", provider.id), "responses".into());
            }
        }
        match &self.provider {
            Provider::Demo => set("model", "demo".into()),
            Provider::BuiltIn(provider) if !self.model_set => set("model", provider.model.into()),
            Provider::BuiltIn(_) | Provider::Codex => {}
        }
        EngineOptions {
            codex_home: self.codex_home.clone(),
            config_path: Some(self.config_path.clone()).filter(|path| path.exists()),
            workspace_root: self.workspace_root.clone(),
            overrides,
            demo_model: matches!(self.provider, Provider::Demo),
            bridge: Some(Bridge {
                base_url: bridge.base_url.clone(),
                bearer_token: bridge.bearer_token.clone(),
                providers: self.bridged().map(str::to_owned).collect(),
                default: match &self.provider {
                    Provider::Demo => Some(DEMO.to_owned()),
                    Provider::BuiltIn(provider) => Some(provider.id.to_owned()),
                    Provider::Codex => None,
                },
            }),
            allow_no_sandbox: self.allow_no_sandbox,
            helpers,
        }
    }
}

impl Config {
    /// The ids of what the bridge answers for.
    fn bridged(&self) -> impl Iterator<Item = &str> {
        let demo = matches!(self.provider, Provider::Demo).then_some(DEMO);
        self.providers.iter().map(|provider| provider.id.as_str()).chain(demo)
    }
}

/// A missing file is an empty one, unless it was named.
fn read(path: &Path, named: bool) -> anyhow::Result<toml::Table> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => {
            return Ok(toml::Table::new());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

fn gateway_table(document: &toml::Table, path: &Path) -> anyhow::Result<File> {
    match document.get("gateway") {
        Some(table) => {
            table.clone().try_into().with_context(|| format!("[gateway] in {}", path.display()))
        }
        None => Ok(File::default()),
    }
}

/// The demo model is chosen only when nothing else is: no provider in the file, no key, no login.
fn choose_provider(
    document: &toml::Table,
    env: &dyn Fn(&str) -> Option<String>,
    codex_home: &Path,
) -> Provider {
    let in_file =
        ["model_provider", "model_providers", "profile", "oss_provider", "openai_base_url"]
            .iter()
            .any(|key| document.contains_key(*key));
    let login = codex_home.join("auth.json").exists()
        || env("CODEX_API_KEY").is_some()
        || env("CODEX_ACCESS_TOKEN").is_some();
    if in_file || login {
        Provider::Codex
    } else {
        let built_in = BUILT_IN.iter().find(|provider| env(provider.variable).is_some());
        built_in.map_or(Provider::Demo, Provider::BuiltIn)
    }
}

/// The providers of the file that the bridge can stand in for, and the built-in ones whose key is set.
fn providers(
    document: &toml::Table,
    env: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Vec<provider::Provider>> {
    let max_retries = env_parse(env, "CODEX_MAX_RETRIES", "a number of retries")?;
    let mut found = Vec::new();
    let table = document.get("model_providers").and_then(TomlValue::as_table);
    for (id, written) in table.into_iter().flatten() {
        let written: provider::Written =
            written.clone().try_into().with_context(|| format!("[model_providers.{id}]"))?;
        if written.is_bridged() {
            found.push(written.resolve(id, env, max_retries)?);
        }
    }
    for built_in in &BUILT_IN {
        let written_too = found.iter().any(|provider| provider.id == built_in.id);
        if env(built_in.variable).is_some() && !written_too {
            found.push(built_in.written().resolve(built_in.id, env, max_retries)?);
        }
    }
    Ok(found)
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

fn env_parse<T: std::str::FromStr>(
    env: &dyn Fn(&str) -> Option<String>,
    name: &str,
    takes: &str,
) -> anyhow::Result<Option<T>> {
    env(name)
        .map(|value| {
            value
                .trim()
                .parse()
                .map_err(|_| anyhow::anyhow!("{name} is {value:?}; it takes {takes}"))
        })
        .transpose()
}

fn at_least(
    key: &str,
    value: Option<usize>,
    least: usize,
    default: usize,
) -> anyhow::Result<usize> {
    match value {
        Some(value) if value < least => {
            bail!("gateway.{key} is {value}; it takes {least} or more")
        }
        Some(value) => Ok(value),
        None => Ok(default),
    }
}

fn millis(key: &str, value: Option<u64>, default: u64) -> anyhow::Result<Duration> {
    match value {
        Some(0) => bail!("gateway.{key} is 0; it takes milliseconds, 1 or more"),
        Some(value) => Ok(Duration::from_millis(value)),
        None => Ok(Duration::from_millis(default)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)]) -> anyhow::Result<Config> {
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join("config.toml"), file)?;
        let env: std::collections::HashMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::resolve(&Overrides::default(), &|name| env.get(name).cloned(), home.path().into())
    }

    #[test]
    fn the_example_has_every_key_with_its_default() {
        let example = include_str!("../config.toml.example");
        // A commented-out key is written `#key = value`, a sentence `# Sentence`.
        let all: String = example
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key)
                    if key
                        .starts_with(|first: char| first.is_ascii_lowercase() || first == '[') =>
                {
                    key
                }
                _ => line,
            })
            .fold(String::new(), |text, line| text + line + "\n");
        let document: toml::Table = all.parse().unwrap();
        let table = gateway_table(&document, Path::new("config.toml.example")).unwrap();
        let written = serde_json::to_value(&table).unwrap();
        for (key, value) in written.as_object().unwrap() {
            assert!(!value.is_null(), "config.toml.example lacks gateway.{key}");
        }

        let shown = load(
            &toml::to_string(&toml::Table::from_iter([(
                "gateway".to_owned(),
                document["gateway"].clone(),
            )]))
            .unwrap(),
            &[],
        );
        let (shown, default) = (shown.unwrap(), load("", &[]).unwrap());
        assert_eq!(shown.host, default.host);
        assert_eq!(shown.port, default.port);
        assert_eq!(shown.workspace_root.file_name(), default.workspace_root.file_name());
        assert_eq!(format!("{:?}", shown.server), format!("{:?}", default.server));
        assert_eq!(format!("{:?}", shown.turns), format!("{:?}", default.turns));
        assert_eq!(shown.allow_danger_full_access, default.allow_danger_full_access);
        assert_eq!(shown.allow_approvals, default.allow_approvals);
        assert_eq!(shown.allow_raw_events, default.allow_raw_events);
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = load("[gateway]\nport = 1\n", &[("PORT", "2")]).unwrap();
        assert_eq!(config.port, 2);
        assert_eq!(load("[gateway]\nport = 1\n", &[]).unwrap().port, 1);
        assert_eq!(load("", &[]).unwrap().port, 8080);
    }

    #[test]
    fn every_error_names_the_key_and_what_it_takes() {
        for (file, env, expected) in [
            ("[gateway]\nprot = 1\n", &[][..], "unknown field `prot`"),
            ("[gateway]\nport = \"x\"\n", &[], "port"),
            (
                "[gateway]\nbody_limit_bytes = 1\n",
                &[],
                "gateway.body_limit_bytes is 1; it takes 1024",
            ),
            ("[gateway]\ndefault_timeout_ms = 5\n", &[], "gateway.default_timeout_ms"),
            ("[gateway]\nheartbeat_ms = 0\n", &[], "gateway.heartbeat_ms is 0"),
            ("not toml", &[], "is not TOML"),
            ("", &[("PORT", "eighty")], "PORT is \"eighty\"; it takes a port number"),
            ("", &[("HOST", "0.0.0.0")], "without an API key"),
            ("", &[("GATEWAY_API_KEY", "a=")], "GATEWAY_API_KEY"),
        ] {
            let error = load(file, env).expect_err(file);
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }

    #[test]
    fn the_demo_model_answers_only_when_nothing_else_is_configured() {
        for (file, env, expected) in [
            ("", &[][..], "no model"),
            ("[gateway]\nport = 1\n", &[], "no model"),
            ("", &[("OPENAI_API_KEY", "sk-x")], "OPENAI_API_KEY is set"),
            ("", &[("ANTHROPIC_API_KEY", "sk-x")], "ANTHROPIC_API_KEY is set"),
            ("", &[("OPENAI_API_KEY", " ")], "no model"),
            ("model_provider = \"mine\"\n", &[("OPENAI_API_KEY", "sk-x")], "config.toml"),
            ("", &[("CODEX_API_KEY", "sk-x")], "config.toml"),
        ] {
            let reason = load(file, env).unwrap().provider.reason();
            assert!(reason.contains(expected), "{file} {env:?}: {reason}");
        }
    }

    #[test]
    fn providers_are_bridged_whatever_they_speak() {
        let file = "[model_providers.local]\nbase_url = \"http://127.0.0.1:1/v1\"\nwire_api = \"chat\"\n\
                    [model_providers.login]\nbase_url = \"http://x/v1\"\nrequires_openai_auth = true\n";
        let config = load(file, &[("GOOGLE_API_KEY", "k")]).unwrap();
        assert_eq!(config.bridged().collect::<Vec<_>>(), ["local", "google"]);
        let bad = "[model_providers.x]\nbase_url = \"http://x\"\nwire_api = \"telepathy\"\n";
        let error = format!("{:#}", load(bad, &[]).unwrap_err());
        assert!(error.contains("model_providers.x") && error.contains("chat"), "{error}");
    }
}
