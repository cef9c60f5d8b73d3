//! `[gateway.models]`: short names for models, and who stands in for one.
//!
//! An alias is resolved at the edge, so that core knows the real model; the fallbacks of a model are
//! the bridge's business and hold whether or not it was asked for by an alias.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use anyhow::bail;
use serde::Deserialize;
use toml::Table;
use toml::Value;

/// A table of `[gateway.models]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordered {
    primary: String,
    #[serde(default)]
    fallback: Vec<String>,
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The provider's id.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// What an alias stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who is asked.
    pub primary: ModelRef,
    /// Who is asked after it, in this order.
    pub fallback: Vec<ModelRef>,
}

/// The aliases.
#[derive(Debug, Clone, Default)]
pub struct Models(BTreeMap<String, Entry>);

impl Models {
    /// Resolves them over the ids of the providers that the bridge answers for.
    pub(super) fn resolve(written: &Table, providers: &[&str]) -> anyhow::Result<Self> {
        let mut models = Self::default();
        for (alias, written) in written {
            let place = format!("gateway.models.{alias}");
            let ordered = match written {
                Value::String(target) => {
                    let primary = parse(&place, target, providers)?;
                    models.0.insert(alias.clone(), Entry { primary, fallback: Vec::new() });
                    continue;
                }
                Value::Table(table) => table.clone().try_into::<Ordered>(),
                _ => bail!(
                    "{place}: expected \"PROVIDER/MODEL\", or a table with primary and fallback"
                ),
            };
            let Ordered { primary, fallback } = ordered.with_context(|| format!("[{place}]"))?;
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
                bail!("gateway.models.{alias}.fallback: {target} is there twice");
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
                "gateway.models.{alias}.fallback: gateway.models.{other} has another list for \
                 {primary}; a model has one"
            );
        }
        Ok(())
    }

    /// What an alias stands for; `None` where it is none.
    pub fn get(&self, alias: &str) -> Option<&Entry> {
        self.0.get(alias)
    }

    /// The aliases, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(alias, entry)| (alias.as_str(), entry))
    }

    /// The fallbacks of a provider's models, by model.
    pub fn fallbacks(&self, provider: &str) -> BTreeMap<&str, &[ModelRef]> {
        let entries = self
            .0
            .values()
            .filter(|entry| entry.primary.provider == provider && !entry.fallback.is_empty());
        entries.map(|entry| (entry.primary.model.as_str(), entry.fallback.as_slice())).collect()
    }

    /// The models of a provider that are named here.
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
        .with_context(|| format!("{key} is {target:?}; it takes \"PROVIDER/MODEL\""))?;
    if !providers.contains(&provider) {
        let known = if providers.is_empty() { "none".to_owned() } else { providers.join(", ") };
        bail!("{key} is {target:?}: the gateway calls no provider {provider:?}; known are {known}");
    }
    Ok(ModelRef { provider: provider.to_owned(), model: model.to_owned() })
}
