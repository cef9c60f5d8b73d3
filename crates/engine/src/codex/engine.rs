//! [`Engine`] on core's `ThreadManager`.

use std::any::Any;
use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use codex_core::ThreadManager;
use codex_core::config::Config;
use codex_protocol::ThreadId;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_protocol::protocol::InitialHistory;
use codex_protocol::protocol::TurnEnvironmentSelection;
use codex_rollout::state_db::StateDbHandle;
use codex_thread_store::ArchiveThreadParams;
use codex_thread_store::ThreadStore;
use codex_thread_store::ThreadStoreError;
use tokio::sync::mpsc;

use super::Options;
use super::config;
use super::config::Catalogues;
use super::documents::Documents;
use super::errors::engine_error;
use super::exec;
use super::extensions;
use super::extensions::ExtensionEvents;
use super::mcp;
use super::parts::CoreParts;
use super::permissions;
use super::permissions::Permissions;
use super::recordings;
use super::recordings::Condition;
use super::self_test;
use super::skills;
use super::store::MergingStore;
use super::terminal;
use super::thread;
use super::thread::CodexThread;
use super::thread::Owner;
#[cfg(target_os = "linux")]
use super::views;
use crate::BoxFuture;
use crate::Command;
use crate::Engine;
use crate::EngineError;
use crate::EngineFacts;
use crate::RecordedConversation;
use crate::Thread;
use crate::ThreadSpec;
use crate::children;
use crate::children::Children;
use crate::children::Violation;
use crate::history;
use crate::history::HistoryPage;
use crate::mcp::McpServer;
use crate::mcp::McpTool;
use crate::process::Process;
use crate::sandbox;
use crate::terminal::OpenTerminal;
use crate::terminal::TerminalSpec;
#[cfg(target_os = "linux")]
use crate::view;

/// How long the end of the last commands is awaited at shutdown.
#[cfg(target_os = "linux")]
const VIEWS_LIMIT: Duration = Duration::from_secs(1);

/// The most ended commands that nobody has read of. Further ones are only logged.
const MAX_VIOLATIONS: usize = 64;

/// Loads the configuration as [`CodexEngine::open`] would. Returns the model's name and its
/// provider's id.
///
/// # Errors
/// The configuration is invalid; the message names the file and the key.
pub fn check(options: &Options) -> BoxFuture<'_, anyhow::Result<(String, String)>> {
    Box::pin(async move {
        let (config, _documents) = config::load(options).await?;
        Ok((config::model_name(&config), config.model_provider_id))
    })
}

/// The number of histories that are read at the same time.
const READERS: usize = 4;

/// codex-core in this process.
pub struct CodexEngine {
    facts: EngineFacts,
    config: Config,
    /// Entries for models that core does not know, by provider.
    catalogues: Catalogues,
    manager: Arc<ThreadManager>,
    state_db: Option<StateDbHandle>,
    thread_store: MergingStore,
    /// Damaged lines that were found in recordings, until the conversation is live again.
    damage: Mutex<HashMap<ThreadId, usize>>,
    /// One repair at a time, and few readers of histories.
    readers: tokio::sync::Semaphore,
    repairs: tokio::sync::Mutex<()>,
    extension_events: Arc<ExtensionEvents>,
    /// Deny-read rules for commands.
    secrets: Arc<[FileSystemSandboxEntry]>,
    /// Views of commands, if they are in a sandbox that has them.
    #[cfg(target_os = "linux")]
    views: Option<view::Views>,
    linux_sandbox_exe: Option<PathBuf>,
    /// The folder under which conversations work.
    workspace_root: PathBuf,
    children: Arc<Children>,
    violations: Mutex<Option<mpsc::Receiver<Violation>>>,
}

