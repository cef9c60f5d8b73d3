//! The wire of the **Google Gemini API**, version `v1beta`: `models.streamGenerateContent` with `alt=sse` (documentation:
//! ai.google.dev, "Gemini API reference: Generating content", "Function calling", "Thinking", "Thought signatures").
//!
//! Gemini binds its reasoning to parts: a `thoughtSignature` must come back on the same part. It travels through core in
//! `encrypted_content` of a reasoning item, as blocks of one of three forms: `{"call":<call_id>,…}` belongs to a later call,
//! `{"at":<byte>,"text":…}` is a signed piece of the message just before, anything else is a whole part for this place. Blocks
//! of another model are dropped: nothing says that it may read them. Where Gemini 3 demands a signature on a call that
//! has none (history of another model), the documented stand-in `skip_thought_signature_validator` is sent.
//!
//! Tools travel as `parametersJsonSchema`, which takes JSON Schema; `parameters` takes an OpenAPI subset and rejects the rest.
//! Developer messages before the conversation are `systemInstruction`; later ones stay in place as marked user text, so that
//! the cached prefix stays the same. Structured output is `responseJsonSchema`; before Gemini 3 it cannot be combined with
//! tools, so there the schema is put into words. A refusal is ordinary text: Gemini does not mark it.
//!
//! Omitted, because Gemini has no such thing: `parallel_tool_calls: false`, `strict`, image `detail`, `text.verbosity`,
//! `service_tier`, `prompt_cache_key` (caching is implicit), `store`; unsigned thought summaries are not sent back. Omitted,
//! because only OpenAI runs or reads them: web_search, image_generation, local_shell and tool_search as tools, their items in
//! history (a local_shell_call stays, as a call), compaction and other encrypted content. `xhigh` and more effort are `HIGH`.
//! Not asked for: several candidates, safety settings, images as output (an error), arguments in pieces (an error).

mod answer;
mod talk;
#[cfg(test)]
mod tests;
mod tools;

use serde_json::{Map, Value, json};

use self::answer::Answer;
use self::talk::Talk;
use self::tools::Catalog;
use super::{Decoder, Failure, Outgoing, Wire};

/// Speaks the Google Gemini API.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gemini;

impl Wire for Gemini {
    fn encode(&self, ask: &Value) -> Result<Outgoing, Failure> {
        let model = Model::of(ask)?;
        let catalog = Catalog::read(ask);
        let mut talk = Talk::new(ask, &model, &catalog);
        talk.read()?;
        let mut config = Map::new();
        if let Some(thinking) = thinking(&model, &ask["reasoning"]) {
            config.insert("thinkingConfig".into(), thinking);
        }
        if let Some(schema) = ask.pointer("/text/format/schema").filter(|schema| schema.is_object())
        {
            if catalog.tools.is_empty() || model.era == Era::Levels {
                config.insert("responseMimeType".into(), json!("application/json"));
                config.insert("responseJsonSchema".into(), tools::clean(schema));
            } else {
                let words = "Your final answer must be one JSON value and nothing else, valid against this JSON Schema";
                talk.system.push(json!({"text": format!("{words}: {schema}")}));
            }
        }
        let mut body = Map::new();
        if !talk.system.is_empty() {
            body.insert("systemInstruction".into(), json!({"parts": talk.system}));
        }
        body.insert("contents".into(), talk.contents()?);
        if !catalog.tools.is_empty() {
            let declarations: Vec<&Value> =
                catalog.tools.iter().map(|tool| &tool.declaration).collect();
            body.insert("tools".into(), json!([{"functionDeclarations": declarations}]));
            if let Some(choice) = catalog.choice(&ask["tool_choice"]) {
                body.insert("toolConfig".into(), json!({"functionCallingConfig": choice}));
            }
        }
        if !config.is_empty() {
            body.insert("generationConfig".into(), Value::Object(config));
        }
        let path = format!("/v1beta/{}:streamGenerateContent?alt=sse", model.resource);
        Ok(Outgoing { path, headers: Vec::new(), body: Value::Object(body) })
    }

    fn decoder(&self, ask: &Value) -> Box<dyn Decoder> {
        Box::new(Answer::new(ask))
    }

    fn failure(&self, status: u16, body: &[u8]) -> Failure {
        let body = String::from_utf8_lossy(body);
        let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
        let parsed = parsed.get(0).unwrap_or(&parsed);
        if parsed["error"].is_object() {
            return fault(status, &parsed["error"]);
        }
        fault(status, &json!({"message": brief(&body)}))
    }
}

/// A request that cannot be made, or must not be made again as it is.
fn refuse(message: impl std::fmt::Display) -> Failure {
    Failure { code: "invalid_prompt", message: format!("Gemini: {message}"), retryable: false }
}

/// An answer that makes no sense.
fn garbled(what: impl std::fmt::Display) -> Failure {
    Failure { code: "bad_answer", message: format!("Gemini sent {what}"), retryable: true }
}

fn brief(text: &str) -> String {
    text.trim().chars().take(500).collect()
}

