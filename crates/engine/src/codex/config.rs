//! Core's configuration: loaded once, then cloned and adjusted per conversation, because loading
//! it reads a dozen files.

use std::collections::HashMap;

use codex_config::LoaderOverrides;
use codex_core::config::Config;
use codex_core::config::ConfigBuilder;
use codex_core::config::ConfigOverrides;
use codex_model_provider_info::ModelProviderInfo;
use codex_model_provider_info::WireApi;
use codex_model_provider_info::built_in_model_providers;
use codex_protocol::config_types::EnvironmentVariablePattern;
use codex_protocol::openai_models::ModelsResponse;
use codex_protocol::protocol::AskForApproval;
use codex_utils_absolute_path::AbsolutePathBuf;
use toml::Value as TomlValue;

use super::Bridge;
use super::Bridged;
use super::Options;
use super::mcp;
use super::models;
use super::permissions::Permissions;
use crate::Approval;
use crate::EngineError;
use crate::Sandbox;
use crate::ThreadSpec;

/// The gateway's own secrets and those of providers: the agent's commands do not inherit them.
/// Core's own patterns (`*KEY*`, `*SECRET*`, `*TOKEN*`) apply too.
const SECRET_VARIABLES: [&str; 4] = ["GATEWAY_*", "OTEL_EXPORTER_*", "*PASSWORD*", "*CREDENTIAL*"];

/// Core's entry for the demo model, so that it is offered every tool a real model gets.
const DEMO_CATALOGUE: &str = include_str!("demo_model.json");

pub(super) async fn load(options: &Options) -> anyhow::Result<Config> {
    let user_config_path = match &options.config_path {
        Some(path) => Some(AbsolutePathBuf::relative_to_current_dir(path)?),
        None => None,
    };
    let mut overrides = options.overrides.clone();
    overrides.extend(options.bridge.iter().map(known));
    let mut config = ConfigBuilder::default()
        .codex_home(options.codex_home.clone())
        .loader_overrides(LoaderOverrides { user_config_path, ..LoaderOverrides::default() })
        .cli_overrides(overrides)
        .harness_overrides(ConfigOverrides {
            cwd: Some(options.workspace_root.clone()),
            codex_self_exe: options.helpers.self_exe.clone(),
            codex_linux_sandbox_exe: options.helpers.linux_sandbox_exe.clone(),
            main_execve_wrapper_exe: options.helpers.execve_wrapper_exe.clone(),
            ..ConfigOverrides::default()
        })
        .build()
        .await?;
    let variables = &mut config.permissions.shell_environment_policy;
    variables.ignore_default_excludes = false;
    let bridged = options.bridge.iter().flat_map(|bridge| &bridge.providers);
    // What providers are sent from the environment, whatever its variables are called.
    let keys = config.model_providers.values().flat_map(|provider| {
        let headers = provider.env_http_headers.iter().flat_map(HashMap::values);
        provider.env_key.iter().chain(headers).map(String::as_str)
    });
    let keys = keys.chain(bridged.flat_map(|bridged| &bridged.secrets).map(String::as_str));
    variables.exclude.extend(
        SECRET_VARIABLES
            .into_iter()
            .chain(keys)
            .map(EnvironmentVariablePattern::new_case_insensitive),
    );
    if let Some(bridge) = &options.bridge {
        stand_in(&mut config, bridge);
    }
    if options.demo_model {
        let mut catalogue = serde_json::from_str::<ModelsResponse>(DEMO_CATALOGUE)?;
        // A session that brings its own key uses real models beside it.
        catalogue.models.extend(codex_models_manager::bundled_models_response()?.models);
        config.model_catalog = Some(catalogue);
    }
    for warning in &config.startup_warnings {
        tracing::warn!(%warning, "configuration");
    }
    Ok(config)
}

/// How often core asks again after a stream was cut, unless the file says otherwise.
const STREAM_RETRIES: u64 = 2;

/// Core's own limit on a silent stream, out of the way: the bridge watches its providers and ends
/// every call, and knows what core cannot see, such as a call that waits or is sent again. No turn is
/// longer than this.
const STREAM_IDLE_MS: u64 = 3_600_000;

/// What lets core load a file that names providers it has not seen, or wires that it does not speak.
fn known(bridge: &Bridge) -> (String, TomlValue) {
    // Core refuses tables for its own.
    let own = built_in_model_providers(None);
    let new = bridge.providers.iter().filter(|bridged| !own.contains_key(&bridged.id));
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

/// Puts the bridge in the place of providers: core speaks Responses over WebSocket to it, one
/// connection per conversation, and knows neither their addresses nor their keys.
fn stand_in(config: &mut Config, bridge: &Bridge) {
    for Bridged { id, name, stream_max_retries, secrets: _, wire: _ } in &bridge.providers {
        let own = config.model_providers.get(id);
        let provider = ModelProviderInfo {
            // Core goes by the name of its own.
            name: own.map_or_else(|| name.clone(), |own| own.name.clone()),
            base_url: Some(format!("{}/{id}/v1", bridge.base_url)),
            experimental_bearer_token: Some(bridge.bearer_token.clone()),
            wire_api: WireApi::Responses,
            // The bridge has tried again already; what core still retries is a stream that was cut.
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

/// By provider: what its models take that core does not know.
pub(super) type Catalogues = HashMap<String, ModelsResponse>;

/// The catalogues of the providers behind the bridge.
pub(super) fn catalogues(options: &Options) -> anyhow::Result<Catalogues> {
    let bridged = options.bridge.iter().flat_map(|bridge| &bridge.providers);
    let wires = bridged.filter_map(|bridged| Some((&bridged.id, bridged.wire?)));
    wires.map(|(id, wire)| Ok((id.clone(), models::of_provider(wire)?))).collect()
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
    // The whole catalogue is the models' (`models::Models`); core would copy it for every turn.
    config.model_catalog = catalogues.get(&config.model_provider_id).cloned();
    mcp::put(&mut config, &spec.mcp_servers, &[])?;
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
