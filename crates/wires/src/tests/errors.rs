//! Errors with a status, in every dress: the provider's words once, and one code on every wire.

use super::*;

fn of(wire: &str, status: u16, body: &str) -> WireError {
    match wire {
        "chat" => Chat.error(status, body.as_bytes()),
        "anthropic" => Anthropic.error(status, body.as_bytes()),
        "gemini" => Gemini.error(status, body.as_bytes()),
        _ => responses::error(status, body.as_bytes()),
    }
}

/// Checks the code of an error on every wire.
fn check(status: u16, body: &str, code: &str) {
    for wire in WIRES {
        let error = of(wire, status, body);
        assert_eq!(error.code.as_str(), code, "{wire}, {status}: {body}: {error}");
        assert_eq!(error.retryable, error.code.is_retryable(), "{wire}, {status}: {body}");
    }
}

#[test]
fn words_are_shown_once_in_every_dress() {
    const WORDS: &str = "The moon is full tonight";
    for body in [
        r#"{"error":{"message":"The moon is full tonight","type":"x","param":null,"code":null}}"#,
        r#"{"error":"The moon is full tonight"}"#,
        r#"{"message":"The moon is full tonight"}"#,
        r#"{"Message":"The moon is full tonight","__type":"ValidationException"}"#,
        r#"{"detail":"The moon is full tonight"}"#,
        r#"{"detail":{"message":"The moon is full tonight"}}"#,
        r#"{"detail":[{"type":"extra_forbidden","loc":["body","moon"],"msg":"The moon is full tonight"}]}"#,
        r#"{"message":{"detail":[{"loc":["body"],"msg":"The moon is full tonight"}]}}"#,
        r#"{"object":"error","message":"The moon is full tonight","type":"BadRequestError","code":400}"#,
        r#"[{"error":{"code":400,"message":"The moon is full tonight","status":"INVALID_ARGUMENT"}}]"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"The moon is full tonight"},"request_id":"q"}"#,
        r#"{"error":{"message":"The moon is full tonight","metadata":{"raw":"The moon is full tonight","provider_name":"x"}}}"#,
        r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"The moon is full tonight\"}}"}}}"#,
        r#"{"error":{"message":"litellm.BadRequestError: OpenAIException - {\"error\":{\"message\":\"The moon is full tonight\"}}"}}"#,
        r#"{"success":false,"errors":[{"code":7003,"message":"The moon is full tonight"}]}"#,
        r#"{"error":"invalid_moon","error_description":"The moon is full tonight"}"#,
        r#"{"title":"Bad Request","status":400,"detail":"The moon is full tonight"}"#,
        r#"{"base_resp":{"status_code":2013,"status_msg":"The moon is full tonight"}}"#,
        r#"{"error_code":336003,"error_msg":"The moon is full tonight"}"#,
        r#"{"statusCode":400,"message":"The moon is full tonight"}"#,
        r#"{"fault":{"faultstring":"The moon is full tonight","detail":{"errorcode":"x"}}}"#,
        r#"{"Error":{"Message":"The moon is full tonight"}}"#,
        r#"{"errors":["The moon is full tonight"]}"#,
        r#""The moon is full tonight""#,
        "data: {\"error\": {\"message\": \"The moon is full tonight\", \"code\": \"400\"}}\n\ndata: [DONE]\n\n",
        r#"{"error":{"message":"{'error': 'The moon is full tonight'}"}}"#,
        "The moon is full tonight",
        "<html><head><title>The moon is full tonight</title></head><body>nginx</body></html>",
        "<Error><Code>x</Code><Message>The moon is full tonight</Message></Error>",
    ] {
        for wire in WIRES {
            let error = of(wire, 400, body);
            assert_eq!(error.message.matches(WORDS).count(), 1, "{wire}: {error}: {body}");
            assert!(error.message.contains("(400)"), "{wire}: {error}");
            assert!(!error.message.contains(['{', '<']), "{wire}: {error}");
        }
    }
    assert!(
        of("anthropic", 400, r#"{"error":{"message":"m"},"request_id":"req_7"}"#)
            .message
            .contains("req_7")
    );
    for empty in ["", "{}", "null", "[]"] {
        assert!(of("chat", 502, empty).message.len() > "Chat Completions provider (502): ".len());
    }
}

