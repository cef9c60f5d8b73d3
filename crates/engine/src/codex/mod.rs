//! The real engine: core's `ThreadManager`, started once.

mod config;
mod exec;
mod extensions;
mod mcp;
mod models;
mod permissions;
mod store;
mod terminal;
mod thread;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use codex_core::ThreadManager;
use codex_core::config::Config;
use codex_exec_server::EnvironmentManager;
use codex_exec_server::ExecServerRuntimePaths;
use codex_home::CodexHomeUserInstructionsProvider;
use codex_login::AuthManager;
use codex_protocol::ThreadId;
use codex_protocol::error::CodexErr;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_protocol::protocol::InitialHistory;
use codex_protocol::protocol::SessionSource;
use codex_rollout::state_db::StateDbHandle;
use codex_thread_store::ArchiveThreadParams;
use codex_thread_store::ThreadStore;
use codex_thread_store::ThreadStoreError;
use toml::Value as TomlValue;

use self::config::Catalogues;
use self::models::Models;
pub use self::models::Wire;

use crate::BoxFuture;
use crate::Command;
use crate::Engine;
use crate::EngineError;
use crate::EngineFacts;
use crate::Thread;
use crate::ThreadSpec;
use crate::arg0::HelperPaths;
use crate::history;
use crate::history::PastTurn;
use crate::mcp::McpServer;
use crate::mcp::McpTool;
use crate::process::Process;
use crate::sandbox;
use crate::terminal::OpenTerminal;
use crate::terminal::TerminalSpec;
use extensions::ExtensionEvents;
use permissions::Permissions;
use store::MergingStore;
use thread::CodexThread;

/// What the engine needs to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Codex's home: configuration, histories, state.
    pub codex_home: PathBuf,
    /// The user's `config.toml`, where it is not the one in `codex_home`.
    pub config_path: Option<PathBuf>,
    /// The folder under which conversations work. It exists.
    pub workspace_root: PathBuf,
    /// Dotted configuration keys that win over the file.
    pub overrides: Vec<(String, TomlValue)>,
    /// The demo model is the provider: core gets its entry of the model catalogue.
    pub demo_model: bool,
    /// Providers that core reaches through the gateway's bridge.
    pub bridge: Option<Bridge>,
    /// Run commands without a sandbox where none works (`CODEX_UNSAFE_ALLOW_NO_SANDBOX`).
    pub allow_no_sandbox: bool,
    /// Core's helpers.
    pub helpers: HelperPaths,
}

/// Where core finds providers instead of at their own addresses.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// Core opens `{base_url}/{id}/v1/responses`.
    pub base_url: String,
    /// What the bridge lets in.
    pub bearer_token: String,
    /// The providers.
    pub providers: Vec<Bridged>,
    /// The one that is used unless a request names another.
    pub default: Option<String>,
}

/// A provider that core reaches through the bridge. Core's file need not know it.
#[derive(Debug, Clone)]
pub struct Bridged {
    /// Its id in `model_providers`.
    pub id: String,
    /// For people.
    pub name: String,
    /// How often core asks again after a stream was cut.
    pub stream_max_retries: Option<u64>,
    /// The variables that hold its keys: the agent's commands do not inherit them.
    pub secrets: Vec<String>,
    /// How the bridge speaks to it; `None` where core knows all of its models.
    pub wire: Option<Wire>,
}

/// codex-core in this process.
pub struct CodexEngine {
    facts: EngineFacts,
    config: Config,
    /// By provider: what its models take that core does not know.
    catalogues: Catalogues,
    manager: Arc<ThreadManager>,
    state_db: Option<StateDbHandle>,
    thread_store: Arc<dyn ThreadStore>,
    extension_events: Arc<ExtensionEvents>,
    /// What commands may not read.
    secrets: Arc<[FileSystemSandboxEntry]>,
    linux_sandbox_exe: Option<PathBuf>,
}

impl std::fmt::Debug for CodexEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodexEngine").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Loads the configuration as [`CodexEngine::open`] would, and says what it resolved to: the
/// model's name and its provider's id.
///
/// # Errors
/// The configuration is not valid; the message names the file and the key.
pub fn check(options: &Options) -> BoxFuture<'_, anyhow::Result<(String, String)>> {
    Box::pin(async move {
        let config = config::load(options).await?;
        Ok((config::model_name(&config), config.model_provider_id))
    })
}

