//! Core's extensions, the same that Codex's own app-server installs: goals, guardian, memories, MCP
//! servers and plug-ins, web search, image generation, skills. Codex lacks each of these features
//! without its extension. Goals need the state database; if it cannot be opened, they are left out
//! with a warning.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use codex_analytics::AnalyticsEventsClient;
use codex_core::NewThread;
use codex_core::StartThreadOptions;
use codex_core::ThreadManager;
use codex_core::config::Config;
use codex_exec_server::EnvironmentManager;
use codex_extension_api::AgentSpawnFuture;
use codex_extension_api::ExtensionEventSink;
use codex_extension_api::ExtensionRegistry;
use codex_extension_api::ExtensionRegistryBuilder;
use codex_features::Feature;
use codex_goal_extension::GoalService;
use codex_login::AuthManager;
use codex_protocol::ThreadId;
use codex_protocol::error::CodexErr;
use codex_protocol::protocol::Event;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::Product;
use codex_protocol::protocol::SessionSource;
use codex_rollout::state_db::StateDbHandle;
use codex_skills_extension::ExecutorSkillProvider;
use codex_skills_extension::HostSkillProvider;
use codex_skills_extension::OrchestratorSkillProvider;
use codex_skills_extension::SkillProviders;
use codex_skills_extension::SkillsExtensionConfig;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

/// Capacity of a conversation's queue of extension events; a goal changes a few times a turn.
/// Further events are dropped and logged.
const EVENT_QUEUE: usize = 64;

/// Dependencies of the extensions.
pub(super) struct Dependencies {
    pub(super) events: Arc<ExtensionEvents>,
    pub(super) auth: Arc<AuthManager>,
    pub(super) state_db: Option<StateDbHandle>,
    pub(super) manager: Weak<ThreadManager>,
    pub(super) environments: Arc<EnvironmentManager>,
    pub(super) restriction_product: Option<Product>,
}

/// Builds the registry with all extensions.
pub(super) fn install(dependencies: Dependencies) -> Arc<ExtensionRegistry<Config>> {
    let Dependencies { events, auth, state_db, manager, environments, restriction_product } =
        dependencies;
    let mut registry = ExtensionRegistryBuilder::<Config>::with_event_sink(events);

    match state_db {
        Some(state_db) => codex_goal_extension::install_with_backend(
            &mut registry,
            state_db,
            AnalyticsEventsClient::disabled(),
            codex_otel::global(),
            manager.clone(),
            Arc::new(GoalService::new()),
            |config: &Config| config.features.enabled(Feature::Goals),
        ),
        None => tracing::warn!("goals are off: codex's state database could not be opened"),
    }
    codex_guardian::install(&mut registry, move |parent, options| {
        spawn_agent(&manager, parent, options)
    });
    codex_memories_extension::install(&mut registry, codex_otel::global());
    codex_mcp_extension::install(&mut registry);
    codex_mcp_extension::install_executor_plugins(&mut registry, Arc::clone(&environments));
    codex_web_search_extension::install(&mut registry, Arc::clone(&auth));
    codex_image_generation_extension::install(&mut registry, auth, |config: &Config| {
        Some(config.codex_home.clone())
    });
    let executor_skills =
        ExecutorSkillProvider::new_with_restriction_product(environments, restriction_product);
    codex_skills_extension::install_with_providers_and_metrics(
        &mut registry,
        SkillProviders::new()
            .with_host_provider(Arc::new(HostSkillProvider::new()))
            .with_orchestrator_provider(Arc::new(OrchestratorSkillProvider::new()))
            .with_executor_provider(Arc::new(executor_skills)),
        codex_otel::global(),
        |config: &Config| SkillsExtensionConfig {
            include_instructions: config.include_skill_instructions,
            bundled_skills_enabled: config.bundled_skills_enabled(),
            orchestrator_skills_enabled: config.orchestrator_skills_enabled,
            // Upstream's experiment: ranks all skills in six ways in every turn, a sixth of a short
            // turn's time, only to count which ranking would have been right.
            shadow_selection_enabled: false,
        },
    );
    Arc::new(registry.build())
}

/// Spawns guardian's agent, which reviews approvals in a fork of the conversation.
fn spawn_agent(
    manager: &Weak<ThreadManager>,
    parent: ThreadId,
    options: StartThreadOptions,
) -> AgentSpawnFuture<'static, NewThread, CodexErr> {
    let manager = manager.upgrade();
    Box::pin(async move {
        match manager {
            Some(manager) => Box::pin(manager.spawn_subagent(parent, options)).await,
            None => Err(CodexErr::UnsupportedOperation("the engine has shut down".to_owned())),
        }
    })
}

/// Routes events of extensions to their conversations.
#[derive(Debug, Default)]
pub(super) struct ExtensionEvents {
    queues: Mutex<HashMap<ThreadId, mpsc::Sender<Box<Event>>>>,
}

impl ExtensionEvents {
    /// Opens the queue of a conversation. Events are boxed because every conversation has a queue,
    /// and a queue allocates its first 32 slots at once.
    pub(super) fn subscribe(&self, thread: ThreadId) -> mpsc::Receiver<Box<Event>> {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| !queue.is_closed());
        queues.insert(thread, sender);
        receiver
    }
}

impl ExtensionEventSink for ExtensionEvents {
    fn emit(&self, event: Event) {
        // The only event of an extension that names its conversation.
        let EventMsg::ThreadGoalUpdated(goal) = &event.msg else {
            tracing::debug!(id = %event.id, "an extension's event names no conversation");
            return;
        };
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(&goal.thread_id)
            && let Err(error) = queue.try_send(Box::new(event))
        {
            tracing::warn!(%error, "an extension's event was dropped");
        }
    }
}

/// Reads and discards the events of sub-agents, to keep their queues empty. Sub-agents are threads
/// of their own; the parent reports on them in `collab_*` events.
#[expect(
    clippy::disallowed_methods,
    reason = "these tasks end with the threads they read, and those end in `Engine::shutdown`"
)]
pub(super) fn drain_sub_agents(manager: &Arc<ThreadManager>) {
    let mut created = manager.subscribe_thread_created();
    let manager = Arc::downgrade(manager);
    tokio::spawn(async move {
        loop {
            let id = match created.recv().await {
                Ok(id) => id,
                // More threads were created at once than the channel holds; read those it kept.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let Some(manager) = manager.upgrade() else { return };
            let Ok(thread) = manager.get_thread(id).await else { continue };
            if matches!(thread.config_snapshot().await.session_source, SessionSource::SubAgent(_)) {
                tokio::spawn(async move { while thread.next_event().await.is_ok() {} });
            }
        }
    });
}
