//! The configuration of models and providers, as core ([`engine_options`]) and the bridge
//! ([`backends`]) need it.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::codex::Bridge;
use codex_gateway_engine::codex::BridgedProvider;
use codex_gateway_engine::codex::Options as EngineOptions;
use toml::Value;

use crate::bridge::Endpoint;
use crate::bridge::backend::Backend;
use crate::bridge::backend::Backends;
use crate::bridge::built_in::BUILT_IN;
use crate::bridge::call_log::CallLog;
use crate::bridge::client::Clients;
use crate::bridge::credentials::Credentials;
use crate::bridge::demo;
use crate::bridge::fallback::Candidate;
use crate::bridge::fallback::FallbackChain;
use crate::bridge::provider::Provider;
use crate::bridge::upstream::Upstream;
use crate::config::Config;
use crate::config::ModelSource;

/// Iterates over the providers that the bridge calls.
pub fn bridged(config: &Config) -> impl Iterator<Item = &Provider> + Clone {
    config.providers.iter().chain(&config.keyless)
}

/// Builds the options of core: overrides of the file, and the bridge as the provider of models.
pub fn engine_options(config: &Config, helpers: HelperPaths, endpoint: &Endpoint) -> EngineOptions {
    let mut overrides: Vec<(String, Value)> = Vec::new();
    let mut set = |key: &str, value: Value| overrides.push((key.to_owned(), value));
    for feature in &config.features_off {
        set(&format!("features.{feature}"), false.into());
    }
    let alias = config.model.as_deref().and_then(|model| config.models.get(model));
    match (&config.model_source, alias) {
        (_, Some(alias)) => set("model", alias.primary.model.clone().into()),
        (ModelSource::Demo, None) => set("model", demo::ID.into()),
        (ModelSource::BuiltIn(provider), None) if config.model.is_none() => {
            set("model", provider.model.into());
        }
        (ModelSource::BuiltIn(_) | ModelSource::Codex, None) => {}
    }
    EngineOptions {
        codex_home: config.codex_home.clone(),
        config_path: Some(config.config_path.clone()).filter(|path| path.exists()),
        workspace_root: config.workspace_root.clone(),
        overrides,
        demo_model: matches!(config.model_source, ModelSource::Demo),
        bridge: Some(Bridge {
            base_url: endpoint.base_url.clone(),
            bearer_token: endpoint.bearer_token.clone(),
            providers: bridged_for_core(config),
            default: match &config.model_source {
                ModelSource::Demo => Some(demo::ID.to_owned()),
                ModelSource::BuiltIn(provider) => Some(provider.id.to_owned()),
                ModelSource::Codex => alias.map(|alias| alias.primary.provider.clone()),
            },
        }),
        allow_no_sandbox: config.allow_no_sandbox,
        limits: config.commands.clone(),
        secret_files: config.secret_files.clone(),
        helpers,
    }
}

/// The providers that core reaches through the bridge, the demo model's included.
fn bridged_for_core(config: &Config) -> Vec<BridgedProvider> {
    let demo = matches!(config.model_source, ModelSource::Demo).then(|| BridgedProvider {
        id: demo::ID.to_owned(),
        name: demo::ID.to_owned(),
        stream_max_retries: None,
        secrets: Vec::new(),
        wire: None,
    });
    let providers = bridged(config).map(|provider| BridgedProvider {
        id: provider.id.clone(),
        name: provider.name.clone(),
        stream_max_retries: Some(provider.stream_retries),
        secrets: provider.secrets.clone(),
        wire: Some(provider.api.for_core()),
    });
    providers.chain(demo).collect()
}

/// Returns the models of a provider that the configuration names.
fn configured_models<'a>(config: &'a Config, provider: &str) -> BTreeSet<&'a str> {
    let model = config.model.as_deref().filter(|model| config.models.get(model).is_none());
    let chosen = match &config.model_source {
        ModelSource::Demo => Some((demo::ID, demo::ID)),
        ModelSource::BuiltIn(built_in) => Some((built_in.id, model.unwrap_or(built_in.model))),
        ModelSource::Codex => config.model_provider.as_deref().zip(model),
    };
    let built_in = BUILT_IN.iter().map(|built_in| (built_in.id, built_in.model));
    let named = built_in.chain(chosen).filter(|(id, _)| *id == provider);
    named.map(|(_, model)| model).chain(config.models.of(provider)).collect()
}

/// Builds the backends of the bridge, by provider id.
///
/// # Errors
/// A provider's certificates cannot be used.
pub fn backends(
    config: &Config,
    records: &CallLog,
    credentials: &Credentials,
) -> anyhow::Result<Backends> {
    let mut backends = HashMap::new();
    if matches!(config.model_source, ModelSource::Demo) {
        backends.insert(demo::ID.to_owned(), Backend::Demo(records.clone()));
    }
    let mut clients = Clients::default();
    let mut upstreams = HashMap::new();
    for provider in bridged(config) {
        let client = clients
            .get(provider.ca_file.as_deref(), provider.connect_timeout)
            .with_context(|| format!("the provider {}", provider.id))?;
        let upstream = Upstream::new(provider.clone(), client, credentials.clone());
        upstreams.insert(provider.id.as_str(), upstream);
    }
    // Loads the root certificates now, so that the first call does not wait for them.
    for provider in &config.providers {
        clients.get(provider.ca_file.as_deref(), provider.connect_timeout)?.pool();
    }
    for (id, upstream) in &upstreams {
        let mut fallbacks: HashMap<String, Arc<[Candidate]>> = HashMap::new();
        for (model, targets) in config.models.fallbacks(id) {
            let targets = targets.iter().filter_map(|target| {
                let upstream = upstreams.get(target.provider.as_str())?.clone();
                Some(Candidate { upstream, model: target.model.clone() })
            });
            fallbacks.insert(model.to_owned(), targets.collect());
        }
        let models = configured_models(config, id).into_iter().map(str::to_owned).collect();
        let route = FallbackChain::new(upstream.clone(), fallbacks, models, records.clone());
        backends.insert((*id).to_owned(), Backend::Provider(Box::new(route)));
    }
    Ok(Arc::new(backends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    #[test]
    fn aliased_model_becomes_the_default() {
        let home = tempfile::tempdir().unwrap();
        let file = "model = \"best\"\n\
                    [gateway.providers.a]\nbase_url = \"http://a\"\n\
                    [gateway.providers.b]\nbase_url = \"http://b\"\n\
                    [gateway.models]\nfast = \"a/x/y\"\n\
                    best = { primary = \"b/z\", fallback = [\"a/x/y\"] }\n";
        std::fs::write(home.path().join("config.toml"), file).unwrap();
        let config =
            Config::resolve(&Overrides::default(), &|_| None, home.path().to_owned()).unwrap();
        assert_eq!(configured_models(&config, "a").into_iter().collect::<Vec<_>>(), ["x/y"]);
        let endpoint = Endpoint { base_url: "http://x".into(), bearer_token: "t".into() };
        let options = engine_options(&config, HelperPaths::default(), &endpoint);
        assert_eq!(options.bridge.unwrap().default.as_deref(), Some("b"));
        assert!(options.overrides.contains(&("model".to_owned(), "z".into())));
    }
}