impl CodexEngine {
    /// Starts core: configuration, state, credentials, environments, extensions.
    ///
    /// # Errors
    /// The configuration is not valid, or a part of core could not start.
    pub fn open(options: Options) -> BoxFuture<'static, anyhow::Result<Self>> {
        Box::pin(async move {
            let config = config::load(&options).await?;
            let sandbox = sandbox::self_test(
                &options.workspace_root,
                options.helpers.linux_sandbox_exe.clone(),
                options.allow_no_sandbox,
            )
            .await;
            let facts = EngineFacts {
                name: "codex-core",
                model: config::model_name(&config),
                model_provider: config.model_provider_id.clone(),
                model_providers: config.model_providers.keys().cloned().collect(),
                sandbox,
            };

            let catalogues = config::catalogues(&options)?;

            let state_db = codex_core::init_state_db(&config).await;
            let auth = AuthManager::shared_from_config(&config, true).await;
            let environments = Arc::new(
                EnvironmentManager::from_codex_home(
                    &config.codex_home,
                    Some(ExecServerRuntimePaths::from_optional_paths(
                        options.helpers.self_exe.clone(),
                        options.helpers.linux_sandbox_exe.clone(),
                    )?),
                )
                .await
                .context("cannot set up codex's execution environments")?,
            );
            let installation_id = codex_core::resolve_installation_id(&config.codex_home)
                .await
                .context("cannot write to codex's home")?;
            let thread_store: Arc<dyn ThreadStore> = Arc::new(MergingStore::new(
                codex_core::thread_store_from_config(&config, state_db.clone()),
            ));
            let extension_events = Arc::new(ExtensionEvents::default());

            let manager = Arc::new_cyclic(|manager| {
                ThreadManager::new(
                    &config,
                    Arc::clone(&auth),
                    Models::over(codex_core::build_models_manager(&config, Arc::clone(&auth))),
                    codex_core::CodexAppsToolsCache::default(),
                    SessionSource::Exec,
                    Arc::clone(&environments),
                    extensions::install(extensions::Hosts {
                        events: Arc::clone(&extension_events),
                        auth: Arc::clone(&auth),
                        state_db: state_db.clone(),
                        manager: manager.clone(),
                        environments: Arc::clone(&environments),
                        restriction_product: SessionSource::Exec.restriction_product(),
                    }),
                    Arc::new(CodexHomeUserInstructionsProvider::new(config.codex_home.clone())),
                    None,
                    Arc::clone(&thread_store),
                    codex_core::local_agent_graph_store_from_state_db(state_db.as_ref()),
                    installation_id,
                    // Attestation and an outside clock are services of OpenAI's own clients.
                    None,
                    None,
                )
            });
            extensions::drain_sub_agents(&manager);

            let secrets = permissions::secrets(&config, options.config_path.as_deref());
            let linux_sandbox_exe = options.helpers.linux_sandbox_exe;
            Ok(Self {
                facts,
                config,
                catalogues,
                manager,
                state_db,
                thread_store,
                extension_events,
                secrets,
                linux_sandbox_exe,
            })
        })
    }

    /// The folder's environments for core: none at all where nothing may run commands, which takes
    /// the shell, `apply_patch` and `view_image` tools away from the agent.
    fn environments(
        &self,
        config: &Config,
    ) -> Vec<codex_protocol::protocol::TurnEnvironmentSelection> {
        match self.facts.sandbox.tools {
            sandbox::Tools::Off => Vec::new(),
            sandbox::Tools::On | sandbox::Tools::Unsandboxed => {
                self.manager.default_environment_selections(&config.cwd, &config.workspace_roots)
            }
        }
    }

    fn permissions(&self) -> Permissions {
        Permissions { tools: self.facts.sandbox.tools, secrets: self.secrets.clone() }
    }

    /// What core recorded of a thread, also of one that is live.
    async fn recorded(&self, thread_id: &str) -> Result<InitialHistory, EngineError> {
        let failed = |error: std::io::Error| EngineError::Failed(error.to_string());
        let id = parse_id(thread_id)?;
        if let Ok(live) = self.manager.get_thread(id).await {
            live.flush_rollout().await.map_err(failed)?;
        }
        let path = codex_core::find_thread_path_by_id_str(
            &self.config.codex_home,
            thread_id,
            self.state_db.as_deref(),
        );
        let path = path.await.map_err(failed)?;
        let path = path.ok_or_else(|| EngineError::NotFound(thread_id.to_owned()))?;
        codex_core::RolloutRecorder::get_rollout_history(&path).await.map_err(failed)
    }

    async fn spawn(
        &self,
        spec: &ThreadSpec,
        history: InitialHistory,
    ) -> Result<Arc<dyn Thread>, EngineError> {
        let permissions = self.permissions();
        let config = config::for_thread(&self.config, &self.catalogues, spec, &permissions)?;
        let environments = self.environments(&config);
        let started =
            Box::pin(self.manager.start_thread_with_options(codex_core::StartThreadOptions {
                config,
                allow_provider_model_fallback: false,
                initial_history: history,
                history_mode: None,
                session_source: None,
                thread_source: None,
                dynamic_tools: Vec::new(),
                metrics_service_name: None,
                parent_trace: spec.trace.clone().map(thread::in_core),
                environments,
                thread_extension_init: codex_extension_api::ExtensionDataInit::default(),
                supports_openai_form_elicitation: false,
            }))
            .await
            .map_err(engine_error)?;
        let events = self.extension_events.subscribe(started.thread_id);
        let manager = Arc::clone(&self.manager);
        Ok(Arc::new(CodexThread::new(manager, started, events, spec, permissions)))
    }
}

