//! Core's model catalogue, extended by entries for models of the bridge's providers.
//!
//! Core gives an unknown model neither `apply_patch` nor parallel calls, warns its client in every
//! conversation, and assumes the context window of GPT-5. Therefore the configuration of a
//! conversation carries entries for its provider's models ([`provider_catalogue`]), and [`Models`]
//! consults them before core guesses. The entries belong to the conversation, not to a list of
//! names, because any turn may name another model.
//!
//! Core requests its catalogue in every turn, reads it from disk and copies all of it, system
//! prompts included, to find one entry. Therefore it is refreshed once a minute
//! ([`REFRESH_INTERVAL`]), and its names are cached.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use codex_http_client::HttpClientFactory;
use codex_login::AuthManager;
use codex_models_manager::ModelsManagerConfig;
use codex_models_manager::manager::ModelsManager;
use codex_models_manager::manager::ModelsManagerFuture;
use codex_models_manager::manager::RefreshStrategy;
use codex_models_manager::manager::SharedModelsManager;
use codex_models_manager::model_info;
use codex_protocol::config_types::CollaborationModeMask;
use codex_protocol::openai_models::ModelInfo;
use codex_protocol::openai_models::ModelsResponse;
use tokio::sync::TryLockError;
use tokio::time::Instant;

/// The entry of a model that core does not know, without name and context window.
const UNKNOWN_MODEL: &str = include_str!("other_model.json");

/// Shortest time between two refreshes of the catalogue.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Prefixes of models that accept freeform tools over the Responses API. For other models core's
/// guess is right: servers refuse a request with an unknown kind of tool.
const FREEFORM_OVER_RESPONSES: [&str; 2] = ["gpt-5", "codex-"];

/// The bridge's protocol towards a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// The Responses API: requests pass through.
    Responses,
    /// Another API, in which all of core's tools become functions.
    Translated {
        /// Context window of its models, in tokens; `model_context_window` of the file takes
        /// precedence.
        context_window: i64,
    },
}

/// Entries for models that core does not know. Each holds for all names that begin with its own.
pub(super) fn provider_catalogue(wire: Wire) -> serde_json::Result<ModelsResponse> {
    let unknown: ModelInfo = serde_json::from_str(UNKNOWN_MODEL)?;
    let models = match wire {
        Wire::Responses => FREEFORM_OVER_RESPONSES
            .iter()
            .map(|name| ModelInfo { slug: (*name).to_owned(), ..unknown.clone() })
            .collect(),
        Wire::Translated { context_window } => {
            vec![ModelInfo { context_window: Some(context_window), ..unknown }]
        }
    };
    Ok(ModelsResponse { models })
}

/// Core's catalogue, extended by the entries in a conversation's configuration.
#[derive(Debug)]
pub(super) struct Models {
    core: SharedModelsManager,
    cache: Mutex<Cache>,
}

/// The cached part of core's catalogue.
#[derive(Debug, Default)]
struct Cache {
    /// Names in the catalogue; `None` if it may have changed.
    names: Option<Arc<[String]>>,
    /// The last refresh: core reads the catalogue from disk, or fetches it if that is too old.
    refreshed_at: Option<Instant>,
}

