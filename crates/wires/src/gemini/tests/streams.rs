//! Answers and errors, as Gemini sends them.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;

#[test]
fn thought_text_and_signature_stream_in_order() {
    let chunks = [
        chunk(json!([{"text": "**Plan**\n", "thought": true}])),
        chunk(json!([{"text": "There are **3** "}])),
        chunk(json!([{"text": "r's."}])),
        chunk(json!([{"text": "", "thoughtSignature": "EpAI"}])),
        stop("STOP"),
    ];
    let events = decode(&ask(NEW, json!([])), &chunks).unwrap();
    assert_eq!(
        kinds(&events),
        [
            "created",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "output_item.done",
            "output_item.added",
            "output_text.delta",
            "output_text.delta",
            "output_item.done",
            "output_item.added",
            "output_item.done",
            "completed"
        ]
    );
    let signed = json!({"wire": "gemini", "provider": "p", "model": NEW, "blocks": [{"at": 20, "text": "", "thoughtSignature": "EpAI"}]}).to_string();
    assert_eq!(
        json!(items(&events)),
        json!([
        {"type": "reasoning", "id": "rs_r1_0", "summary": [{"type": "summary_text", "text": "**Plan**\n"}], "encrypted_content": null},
        {"type": "message", "role": "assistant", "id": "msg_r1_1", "content": [{"type": "output_text", "text": "There are **3** r's."}]},
        {"type": "reasoning", "id": "rs_r1_2", "summary": [], "encrypted_content": signed}])
    );
    assert_eq!(
        events.last().unwrap()["response"],
        json!({"id": "r1", "usage": {
        "input_tokens": 30, "input_tokens_details": {"cached_tokens": 9},
        "output_tokens": 819, "output_tokens_details": {"reasoning_tokens": 804}, "total_tokens": 849}})
    );
}

#[test]
fn signed_call_ends_the_thought_with_its_signature() {
    // As Gemini 3 answers: the call whole in one chunk, without an id, then an empty text with the
    // finishReason.
    let chunks = [
        chunk(json!([{"text": "Look it up.", "thought": true}])),
        chunk(
            json!([{"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "EpEg"},
            {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]),
        ),
        stop("STOP"),
    ];
    let done = items(&decode(&ask(NEW, json!([])), &chunks).unwrap());
    let blocks = json!({"wire": "gemini", "provider": "p", "model": NEW, "blocks": [{"call": "call_r1_0", "thoughtSignature": "EpEg"}]}).to_string();
    assert_eq!(
        json!(done),
        json!([
        {"type": "reasoning", "id": "rs_r1_0", "summary": [{"type": "summary_text", "text": "Look it up."}], "encrypted_content": blocks},
        {"type": "function_call", "id": "fc_r1_1", "call_id": "call_r1_0", "name": "weather", "arguments": "{\"city\":\"Rome\"}"},
        {"type": "function_call", "id": "fc_r1_2", "call_id": "call_r1_2", "name": "weather", "arguments": "{\"city\":\"Oslo\"}"}])
    );
}

#[test]
fn made_up_ids_differ_between_answers() {
    let bare = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "weather"}}]}, "finishReason": "STOP"}]});
    let id = || {
        items(&decode(&ask(NEW, json!([])), std::slice::from_ref(&bare)).unwrap())[0]["call_id"]
            .clone()
    };
    assert_ne!(id(), id());
}

#[test]
fn every_finish_reason_has_a_meaning() {
    let finish =
        |reason: &str| decode(&ask(NEW, json!([])), &[chunk(json!([{"text": "x"}])), stop(reason)]);
    let end = |reason: &str| finish(reason).unwrap().last().unwrap().clone();
    assert_eq!(end("STOP")["type"], "response.completed");
    let cut = [("MAX_TOKENS", "max_output_tokens")];
    let blocked = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"];
    for (reason, told) in blocked.map(|reason| (reason, "content_filter")).into_iter().chain(cut) {
        let error = &end(reason)["response"]["error"];
        assert_eq!(error["code"], "invalid_prompt");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(told) && message.contains(reason), "{message}");
    }
    assert!(!finish("MISSING_THOUGHT_SIGNATURE").unwrap_err().retryable);
    for odd in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "NEW_ONE"] {
        let failure = finish(odd).unwrap_err();
        assert!(
            failure.retryable
                && failure.message.contains("Gemini")
                && failure.message.contains(odd)
        );
    }
}

#[test]
fn a_blocked_prompt_is_not_sent_again() {
    let chunk = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7}});
    let failure = decode(&ask(NEW, json!([])), &[chunk]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("content_filter", false));
    assert!(failure.message.contains("PROHIBITED_CONTENT"));
}

#[test]
fn a_cut_stream_says_what_was_missing() {
    let said = |chunks: &[Value]| decode(&ask(NEW, json!([])), chunks).unwrap_err();
    let failure = said(&[chunk(json!([{"text": "x"}]))]);
    assert_eq!((failure.code.as_str(), failure.retryable), ("stream_cut", true));
    assert_eq!(failure.message, "Gemini's stream ended before a finishReason");
    assert_eq!(said(&[]).message, "Gemini's stream ended before the first event");
}

#[test]
fn nothing_follows_a_failure_or_an_end() {
    let mut decoder = Gemini.decoder(&ask(NEW, json!([])), "p");
    assert!(decoder.event("message", "{").is_err());
    assert!(decoder.event("message", &stop("STOP").to_string()).is_err());
    assert!(decoder.end().is_err());
    let mut decoder = Gemini.decoder(&ask(NEW, json!([])), "p");
    decoder.event("message", &stop("STOP").to_string()).unwrap();
    assert!(decoder.end().is_ok_and(|events| !events.is_empty()));
    assert_eq!(decoder.event("message", "{"), Ok(Vec::new()));
    assert_eq!((decoder.done(), decoder.end()), (Ok(Vec::new()), Ok(Vec::new())));
}

