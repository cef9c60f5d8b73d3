//! Core's configuration: loaded once, then cloned and adjusted per conversation, because loading
//! reads a dozen files.

use std::collections::HashMap;

use codex_config::ConfigLayerEntry;
use codex_config::ConfigLayerSource;
use codex_config::ConfigLayerStack;
use codex_config::ConfigLayerStackOrdering;
use codex_config::LoaderOverrides;
use codex_core::config::Config;
use codex_core::config::ConfigBuilder;
use codex_core::config::ConfigOverrides;
use codex_model_provider_info::ModelProviderInfo;
use codex_model_provider_info::WireApi;
use codex_model_provider_info::built_in_model_providers;
use codex_protocol::openai_models::ModelsResponse;
use codex_protocol::protocol::AskForApproval;
use codex_utils_absolute_path::AbsolutePathBuf;
use toml::Value as TomlValue;

use super::Bridge;
use super::BridgedProvider;
use super::Options;
use super::documents::Documents;
use super::environment;
use super::mcp;
use super::models;
use super::permissions::Permissions;
use crate::Approval;
use crate::EngineError;
use crate::Sandbox;
use crate::ThreadSpec;

/// Core's catalogue entry for the demo model, so that it gets every tool a real model gets.
const DEMO_CATALOGUE: &str = include_str!("demo_model.json");

/// Features of core that a gateway never has: a skill, which any repository may bring, would add a
/// tool server to the operator's file, and start it outside the sandbox.
const FEATURES_OFF: [&str; 1] = ["skill_mcp_dependency_install"];

/// Loads core's configuration and applies the gateway's settings.
pub(super) async fn load(options: &Options) -> anyhow::Result<(Config, Documents)> {
    let user_config_path = match &options.config_path {
        Some(path) => Some(AbsolutePathBuf::relative_to_current_dir(path)?),
        None => None,
    };
    let mut overrides = options.overrides.clone();
    overrides.extend(options.bridge.iter().map(provider_tables));
    overrides.extend(FEATURES_OFF.map(|name| (format!("features.{name}"), false.into())));
    let mut config = ConfigBuilder::default()
        .codex_home(options.codex_home.clone())
        .loader_overrides(LoaderOverrides { user_config_path, ..LoaderOverrides::default() })
        .cli_overrides(overrides)
        .harness_overrides(ConfigOverrides {
            // Not the workspace root: core reads the `.codex` folder of a project, and a client may
            // work in a folder of that name.
            cwd: Some(options.codex_home.clone()),
            codex_self_exe: options.helpers.self_exe.clone(),
            codex_linux_sandbox_exe: options.helpers.linux_sandbox_exe.clone(),
            main_execve_wrapper_exe: options.helpers.execve_wrapper_exe.clone(),
            ..ConfigOverrides::default()
        })
        .build()
        .await?;
    config.cwd = AbsolutePathBuf::from_absolute_path(&options.workspace_root)?;
    config.workspace_roots = vec![config.cwd.clone()];
    let environment = environment::restrict(&mut config, options);
    let documents = Documents::take(&mut config, &options.workspace_root);
    add_layer(&mut config, [environment, Documents::off()])?;
    if let Some(bridge) = &options.bridge {
        use_bridge(&mut config, bridge);
    }
    if options.demo_model {
        let mut catalogue = serde_json::from_str::<ModelsResponse>(DEMO_CATALOGUE)?;
        // Sessions with their own key use real models beside the demo model.
        catalogue.models.extend(codex_models_manager::bundled_models_response()?.models);
        config.model_catalog = Some(catalogue);
    }
    for warning in &config.startup_warnings {
        tracing::warn!(%warning, "configuration");
    }
    Ok((config, documents))
}

/// Adds settings to the layers of the file, above all others. Core derives the configuration of an
/// agent with a role of its own from the layers.
fn add_layer(
    config: &mut Config,
    settings: impl IntoIterator<Item = (String, TomlValue)>,
) -> std::io::Result<()> {
    let stack = &config.config_layer_stack;
    let layers = stack.get_layers(ConfigLayerStackOrdering::LowestPrecedenceFirst, true);
    let mut layers: Vec<_> = layers.into_iter().cloned().collect();
    let settings = TomlValue::Table(settings.into_iter().collect());
    let layer = ConfigLayerEntry::new(ConfigLayerSource::SessionFlags, settings);
    let place = layers.partition_point(|other| other.name <= layer.name);
    layers.insert(place, layer);
    let requirements = (stack.requirements().clone(), stack.requirements_toml().clone());
    config.config_layer_stack = ConfigLayerStack::new(layers, requirements.0, requirements.1)?;
    Ok(())
}

/// How often core retries after a cut stream, unless the file says otherwise.
const STREAM_RETRIES: u64 = 2;

/// Core's idle limit of a stream, as long as the longest turn and so without effect. The bridge
/// times out calls itself; unlike core it knows of calls that are queued or retried.
const STREAM_IDLE_MS: u64 = 3_600_000;