impl Models {
    pub(super) fn wrap(core: SharedModelsManager) -> Arc<Self> {
        Arc::new(Self { core, cache: Mutex::default() })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn names(&self) -> Arc<[String]> {
        let names = self.cache().names.clone();
        match names {
            Some(names) => names,
            None => self.cache_names(&self.core.get_remote_models().await),
        }
    }

    fn cache_names(&self, models: &[ModelInfo]) -> Arc<[String]> {
        let names: Arc<[String]> = models.iter().map(|model| model.slug.clone()).collect();
        self.cache().names = Some(Arc::clone(&names));
        names
    }

    async fn catalogue(&self, refresh: RefreshStrategy, http: HttpClientFactory) -> ModelsResponse {
        let usual = refresh == RefreshStrategy::OnlineIfUncached;
        if usual && self.cache().refreshed_at.is_some_and(|at| at.elapsed() < REFRESH_INTERVAL) {
            return ModelsResponse { models: self.core.get_remote_models().await };
        }
        let catalogue = self.core.raw_model_catalog(refresh, http).await;
        self.cache_names(&catalogue.models);
        if usual {
            self.cache().refreshed_at = Some(Instant::now());
        }
        catalogue
    }
}

impl ModelsManager for Models {
    fn get_model_info<'a>(
        &'a self,
        model: &'a str,
        config: &'a ModelsManagerConfig,
    ) -> ModelsManagerFuture<'a, ModelInfo> {
        Box::pin(async move {
            let others = config.model_catalog.as_ref().map_or(&[][..], |others| &others.models);
            // A namespace, as in `openai/gpt-5`, belongs to the provider.
            let name = model.rsplit('/').next().unwrap_or(model);
            let other = others.iter().find(|other| name.starts_with(&other.slug));
            match other {
                Some(other) if !is_known(model, &self.names().await) => {
                    let info = ModelInfo {
                        slug: model.to_owned(),
                        display_name: model.to_owned(),
                        base_instructions: model_info::BASE_INSTRUCTIONS.to_owned(),
                        ..other.clone()
                    };
                    model_info::with_config_overrides(info, config)
                }
                Some(_) | None => self.core.get_model_info(model, config).await,
            }
        })
    }

    fn get_default_model<'a>(
        &'a self,
        model: &'a Option<String>,
        allow_provider_model_fallback: bool,
        refresh_strategy: RefreshStrategy,
        http_client_factory: HttpClientFactory,
    ) -> ModelsManagerFuture<'a, String> {
        Box::pin(async move {
            let default = self.core.get_default_model(
                model,
                allow_provider_model_fallback,
                refresh_strategy,
                http_client_factory,
            );
            let default = default.await;
            self.cache().names = None;
            default
        })
    }

    fn raw_model_catalog(
        &self,
        refresh_strategy: RefreshStrategy,
        http_client_factory: HttpClientFactory,
    ) -> ModelsManagerFuture<'_, ModelsResponse> {
        Box::pin(self.catalogue(refresh_strategy, http_client_factory))
    }

    fn get_remote_models(&self) -> ModelsManagerFuture<'_, Vec<ModelInfo>> {
        self.core.get_remote_models()
    }

    fn try_get_remote_models(&self) -> Result<Vec<ModelInfo>, TryLockError> {
        self.core.try_get_remote_models()
    }

    fn auth_manager(&self) -> Option<&AuthManager> {
        self.core.auth_manager()
    }

    fn list_collaboration_modes(&self) -> Vec<CollaborationModeMask> {
        self.core.list_collaboration_modes()
    }

    fn refresh_if_new_etag(
        &self,
        etag: String,
        http_client_factory: HttpClientFactory,
    ) -> ModelsManagerFuture<'_, ()> {
        Box::pin(async move {
            self.core.refresh_if_new_etag(etag, http_client_factory).await;
            self.cache().names = None;
        })
    }
}

/// Whether core has an entry for a model: the model's name, without a namespace of one word, begins
/// with the entry's.
fn is_known(model: &str, known: &[String]) -> bool {
    let begins = |name: &str| known.iter().any(|known| name.starts_with(known));
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    begins(model)
        || model
            .split_once('/')
            .is_some_and(|(space, name)| is_word(space) && !name.contains('/') && begins(name))
}

#[cfg(test)]
mod tests {
    use codex_models_manager::manager::StaticModelsManager;

    use super::*;

    async fn info(model: &str, wire: Wire, context_window: Option<i64>) -> ModelInfo {
        let core = codex_models_manager::bundled_models_response().unwrap();
        let models = Models::wrap(Arc::new(StaticModelsManager::new(None, core)));
        let config = ModelsManagerConfig {
            model_catalog: Some(provider_catalogue(wire).unwrap()),
            model_context_window: context_window,
            ..ModelsManagerConfig::default()
        };
        models.get_model_info(model, &config).await
    }

