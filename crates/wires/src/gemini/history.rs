//! `contents`: core's items as alternating turns of the user and the model. Every call is answered
//! in the turn after it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;

use serde_json::Value;
use serde_json::json;

use super::api::MARK;
use super::api::invalid_request;
use super::model::Era;
use super::model::Model;
use super::tools::Tools;
use crate::WireError;
use crate::json::EXCERPT_CHARS;
use crate::json::excerpt;
use crate::json::kind;
use crate::json::list;
use crate::json::set;
use crate::json::string;

/// The documented stand-in for a missing signature.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// The history under translation into `contents`.
#[derive(Debug)]
pub(super) struct History<'a> {
    model: &'a Model,
    tools: &'a Tools,
    /// The parts of the system instruction.
    pub(super) system: Vec<Value>,
    contents: Vec<(&'static str, Vec<Value>)>,
    /// Ids and names of the open model turn's calls, each of which needs one response in the next
    /// turn.
    pending: Vec<(String, String)>,
    /// Outputs by call id, with their positions in `input`.
    outputs: HashMap<&'a str, VecDeque<(usize, &'a Value)>>,
    /// Positions of the outputs that are written.
    answered: HashSet<usize>,
    /// Signatures by the call that they belong to.
    signatures: HashMap<String, Value>,
    /// The text of the last message, while nothing follows it.
    last_text: String,
}

impl<'a> History<'a> {
    pub(super) fn of(
        request: &'a Value,
        model: &'a Model,
        tools: &'a Tools,
    ) -> Result<Self, WireError> {
        let texts = request["instructions"]
            .as_str()
            .into_iter()
            .chain(tools.notes.iter().map(String::as_str))
            .filter(|text| !text.is_empty());
        let system = texts.map(|text| json!({"text": text})).collect();
        let input = list(&request["input"]);
        let mut outputs: HashMap<&str, VecDeque<(usize, &Value)>> = HashMap::new();
        for (position, item) in input.iter().enumerate().filter(|(_, item)| is_output(item)) {
            if let Some(id) = item["call_id"].as_str() {
                outputs.entry(id).or_default().push_back((position, &item["output"]));
            }
        }
        let mut history = Self {
            model,
            tools,
            system,
            contents: Vec::new(),
            pending: Vec::new(),
            outputs,
            answered: HashSet::new(),
            signatures: HashMap::new(),
            last_text: String::new(),
        };
        for (position, item) in input.iter().enumerate() {
            history.item(position, item)?;
        }
        history.answer()?;
        Ok(history)
    }

    fn item(&mut self, position: usize, item: &Value) -> Result<(), WireError> {
        match item["type"].as_str() {
            Some("message") | None => self.message(item)?,
            Some("reasoning") => self.restore(item),
            Some("function_call" | "custom_tool_call" | "local_shell_call") => self.call(item),
            Some(_) if is_output(item) => {
                self.answer()?;
                if self.answered.insert(position) {
                    let head = "A tool call that is no longer known returned:";
                    self.user(head, &item["output"])?;
                }
            }
            Some("agent_message") => {
                self.answer()?;
                let name = |key: &str| item[key].as_str().unwrap_or("?");
                let head = format!("Message from {} to {}:", name("author"), name("recipient"));
                self.user(&head, &item["content"])?;
            }
            // Items that only OpenAI runs or reads, listed in the documentation of the wire.
            Some(_) => {}
        }
        Ok(())
    }

    fn add(&mut self, role: &'static str, part: Value) {
        self.last_text.clear();
        match self.contents.last_mut() {
            Some((last, parts)) if *last == role => parts.push(part),
            _ => self.contents.push((role, vec![part])),
        }
    }

    fn text(&mut self, role: &'static str, text: &str) {
        // Gemini rejects empty parts.
        if !text.is_empty() {
            self.add(role, json!({"text": text}));
        }
    }

    fn message(&mut self, item: &Value) -> Result<(), WireError> {
        let texts = || list(&item["content"]).iter().filter_map(|piece| piece["text"].as_str());
        match item["role"].as_str() {
            Some("assistant") => {
                let text: String = texts().collect();
                self.text("model", &text);
                self.last_text = text;
            }
            Some("developer" | "system") => {
                let text = texts().collect::<Vec<_>>().join("\n\n");
                if self.contents.is_empty() {
                    self.system.extend((!text.is_empty()).then(|| json!({"text": text})));
                } else if !text.is_empty() {
                    self.answer()?;
                    self.text(
                        "user",
                        &format!("<developer_message>\n{text}\n</developer_message>"),
                    );
                }
            }
            _ => {
                self.answer()?;
                self.user("", &item["content"])?;
            }
        }
        Ok(())
    }