/// Minimal provider tables, with which core loads a file that names providers or wire protocols
/// unknown to it.
fn provider_tables(bridge: &Bridge) -> (String, TomlValue) {
    // Core refuses tables for its built-in providers.
    let built_in = built_in_model_providers(None);
    let new = bridge.providers.iter().filter(|bridged| !built_in.contains_key(&bridged.id));
    let tables: toml::Table = new
        .map(|bridged| {
            let mut table = toml::Table::new();
            table.insert("name".to_owned(), bridged.name.clone().into());
            table.insert("wire_api".to_owned(), "responses".into());
            (bridged.id.clone(), table.into())
        })
        .collect();
    ("model_providers".to_owned(), tables.into())
}

/// Points providers at the bridge: core speaks Responses over WebSocket to it, one connection per
/// conversation, and gets neither the providers' addresses nor their keys.
fn use_bridge(config: &mut Config, bridge: &Bridge) {
    for BridgedProvider { id, name, stream_max_retries, secrets: _, wire: _ } in &bridge.providers {
        let own = config.model_providers.get(id);
        let provider = ModelProviderInfo {
            // Core recognises built-in providers by name.
            name: own.map_or_else(|| name.clone(), |own| own.name.clone()),
            base_url: Some(format!("{}/{id}/v1", bridge.base_url)),
            experimental_bearer_token: Some(bridge.bearer_token.clone()),
            wire_api: WireApi::Responses,
            // The bridge has retried already; core retries only a cut stream.
            request_max_retries: Some(0),
            stream_max_retries: stream_max_retries.or(Some(STREAM_RETRIES)),
            stream_idle_timeout_ms: Some(STREAM_IDLE_MS),
            supports_websockets: true,
            env_key: None,
            env_key_instructions: None,
            auth: None,
            aws: None,
            query_params: None,
            http_headers: None,
            env_http_headers: None,
            websocket_connect_timeout_ms: None,
            requires_openai_auth: false,
        };
        config.model_providers.insert(id.clone(), provider);
    }
    if let Some(id) = &bridge.default {
        config.model_provider_id.clone_from(id);
    }
    if let Some(provider) = config.model_providers.get(&config.model_provider_id) {
        config.model_provider = provider.clone();
    }
}

/// Entries for models that core does not know, by provider.
pub(super) type Catalogues = HashMap<String, ModelsResponse>;

/// Catalogues of the providers behind the bridge.
pub(super) fn catalogues(options: &Options) -> anyhow::Result<Catalogues> {
    let bridged = options.bridge.iter().flat_map(|bridge| &bridge.providers);
    let wires = bridged.filter_map(|bridged| Some((&bridged.id, bridged.wire?)));
    wires.map(|(id, wire)| Ok((id.clone(), models::provider_catalogue(wire)?))).collect()
}

pub(super) fn model_name(config: &Config) -> String {
    config.model.clone().unwrap_or_else(|| "default".to_owned())
}

/// The configuration of one conversation.
pub(super) fn for_thread(
    base: &Config,
    catalogues: &Catalogues,
    spec: &ThreadSpec,
    permissions: &Permissions,
) -> Result<Config, EngineError> {
    let mut config = base.clone();
    let cwd = AbsolutePathBuf::from_absolute_path(&spec.cwd)
        .map_err(|error| EngineError::Rejected(error.to_string()))?;
    if let Some(model) = &spec.model {
        config.model = Some(model.clone());
    }
    if let Some(id) = &spec.model_provider {
        let provider = config.model_providers.get(id).ok_or_else(|| {
            let mut known: Vec<_> = config.model_providers.keys().map(String::as_str).collect();
            known.sort_unstable();
            EngineError::Rejected(format!(
                "model_provider: {id:?} is not configured; known are {}",
                known.join(", ")
            ))
        })?;
        config.model_provider = provider.clone();
        config.model_provider_id.clone_from(id);
    }
    // Not the whole catalogue, which core would copy for every turn; `models::Models` has it.
    config.model_catalog = catalogues.get(&config.model_provider_id).cloned();
    mcp::config::set_servers(&mut config, &spec.mcp_servers, &[])?;
    let approval = spec.approval_policy.unwrap_or(Approval::Never);
    config
        .permissions
        .approval_policy
        .set(ask_for_approval(approval))
        .map_err(|error| EngineError::Rejected(format!("approval_policy: {error}")))?;
    let profile = permissions.profile(spec.sandbox.unwrap_or(Sandbox::WorkspaceWrite));
    config
        .permissions
        .set_permission_profile(profile)
        .map_err(|error| EngineError::Rejected(format!("sandbox: {error}")))?;
    #[cfg(target_os = "linux")]
    if let Some(view) = &permissions.view {
        config.codex_linux_sandbox_exe = Some(view.helper());
    }
    config.permissions.set_workspace_roots(vec![cwd.clone()]);
    config.workspace_roots = vec![cwd.clone()];
    config.cwd = cwd;
    Ok(config)
}

pub(super) fn ask_for_approval(approval: Approval) -> AskForApproval {
    match approval {
        Approval::Never => AskForApproval::Never,
        Approval::OnRequest => AskForApproval::OnRequest,
        Approval::Untrusted => AskForApproval::UnlessTrusted,
    }
}