#[test]
// Long: a table.
fn too_long_prompt_is_known_in_every_phrase() {
    for (status, words) in [
        (500, "Context size has been exceeded."),
        (
            400,
            "The input (131073 tokens) is longer than the model's context length (131072 tokens).",
        ),
        (
            400,
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        ),
        (400, "Invalid request: Your request exceeded model token limit: 262144"),
        (400, "invalid params, context window exceeds limit"),
        (
            400,
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        ),
        (
            400,
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        ),
        (400, "the request exceeds the available context size, try increasing it"),
        (400, "prompt is too long: 208310 tokens > 200000 maximum"),
        (400, "input length and `max_tokens` exceed context limit: 1 + 2 > 3"),
        (400, "Input is too long for requested model."),
        (400, "Your input exceeds the context window of this model."),
        (400, "Please reduce the length of the messages or completion."),
        (400, "Requested tokens (5000) exceed context window of 4096"),
        (400, "prompt token count of 140000 exceeds the limit of 128000"),
        (400, "Trying to keep the first 9000 tokens when context the overflows."),
        (400, "greater than the context length of only 4096 tokens"),
        (
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096; the input length is at most 4095",
        ),
        (400, "Range of input length should be [1, 30720]"),
        (400, "The length of the prompt (9000) is larger than the maximum model length"),
        (422, "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000"),
        (
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000",
        ),
        (400, "too many tokens: total number of tokens in the prompt exceeds the limit of 4081"),
        (400, "Prompt exceeds max length"),
        (400, "Your messages hold 9000 tokens, the maximum is 8192"),
        (500, "Reached context length of 4096 tokens with model"),
        (400, "Prompt length 9000 is greater than max_seq_len 8192"),
        (413, "Request exceeds the maximum size"),
        (
            429,
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 8000",
        ),
        (500, "litellm.ContextWindowExceededError: too long"),
    ] {
        let body = json!({ "error": { "message": words } }).to_string();
        check(status, &body, "context_length");
        let of_core = of("chat", status, &body).code.for_core();
        assert_eq!(of_core, "context_length_exceeded");
    }
    check(
        400,
        r#"{"error":{"type":"exceed_context_size_error","message":"m","n_ctx":256}}"#,
        "context_length",
    );
    check(400, r#"{"error":{"code":"1261","message":"Prompt"}}"#, "context_length");
}

#[test]
fn limits_of_another_kind_are_not_too_long() {
    for (status, words, code) in [
        (
            400,
            "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens",
            "invalid_request",
        ),
        (429, "Rate limit reached: 30000 input tokens per minute exceeded", "rate_limited"),
        (400, "messages: at most 20 images are allowed", "invalid_request"),
        (500, "Internal error: the token bucket is full", "server_error"),
    ] {
        check(status, &json!({ "error": { "message": words } }).to_string(), code);
    }
}

#[test]
// Long: a table.
fn one_list_of_codes_on_every_wire() {
    for (status, body, code) in [
        (401, r#"{"error":{"message":"no"}}"#, "authentication"),
        (403, r#"{"error":{"type":"permission_error","message":"no"}}"#, "authentication"),
        (
            400,
            r#"{"error":{"message":"API key not valid. Please pass a valid API key."}}"#,
            "authentication",
        ),
        (
            404,
            r#"{"error":{"code":"model_not_found","message":"The model `x` does not exist"}}"#,
            "model_not_found",
        ),
        (
            404,
            r#"{"error":{"message":"models/x is not found for API version v1beta","status":"NOT_FOUND"}}"#,
            "model_not_found",
        ),
        (404, r#"{"error":"model 'x' not found"}"#, "model_not_found"),
        (404, r#"{"error":{"code":"DeploymentNotFound","message":"no"}}"#, "model_not_found"),
        (404, r#"{"detail":"Not Found"}"#, "invalid_request"),
        (
            429,
            r#"{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}"#,
            "quota",
        ),
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details"}}"#,
            "quota",
        ),
        (403, r#"{"error":{"type":"exceeded_current_quota_error","message":"m"}}"#, "quota"),
        (402, r#"{"error":{"message":"Insufficient credits"}}"#, "quota"),
        (
            400,
            r#"{"error":{"message":"Your credit balance is too low to access the API"}}"#,
            "quota",
        ),
        (
            429,
            r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"m","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProject"}]}]}}"#,
            "quota",
        ),
        (429, r#"{"error":{"message":"slow down"}}"#, "rate_limited"),
        (503, r#"{"error":{"message":"m"}}"#, "overloaded"),
        (529, r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#, "overloaded"),
        (504, "", "timeout"),
        (408, "", "timeout"),
        (301, "<html><title>301 Moved Permanently</title></html>", "invalid_request"),
        (400, r#"{"error":{"code":"content_filter","message":"m"}}"#, "content_filter"),
        (
            400,
            r#"{"error":{"message":"The response was filtered by the content management policy"}}"#,
            "content_filter",
        ),
        (422, r#"{"error":{"message":"what?"}}"#, "invalid_request"),
        (500, r#"{"error":{"message":"oops"}}"#, "server_error"),
        (502, "<html><title>502 Bad Gateway</title></html>", "server_error"),
    ] {
        check(status, body, code);
    }
}

#[test]
fn rejected_key_is_not_quoted() {
    for key in
        ["sk-1234", "sk-proj-abcdefghijklmnopqrstuvwxyz0123", "gsk_abc123", "AIzaSyA0123456789"]
    {
        let body = json!({ "error": { "message": format!("Incorrect API key provided: {key}.") } });
        for wire in WIRES {
            let error = of(wire, 401, &body.to_string());
            assert!(!error.message.contains(key), "{wire}: {error}");
            assert!(error.message.contains("Incorrect API key provided"), "{wire}: {error}");
        }
    }
}

#[test]
fn wait_is_found_wherever_it_is() {
    for (body, millis) in [
        (
            r#"{"error":{"message":"m","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12s"}]}}"#,
            12_000,
        ),
        (
            r#"{"error":{"message":"m","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.5s"}]}}"#,
            500,
        ),
        (
            r#"{"error":{"message":"m","details":[{"retryDelay":{"seconds":"3","nanos":500000000}}]}}"#,
            3_500,
        ),
        (r#"{"error":{"message":"Please try again in 20ms."}}"#, 20),
        (r#"{"error":{"message":"Please try again in 6m0s."}}"#, 360_000),
        (r#"{"error":{"message":"Please retry in 34.07s."}}"#, 34_070),
        (r#"{"error":{"message":"Rate limit is exceeded. Try again in 5 seconds."}}"#, 5_000),
        (r#"{"error":{"message":"Please retry after 60 seconds."}}"#, 60_000),
        (r#"{"error":{"message":"m"},"retry_after":7}"#, 7_000),
        (r#"{"error":{"message":"m","retry_after_ms":250}}"#, 250),
    ] {
        for wire in WIRES {
            let error = of(wire, 429, body);
            let after = error.retry_after.map(|after| after.as_millis());
            assert_eq!(after, Some(millis), "{wire}: {body}");
            // Core waits as long as this sentence says.
            let lower = error.message.to_lowercase();
            assert_eq!(lower.matches("try again in").count(), 1, "{wire}: {error}");
        }
    }
    assert_eq!(of("chat", 429, r#"{"error":{"message":"wait a bit"}}"#).retry_after, None);
    assert_eq!(of("chat", 400, r#"{"error":{"message":"try again in 2s"}}"#).retry_after, None);
}