#[test]
fn garbage_is_a_failure_that_names_gemini() {
    for data in [
        "{",
        "42",
        "null",
        "{}",
        "{\"x\":1}",
        "[[]]",
        "\u{0}",
        "{\"candidates\":[{\"content\":{\"parts\":7}}]}",
    ] {
        let failure = Gemini.decoder(&ask(NEW, json!([])), "p").event("message", data).unwrap_err();
        assert!(failure.message.contains("Gemini"), "{data}");
    }
    let huge = "[".repeat(100_000);
    assert!(
        Gemini
            .decoder(&ask(NEW, json!([])), "p")
            .event("message", &huge)
            .unwrap_err()
            .message
            .len()
            < 1000
    );
    for part in [
        json!(1),
        json!({"text": 1}),
        json!({"functionCall": {"args": {}}}),
        json!({"functionCall": {"name": "f", "args": 1}}),
        json!({"functionCall": {"name": "f", "partialArgs": []}}),
        json!({"inlineData": {"data": "A"}}),
    ] {
        let failure = decode(&ask(NEW, json!([])), &[chunk(json!([part]))]).unwrap_err();
        assert!(failure.message.contains("Gemini"));
    }
}

#[test]
// Long: a table.
fn errors_have_the_codes_that_core_knows() {
    let limits = |id: &str| {
        json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074824224s"}])
    };
    let too_long =
        "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).";
    let cases = [
        (400, "INVALID_ARGUMENT", too_long, json!(null), "context_length", false),
        (
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            json!(null),
            "authentication",
            false,
        ),
        (
            401,
            "UNAUTHENTICATED",
            "Request had invalid credentials",
            json!(null),
            "authentication",
            false,
        ),
        (404, "NOT_FOUND", "models/x is not found", json!(null), "model_not_found", false),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "quota",
            limits("GenerateRequestsPerMinutePerProjectPerModel"),
            "rate_limited",
            true,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "quota",
            limits("GenerateRequestsPerDayPerProjectPerModel"),
            "quota",
            false,
        ),
        (500, "INTERNAL", "oops", json!(null), "server_error", true),
        (503, "UNAVAILABLE", "The model is overloaded.", json!(null), "overloaded", true),
        (504, "DEADLINE_EXCEEDED", "slow", json!(null), "timeout", true),
    ];
    for (status, name, message, details, code, retryable) in cases {
        let error = json!({"error": {"code": status, "message": message, "status": name, "details": details}});
        let inside = decode(&ask(NEW, json!([])), std::slice::from_ref(&error)).unwrap_err();
        for body in [error.to_string(), json!([error]).to_string()] {
            let failure = Gemini.error(status, body.as_bytes());
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{body}");
            assert!(failure.message.contains(message) && failure.message.contains("Gemini"));
            assert_eq!((&failure.message, code), (&inside.message, inside.code.as_str()));
        }
        assert_eq!(
            inside.message.contains("Please try again in 34.074824224s."),
            code == "rate_limited"
        );
    }
    let words = Gemini.error(429, br#"{"error":{"message":"Please retry in 850ms."}}"#);
    assert!(words.message.ends_with("try again in 0.85s."));
    assert_eq!(Gemini.error(502, b"<html>\xff").code.as_str(), "server_error");
}

/// Chunks as they should be, and as they should not.
fn event() -> impl Strategy<Value = String> {
    let json = prop_oneof![
        Just(json!("x")),
        Just(json!(null)),
        Just(json!(1)),
        Just(json!({})),
        Just(json!([[]]))
    ];
    let key = prop_oneof![
        Just("text"),
        Just("thoughtSignature"),
        Just("functionCall"),
        Just("args"),
        Just("thought")
    ];
    let part = prop_oneof![
        "[a-zé*\n]{0,9}".prop_map(|text| json!({"text": text})),
        Just(json!({"text": "t", "thought": true})),
        Just(json!({"text": "s", "thoughtSignature": "AA=="})),
        Just(json!({"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "AA=="})),
        (key, json.clone()).prop_map(|(key, value)| json!({key: value})),
    ];
    prop_oneof![
        6 => prop::collection::vec(part, 0..4).prop_map(|parts| chunk(json!(parts)).to_string()),
        2 => Just(stop("STOP").to_string()),
        1 => ".{0,20}",
        1 => json.prop_map(|value| json!({"candidates": value}).to_string()),
        1 => (0..200_usize).prop_map(|cut| stop("STOP").to_string().chars().take(cut).collect()),
    ]
}

proptest! {
    #[test]
    fn no_stream_panics_and_every_stream_ends(events in prop::collection::vec(event(), 0..12)) {
        let mut decoder = Gemini.decoder(&ask(NEW, json!([])), "p");
        let mut open = Vec::new();
        let mut told = Vec::new();
        for data in &events {
            match decoder.event("message", data) {
                Ok(events) => told.extend(values(&events)),
                Err(failure) => prop_assert!(failure.message.contains("Gemini")),
            }
        }
        match decoder.end() {
            Ok(events) => told.extend(values(&events)),
            Err(failure) => prop_assert!(failure.message.contains("Gemini")),
        }
        for event in told {
            match event["type"].as_str() {
                Some("response.output_item.added") => open.push(event["item"]["id"].clone()),
                Some("response.output_item.done") if event["item"]["type"] != "function_call" => {
                    prop_assert_eq!(open.pop(), Some(event["item"]["id"].clone()));
                }
                Some("response.output_text.delta") => prop_assert_eq!(open.last(), Some(&event["item_id"])),
                _ => prop_assert!(open.len() < 2),
            }
        }
    }
}