    /// Appends user content: a text, or a list of content items.
    fn user(&mut self, head: &str, content: &Value) -> Result<(), WireError> {
        self.text("user", head);
        if let Some(text) = content.as_str() {
            self.text("user", text);
        }
        for item in list(content) {
            match piece(item)? {
                Piece::Text(text) => self.text("user", &text),
                Piece::Media(part) => self.add("user", part),
            }
        }
        Ok(())
    }

    fn call(&mut self, item: &Value) {
        let id = item["call_id"].as_str().unwrap_or_default();
        let name = self.tools.wire_name(item).unwrap_or_else(|| "local_shell".to_owned());
        let args = match (item["type"].as_str(), item["arguments"].as_str()) {
            (Some("custom_tool_call"), _) => json!({"input": item["input"]}),
            (Some("local_shell_call"), _) => json!({"action": item["action"]}),
            (_, None | Some("")) => json!({}),
            // Gemini accepts an object only; another model may have written something else.
            (_, Some(text)) => match serde_json::from_str(text) {
                Ok(Value::Object(map)) => Value::Object(map),
                _ => json!({"arguments": text}),
            },
        };
        let mut part = json!({"functionCall": {"id": id, "name": name, "args": args}});
        // The first of parallel calls must bear a signature, the others do not.
        let demanded = self.model.era == Era::Levels && self.pending.is_empty();
        let signature = self.signatures.remove(id).or_else(|| demanded.then(|| json!(UNSIGNED)));
        set(&mut part, "thoughtSignature", signature);
        self.add("model", part);
        self.pending.push((id.to_owned(), name));
    }

    /// Ends the model's turn: the responses to its calls follow, in order.
    fn answer(&mut self) -> Result<(), WireError> {
        let mut beside = Vec::new();
        for (id, name) in std::mem::take(&mut self.pending) {
            let response = match self.output(&id) {
                Some(output) => self.response(&id, &name, output, &mut beside)?,
                None => {
                    let error = json!({"error": "no result of this call was kept"});
                    json!({"id": id, "name": name, "response": error})
                }
            };
            self.add("user", json!({"functionResponse": response}));
        }
        beside.into_iter().for_each(|part| self.add("user", part));
        Ok(())
    }

