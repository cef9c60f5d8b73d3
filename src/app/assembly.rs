//! [`Assembly`]: everything but the server, started.

use std::sync::Arc;

use anyhow::Context as _;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineFacts;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::children::Violation;
use codex_gateway_engine::codex::CodexEngine;
use tokio::sync::mpsc;

use super::gauges;
use super::home_lock::HomeLock;
use super::providers;
use super::state::App;
use super::state::Components;
use crate::access::owners::Owners;
use crate::bridge;
use crate::bridge::call_log::CallLog;
use crate::bridge::credentials::Credentials;
use crate::bridge::in_flight::InFlight;
use crate::config::Config;
use crate::conversation::Permitted;
use crate::conversation::record_status::RecordStatus;
use crate::conversation::registry;
use crate::conversation::registry::Registry;
use crate::conversation::restore;
use crate::conversation::sessions::Sessions;
use crate::conversation::workspaces;
use crate::conversation::written_folders::WrittenFolders;
use crate::proxy::Proxies;
use crate::proxy::mcp_egress::EgressProxy;
use crate::shutdown::Shutdown;
use crate::terminal::Terminals;

/// The started components of a command. The server adds terminals and background tasks
/// ([`Self::into_app`]).
pub struct Assembly {
    /// The configuration. Its workspace root exists and is canonical.
    pub config: Config,
    /// codex-core.
    pub engine: Arc<dyn Engine>,
    /// The engine's version, model and sandbox.
    pub facts: EngineFacts,
    /// The conversations. None is live yet.
    pub conversations: Registry,
    /// The provider keys of logged-in sessions.
    pub credentials: Credentials,
    /// The log of recent model calls.
    pub model_calls: CallLog,
    /// The upstreams of reverse calls.
    pub proxies: Proxies,
    /// The ends of agents' commands that exceeded a limit.
    pub violations: Option<mpsc::Receiver<Violation>>,
    /// The shutdown signals.
    pub shutdown: Shutdown,
    lock: HomeLock,
}

impl std::fmt::Debug for Assembly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Assembly {
    /// Starts the bridge and core, and opens the session file.
    ///
    /// # Errors
    /// Another gateway uses the codex home, a folder cannot be created, the bridge cannot listen, or
    /// core does not start.
    // Long: one part after another.
    pub async fn open(mut config: Config, helpers: HelperPaths) -> anyhow::Result<Self> {
        let lock = HomeLock::take(&config.codex_home)?;
        config.workspace_root =
            workspaces::prepare_root(&config.workspace_root).with_context(|| {
                format!("cannot create the workspace root {}", config.workspace_root.display())
            })?;
        let shutdown = Shutdown::default();
        let calls = InFlight::default();
        let model_calls = CallLog::default();
        let credentials = Credentials::default();
        let backends = providers::backends(&config, &model_calls, &credentials)?;
        let endpoint = bridge::start(backends, calls.clone(), &shutdown)
            .await
            .context("the model bridge cannot listen on loopback")?;
        let options = providers::engine_options(&config, helpers, &endpoint);
        let engine = CodexEngine::open(options).await?;
        let violations = engine.take_violations();
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let facts = engine.facts().clone();
        let own_folder = config.codex_home.join("gateway");
        let sessions_path = own_folder.join("sessions.jsonl");
        let records = RecordStatus::default();
        let sessions = Sessions::open(&sessions_path, records.clone())
            .with_context(|| format!("cannot use {}", sessions_path.display()))?;
        let folders_path = own_folder.join("folders.jsonl");
        let written_folders = WrittenFolders::open(&folders_path, records)
            .with_context(|| format!("cannot use {}", folders_path.display()))?;
        restore::restore(&sessions, &*engine, &config.workspace_root).await;
        let proxies = Proxies::new(&config.proxies)?;
        let egress = match config.mcp.allow_private {
            true => None,
            false => {
                let opened = EgressProxy::open(&shutdown).await;
                Some(opened.context("the egress proxy of tool servers cannot listen on loopback")?)
            }
        };
        let conversations = Registry::new(registry::Parts {
            engine: Arc::clone(&engine),
            sessions,
            workspace_root: config.workspace_root.clone(),
            written_folders,
            calls,
            credentials: credentials.clone(),
            egress,
            limits: config.turns.clone(),
            permitted: Permitted {
                danger_full_access: config.allow_danger_full_access,
                approvals: config.approvals.allowed,
            },
            owners: Owners::new(&config.keys),
            raw_events: config.allow_raw_events,
            shutdown: shutdown.clone(),
        });
        Ok(Self {
            config,
            engine,
            facts,
            conversations,
            credentials,
            model_calls,
            proxies,
            violations,
            shutdown,
            lock,
        })
    }

    /// Builds the application and starts its background tasks. Also returns the engine, which must
    /// be shut down last.
    pub fn into_app(self) -> (Arc<App>, Arc<dyn Engine>) {
        let Self {
            config,
            engine,
            facts: _,
            conversations,
            credentials,
            model_calls,
            proxies,
            violations,
            shutdown,
            lock,
        } = self;
        let limits = config.terminals.clone();
        let terminals = Terminals::new(Arc::clone(&engine), limits, shutdown.clone());
        let conversations = Arc::new(conversations);
        shutdown.spawn(Arc::clone(&conversations).run_eviction());
        shutdown.spawn(Arc::clone(&conversations).run_prestart());
        if let Some(violations) = violations {
            shutdown.spawn(Arc::clone(&conversations).run_command_limits(violations));
        }
        shutdown.spawn(Arc::clone(&conversations).run_record_keeping());
        shutdown.spawn(Arc::clone(&conversations).run_event_budget());
        lock.hold_until_exit();
        let app = App::new(Components {
            config,
            engine: Arc::clone(&engine),
            conversations,
            credentials,
            model_calls,
            terminals,
            proxies,
            shutdown,
        });
        let app = Arc::new(app);
        gauges::register(&app);
        (app, engine)
    }
}
