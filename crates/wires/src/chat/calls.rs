//! Tool calls of an answer, joined from fragments.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::api::API;
use super::tools::Kind;
use super::tools::Tools;
use crate::WireError;
use crate::arguments::repaired;
use crate::item;
use crate::json::set;
use crate::names;

/// The most calls of one answer.
const MAX_CALLS: usize = 1024;

/// The calls of an answer, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

/// A call, as far as it has arrived.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    fn is_complete(&self) -> bool {
        // The cheap test first: a call of a hundred fragments may be tested a hundred times.
        let end = self.arguments.trim_end();
        (end.ends_with('}') || end.ends_with('"'))
            && serde_json::from_str::<Map<String, Value>>(&repaired(&self.arguments)).is_ok()
    }
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no call misses arguments.
    pub(super) fn are_complete(&self) -> bool {
        self.0.iter().all(Call::is_complete)
    }

    /// Adds a fragment of a call, or a complete one. Returns its size in bytes.
    pub(super) fn add(&mut self, fragment: &Value) -> Result<usize, WireError> {
        let id = fragment["id"].as_str().unwrap_or_default();
        let function = [&fragment["function"], &fragment["custom"], fragment]
            .into_iter()
            .find(|function| {
                function.is_object()
                    && (!function["name"].is_null() || !function["arguments"].is_null())
            })
            .unwrap_or(fragment);
        let name = function["name"].as_str().unwrap_or_default();
        let arguments = match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => function["input"].as_str().unwrap_or_default().to_owned(),
            other => other.to_string(),
        };
        let index = fragment["index"].as_u64();
        let position = match self.position(index, id, name, !arguments.is_empty()) {
            Some(position) => position,
            None if self.0.len() >= MAX_CALLS => {
                let defect = format!("sent more than {MAX_CALLS} tool calls");
                return Err(WireError::invalid_stream(API, defect));
            }
            None => {
                self.0.push(Call { index, ..Call::default() });
                self.0.len() - 1
            }
        };
        if let Some(call) = self.0.get_mut(position) {
            if call.id.is_empty() {
                id.clone_into(&mut call.id);
            }
            // Most servers send a name whole, some repeat it, others send it in pieces.
            if call.name.is_empty() {
                name.clone_into(&mut call.name);
            } else if name != call.name && id.is_empty() && call.arguments.is_empty() {
                call.name.push_str(name);
            }
            call.arguments.push_str(&arguments);
        }
        Ok(arguments.len() + name.len() + id.len())
    }

    /// Finds the call that a fragment continues. Ollama gives every call index 0, early vLLM gave
    /// every fragment its own id (but a name only to the first), others omit the index or the id.
    fn position(&self, index: Option<u64>, id: &str, name: &str, argued: bool) -> Option<usize> {
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
            _ => argued && call.is_complete(),
        };
        (!starts_anew).then_some(at)
    }

    /// The items of all calls, or of the complete ones only. `token` is unique to the answer.
    pub(super) fn items(
        &self,
        tools: &Tools,
        token: &str,
        only_complete: bool,
    ) -> Result<Vec<Value>, WireError> {
        let mut items = Vec::new();
        let calls = self.0.iter().enumerate();
        for (at, call) in calls.filter(|(_, call)| !only_complete || call.is_complete()) {
            let repeated = self.0.iter().take(at).any(|earlier| earlier.id == call.id);
            items.push(item(call, tools, &format!("{token}_c{at}"), repeated)?);
        }
        Ok(items)
    }
}

/// The item of a call. `unique` makes ids that no other call has.
fn item(call: &Call, tools: &Tools, unique: &str, repeated: bool) -> Result<Value, WireError> {
    if call.name.is_empty() {
        return Err(WireError::invalid_stream(API, "sent a tool call without a name"));
    }
    let call_id =
        if call.id.is_empty() || repeated { format!("call_{unique}") } else { call.id.clone() };
    let wire_name = names::recovered(&call.name, |name| tools.named(name).is_some());
    let tool = tools.named(wire_name);
    let name = tool.map_or(wire_name, |tool| tool.name.as_str());
    let namespace = tool.and_then(|tool| tool.namespace.as_deref());
    let arguments = repaired(&call.arguments);
    let arguments = if arguments.trim().is_empty() { "{}" } else { &*arguments };
    let kind = tool.map_or(Kind::Function, |tool| tool.kind);
    let prefix = match kind {
        Kind::Function => "fc",
        Kind::Custom => "ctc",
        Kind::Search => "tsc",
    };
    let id = format!("{prefix}_{unique}");
    let item_of = item::Call { id: &id, call_id: &call_id, namespace, name };
    Ok(match kind {
        Kind::Function => item_of.function(arguments),
        Kind::Custom => item_of.custom(&freeform(arguments)),
        Kind::Search => {
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
            let mut item = json!({
                "type": "tool_search_call",
                "id": id,
                "call_id": call_id,
                "execution": "client",
                "arguments": arguments,
            });
            set(&mut item, "namespace", namespace.map(Value::from));
            item
        }
    })
}

/// Extracts the text for a freeform tool. Models trained on such tools omit the JSON around it.
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
