//! A request to the scripted model: the newest prompt or tool output, and the offered tools. The
//! remainder of the request is skipped, not parsed.

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A request of either API.
#[derive(Debug)]
pub(super) struct ModelRequest {
    /// The newest prompt; `None` if a tool output follows it.
    pub(super) prompt: Option<String>,
    pub(super) tools: Vec<String>,
    /// False in a warm-up request.
    pub(super) generate: bool,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, alias = "messages")]
    input: Vec<&'a RawValue>,
    #[serde(default)]
    tools: Vec<Tool>,
    generate: Option<bool>,
}

#[derive(Deserialize)]
struct Tool {
    name: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

impl ModelRequest {
    pub(super) fn read(body: &[u8]) -> anyhow::Result<Self> {
        let request: Request<'_> = serde_json::from_slice(body).context("request body")?;
        let generate = request.generate.unwrap_or(true);
        let tools = request.tools.into_iter();
        let tools = tools.filter_map(|tool| tool.name.or(tool.function.map(|named| named.name)));
        let mut parsed = Self { prompt: None, tools: tools.collect(), generate };
        for raw in request.input.iter().rev() {
            let item: Item = serde_json::from_str(raw.get()).context("input item")?;
            let is_output = item.kind.is_some_and(|kind| kind.ends_with("_output"));
            if is_output || item.role.as_deref() == Some("tool") {
                break;
            }
            if item.role.as_deref() == Some("user") {
                parsed.prompt = match item.content {
                    Some(Content::Text(text)) => Some(text),
                    Some(Content::Parts(parts)) => {
                        parts.into_iter().rev().find_map(|part| part.text)
                    }
                    None => None,
                };
                break;
            }
        }
        Ok(parsed)
    }
}