    /// Takes the next output of a call that is not written yet.
    fn output(&mut self, id: &str) -> Option<&'a Value> {
        let queue = self.outputs.get_mut(id)?;
        while let Some((position, output)) = queue.pop_front() {
            if self.answered.insert(position) {
                return Some(output);
            }
        }
        None
    }

    /// Builds a `functionResponse`. Media go inside if the model accepts them there, or else beside
    /// it.
    fn response(
        &self,
        id: &str,
        name: &str,
        output: &Value,
        beside: &mut Vec<Value>,
    ) -> Result<Value, WireError> {
        let mut texts: Vec<String> = output.as_str().map(str::to_owned).into_iter().collect();
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for item in list(output) {
            match piece(item)? {
                Piece::Text(text) => texts.push(text),
                Piece::Media(part) => {
                    let kind = part.pointer("/inlineData/mimeType").and_then(Value::as_str);
                    let nests = matches!(kind, Some("image/png" | "image/jpeg" | "image/webp"));
                    let list = if nests && self.model.era == Era::Levels {
                        &mut inside
                    } else {
                        &mut outside
                    };
                    list.push(part);
                }
            }
        }
        // Always a text: Gemini would interpret a `$ref` inside an object.
        let mut response =
            json!({"id": id, "name": name, "response": {"output": texts.join("\n")}});
        set(&mut response, "parts", (!inside.is_empty()).then_some(Value::Array(inside)));
        if !outside.is_empty() {
            beside.push(json!({"text": format!("Returned by {name} ({id}):")}));
            beside.append(&mut outside);
        }
        Ok(response)
    }

    /// Restores the signatures that the decoder put into a reasoning item.
    fn restore(&mut self, item: &Value) {
        let text = string(item, "encrypted_content");
        let carried: &Value = &serde_json::from_str(text).unwrap_or_default();
        if carried["wire"] != MARK || carried["model"] != self.model.name {
            return;
        }
        let (inside, others): (Vec<&Value>, Vec<&Value>) =
            list(&carried["blocks"]).iter().partition(|block| block["at"].is_u64());
        self.split(&inside);
        for block in others {
            match block["call"].as_str() {
                Some(id) => {
                    drop(self.signatures.insert(id.to_owned(), block["thoughtSignature"].clone()))
                }
                None => self.add("model", block.clone()),
            }
        }
    }

    /// Splits the last message into the parts in which it arrived, as far as they were signed.
    fn split(&mut self, signed: &[&Value]) {
        if signed.is_empty() {
            return;
        }
        let whole = std::mem::take(&mut self.last_text);
        if let (false, Some((_, parts))) = (whole.is_empty(), self.contents.last_mut()) {
            parts.pop();
        }
        let mut written = 0;
        for block in signed {
            let at =
                block["at"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX);
            let piece = block["text"].as_str().unwrap_or_default();
            let fits = at >= written && whole.get(at..).is_some_and(|tail| tail.starts_with(piece));
            // If the text has changed since, the signature follows it in an empty part, as in a
            // stream.
            let (upto, piece) = if fits { (at, piece) } else { (whole.len(), "") };
            self.text("model", whole.get(written..upto).unwrap_or_default());
            self.add(
                "model",
                json!({"text": piece, "thoughtSignature": block["thoughtSignature"]}),
            );
            written = upto + piece.len();
        }
        self.text("model", whole.get(written..).unwrap_or_default());
    }

    /// Returns `contents`.
    pub(super) fn contents(mut self) -> Result<Value, WireError> {
        let ends =
            |turn: Option<&(&str, Vec<Value>)>| turn.is_some_and(|(role, _)| *role == "model");
        if self.contents.is_empty() {
            return Err(invalid_request("the request holds no message"));
        }
        // Gemini requires the first and the last turn to be the user's.
        if ends(self.contents.first()) {
            self.contents
                .insert(0, ("user", vec![json!({"text": "(The beginning was not kept.)"})]));
        }
        if ends(self.contents.last()) {
            self.text("user", "Continue.");
        }
        let turns = self.contents.into_iter();
        Ok(turns.map(|(role, parts)| json!({"role": role, "parts": parts})).collect())
    }
}

fn is_output(item: &Value) -> bool {
    matches!(kind(item), "function_call_output" | "custom_tool_call_output")
}

/// A content item in Gemini's form.
enum Piece {
    Text(String),
    Media(Value),
}

fn piece(item: &Value) -> Result<Piece, WireError> {
    Ok(match item["type"].as_str() {
        Some("input_image") => Piece::Media(media(&item["image_url"])?),
        Some("input_audio") => Piece::Media(media(&item["audio_url"])?),
        Some("encrypted_content") => {
            Piece::Text("(encrypted: only OpenAI can read this)".to_owned())
        }
        _ => Piece::Text(item["text"].as_str().map_or_else(|| item.to_string(), str::to_owned)),
    })
}

/// Translates a `data:` URI into inline data and a web address into file data.
fn media(url: &Value) -> Result<Value, WireError> {
    let url = url.as_str().unwrap_or_default();
    if let Some(rest) = url.strip_prefix("data:") {
        let parts = rest
            .split_once(',')
            .and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
        let Some((head, data)) = parts else {
            return Err(invalid_request("an attached data: URI is not base64"));
        };
        let kind = head.split(';').next().filter(|kind| kind.contains('/'));
        let Some(kind) = kind else {
            return Err(invalid_request("an attached data: URI names no media type"));
        };
        return Ok(json!({"inlineData": {"mimeType": kind, "data": data}}));
    }
    let path = url.split(['?', '#']).next().unwrap_or_default().to_lowercase();
    let kind = match path.rsplit('.').next() {
        _ if !url.starts_with("https://") && !url.starts_with("http://") => None,
        Some(kind @ ("png" | "webp" | "gif" | "heic" | "heif")) => Some(format!("image/{kind}")),
        Some("jpg" | "jpeg") => Some("image/jpeg".to_owned()),
        _ => None,
    };
    let Some(kind) = kind else {
        // Gemini requires the type beside an address.
        let shown = excerpt(url, EXCERPT_CHARS);
        return Err(invalid_request(format_args!(
            "`{shown}` does not show its media type; attach it as a data: URI"
        )));
    };
    Ok(json!({"fileData": {"mimeType": kind, "fileUri": url}}))
}