/// Reads a google.rpc.Status as Gemini writes it: `{code, message, status, details}`.
fn fault(http: u16, error: &Value) -> Failure {
    let said = brief(error["message"].as_str().unwrap_or_default());
    let status = error["status"].as_str().unwrap_or_default();
    let number = error["code"].as_u64().unwrap_or(u64::from(http));
    let lower = said.to_lowercase();
    let details: Vec<&Value> = error["details"].as_array().into_iter().flatten().collect();
    let mut message = format!("Gemini answered {number} {status}: {said}");
    let (code, retryable) = match (number, status) {
        (429, _) | (_, "RESOURCE_EXHAUSTED") if spent(&details, &lower) => {
            ("insufficient_quota", false)
        }
        (429, _) | (_, "RESOURCE_EXHAUSTED") => {
            if let Some(pause) = pause(&details, &lower) {
                // Core looks for exactly these words.
                message.push_str(&format!(" Please try again in {pause}."));
            }
            ("rate_limit_exceeded", true)
        }
        // For core that is final. In the stream nobody has tried again yet: there it is an error like any other.
        (503 | 529, _) | (_, "UNAVAILABLE") if http != 0 => ("server_is_overloaded", true),
        (500.. | 408 | 499, _)
        | (_, "UNAVAILABLE" | "INTERNAL" | "DEADLINE_EXCEEDED" | "CANCELLED" | "ABORTED") => {
            ("server_error", true)
        }
        _ if lower.contains("token") && lower.contains("exceeds the maximum") => {
            ("context_length_exceeded", false)
        }
        _ => {
            if matches!(number, 401 | 403) || lower.contains("api key") {
                message
                    .push_str(" (this is about the provider's key in the gateway's configuration)");
            }
            ("invalid_prompt", false)
        }
    };
    Failure { code, message, retryable }
}

/// Whether a quota is used up for longer than anybody waits.
fn spent(details: &[&Value], message: &str) -> bool {
    let daily =
        |violation: &Value| violation["quotaId"].as_str().is_some_and(|id| id.contains("PerDay"));
    details.iter().filter_map(|detail| detail["violations"].as_array()).flatten().any(daily)
        || message.contains("limit: 0,")
        || message.contains("credits are depleted")
}

/// How long to wait, as `34.07s`.
fn pause(details: &[&Value], message: &str) -> Option<String> {
    let told = details.iter().find_map(|detail| detail["retryDelay"].as_str());
    let words = told.or_else(|| message.split_once("retry in ").map(|(_, rest)| rest))?;
    let digits: String = words.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit = if words.get(digits.len()..)?.starts_with("ms") { "ms" } else { "s" };
    digits.parse::<f64>().ok().map(|number| format!("{number}{unit}"))
}

/// What a model takes depends on its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Era {
    /// Gemini 2.0 and older, and what is not a Gemini: no thinking.
    Plain,
    /// Gemini 2.5: a thinking budget in tokens.
    Budgets,
    /// Gemini 3 and every later name: thinking levels, signatures demanded, media inside tool results.
    Levels,
}

#[derive(Debug)]
struct Model {
    resource: String,
    name: String,
    era: Era,
}

impl Model {
    fn of(ask: &Value) -> Result<Self, Failure> {
        let slug = ask["model"].as_str().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        // The slug becomes part of a path: nothing in it may lead elsewhere.
        if slug.is_empty()
            || slug.contains("..")
            || slug.starts_with('/')
            || !slug.chars().all(plain)
        {
            return Err(refuse(format!("`{}` is no name of a model", brief(slug))));
        }
        let resource = if slug.contains('/') { slug.to_owned() } else { format!("models/{slug}") };
        let name = slug.rsplit('/').next().unwrap_or(slug).to_lowercase();
        let era = match name.strip_prefix("gemini-") {
            None => Era::Plain,
            Some(rest) if rest.starts_with("2.5") => Era::Budgets,
            Some(rest)
                if rest.starts_with("1.") || rest.starts_with("2.") || rest.starts_with("2-") =>
            {
                Era::Plain
            }
            Some(_) => Era::Levels,
        };
        Ok(Self { resource, name, era })
    }

    /// The least thinking that a model with levels takes: `LOW` where `MINIMAL` is not known to work.
    fn least(&self) -> &'static str {
        let quick = ["gemini-3-flash", "gemini-3.1-flash", "gemini-3.5-flash", "gemini-3.6-flash"];
        let minimal = self.name.contains("flash-lite")
            || quick.iter().any(|name| self.name.starts_with(name));
        if minimal { "MINIMAL" } else { "LOW" }
    }
}

/// `thinkingConfig` for `reasoning`; the budgets are those that Google's own OpenAI compatibility uses.
fn thinking(model: &Model, reasoning: &Value) -> Option<Value> {
    let effort = reasoning["effort"].as_str();
    let pro = model.name.contains("pro");
    let mut config = Map::new();
    if reasoning["summary"].as_str().is_some_and(|summary| summary != "none") {
        config.insert("includeThoughts".into(), json!(true));
    }
    match (model.era, effort) {
        (Era::Plain, _) => return None,
        (_, None) => {}
        (Era::Levels, Some(effort)) => {
            let level = match effort {
                "none" | "minimal" => model.least(),
                "low" => "LOW",
                "medium" => "MEDIUM",
                _ => "HIGH",
            };
            config.insert("thinkingLevel".into(), json!(level));
        }
        (Era::Budgets, Some(effort)) => {
            let budget = match effort {
                // Pro cannot stop thinking.
                "none" if pro => 128,
                "none" => 0,
                "minimal" | "low" => 1024,
                "medium" => 8192,
                "high" => 24_576,
                _ if pro => 32_768,
                _ => 24_576,
            };
            config.insert("thinkingBudget".into(), json!(budget));
        }
    }
    (!config.is_empty()).then_some(Value::Object(config))
}

/// The elements of an array, none of anything else.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Adds a field to an object, where there is something to add.
fn put(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(map), Some(value)) = (object.as_object_mut(), value) {
        map.insert(key.to_owned(), value);
    }
}
