//! The **Google Gemini API**, version `v1beta`: `models.streamGenerateContent` with `alt=sse`.
//! Documentation: ai.google.dev, "Gemini API reference: Generating content", "Function calling",
//! "Thinking", "Thought signatures".
//!
//! Gemini binds its reasoning to parts: a `thoughtSignature` must return on the same part. It
//! travels through core in `encrypted_content` of a reasoning item, as blocks of one of three
//! forms: `{"call":<call_id>,…}` belongs to a later call, `{"at":<byte>,"text":…}` is a signed
//! piece of the message just before, anything else is a whole part for this place. Blocks of
//! another model are dropped: nothing says that it can read them. Where Gemini 3 demands a
//! signature on a call that has none (history of another model), the documented stand-in
//! `skip_thought_signature_validator` is sent.
//!
//! Tools are sent as `parametersJsonSchema`, which accepts JSON Schema; `parameters` accepts an
//! OpenAPI subset and rejects everything else. Developer messages before the conversation are
//! `systemInstruction`; later ones stay in place as marked user text, so that the cached prefix
//! does not change. Structured output is `responseJsonSchema`; before Gemini 3 it cannot be
//! combined with tools, so there the schema becomes an instruction. A refusal is ordinary text:
//! Gemini does not mark it.
//!
//! Omitted:
//! - without a counterpart in Gemini: `parallel_tool_calls: false`, `strict`, image `detail`,
//!   `text.verbosity`, `service_tier`, `prompt_cache_key` (caching is implicit), `store`; unsigned
//!   thought summaries are not sent back;
//! - run or read by OpenAI only: web_search, image_generation, local_shell and tool_search as
//!   tools, their items in history (a local_shell_call stays, as a call), compaction and other
//!   encrypted content.
//!
//! Effort `xhigh` and above is `HIGH`. Never requested: several candidates, safety settings, images
//! as output (an error), arguments in pieces (an error).

mod api;
mod decoder;
mod history;
mod model;
mod schema;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use self::api::API;
use self::decoder::GeminiDecoder;
use self::history::History;
use self::model::Era;
use self::model::Model;
use self::tools::Tools;
use crate::Decoder;
use crate::Outgoing;
use crate::Wire;
use crate::WireError;
use crate::failure;

/// The wire of the Google Gemini API.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gemini;

impl Wire for Gemini {
    fn encode(&self, request: &Value) -> Result<Outgoing, WireError> {
        let model = Model::of(request)?;
        let tools = Tools::of(request);
        let mut history = History::of(request, &model, &tools)?;
        let mut config = Map::new();
        if let Some(thinking) = model.thinking(&request["reasoning"]) {
            config.insert("thinkingConfig".into(), thinking);
        }
        let schema = request.pointer("/text/format/schema").filter(|schema| schema.is_object());
        if let Some(schema) = schema {
            if tools.is_empty() || model.era == Era::Levels {
                config.insert("responseMimeType".into(), json!("application/json"));
                config.insert("responseJsonSchema".into(), schema::supported(schema));
            } else {
                let rule = "Your final answer must be one JSON value and nothing else, valid \
                            against this JSON Schema";
                history.system.push(json!({ "text": format!("{rule}: {schema}") }));
            }
        }
        let mut body = Map::new();
        if !history.system.is_empty() {
            body.insert("systemInstruction".into(), json!({ "parts": history.system }));
        }
        body.insert("contents".into(), history.contents()?);
        if !tools.is_empty() {
            let declarations: Vec<&Value> = tools.declarations().collect();
            body.insert("tools".into(), json!([{ "functionDeclarations": declarations }]));
            if let Some(choice) = tools.choice(&request["tool_choice"]) {
                body.insert("toolConfig".into(), json!({ "functionCallingConfig": choice }));
            }
        }
        if !config.is_empty() {
            body.insert("generationConfig".into(), Value::Object(config));
        }
        let path = format!("/v1beta/{}:streamGenerateContent?alt=sse", model.resource);
        Ok(Outgoing { path, headers: Vec::new(), body: Value::Object(body) })
    }

    fn decoder(&self, request: &Value, provider: &str) -> Box<dyn Decoder> {
        Box::new(GeminiDecoder::new(request, provider))
    }

    fn error(&self, status: u16, body: &[u8]) -> WireError {
        failure::of_body(API, status, body)
    }
}
