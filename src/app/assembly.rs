//! Everything but the server, started: core with its model, and what stands on it.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use codex_gateway_engine::Engine;
use codex_gateway_engine::EngineFacts;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::codex::CodexEngine;

use crate::app::App;
use crate::bridge;
use crate::bridge::backend::Backend;
use crate::bridge::backend::Backends;
use crate::bridge::calls::Calls;
use crate::bridge::client::Clients;
use crate::bridge::credentials::Credentials;
use crate::bridge::demo;
use crate::bridge::record::Records;
use crate::bridge::route::Route;
use crate::bridge::route::Target;
use crate::bridge::upstream::Upstream;
use crate::config::Config;
use crate::config::ModelSource;
use crate::conversation::registry::Registry;
use crate::conversation::sessions::Sessions;
use crate::conversation::workspace;
use crate::patch;
use crate::proxy::Proxies;
use crate::proxy::mcp_egress::EgressProxy;
use crate::shutdown::Shutdown;
use crate::terminal::Terminals;

/// What a command of the command line works with.
pub struct Assembly {
    /// The configuration; its workspace root exists and is resolved.
    pub config: Config,
    /// codex-core.
    pub engine: Arc<dyn Engine>,
    /// What the engine is.
    pub facts: EngineFacts,
    /// The conversations, none yet live.
    pub conversations: Registry,
    /// What model calls were.
    pub model_calls: Records,
    /// Where reverse calls go.
    pub proxies: Proxies,
    /// The stages of the end.
    pub shutdown: Shutdown,
}

impl std::fmt::Debug for Assembly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Assembly {
    /// Starts the model, where it is the demo model, and core.
    ///
    /// # Errors
    /// A folder cannot be made, or core does not start.
    pub async fn open(mut config: Config, helpers: HelperPaths) -> anyhow::Result<Self> {
        config.workspace_root =
            workspace::prepare_root(&config.workspace_root).with_context(|| {
                format!("cannot make the workspace root {}", config.workspace_root.display())
            })?;
        let shutdown = Shutdown::default();
        let calls = Calls::default();
        let model_calls = Records::default();
        let credentials = Credentials::default();
        let backends = backends(&config, &model_calls, &credentials)?;
        let endpoint = bridge::start(backends, calls.clone(), &shutdown)
            .await
            .context("the model bridge cannot listen on loopback")?;
        let options = config.engine_options(helpers, &endpoint);
        let engine: Arc<dyn Engine> = Arc::new(CodexEngine::open(options).await?);
        let facts = engine.facts().clone();
        let own_folder = config.codex_home.join("gateway");
        if let Err(error) = patch::remove_leftovers(&own_folder) {
            tracing::warn!(%error, "copies of a patch's files may be left");
        }
        let sessions_path = own_folder.join("sessions.jsonl");
        let sessions = Sessions::open(&sessions_path)
            .with_context(|| format!("cannot use {}", sessions_path.display()))?;
        let conversations = Registry::new(
            Arc::clone(&engine),
            sessions,
            config.workspace_root.clone(),
            calls,
            config.turns.clone(),
            config.allow_raw_events,
            shutdown.clone(),
        )
        .with_pool(config.turns.started_ahead)
        .with_credentials(credentials);
        let proxies = Proxies::new(&config.proxies)?;
        let door = match config.mcp.allow_private {
            true => None,
            false => Some(EgressProxy::open(&shutdown).await.context("the tool servers' door")?),
        };
        let conversations = conversations.with_door(door);
        Ok(Self { config, engine, facts, conversations, model_calls, proxies, shutdown })
    }

    /// The service over it, and the engine, which has to be shut down last.
    pub fn into_app(self) -> (Arc<App>, Arc<dyn Engine>) {
        let Self { config, engine, facts, conversations, model_calls, proxies, shutdown } = self;
        let limits = config.terminals.clone();
        let terminals = Terminals::new(Arc::clone(&engine), limits, shutdown.clone());
        let app = App::new(config, facts, conversations, model_calls, terminals, proxies, shutdown);
        (app, engine)
    }
}

/// Who answers model calls.
///
/// # Errors
/// A provider's certificates cannot be used.
pub fn backends(
    config: &Config,
    records: &Records,
    credentials: &Credentials,
) -> anyhow::Result<Backends> {
    let mut backends = HashMap::new();
    if matches!(config.model_source, ModelSource::Demo) {
        backends.insert(demo::ID.to_owned(), Backend::Demo(records.clone()));
    }
    let mut clients = Clients::default();
    let mut upstreams = HashMap::new();
    for provider in config.bridged_providers() {
        let client = clients
            .get(provider.ca_file.as_deref(), provider.connect_timeout)
            .with_context(|| format!("the provider {}", provider.id))?;
        let upstream = Upstream::new(provider.clone(), client, credentials.clone());
        upstreams.insert(provider.id.as_str(), upstream);
    }
    // What is configured is called soon: its first call need not wait for the root certificates.
    for provider in &config.providers {
        clients.get(provider.ca_file.as_deref(), provider.connect_timeout)?.pool();
    }
    for (id, upstream) in &upstreams {
        let mut fallbacks: HashMap<String, Arc<[Target]>> = HashMap::new();
        for (model, targets) in config.models.fallbacks(id) {
            let targets = targets.iter().filter_map(|target| {
                let upstream = upstreams.get(target.provider.as_str())?.clone();
                Some(Target { upstream, model: target.model.clone() })
            });
            fallbacks.insert(model.to_owned(), targets.collect());
        }
        let models = config.models_of(id).into_iter().map(str::to_owned).collect();
        let route = Route::new(upstream.clone(), fallbacks, models, records.clone());
        backends.insert((*id).to_owned(), Backend::Provider(Box::new(route)));
    }
    Ok(Arc::new(backends))
}
