//! The providers that the bridge calls: those of `[model_providers]` that Codex need not call
//! itself, the built-in ones whose key is set, and `[gateway.providers]`, which overrides both key
//! by key.

use std::path::Path;

use anyhow::Context;
use anyhow::bail;
use toml::Table;

use super::file::Env;
use super::file::env_parse;
use crate::bridge::built_in::BUILT_IN;
use crate::bridge::built_in::BuiltIn;
use crate::bridge::built_in::LOCAL;
use crate::bridge::provider::Provider;
use crate::bridge::provider::ProviderConfig;
use crate::bridge::provider::ResolveContext;

/// Resolves the providers. `gateway` is `[gateway.providers]`, `folder` that of the file.
pub(super) fn resolve(
    document: &Table,
    gateway: &Table,
    env: Env<'_>,
    folder: &Path,
) -> anyhow::Result<Vec<Provider>> {
    let surroundings = ResolveContext {
        env,
        folder,
        max_retries: env_parse(env, "CODEX_MAX_RETRIES", "a number of retries")?,
    };
    let none = Table::new();
    let codex = document.get("model_providers").and_then(toml::Value::as_table).unwrap_or(&none);
    let mut found = Vec::new();
    for (id, table) in codex.iter().filter(|(id, _)| !gateway.contains_key(*id)) {
        let place = format!("model_providers.{id}");
        let written: ProviderConfig =
            table.clone().try_into().with_context(|| format!("[{place}]"))?;
        if written.is_bridged() {
            found.push(written.resolve(id, &place, &surroundings)?);
        }
    }
    for (id, table) in gateway {
        let place = format!("gateway.providers.{id}");
        let written = merge(codex, id, table).with_context(|| format!("[{place}]"))?;
        if !written.is_bridged() {
            bail!(
                "{place}: expected a base_url here or in [model_providers.{id}], and none of \
                 requires_openai_auth, auth and aws there: Codex calls such providers itself"
            );
        }
        found.push(written.resolve(id, &place, &surroundings)?);
    }
    for built_in in &BUILT_IN {
        let configured = found.iter().any(|provider| provider.id == built_in.id);
        if env(built_in.variable).is_some() && !configured {
            let written: ProviderConfig = built_in.table().try_into()?;
            found.push(written.resolve(built_in.id, built_in.id, &surroundings)?);
        }
    }
    Ok(found)
}

/// Resolves the built-in providers without a key of the operator. Sessions may bring a key; local
/// providers need none. `except` is the provider that Codex calls itself.
pub(super) fn keyless(
    document: &Table,
    known: &[Provider],
    env: Env<'_>,
    except: Option<&str>,
) -> anyhow::Result<Vec<Provider>> {
    let surroundings = ResolveContext {
        env,
        folder: Path::new(""),
        max_retries: env_parse(env, "CODEX_MAX_RETRIES", "a number of retries")?,
    };
    let in_file = document.get("model_providers").and_then(toml::Value::as_table);
    BuiltIn::keyless()
        .filter(|built_in| Some(built_in.id) != except)
        .filter(|built_in| !known.iter().any(|provider| provider.id == built_in.id))
        .filter(|built_in| in_file.is_none_or(|in_file| !in_file.contains_key(built_in.id)))
        .map(|built_in| {
            let mut table = built_in.table();
            if LOCAL.iter().any(|local| local.id == built_in.id)
                && let Some(base_url) = local_base_url(env)
            {
                table.insert("base_url".to_owned(), base_url.into());
            }
            let written: ProviderConfig = table.try_into()?;
            written.resolve(built_in.id, built_in.id, &surroundings)
        })
        .collect()
}

/// Returns the URL of the local server from Codex's own variables.
fn local_base_url(env: Env<'_>) -> Option<String> {
    env("CODEX_OSS_BASE_URL").or_else(|| {
        let port: u16 = env("CODEX_OSS_PORT")?.trim().parse().ok()?;
        Some(format!("http://localhost:{port}/v1"))
    })
}

/// Merges a table of `[gateway.providers]` over the provider with the same id.
fn merge(codex: &Table, id: &str, table: &toml::Value) -> anyhow::Result<ProviderConfig> {
    // The id becomes part of a URL path of the bridge.
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        bail!("expected an id of the characters A-Z, a-z, 0-9, - and _");
    }
    let table = table.as_table().context("expected a table")?;
    let known = ProviderConfig::keys();
    if let Some(unknown) = table.keys().find(|key| !known.contains(key)) {
        bail!("unknown key `{unknown}`, expected one of {}", known.join(", "));
    }
    let built_in = BuiltIn::find(id);
    let mut merged = match (codex.get(id).and_then(toml::Value::as_table), built_in) {
        (Some(written), _) => written.clone(),
        (None, Some(built_in)) => built_in.table(),
        (None, None) => Table::new(),
    };
    merged.extend(table.clone());
    Ok(merged.try_into()?)
}
