//! The conversation so far, as Gemini's `contents`: turns of the user and the model in alternation, every call answered in the
//! turn after it.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Value, json};

use super::super::Failure;
use super::tools::Catalog;
use super::{Era, Model, brief, list, put, refuse};

/// What the documentation gives to send in place of a signature that is not there.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// The conversation on its way into `contents`.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    ask: &'a Value,
    model: &'a Model,
    catalog: &'a Catalog,
    pub(super) system: Vec<Value>,
    contents: Vec<(&'static str, Vec<Value>)>,
    /// Calls of the open model turn, by id and name: each needs exactly one response in the turn after it.
    waiting: Vec<(String, String)>,
    /// The outputs in `input` by call, with their places.
    outputs: HashMap<&'a str, VecDeque<(usize, &'a Value)>>,
    answered: HashSet<usize>,
    signatures: HashMap<String, Value>,
    /// The text of the message that was read last, while nothing follows it.
    anchor: String,
}

impl<'a> Talk<'a> {
    pub(super) fn new(ask: &'a Value, model: &'a Model, catalog: &'a Catalog) -> Self {
        let instructions = ask["instructions"].as_str().into_iter();
        let texts = instructions
            .chain(catalog.notes.iter().map(String::as_str))
            .filter(|text| !text.is_empty());
        let system = texts.map(|text| json!({"text": text})).collect();
        let mut outputs: HashMap<&str, VecDeque<(usize, &Value)>> = HashMap::new();
        for (place, item) in list(&ask["input"]).enumerate() {
            let output = matches!(
                item["type"].as_str(),
                Some("function_call_output" | "custom_tool_call_output")
            );
            if let (true, Some(id)) = (output, item["call_id"].as_str()) {
                outputs.entry(id).or_default().push_back((place, &item["output"]));
            }
        }
        let (contents, waiting, answered) = (Vec::new(), Vec::new(), HashSet::new());
        let (signatures, anchor) = (HashMap::new(), String::new());
        Self {
            ask,
            model,
            catalog,
            system,
            contents,
            waiting,
            outputs,
            answered,
            signatures,
            anchor,
        }
    }

    /// Reads all of `input`.
    pub(super) fn read(&mut self) -> Result<(), Failure> {
        let ask = self.ask;
        for (place, item) in list(&ask["input"]).enumerate() {
            match item["type"].as_str() {
                Some("message") | None => self.message(item)?,
                Some("reasoning") => self.restore(item),
                Some("function_call" | "custom_tool_call" | "local_shell_call") => self.call(item),
                Some("function_call_output" | "custom_tool_call_output") => {
                    self.answer()?;
                    if self.answered.insert(place) {
                        self.user(
                            "A tool call that is no longer known returned:",
                            &item["output"],
                        )?;
                    }
                }
                Some("agent_message") => {
                    self.answer()?;
                    let (author, to) = (item["author"].as_str(), item["recipient"].as_str());
                    let head =
                        format!("Message from {} to {}:", author.unwrap_or("?"), to.unwrap_or("?"));
                    self.user(&head, &item["content"])?;
                }
                // What only OpenAI runs or reads: the wire's doc lists it.
                Some(_) => {}
            }
        }
        self.answer()
    }