impl std::fmt::Debug for CodexEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodexEngine").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl CodexEngine {
    /// Starts core: configuration, state, credentials, environments, extensions.
    ///
    /// # Errors
    /// The configuration is invalid, or a part of core could not start.
    pub fn open(options: Options) -> BoxFuture<'static, anyhow::Result<Self>> {
        Box::pin(async move {
            let (config, documents) = config::load(&options).await?;
            #[cfg(target_os = "linux")]
            let views = views::open(&options)?;
            let (sender, violations) = mpsc::channel(MAX_VIOLATIONS);
            let children = Children::start(children::Options {
                limits: options.limits.clone(),
                volumes: vec![
                    options.codex_home.clone(),
                    options.workspace_root.clone(),
                    std::env::temp_dir(),
                ],
                helper: options.helpers.linux_sandbox_exe.clone(),
                violations: sender,
            })?;
            let probe = self_test::Probe {
                workspace_root: &options.workspace_root,
                linux_sandbox_exe: options.helpers.linux_sandbox_exe.clone(),
                #[cfg(target_os = "linux")]
                views: views.as_ref(),
            };
            let sandbox = probe.run(options.allow_no_sandbox).await;
            let facts = EngineFacts {
                name: CODEX,
                model: config::model_name(&config),
                model_provider: config.model_provider_id.clone(),
                model_providers: config.model_providers.keys().cloned().collect(),
                sandbox,
                limits: children.report().clone(),
            };
            let catalogues = config::catalogues(&options)?;
            let parts = CoreParts::open(&config, &options.helpers).await?;
            let manager =
                Arc::new_cyclic(|manager| parts.thread_manager(&config, documents, manager));
            extensions::drain_sub_agents(&manager);
            let CoreParts { state_db, thread_store, extension_events, .. } = parts;
            let secrets = permissions::secrets(&config, &options);
            Ok(Self {
                facts,
                config,
                catalogues,
                manager,
                state_db,
                thread_store,
                damage: Mutex::default(),
                readers: tokio::sync::Semaphore::new(READERS),
                repairs: tokio::sync::Mutex::default(),
                extension_events,
                secrets,
                #[cfg(target_os = "linux")]
                views,
                linux_sandbox_exe: options.helpers.linux_sandbox_exe,
                workspace_root: options.workspace_root,
                children,
                violations: Mutex::new(Some(violations)),
            })
        })
    }

    /// The ends of agents' commands that exceeded a limit. `None` the second time.
    pub fn take_violations(&self) -> Option<mpsc::Receiver<Violation>> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Core's environments for a conversation. Empty if tools are off, which removes the shell,
    /// `apply_patch` and `view_image` tools.
    fn environments(&self, config: &Config) -> Vec<TurnEnvironmentSelection> {
        match self.facts.sandbox.tools {
            sandbox::Tools::Off => Vec::new(),
            sandbox::Tools::On | sandbox::Tools::Unsandboxed => {
                self.manager.default_environment_selections(&config.cwd, &config.workspace_roots)
            }
        }
    }

    /// Permissions of commands in a folder. `until_gone` is dropped once the last of their processes
    /// has gone.
    fn permissions(
        &self,
        folder: &Path,
        until_gone: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Permissions, EngineError> {
        let permissions = Permissions {
            tools: self.facts.sandbox.tools,
            secrets: self.secrets.clone(),
            #[cfg(target_os = "linux")]
            view: None,
            until_gone,
        };
        #[cfg(target_os = "linux")]
        if let (Some(views), sandbox::Tools::On) = (&self.views, permissions.tools) {
            let view = Some(Arc::new(views.lease(folder, permissions.until_gone)?));
            return Ok(Permissions { view, until_gone: None, ..permissions });
        }
        Ok(permissions)
    }

    /// Refuses a folder with skills that lead out of it.
    async fn check_skills(&self, folder: &Path) -> Result<(), EngineError> {
        let (root, folder) = (self.workspace_root.clone(), folder.to_owned());
        tokio::task::spawn_blocking(move || skills::check(&root, &folder))
            .await
            .map_err(|error| EngineError::Failed(error.to_string()))?
            .map_err(EngineError::Rejected)
    }

    /// The recording of a thread. Flushes it first if the thread is live.
    async fn recorded(&self, id: ThreadId) -> Result<InitialHistory, EngineError> {
        let failed = |error: std::io::Error| EngineError::Failed(error.to_string());
        let path = self.readable(id).await?;
        codex_core::RolloutRecorder::get_rollout_history(&path).await.map_err(failed)
    }

    /// The file of a recording, flushed if the thread is live, else repaired where it is damaged.
    async fn readable(&self, id: ThreadId) -> Result<PathBuf, EngineError> {
        let failed = |error: std::io::Error| EngineError::Failed(error.to_string());
        let live = self.manager.get_thread(id).await.ok();
        if let Some(live) = &live {
            live.flush_rollout().await.map_err(failed)?;
        }
        let path = self.recording(id).await?;
        let path = path.ok_or_else(|| EngineError::NotFound(id.to_string()))?;
        // Core holds a live one open.
        if live.is_some() {
            return Ok(path);
        }
        let _one_at_a_time = self.repairs.lock().await;
        match recordings::prepare(path.clone(), id).await.map_err(failed)? {
            Condition::Empty => Err(EngineError::NotFound(id.to_string())),
            Condition::Readable { damaged_lines: 0 } => Ok(path),
            Condition::Readable { damaged_lines } => {
                *self.damage().entry(id).or_default() += damaged_lines;
                Ok(path)
            }
        }
    }

    fn damage(&self) -> MutexGuard<'_, HashMap<ThreadId, usize>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a recording that is not archived. Core creates it with the first turn.
    async fn recording(&self, id: ThreadId) -> Result<Option<PathBuf>, EngineError> {
        let (home, state_db) = (&self.config.codex_home, self.state_db.as_deref());
        codex_core::find_thread_path_by_id_str(home, &id.to_string(), state_db)
            .await
            .map_err(|error| EngineError::Failed(error.to_string()))
    }

    async fn spawn(
        &self,
        spec: &ThreadSpec,
        history: InitialHistory,
    ) -> Result<Arc<dyn Thread>, EngineError> {
        let permissions = self.permissions(&spec.cwd, None)?;
        let config = config::for_thread(&self.config, &self.catalogues, spec, &permissions)?;
        let environments = self.environments(&config);
        self.check_skills(&spec.cwd).await?;
        let start =
            Box::pin(self.manager.start_thread_with_options(codex_core::StartThreadOptions {
                config,
                allow_provider_model_fallback: false,
                initial_history: history,
                history_mode: None,
                session_source: None,
                thread_source: None,
                dynamic_tools: Vec::new(),
                metrics_service_name: None,
                parent_trace: spec.trace.clone().map(thread::core_trace),
                environments,
                thread_extension_init: codex_extension_api::ExtensionDataInit::default(),
                supports_openai_form_elicitation: false,
            }));
        let started = Documents::scope(spec.cwd.clone(), start).await.map_err(engine_error)?;
        let events = self.extension_events.subscribe(started.thread_id);
        let damaged_lines = self.damage().remove(&started.thread_id).unwrap_or_default();
        let owner = Owner {
            manager: Arc::clone(&self.manager),
            store: self.thread_store.clone(),
            children: Arc::clone(&self.children),
        };
        let thread = CodexThread::new(owner, started, events, spec, permissions, damaged_lines);
        Ok(Arc::new(thread))
    }
}

