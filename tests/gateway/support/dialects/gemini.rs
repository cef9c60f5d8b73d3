//! The Gemini API: `POST /v1beta/models/MODEL:streamGenerateContent?alt=sse`. A chunk per delta of
//! text; calls arrive whole, with an id from Gemini 3 on. The signature stands on the first call,
//! or on the last delta of text.

use serde_json::Value;
use serde_json::json;

use super::Part;
use super::Stop;
use super::halves;
use super::serial;
use crate::support::provider::Answer;
use crate::support::provider::sse;
use crate::support::provider::status;

pub(super) fn say(model: &str, parts: &[Part], stop: Stop) -> Answer {
    let id = format!("resp{:08x}", serial());
    let mut pieces = Vec::new();
    let mut seal = None;
    let mut finish = if stop == Stop::Length { "MAX_TOKENS" } else { "STOP" };
    for part in parts {
        match part {
            Part::Thought { text, seal: sealed } => {
                pieces.extend(halves(text).map(|half| json!({ "text": half, "thought": true })));
                seal = Some(*sealed);
            }
            Part::Text(texts) => {
                pieces.extend(texts.iter().map(|text| json!({ "text": text })));
                if let Some(seal) = seal.take() {
                    pieces.push(json!({ "text": "", "thoughtSignature": seal }));
                }
            }
            Part::Call { id, name, arguments } => {
                pieces.push(call(model, id, name, arguments, seal.take()));
            }
            Part::Freeform { id, name, input } => {
                pieces.push(call(model, id, name, &json!({ "input": input }), seal.take()));
            }
            // Gemini gives no explanation: the candidate just ends.
            Part::Refusal(_) => finish = "SAFETY",
        }
    }
    let ratings = (finish == "SAFETY").then(|| {
        json!([{ "category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": true }])
    });
    let chunk = |content: Option<Value>, last: bool| {
        let mut candidate = json!({ "index": 0 });
        if let Some(piece) = content {
            candidate["content"] = json!({ "role": "model", "parts": [piece] });
        }
        if last {
            candidate["finishReason"] = json!(finish);
            if let Some(ratings) = &ratings {
                candidate["safetyRatings"] = ratings.clone();
            }
        }
        json!({
            "candidates": [candidate],
            "usageMetadata": { "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2,
                "totalTokenCount": 12, "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 10 }] },
            "modelVersion": model, "responseId": id,
        })
    };
    let count = pieces.len();
    let mut chunks: Vec<Value> = pieces
        .into_iter()
        .enumerate()
        .map(|(at, piece)| chunk(Some(piece), at + 1 == count && finish != "SAFETY"))
        .collect();
    if finish == "SAFETY" {
        chunks.push(chunk(None, true));
    }
    sse(&chunks)
}

fn call(model: &str, id: &str, name: &str, args: &Value, seal: Option<&str>) -> Value {
    let mut call = json!({ "name": name, "args": args });
    if model.starts_with("gemini-3") {
        call["id"] = json!(id);
    }
    let mut part = json!({ "functionCall": call });
    if let Some(seal) = seal {
        part["thoughtSignature"] = json!(seal);
    }
    part
}

/// Returns a refusal of the prompt itself, without a candidate.
pub fn blocked() -> Answer {
    sse(&[json!({
        "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" },
        "usageMetadata": { "promptTokenCount": 10, "totalTokenCount": 10 },
        "modelVersion": "gemini-2.5-pro", "responseId": "blocked",
    })])
}

pub(super) fn too_long() -> Answer {
    let message =
        "The input token count (1200021) exceeds the maximum number of tokens allowed (1048576).";
    status(
        400,
        &json!({ "error": { "code": 400, "message": message, "status": "INVALID_ARGUMENT" } }),
    )
}

pub(super) fn fails_midway() -> Value {
    let message = "The model is overloaded. Please try again later.";
    json!({ "error": { "code": 503, "message": message, "status": "UNAVAILABLE" } })
}
