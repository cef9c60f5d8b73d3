//! Parts of core, opened before its `ThreadManager`.

use std::sync::Arc;
use std::sync::Weak;

use anyhow::Context;
use codex_core::ThreadManager;
use codex_core::config::Config;
use codex_exec_server::EnvironmentManager;
use codex_exec_server::ExecServerRuntimePaths;
use codex_home::CodexHomeUserInstructionsProvider;
use codex_login::AuthManager;
use codex_protocol::protocol::SessionSource;
use codex_rollout::state_db::StateDbHandle;
use codex_thread_store::ThreadStore;

use super::documents::Documents;
use super::documents::Instructions;
use super::extensions;
use super::extensions::ExtensionEvents;
use super::models::Models;
use super::store::MergingStore;
use crate::arg0::HelperPaths;

/// Parts of core that its `ThreadManager` is built from.
pub(super) struct CoreParts {
    pub(super) state_db: Option<StateDbHandle>,
    auth: Arc<AuthManager>,
    environments: Arc<EnvironmentManager>,
    installation_id: String,
    pub(super) thread_store: MergingStore,
    pub(super) extension_events: Arc<ExtensionEvents>,
}

impl CoreParts {
    pub(super) async fn open(config: &Config, helpers: &HelperPaths) -> anyhow::Result<Self> {
        let state_db = codex_core::init_state_db(config).await;
        let auth = AuthManager::shared_from_config(config, true).await;
        let runtime_paths = ExecServerRuntimePaths::from_optional_paths(
            helpers.self_exe.clone(),
            helpers.linux_sandbox_exe.clone(),
        )?;
        let environments =
            EnvironmentManager::from_codex_home(&config.codex_home, Some(runtime_paths))
                .await
                .context("cannot set up codex's execution environments")?;
        let installation_id = codex_core::resolve_installation_id(&config.codex_home)
            .await
            .context("cannot write to codex's home")?;
        let thread_store =
            MergingStore::new(codex_core::thread_store_from_config(config, state_db.clone()));
        Ok(Self {
            state_db,
            auth,
            environments: Arc::new(environments),
            installation_id,
            thread_store,
            extension_events: Arc::new(ExtensionEvents::default()),
        })
    }

    pub(super) fn thread_manager(
        &self,
        config: &Config,
        documents: Documents,
        manager: &Weak<ThreadManager>,
    ) -> ThreadManager {
        let instructions = Instructions {
            own: CodexHomeUserInstructionsProvider::new(config.codex_home.clone()),
            documents: Arc::new(documents),
        };
        let dependencies = extensions::Dependencies {
            events: Arc::clone(&self.extension_events),
            auth: Arc::clone(&self.auth),
            state_db: self.state_db.clone(),
            manager: manager.clone(),
            environments: Arc::clone(&self.environments),
            restriction_product: SessionSource::Exec.restriction_product(),
        };
        ThreadManager::new(
            config,
            Arc::clone(&self.auth),
            Models::wrap(codex_core::build_models_manager(config, Arc::clone(&self.auth))),
            codex_core::CodexAppsToolsCache::default(),
            SessionSource::Exec,
            Arc::clone(&self.environments),
            extensions::install(dependencies),
            Arc::new(instructions),
            None,
            Arc::new(self.thread_store.clone()) as Arc<dyn ThreadStore>,
            codex_core::local_agent_graph_store_from_state_db(self.state_db.as_ref()),
            self.installation_id.clone(),
            // Attestation and an external clock are services of OpenAI's own clients.
            None,
            None,
        )
    }
}
