//! Differences between Gemini models, above all in thinking.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::api::invalid_request;
use crate::WireError;
use crate::json::EXCERPT_CHARS;
use crate::json::excerpt;
use crate::json::string;

/// The generation of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// Gemini 2.0 and older, and other models: no thinking.
    Plain,
    /// Gemini 2.5: a thinking budget in tokens.
    Budgets,
    /// Gemini 3 and every later name: thinking levels, mandatory signatures, media inside tool
    /// results.
    Levels,
}

/// A model, as its name describes it.
#[derive(Debug)]
pub(super) struct Model {
    /// The resource in the path, such as `models/gemini-3-pro`.
    pub(super) resource: String,
    /// The name in lower case, without its collection.
    pub(super) name: String,
    pub(super) era: Era,
}

impl Model {
    pub(super) fn of(request: &Value) -> Result<Self, WireError> {
        let slug = string(request, "model");
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        // The slug becomes part of a path and must not lead elsewhere.
        if slug.is_empty()
            || slug.contains("..")
            || slug.starts_with('/')
            || !slug.chars().all(allowed)
        {
            let shown = excerpt(slug, EXCERPT_CHARS);
            return Err(invalid_request(format_args!("`{shown}` is no name of a model")));
        }
        let resource = if slug.contains('/') { slug.to_owned() } else { format!("models/{slug}") };
        let name = slug.rsplit('/').next().unwrap_or(slug).to_lowercase();
        let era = match name.strip_prefix("gemini-") {
            None => Era::Plain,
            Some(version) if version.starts_with("2.5") => Era::Budgets,
            Some(version) if ["1.", "2.", "2-"].iter().any(|old| version.starts_with(old)) => {
                Era::Plain
            }
            Some(_) => Era::Levels,
        };
        Ok(Self { resource, name, era })
    }

    /// Returns `thinkingConfig` for `reasoning`. The budgets are those of Google's own OpenAI
    /// compatibility.
    pub(super) fn thinking(&self, reasoning: &Value) -> Option<Value> {
        let effort = reasoning["effort"].as_str();
        let mut config = Map::new();
        if reasoning["summary"].as_str().is_some_and(|summary| summary != "none") {
            config.insert("includeThoughts".into(), json!(true));
        }
        match (self.era, effort) {
            (Era::Plain, _) => return None,
            (_, None) => {}
            (Era::Levels, Some(effort)) => {
                config.insert("thinkingLevel".into(), json!(self.level(effort)));
            }
            (Era::Budgets, Some(effort)) => {
                config.insert("thinkingBudget".into(), json!(self.budget(effort)));
            }
        }
        (!config.is_empty()).then_some(Value::Object(config))
    }

    fn level(&self, effort: &str) -> &'static str {
        match effort {
            "none" | "minimal" => self.lowest_level(),
            "low" => "LOW",
            "medium" => "MEDIUM",
            _ => "HIGH",
        }
    }

    /// `LOW` where `MINIMAL` is not known to work.
    fn lowest_level(&self) -> &'static str {
        let flash = ["gemini-3-flash", "gemini-3.1-flash", "gemini-3.5-flash", "gemini-3.6-flash"];
        let minimal = self.name.contains("flash-lite")
            || flash.iter().any(|name| self.name.starts_with(name));
        if minimal { "MINIMAL" } else { "LOW" }
    }

    fn budget(&self, effort: &str) -> u32 {
        let pro = self.name.contains("pro");
        match effort {
            // Pro cannot stop thinking.
            "none" if pro => 128,
            "none" => 0,
            "minimal" | "low" => 1024,
            "medium" => 8192,
            "high" => 24_576,
            _ if pro => 32_768,
            _ => 24_576,
        }
    }
}
