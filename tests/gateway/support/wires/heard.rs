//! What a request to a provider holds, read as that provider reads it.

use serde_json::Value;

use super::Speaks;

/// A call in the history, with the result that the provider finds for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Called {
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

impl Speaks {
    /// The calls of the last turn of the model, and what came back for each. Fails where the API would: each
    /// call has exactly one result, and they stand where they must.
    pub fn called(&self, body: &Value) -> Vec<Called> {
        match self.wire_api {
            "responses" => {
                let results = |id: &Value| -> Vec<String> {
                    list(&body["input"])
                        .filter(|item| item["type"].as_str().unwrap().ends_with("_call_output"))
                        .filter(|item| item["call_id"] == *id)
                        .map(|item| text(&item["output"]))
                        .collect()
                };
                list(&body["input"])
                    .filter(|item| item["type"].as_str().unwrap().ends_with("_call"))
                    .map(|call| one(&call["name"], results(&call["call_id"])))
                    .collect()
            }
            "chat" => {
                let messages = body["messages"].as_array().unwrap();
                let at = messages.iter().rposition(|one| one["tool_calls"].is_array()).unwrap();
                let calls = messages[at]["tool_calls"].as_array().unwrap();
                let results = &messages[at + 1..=at + calls.len()];
                assert!(results.iter().all(|one| one["role"] == "tool"), "{messages:?}");
                let of = |id: &Value| -> Vec<String> {
                    let its = results.iter().filter(|one| one["tool_call_id"] == *id);
                    its.map(|one| text(&one["content"])).collect()
                };
                calls.iter().map(|call| one(&call["function"]["name"], of(&call["id"]))).collect()
            }
            "anthropic" => {
                let messages = body["messages"].as_array().unwrap();
                let uses = |message: &Value| {
                    list(&message["content"]).any(|block| block["type"] == "tool_use")
                };
                let at = messages.iter().rposition(uses).unwrap();
                let answers: Vec<&Value> = list(&messages[at + 1]["content"]).collect();
                let first_other = answers
                    .iter()
                    .position(|block| block["type"] != "tool_result")
                    .unwrap_or(answers.len());
                let results = &answers[..first_other];
                assert!(answers[first_other..].iter().all(|block| block["type"] != "tool_result"));
                let of = |id: &Value| -> Vec<String> {
                    let its = results.iter().filter(|one| one["tool_use_id"] == *id);
                    its.map(|one| text(&one["content"])).collect()
                };
                let calls: Vec<&Value> = list(&messages[at]["content"])
                    .filter(|block| block["type"] == "tool_use")
                    .collect();
                assert_eq!(calls.len(), results.len());
                calls.iter().map(|call| one(&call["name"], of(&call["id"]))).collect()
            }
            // By position: Gemini has matched them so since before it had ids. Names and ids must agree.
            "gemini" => {
                let contents = body["contents"].as_array().unwrap();
                let parts = |turn: &Value, kind: &str| -> Vec<Value> {
                    list(&turn["parts"])
                        .map(|part| part[kind].clone())
                        .filter(Value::is_object)
                        .collect()
                };
                let at = contents
                    .iter()
                    .rposition(|turn| !parts(turn, "functionCall").is_empty())
                    .unwrap();
                let calls = parts(&contents[at], "functionCall");
                let results = parts(&contents[at + 1], "functionResponse");
                assert_eq!(calls.len(), results.len());
                calls
                    .iter()
                    .zip(&results)
                    .map(|(call, result)| {
                        assert_eq!((&call["name"], &call["id"]), (&result["name"], &result["id"]));
                        one(&call["name"], vec![text(&result["response"]["output"])])
                    })
                    .collect()
            }
            other => panic!("no such wire: {other}"),
        }
    }

    /// Every image of the request, as a `data:` URI. Fails where one is not in the provider's own form.
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

    /// The schema that the answer must have, where the request holds it in the API's own form.
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

    /// The names of the tools that are offered.
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

fn one(name: &Value, mut results: Vec<String>) -> Called {
    assert_eq!(results.len(), 1, "results of one call of {name}");
    Called { name: name.as_str().unwrap().to_owned(), result: results.remove(0) }
}

fn data(kind: &Value, data: &Value) -> String {
    format!("data:{};base64,{}", kind.as_str().unwrap(), data.as_str().unwrap())
}

/// Shows every object within.
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
