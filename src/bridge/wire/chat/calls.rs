//! Tool calls of an answer, put together from fragments, as items of the Responses API.

use serde_json::{Map, Value, json};

use super::super::Failure;
use super::tools::{Kind, Tools};
use super::{broken, set};

const CALL_LIMIT: usize = 1024;

/// The calls of an answer in the order in which they began.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

/// A tool call as far as it has come.
#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    fn is_whole(&self) -> bool {
        // Parsed only where it may be true: a call of a hundred fragments may ask a hundred times.
        self.arguments.trim_end().ends_with('}')
            && serde_json::from_str::<Map<String, Value>>(&self.arguments).is_ok()
    }
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn are_whole(&self) -> bool {
        self.0.iter().all(Call::is_whole)
    }

    /// Takes a fragment of a call, or a whole one; returns its size.
    pub(super) fn take(&mut self, fragment: &Value) -> Result<usize, Failure> {
        let id = fragment["id"].as_str().unwrap_or_default();
        let said = [&fragment["function"], &fragment["custom"], fragment]
            .into_iter()
            .find(|said| {
                said.is_object() && (!said["name"].is_null() || !said["arguments"].is_null())
            })
            .unwrap_or(fragment);
        let name = said["name"].as_str().unwrap_or_default();
        let arguments = match &said["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => said["input"].as_str().unwrap_or_default().to_owned(),
            other => other.to_string(),
        };
        let index = fragment["index"].as_u64();
        let known = self.known(index, id, name, !arguments.is_empty());
        let at = match known {
            Some(at) => at,
            None if self.0.len() >= CALL_LIMIT => {
                return Err(broken("sent more tool calls than it can mean"));
            }
            None => {
                self.0.push(Call { index, ..Call::default() });
                self.0.len() - 1
            }
        };
        if let Some(call) = self.0.get_mut(at) {
            if call.id.is_empty() {
                id.clone_into(&mut call.id);
            }
            // A name comes whole, but is repeated by some and comes in pieces from others.
            if call.name.is_empty() {
                name.clone_into(&mut call.name);
            } else if name != call.name && id.is_empty() && call.arguments.is_empty() {
                call.name.push_str(name);
            }
            call.arguments.push_str(&arguments);
        }
        Ok(arguments.len() + name.len() + id.len())
    }

    /// The call that a fragment continues. Ollama gives every call index 0, early vLLM gave every fragment an id of its
    /// own (but a name only to the first), others omit the index or the id.
    fn known(&self, index: Option<u64>, id: &str, name: &str, argued: bool) -> Option<usize> {
        let by_id = || self.0.iter().rposition(|call| !id.is_empty() && call.id == id);
        let by_id_alone =
            || by_id().filter(|at| self.0.get(*at).is_some_and(|call| call.index.is_none()));
        let last = self.0.len().checked_sub(1);
        let at = match index {
            Some(_) => self.0.iter().rposition(|call| call.index == index).or_else(by_id_alone),
            None if id.is_empty() => last,
            None => by_id().or(last.filter(|_| name.is_empty())),
        }?;
        let call = self.0.get(at)?;
        let starts_anew = match (id.is_empty(), call.id.is_empty()) {
            _ if name.is_empty() => false,
            (false, false) => id != call.id,
            _ => argued && call.is_whole(),
        };
        (!starts_anew).then_some(at)
    }

    /// The items of the calls, or of the whole ones only.
    pub(super) fn items(
        &self,
        tools: &Tools,
        token: &str,
        only_whole: bool,
    ) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        for (at, call) in
            self.0.iter().enumerate().filter(|(_, call)| !only_whole || call.is_whole())
        {
            let repeated = self.0.iter().take(at).any(|earlier| earlier.id == call.id);
            items.push(item(call, tools, &format!("{token}_c{at}"), repeated)?);
        }
        Ok(items)
    }
}

/// `own` makes ids that no other call has.
fn item(call: &Call, tools: &Tools, own: &str, repeated: bool) -> Result<Value, Failure> {
    if call.name.is_empty() {
        return Err(broken("sent a tool call without a name"));
    }
    let call_id =
        if call.id.is_empty() || repeated { format!("call_{own}") } else { call.id.clone() };
    let tool = tools.named(&call.name);
    let name = tool.map_or(call.name.as_str(), |tool| tool.name.as_str());
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    let mut item = match tool.map_or(Kind::Function, |tool| tool.kind) {
        Kind::Function => {
            json!({"type": "function_call", "id": format!("fc_{own}"), "call_id": call_id,
            "name": name, "arguments": arguments})
        }
        Kind::Custom => {
            json!({"type": "custom_tool_call", "id": format!("ctc_{own}"), "call_id": call_id,
            "name": name, "input": freeform(&call.arguments)})
        }
        Kind::Search => {
            json!({"type": "tool_search_call", "id": format!("tsc_{own}"), "call_id": call_id,
            "execution": "client", "arguments": serde_json::from_str::<Value>(arguments).unwrap_or_default()})
        }
    };
    if let Some(namespace) = tool.and_then(|tool| tool.namespace.as_deref()) {
        set(&mut item, "namespace", json!(namespace));
    }
    Ok(item)
}

/// The text for a freeform tool. Models trained on it forget the JSON around it.
fn freeform(arguments: &str) -> String {
    let only = |fields: Map<String, Value>| match fields.len() {
        1 => fields.into_iter().next().and_then(|(_, value)| value.as_str().map(str::to_owned)),
        _ => None,
    };
    match serde_json::from_str(arguments) {
        Ok(Value::Object(fields)) => match fields.get("input").and_then(Value::as_str) {
            Some(input) => input.to_owned(),
            None => only(fields).unwrap_or_else(|| arguments.to_owned()),
        },
        Ok(Value::String(input)) => input,
        _ => arguments.to_owned(),
    }
}