    #[tokio::test]
    async fn unknown_model_gets_its_providers_entry() {
        let chat = Wire::Translated { context_window: 128_000 };
        for (model, wire, patches) in [
            ("qwen3", chat, true),
            ("meta/llama/4", chat, true),
            ("gpt-5.1-codex", Wire::Responses, true),
            ("openai/gpt-5.1", Wire::Responses, true),
            ("qwen/qwen3", Wire::Responses, false),
        ] {
            let info = info(model, wire, None).await;
            assert_eq!(info.slug, model);
            assert_eq!(info.apply_patch_tool_type.is_some(), patches, "{model}");
            assert_eq!(info.supports_parallel_tool_calls, patches, "{model}");
            assert_eq!(info.used_fallback_model_metadata, !patches, "{model}");
            assert!(info.base_instructions.len() > 1000, "{model}");
        }
        assert_eq!(info("qwen3", chat, None).await.context_window, Some(128_000));
        assert_eq!(info("qwen3", chat, Some(400_000)).await.context_window, Some(400_000));
    }

    /// A catalogue that grows with each refresh.
    #[derive(Debug, Default)]
    struct Growing(tokio::sync::RwLock<Vec<ModelInfo>>);

    impl ModelsManager for Growing {
        fn get_default_model<'a>(
            &'a self,
            _model: &'a Option<String>,
            _allow_provider_model_fallback: bool,
            _refresh_strategy: RefreshStrategy,
            _http_client_factory: HttpClientFactory,
        ) -> ModelsManagerFuture<'a, String> {
            Box::pin(std::future::ready(String::new()))
        }

        fn raw_model_catalog(
            &self,
            _refresh_strategy: RefreshStrategy,
            _http_client_factory: HttpClientFactory,
        ) -> ModelsManagerFuture<'_, ModelsResponse> {
            Box::pin(async move {
                let mut models = self.0.write().await;
                let mut entry = provider_catalogue(Wire::Responses).unwrap().models.remove(0);
                entry.slug = format!("model-{}", models.len());
                models.push(entry);
                ModelsResponse { models: models.clone() }
            })
        }

        fn get_remote_models(&self) -> ModelsManagerFuture<'_, Vec<ModelInfo>> {
            Box::pin(async move { self.0.read().await.clone() })
        }

        fn try_get_remote_models(&self) -> Result<Vec<ModelInfo>, TryLockError> {
            Ok(self.0.try_read()?.clone())
        }

        fn auth_manager(&self) -> Option<&AuthManager> {
            None
        }

        fn list_collaboration_modes(&self) -> Vec<CollaborationModeMask> {
            Vec::new()
        }

        fn refresh_if_new_etag(
            &self,
            _etag: String,
            http: HttpClientFactory,
        ) -> ModelsManagerFuture<'_, ()> {
            Box::pin(async move {
                self.raw_model_catalog(RefreshStrategy::Online, http).await;
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn catalogue_is_refreshed_once_a_minute() {
        let models = Models::wrap(Arc::new(Growing::default()));
        let http =
            || HttpClientFactory::new(codex_http_client::OutboundProxyPolicy::ReqwestDefault);
        let count = async |refresh| models.raw_model_catalog(refresh, http()).await.models.len();
        assert_eq!(models.names().await.len(), 0);
        for _ in 0..3 {
            assert_eq!(count(RefreshStrategy::OnlineIfUncached).await, 1);
        }
        assert_eq!(models.names().await.len(), 1);
        // An explicit refresh is not skipped.
        assert_eq!(count(RefreshStrategy::Online).await, 2);
        assert_eq!(models.names().await.len(), 2);
        models.refresh_if_new_etag("new".to_owned(), http()).await;
        assert_eq!(models.names().await.len(), 3);
        tokio::time::advance(REFRESH_INTERVAL).await;
        assert_eq!(count(RefreshStrategy::OnlineIfUncached).await, 4);
        assert_eq!(count(RefreshStrategy::OnlineIfUncached).await, 4);
    }

    #[tokio::test]
    async fn known_model_keeps_its_entry() {
        let chat = Wire::Translated { context_window: 1 };
        let core = codex_models_manager::bundled_models_response().unwrap();
        for known in core.models {
            for name in [known.slug.clone(), format!("openai/{}", known.slug)] {
                let info = info(&name, chat, None).await;
                assert_eq!(info.context_window, known.context_window, "{name}");
                assert_eq!(info.base_instructions, known.base_instructions, "{name}");
            }
        }
    }
}
