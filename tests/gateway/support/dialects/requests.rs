//! A reader of requests to a provider, as strict as that provider.

use serde_json::Value;

use super::Dialect;

/// A call in the history, with its result.
#[derive(Debug, PartialEq, Eq)]
pub struct AnsweredCall {
    pub name: String,
    pub result: String,
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().map(|part| part["text"].as_str().unwrap_or_default()).collect()
        }
        other => other.to_string(),
    }
}

impl Dialect {
    /// Returns the calls of the last turn of the model with their results. Panics if the API would
    /// refuse them: each call needs exactly one result, in its required place.
    pub fn answered_calls(&self, body: &Value) -> Vec<AnsweredCall> {
        match self.wire_api {
            "responses" => responses_calls(body),
            "chat" => chat_calls(body),
            "anthropic" => anthropic_calls(body),
            "gemini" => gemini_calls(body),
            other => panic!("no such wire: {other}"),
        }
    }

    /// Returns every image of the request as a `data:` URI. Panics if one is not in the provider's
    /// own form.
    pub fn images(&self, body: &Value) -> Vec<String> {
        let mut found = Vec::new();
        walk(body, &mut |value| match (self.wire_api, value["type"].as_str()) {
            ("responses", Some("input_image")) => {
                found.push(value["image_url"].as_str().unwrap().to_owned());
            }
            ("chat", Some("image_url")) => {
                found.push(value["image_url"]["url"].as_str().unwrap().to_owned());
            }
            ("anthropic", Some("image")) => {
                let source = &value["source"];
                assert_eq!(source["type"], "base64");
                found.push(data(&source["media_type"], &source["data"]));
            }
            ("gemini", None) if value["inlineData"].is_object() => {
                let inline = &value["inlineData"];
                found.push(data(&inline["mimeType"], &inline["data"]));
            }
            _ => {}
        });
        found
    }

    /// Returns the requested schema of the answer, if the request holds it in the API's own form.
    pub fn schema<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        let (format, schema) = match self.wire_api {
            "responses" => (body.pointer("/text/format")?, "/text/format/schema"),
            "chat" => (body.get("response_format")?, "/response_format/json_schema/schema"),
            "anthropic" => (body.pointer("/output_config/format")?, "/output_config/format/schema"),
            "gemini" => {
                let config = body.get("generationConfig")?;
                let schema = config.get("responseJsonSchema")?;
                assert_eq!(config["responseMimeType"], "application/json");
                return Some(schema);
            }
            other => panic!("no such wire: {other}"),
        };
        assert_eq!(format["type"], "json_schema", "{format}");
        body.pointer(schema)
    }

    /// Returns the names of the offered tools.
    pub fn offered(&self, body: &Value) -> Vec<String> {
        let tools = match self.wire_api {
            "gemini" => &body["tools"][0]["functionDeclarations"],
            _ => &body["tools"],
        };
        list(tools)
            .filter_map(|tool| {
                tool["name"].as_str().or(tool["function"]["name"].as_str()).map(str::to_owned)
            })
            .collect()
    }
}

fn responses_calls(body: &Value) -> Vec<AnsweredCall> {
    let results = |id: &Value| -> Vec<String> {
        list(&body["input"])
            .filter(|item| item["type"].as_str().unwrap().ends_with("_call_output"))
            .filter(|item| item["call_id"] == *id)
            .map(|item| text(&item["output"]))
            .collect()
    };
    list(&body["input"])
        .filter(|item| item["type"].as_str().unwrap().ends_with("_call"))
        .map(|call| answered(&call["name"], results(&call["call_id"])))
        .collect()
}

fn chat_calls(body: &Value) -> Vec<AnsweredCall> {
    let messages = body["messages"].as_array().unwrap();
    let at = messages.iter().rposition(|one| one["tool_calls"].is_array()).unwrap();
    let calls = messages[at]["tool_calls"].as_array().unwrap();
    let results = &messages[at + 1..=at + calls.len()];
    assert!(results.iter().all(|one| one["role"] == "tool"), "{messages:?}");
    let of = |id: &Value| -> Vec<String> {
        let its = results.iter().filter(|one| one["tool_call_id"] == *id);
        its.map(|one| text(&one["content"])).collect()
    };
    calls.iter().map(|call| answered(&call["function"]["name"], of(&call["id"]))).collect()
}

fn anthropic_calls(body: &Value) -> Vec<AnsweredCall> {
    let messages = body["messages"].as_array().unwrap();
    let uses = |message: &Value| list(&message["content"]).any(|block| block["type"] == "tool_use");
    let at = messages.iter().rposition(uses).unwrap();
    let answers: Vec<&Value> = list(&messages[at + 1]["content"]).collect();
    let first_other =
        answers.iter().position(|block| block["type"] != "tool_result").unwrap_or(answers.len());
    let results = &answers[..first_other];
    assert!(answers[first_other..].iter().all(|block| block["type"] != "tool_result"));
    let of = |id: &Value| -> Vec<String> {
        let its = results.iter().filter(|one| one["tool_use_id"] == *id);
        its.map(|one| text(&one["content"])).collect()
    };
    let calls: Vec<&Value> =
        list(&messages[at]["content"]).filter(|block| block["type"] == "tool_use").collect();
    assert_eq!(calls.len(), results.len());
    calls.iter().map(|call| answered(&call["name"], of(&call["id"]))).collect()
}

/// Matches by position, as Gemini does: its older models have no ids. Names and ids must agree.
fn gemini_calls(body: &Value) -> Vec<AnsweredCall> {
    let contents = body["contents"].as_array().unwrap();
    let parts = |turn: &Value, kind: &str| -> Vec<Value> {
        list(&turn["parts"]).map(|part| part[kind].clone()).filter(Value::is_object).collect()
    };
    let at = contents.iter().rposition(|turn| !parts(turn, "functionCall").is_empty()).unwrap();
    let calls = parts(&contents[at], "functionCall");
    let results = parts(&contents[at + 1], "functionResponse");
    assert_eq!(calls.len(), results.len());
    calls
        .iter()
        .zip(&results)
        .map(|(call, result)| {
            assert_eq!((&call["name"], &call["id"]), (&result["name"], &result["id"]));
            answered(&call["name"], vec![text(&result["response"]["output"])])
        })
        .collect()
}

fn answered(name: &Value, mut results: Vec<String>) -> AnsweredCall {
    assert_eq!(results.len(), 1, "results of one call of {name}");
    AnsweredCall { name: name.as_str().unwrap().to_owned(), result: results.remove(0) }
}

fn data(kind: &Value, data: &Value) -> String {
    format!("data:{};base64,{}", kind.as_str().unwrap(), data.as_str().unwrap())
}

/// Calls `see` with every object within.
fn walk<'a>(value: &'a Value, see: &mut impl FnMut(&'a Value)) {
    match value {
        Value::Array(all) => all.iter().for_each(|inner| walk(inner, see)),
        Value::Object(fields) => {
            see(value);
            fields.values().for_each(|inner| walk(inner, see));
        }
        _ => {}
    }
}