impl Engine for CodexEngine {
    fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    fn start(&self, spec: ThreadSpec) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>> {
        Box::pin(async move { self.spawn(&spec, InitialHistory::New).await })
    }

    fn resume(
        &self,
        thread_id: String,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>> {
        Box::pin(async move {
            let history = self.recorded(&thread_id).await?;
            self.spawn(&spec, history).await
        })
    }

    fn fork(
        &self,
        thread_id: String,
        after_turn: Option<String>,
        spec: ThreadSpec,
    ) -> BoxFuture<'_, Result<Arc<dyn Thread>, EngineError>> {
        Box::pin(async move {
            let recorded = self.recorded(&thread_id).await?;
            let items = recorded.get_rollout_items();
            let end =
                history::cut(items, after_turn.as_deref()).ok_or_else(|| match after_turn {
                    Some(turn) => EngineError::Rejected(format!(
                        "after_turn: expected the id of a turn of the conversation, got {turn:?}"
                    )),
                    None => EngineError::NotFound(thread_id.clone()),
                })?;
            let kept = items.iter().take(end).cloned().collect();
            self.spawn(&spec, InitialHistory::Forked(kept)).await
        })
    }

    fn history(&self, thread_id: String) -> BoxFuture<'_, Result<Vec<PastTurn>, EngineError>> {
        Box::pin(
            async move { Ok(history::turns(self.recorded(&thread_id).await?.get_rollout_items())) },
        )
    }

    fn archive(&self, thread_id: String, archived: bool) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let params = ArchiveThreadParams { thread_id: parse_id(&thread_id)? };
            let done = if archived {
                self.thread_store.archive_thread(params).await
            } else {
                self.thread_store.unarchive_thread(params).await.map(|_thread| ())
            };
            done.map_err(|error| match error {
                ThreadStoreError::ThreadNotFound { .. } => EngineError::NotFound(thread_id),
                ThreadStoreError::InvalidRequest { message } => EngineError::Rejected(message),
                other => EngineError::Failed(other.to_string()),
            })
        })
    }

    fn exec(&self, command: Command) -> BoxFuture<'_, Result<Process, EngineError>> {
        Box::pin(async move {
            let permissions = self.permissions();
            exec::start(command, &permissions, &self.linux_sandbox_exe).await
        })
    }

    fn try_mcp(
        &self,
        server: McpServer,
        cwd: PathBuf,
    ) -> BoxFuture<'_, Result<Vec<McpTool>, EngineError>> {
        Box::pin(async move { mcp::trial::tools(&server, &cwd, &self.config).await })
    }

    fn taken_mcp_names(&self) -> Vec<String> {
        mcp::taken(&self.config)
    }

    fn open_terminal(
        &self,
        spec: TerminalSpec,
    ) -> BoxFuture<'_, Result<OpenTerminal, EngineError>> {
        Box::pin(async move {
            let profile = self.permissions().command_profile(spec.sandbox);
            let helpers = terminal::Helpers {
                self_exe: self.config.codex_self_exe.clone(),
                linux_sandbox_exe: self.config.codex_linux_sandbox_exe.clone(),
            };
            let open = move || terminal::open(&spec, &profile, &helpers);
            // Forking a process of this size takes a while.
            tokio::task::spawn_blocking(open)
                .await
                .map_err(|error| EngineError::Failed(error.to_string()))?
        })
    }

    fn shutdown(&self, limit: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async move {
            let report = self.manager.shutdown_all_threads_bounded(limit).await;
            report.timed_out.len() + report.submit_failed.len()
        })
    }
}

fn parse_id(thread_id: &str) -> Result<ThreadId, EngineError> {
    ThreadId::from_string(thread_id).map_err(|_| EngineError::NotFound(thread_id.to_owned()))
}

fn engine_error(error: CodexErr) -> EngineError {
    match error {
        CodexErr::InvalidRequest(_)
        | CodexErr::UnsupportedOperation(_)
        | CodexErr::AgentLimitReached { .. } => EngineError::Rejected(error.to_string()),
        CodexErr::ThreadNotFound(id) => EngineError::NotFound(id.to_string()),
        // Core's error type is upstream's and grows: whatever else it says is a failure.
        other => EngineError::Failed(other.to_string()),
    }
}