/// The engine and its version. The registry holds a re-publication of OpenAI's workspace under numbers
/// of its own, so the version is by its date (see the README).
const CODEX: &str = "codex-core, about 0.145 (republished 2026-07-22)";

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
            let history = self.recorded(parse_id(&thread_id)?).await?;
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
            let recorded = self.recorded(parse_id(&thread_id)?).await?;
            let items = recorded.get_rollout_items();
            let end = history::fork_point(items, after_turn.as_deref()).ok_or_else(|| {
                match after_turn {
                    Some(turn) => EngineError::Rejected(format!(
                        "after_turn: expected the id of a turn of the conversation, got {turn:?}"
                    )),
                    None => EngineError::NotFound(thread_id.clone()),
                }
            })?;
            let kept = items.iter().take(end).cloned().collect();
            self.spawn(&spec, InitialHistory::Forked(kept)).await
        })
    }

    fn history(
        &self,
        thread_id: String,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<HistoryPage, EngineError>> {
        Box::pin(async move {
            let failed = |error: &dyn std::fmt::Display| EngineError::Failed(error.to_string());
            let _reader = self.readers.acquire().await.map_err(|error| failed(&error))?;
            let path = self.readable(parse_id(&thread_id)?).await?;
            let from = after.clone();
            let read = move || recordings::page(&path, from.as_deref(), limit);
            let page = tokio::task::spawn_blocking(read).await.map_err(|error| failed(&error))?;
            page.map_err(|error| failed(&error))?.ok_or_else(|| {
                EngineError::Rejected(format!(
                    "cursor: expected next_cursor of a page, got {:?}",
                    after.unwrap_or_default()
                ))
            })
        })
    }

    fn recorded_conversations(
        &self,
        known: HashSet<String>,
    ) -> BoxFuture<'_, Vec<RecordedConversation>> {
        let home = self.config.codex_home.to_path_buf();
        Box::pin(async move {
            let read = move || recordings::recorded_conversations(&home, &known);
            tokio::task::spawn_blocking(read).await.unwrap_or_default()
        })
    }

    fn archive(&self, thread_id: String, archived: bool) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let id = parse_id(&thread_id)?;
            let params = ArchiveThreadParams { thread_id: id };
            let result = if archived {
                self.thread_store.archive_thread(params).await
            } else {
                self.thread_store.unarchive_thread(params).await.map(|_thread| ())
            };
            let Err(error) = result else { return Ok(()) };
            // One without a whole line is as good as none.
            let is_recorded = match self.readable(id).await {
                Ok(_) => true,
                Err(EngineError::NotFound(_)) => false,
                Err(error) => return Err(error),
            };
            match error {
                // The recording is back, but the store cannot summarise one without a prompt.
                _ if !archived && is_recorded => Ok(()),
                ThreadStoreError::InvalidRequest { message } if is_recorded => {
                    Err(EngineError::Rejected(message))
                }
                ThreadStoreError::ThreadNotFound { .. }
                | ThreadStoreError::InvalidRequest { .. } => Err(EngineError::NotFound(thread_id)),
                other => Err(EngineError::Failed(other.to_string())),
            }
        })
    }

    fn exec(&self, command: Command) -> BoxFuture<'_, Result<Process, EngineError>> {
        Box::pin(async move {
            let permissions = self.permissions(&command.cwd, command.until_gone.clone())?;
            exec::start(command, permissions, &self.linux_sandbox_exe, &self.children).await
        })
    }

    fn probe_mcp(
        &self,
        server: McpServer,
        cwd: PathBuf,
    ) -> BoxFuture<'_, Result<Vec<McpTool>, EngineError>> {
        Box::pin(async move { mcp::probe::list_tools(&server, &cwd, &self.config).await })
    }

    fn reserved_mcp_names(&self) -> Vec<String> {
        mcp::config::reserved_names(&self.config)
    }

    fn open_terminal(
        &self,
        spec: TerminalSpec,
    ) -> BoxFuture<'_, Result<OpenTerminal, EngineError>> {
        Box::pin(async move {
            let permissions = self.permissions(&spec.cwd, spec.until_gone.clone())?;
            let helpers = terminal::Helpers {
                children: Arc::clone(&self.children),
                self_exe: self.config.codex_self_exe.clone(),
                linux_sandbox_exe: self.config.codex_linux_sandbox_exe.clone(),
            };
            let open = move || terminal::open(&spec, permissions, &helpers);
            // Forking a process of this size is slow.
            tokio::task::spawn_blocking(open)
                .await
                .map_err(|error| EngineError::Failed(error.to_string()))?
        })
    }

    fn space(&self) -> Option<children::Space> {
        self.children.space()
    }

    fn shutdown(&self, limit: Duration) -> BoxFuture<'_, usize> {
        Box::pin(async move {
            let report = self.manager.shutdown_all_threads_bounded(limit).await;
            #[cfg(target_os = "linux")]
            if let Some(views) = self.views.clone() {
                let _ =
                    tokio::task::spawn_blocking(move || views.close(limit.min(VIEWS_LIMIT))).await;
            }
            report.timed_out.len() + report.submit_failed.len()
        })
    }
}

fn parse_id(thread_id: &str) -> Result<ThreadId, EngineError> {
    ThreadId::from_string(thread_id).map_err(|_| EngineError::NotFound(thread_id.to_owned()))
}
