//! `[gateway.models]`: aliases of models, and fallbacks.
//!
//! An alias is resolved when a request arrives, so core sees the real model. Fallbacks belong to
//! the model, not to the alias: the bridge applies them to every call of that model.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use anyhow::bail;
use serde::Deserialize;
use toml::Table;
use toml::Value;

/// A table in `[gateway.models]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryConfig {
    primary: String,
    #[serde(default)]
    fallback: Vec<String>,
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The provider's id.
    pub provider: String,
    /// The provider's name of the model.
    pub model: String,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// The target of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The model to call.
    pub primary: ModelRef,
    /// The models to call if it fails, in this order.
    pub fallback: Vec<ModelRef>,
}

/// The aliases by name.
#[derive(Debug, Clone, Default)]
pub struct Models(BTreeMap<String, Entry>);

impl Models {
    /// Resolves the table. Targets must be of `providers`, the ids of those that the bridge calls.
    pub(super) fn resolve(table: &Table, providers: &[&str]) -> anyhow::Result<Self> {
        let mut models = Self::default();
        for (alias, value) in table {
            let place = format!("gateway.models.{alias}");
            let entry = match value {
                Value::String(target) => {
                    let primary = parse(&place, target, providers)?;
                    models.0.insert(alias.clone(), Entry { primary, fallback: Vec::new() });
                    continue;
                }
                Value::Table(table) => table.clone().try_into::<EntryConfig>(),
                _ => bail!(
                    "{place}: expected \"PROVIDER/MODEL\" or a table with primary and fallback, got {value}"
                ),
            };
            let EntryConfig { primary, fallback } = entry.with_context(|| format!("[{place}]"))?;
            let primary = parse(&format!("{place}.primary"), &primary, providers)?;
            let fallback = fallback
                .iter()
                .map(|target| parse(&format!("{place}.fallback"), target, providers))
                .collect::<Result<_, _>>()?;
            let entry = Entry { primary, fallback };
            models.check(alias, &entry)?;
            models.0.insert(alias.clone(), entry);
        }
        Ok(models)
    }

    fn check(&self, alias: &str, entry: &Entry) -> anyhow::Result<()> {
        let Entry { primary, fallback } = entry;
        let mut seen = vec![primary];
        for target in fallback {
            if seen.contains(&target) {
                bail!(
                    "gateway.models.{alias}.fallback: expected each model once, got {target} twice"
                );
            }
            seen.push(target);
        }
        let other = self.0.iter().find(|(_, other)| {
            other.primary == *primary
                && !other.fallback.is_empty()
                && !fallback.is_empty()
                && other.fallback != *fallback
        });
        if let Some((other, _)) = other {
            bail!(
                "gateway.models.{alias}.fallback: expected the same list as \
                 gateway.models.{other}, because both have the primary {primary}"
            );
        }
        Ok(())
    }

    /// Returns the target of an alias; `None` if there is no such alias.
    pub fn get(&self, alias: &str) -> Option<&Entry> {
        self.0.get(alias)
    }

    /// Iterates over the aliases, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(alias, entry)| (alias.as_str(), entry))
    }

    /// Returns the fallbacks of a provider's models, by model.
    pub fn fallbacks(&self, provider: &str) -> BTreeMap<&str, &[ModelRef]> {
        let entries = self
            .0
            .values()
            .filter(|entry| entry.primary.provider == provider && !entry.fallback.is_empty());
        entries.map(|entry| (entry.primary.model.as_str(), entry.fallback.as_slice())).collect()
    }

    /// Iterates over the models of a provider that are targets.
    pub fn of(&self, provider: &str) -> impl Iterator<Item = &str> {
        let targets = self
            .0
            .values()
            .flat_map(|entry| std::iter::once(&entry.primary).chain(&entry.fallback));
        targets
            .filter(move |target| target.provider == provider)
            .map(|target| target.model.as_str())
    }
}

fn parse(key: &str, target: &str, providers: &[&str]) -> anyhow::Result<ModelRef> {
    let (provider, model) = target
        .split_once('/')
        .filter(|(provider, model)| !provider.is_empty() && !model.trim().is_empty())
        .with_context(|| format!("{key}: expected \"PROVIDER/MODEL\", got {target:?}"))?;
    if !providers.contains(&provider) {
        let known = if providers.is_empty() { "none".to_owned() } else { providers.join(", ") };
        bail!("{key}: expected a provider that the gateway calls ({known}), got {target:?}");
    }
    Ok(ModelRef { provider: provider.to_owned(), model: model.to_owned() })
}