    fn add(&mut self, role: &'static str, part: Value) {
        self.anchor.clear();
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

    fn message(&mut self, item: &Value) -> Result<(), Failure> {
        let texts = || list(&item["content"]).filter_map(|piece| piece["text"].as_str());
        match item["role"].as_str() {
            Some("assistant") => {
                let text: String = texts().collect();
                self.text("model", &text);
                self.anchor = text;
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

    /// Says something as the user: a text, or a list of content items.
    fn user(&mut self, head: &str, content: &Value) -> Result<(), Failure> {
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
        let name = self.catalog.wire(item).unwrap_or_else(|| "local_shell".to_owned());
        let args = match (item["type"].as_str(), item["arguments"].as_str()) {
            (Some("custom_tool_call"), _) => json!({"input": item["input"]}),
            (Some("local_shell_call"), _) => json!({"action": item["action"]}),
            (_, None | Some("")) => json!({}),
            // Gemini takes an object only; another model may have written something else.
            (_, Some(text)) => match serde_json::from_str(text) {
                Ok(Value::Object(map)) => Value::Object(map),
                _ => json!({"arguments": text}),
            },
        };
        let mut part = json!({"functionCall": {"id": id, "name": name, "args": args}});
        // Only the first of parallel calls bears a signature, and must.
        let demanded = self.model.era == Era::Levels && self.waiting.is_empty();
        let signature = self.signatures.remove(id).or_else(|| demanded.then(|| json!(UNSIGNED)));
        put(&mut part, "thoughtSignature", signature);
        self.add("model", part);
        self.waiting.push((id.to_owned(), name));
    }

    /// Ends the model's turn: every call in it is answered, in order, before anything else is said.
    fn answer(&mut self) -> Result<(), Failure> {
        let mut beside = Vec::new();
        for (id, name) in std::mem::take(&mut self.waiting) {
            let response = match self.output(&id) {
                Some(output) => self.response(&id, &name, output, &mut beside)?,
                None => {
                    json!({"id": id, "name": name, "response": {"error": "no result of this call was kept"}})
                }
            };
            self.add("user", json!({"functionResponse": response}));
        }
        beside.into_iter().for_each(|part| self.add("user", part));
        Ok(())
    }

    /// Takes the next output of a call.
    fn output(&mut self, id: &str) -> Option<&'a Value> {
        let queue = self.outputs.get_mut(id)?;
        while let Some((place, output)) = queue.pop_front() {
            if self.answered.insert(place) {
                return Some(output);
            }
        }
        None
    }

    /// A `functionResponse`. Media go inside where the model takes that, else beside it.
    fn response(
        &self,
        id: &str,
        name: &str,
        output: &Value,
        beside: &mut Vec<Value>,
    ) -> Result<Value, Failure> {
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
        // A text and never an object: Gemini would read a `$ref` inside an object as its own.
        let mut response =
            json!({"id": id, "name": name, "response": {"output": texts.join("\n")}});
        put(&mut response, "parts", (!inside.is_empty()).then_some(Value::Array(inside)));
        if !outside.is_empty() {
            beside.push(json!({"text": format!("Returned by {name} ({id}):")}));
            beside.append(&mut outside);
        }
        Ok(response)
    }

    /// Puts back what the decoder carried away in a reasoning item.
    fn restore(&mut self, item: &Value) {
        let text = item["encrypted_content"].as_str().unwrap_or_default();
        let carried: &Value = &serde_json::from_str(text).unwrap_or_default();
        if carried["wire"] != "gemini" || carried["model"] != self.model.name {
            return;
        }
        let (inside, rest): (Vec<&Value>, Vec<&Value>) =
            list(&carried["blocks"]).partition(|block| block["at"].is_u64());
        self.split(&inside);
        for block in rest {
            match block["call"].as_str() {
                Some(id) => {
                    drop(self.signatures.insert(id.to_owned(), block["thoughtSignature"].clone()))
                }
                None => self.add("model", block.clone()),
            }
        }
    }

    /// Cuts the last message into the parts it came in, as far as they were signed.
    fn split(&mut self, signed: &[&Value]) {
        if signed.is_empty() {
            return;
        }
        let whole = std::mem::take(&mut self.anchor);
        if let (false, Some((_, parts))) = (whole.is_empty(), self.contents.last_mut()) {
            parts.pop();
        }
        let mut told = 0;
        for block in signed {
            let at =
                block["at"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX);
            let piece = block["text"].as_str().unwrap_or_default();
            let fits = at >= told && whole.get(at..).is_some_and(|rest| rest.starts_with(piece));
            // Where the text was changed since, the signature follows it in an empty part, as in a stream.
            let (upto, piece) = if fits { (at, piece) } else { (whole.len(), "") };
            self.text("model", whole.get(told..upto).unwrap_or_default());
            self.add(
                "model",
                json!({"text": piece, "thoughtSignature": block["thoughtSignature"]}),
            );
            told = upto + piece.len();
        }
        self.text("model", whole.get(told..).unwrap_or_default());
    }

    /// The finished `contents`.
    pub(super) fn contents(&mut self) -> Result<Value, Failure> {
        let ends =
            |turn: Option<&(&str, Vec<Value>)>| turn.is_some_and(|(role, _)| *role == "model");
        if self.contents.is_empty() {
            return Err(refuse("the request holds no message"));
        }
        // Gemini wants the user to begin and to have the last word.
        if ends(self.contents.first()) {
            self.contents
                .insert(0, ("user", vec![json!({"text": "(The beginning was not kept.)"})]));
        }
        if ends(self.contents.last()) {
            self.text("user", "Continue.");
        }
        let turns = std::mem::take(&mut self.contents).into_iter();
        Ok(turns.map(|(role, parts)| json!({"role": role, "parts": parts})).collect())
    }
}

/// A content item in Gemini's form.
enum Piece {
    Text(String),
    Media(Value),
}

fn piece(item: &Value) -> Result<Piece, Failure> {
    Ok(match item["type"].as_str() {
        Some("input_image") => Piece::Media(media(&item["image_url"])?),
        Some("input_audio") => Piece::Media(media(&item["audio_url"])?),
        Some("encrypted_content") => {
            Piece::Text("(encrypted: only OpenAI can read this)".to_owned())
        }
        _ => Piece::Text(item["text"].as_str().map_or_else(|| item.to_string(), str::to_owned)),
    })
}

/// A `data:` URI as inline data, a web address as file data.
fn media(url: &Value) -> Result<Value, Failure> {
    let url = url.as_str().unwrap_or_default();
    if let Some(rest) = url.strip_prefix("data:") {
        let parts = rest
            .split_once(',')
            .and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
        let Some((head, data)) = parts else {
            return Err(refuse("an attached data: URI is not base64"));
        };
        let kind = head.split(';').next().filter(|kind| kind.contains('/'));
        let Some(kind) = kind else {
            return Err(refuse("an attached data: URI names no media type"));
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
        return Err(refuse(format!(
            "`{}` does not show its media type; attach it as a data: URI",
            brief(url)
        )));
    };
    Ok(json!({"fileData": {"mimeType": kind, "fileUri": url}}))
}
