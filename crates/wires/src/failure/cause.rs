//! The cause of a failure. Machine-readable words decide first, then the status, then phrases:
//! local servers send no codes, and gateways replace them.

use super::place::Place;
use super::report::Report;
use crate::error::Code;

/// Derives the code of a failure.
pub(super) fn of(place: Place, report: &Report) -> Code {
    let words = report.words.to_lowercase();
    let codes = &report.codes;
    if let Some((_, code)) = CODES.iter().find(|(name, _)| codes.iter().any(|code| code == name)) {
        // A rate limit may be a spent quota, or a request that exceeds the limit by itself.
        if *code != Code::RateLimited && *code != Code::InvalidRequest {
            return *code;
        }
    }
    let coded = |wanted: Code| {
        let is = |code: &String| CODES.iter().any(|(name, of)| name == code && *of == wanted);
        codes.iter().any(is)
    };
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    match report.status {
        Some(401) => Code::Authentication,
        Some(402) => Code::Quota,
        _ if report.is_spent || says(&QUOTA) => Code::Quota,
        Some(413) => Code::ContextLength,
        Some(429) if says(&["request too large"]) => Code::ContextLength,
        Some(429) => Code::RateLimited,
        _ if coded(Code::RateLimited) => Code::RateLimited,
        Some(403) if says(&FILTER) => Code::ContentFilter,
        Some(403) => Code::Authentication,
        _ if is_too_long(&words) => Code::ContextLength,
        Some(400..=499) | None if says(&KEY) => Code::Authentication,
        Some(400 | 422) | None if says(&FILTER) => Code::ContentFilter,
        Some(400 | 404 | 422) | None if is_unknown_model(&words) => Code::ModelNotFound,
        Some(503 | 529) => Code::Overloaded,
        Some(408 | 504) => Code::Timeout,
        Some(409 | 425 | 499) => Code::ServerError,
        // A redirection, which a client with a key must not follow, and any other refusal.
        Some(300..=499) => Code::InvalidRequest,
        Some(_) => Code::ServerError,
        None if coded(Code::InvalidRequest) || place == Place::Document => Code::InvalidRequest,
        None if says(&["rate limit", "too many requests"]) => Code::RateLimited,
        None if says(&["overloaded"]) => Code::Overloaded,
        None => Code::ServerError,
    }
}

/// Machine-readable words, in lower case.
const CODES: [(&str, Code); 73] = [
    // Zhipu's number for a prompt that is too long.
    ("1261", Code::ContextLength),
    ("context_length_exceeded", Code::ContextLength),
    ("context_window_exceeded", Code::ContextLength),
    ("contextwindowexceedederror", Code::ContextLength),
    ("exceed_context_size_error", Code::ContextLength),
    ("model_max_prompt_tokens_exceeded", Code::ContextLength),
    ("prompt_too_long", Code::ContextLength),
    ("request_too_large", Code::ContextLength),
    ("content_filter", Code::ContentFilter),
    ("content_filter_error", Code::ContentFilter),
    ("content_policy_violation", Code::ContentFilter),
    ("contentpolicyviolationerror", Code::ContentFilter),
    ("data_inspection_failed", Code::ContentFilter),
    ("datainspectionfailed", Code::ContentFilter),
    ("moderation_blocked", Code::ContentFilter),
    ("responsibleaipolicyviolation", Code::ContentFilter),
    ("bio_policy", Code::ContentFilter),
    ("cyber_policy", Code::CyberPolicy),
    ("arrearage", Code::Quota),
    ("billing_error", Code::Quota),
    ("billing_hard_limit_reached", Code::Quota),
    ("budget_exceeded", Code::Quota),
    ("exceeded_current_quota_error", Code::Quota),
    ("insufficient_balance", Code::Quota),
    ("insufficient_credits", Code::Quota),
    ("insufficient_quota", Code::Quota),
    ("insufficient_user_quota", Code::Quota),
    ("quota_exceeded", Code::Quota),
    ("usage_limit_reached", Code::Quota),
    ("usage_not_included", Code::NotIncluded),
    ("access_denied", Code::Authentication),
    ("authentication_error", Code::Authentication),
    ("authenticationerror", Code::Authentication),
    ("authorization_error", Code::Authentication),
    ("invalid_api_key", Code::Authentication),
    ("invalid_authentication_error", Code::Authentication),
    ("invalid_iam_token", Code::Authentication),
    ("permission_denied", Code::Authentication),
    ("permission_error", Code::Authentication),
    ("permissiondeniederror", Code::Authentication),
    ("token_expired", Code::Authentication),
    ("unauthenticated", Code::Authentication),
    ("unauthorized", Code::Authentication),
    ("deploymentnotfound", Code::ModelNotFound),
    ("model_not_available", Code::ModelNotFound),
    ("model_not_exist", Code::ModelNotFound),
    ("model_not_found", Code::ModelNotFound),
    ("model_not_supported", Code::ModelNotFound),
    ("modelnotfound", Code::ModelNotFound),
    ("unknown_model", Code::ModelNotFound),
    ("rate_limit_error", Code::RateLimited),
    ("rate_limit_exceeded", Code::RateLimited),
    ("ratelimiterror", Code::RateLimited),
    ("ratelimitreached", Code::RateLimited),
    ("resource_exhausted", Code::RateLimited),
    ("throttlingexception", Code::RateLimited),
    ("too_many_requests", Code::RateLimited),
    ("engine_overloaded_error", Code::Overloaded),
    ("model_overloaded", Code::Overloaded),
    ("overloaded", Code::Overloaded),
    ("overloaded_error", Code::Overloaded),
    ("server_is_overloaded", Code::Overloaded),
    ("service_unavailable", Code::Overloaded),
    ("slow_down", Code::Overloaded),
    ("unavailable", Code::Overloaded),
    ("unavailable_error", Code::Overloaded),
    ("deadline_exceeded", Code::Timeout),
    ("timeout_error", Code::Timeout),
    ("badrequesterror", Code::InvalidRequest),
    ("invalid_argument", Code::InvalidRequest),
    ("invalid_prompt", Code::InvalidRequest),
    ("invalid_request_error", Code::InvalidRequest),
    ("not_found_error", Code::InvalidRequest),
];

const QUOTA: [&str; 13] = [
    "check your plan and billing",
    "credit balance is too low",
    "credits are depleted",
    "exceeded your current quota",
    "exceeded your monthly",
    "insufficient balance",
    "insufficient credits",
    "insufficient funds",
    "limit: 0,",
    "quota has been exhausted",
    "out of credits",
    "specified api usage limits",
    "reached your usage limit",
];

const KEY: [&str; 7] = [
    "api key not valid",
    "api key not found",
    "incorrect api key",
    "invalid api key",
    "invalid x-api-key",
    "api key expired",
    "no auth credentials",
];

const FILTER: [&str; 5] = [
    "content management policy",
    "content policy",
    "flagged for ",
    "inappropriate content",
    "moderation",
];

/// Whether words say that a model does not exist.
fn is_unknown_model(words: &str) -> bool {
    let missing = [
        "not found",
        "does not exist",
        "doesn't exist",
        "not exist",
        "no such model",
        "unknown model",
        "invalid model",
        "not a valid model",
        "no endpoints found",
        "not supported for generatecontent",
    ];
    words.starts_with("model: ")
        || words.contains("model") && missing.iter().any(|phrase| words.contains(phrase))
}

/// Whether words say that a prompt is too long for the model. Servers without a code for it have as
/// many phrases as versions, so a subject and a relation are enough.
pub(super) fn is_too_long(words: &str) -> bool {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(&TOO_LONG) {
        return true;
    }
    // A limit of the answer is not one of the prompt, and a rate is not a size.
    let of_answer = says(&["max_tokens", "max_completion_tokens", "max_output_tokens"])
        || (says(&["output tokens", "completion tokens"]) && !says(&["input", "prompt"]));
    let is_rate = says(&["per minute", "per day", "per second", "tpm", "rate limit"]);
    let of_prompt = says(&SUBJECTS) || (words.contains("tokens") && says(&PROMPTS));
    !of_answer && !is_rate && of_prompt && says(&RELATIONS)
}

/// Phrases that say it all: Anthropic, Bedrock, LM Studio, older vLLM, LiteLLM, Groq, SGLang.
const TOO_LONG: [&str; 24] = [
    "exceeds max length",
    "input is too large",
    "max_new_tokens` must be",
    "must have less than",
    "prompt exceeds",
    "prompt is too large",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input too long",
    "too long to fit into the model",
    "too large for model",
    "context the overflows",
    "context overflow",
    "exceed context limit",
    "contextwindowexceeded",
    "context_length_exceeded",
    "reduce the length of the messages",
    "reduce the length of your",
    "too many tokens in",
    "maximum context length",
    "messages too long",
    "range of input length",
    "request too long",
];

const SUBJECTS: [&str; 24] = [
    "context length",
    "context limit",
    "context size",
    "context window",
    "context_length",
    "context_window",
    "input length",
    "input token",
    "length of the input",
    "length of the prompt",
    "max_model_len",
    "model length",
    "model token limit",
    "number of tokens",
    "prompt length",
    "prompt size",
    "request size",
    "prompt token",
    "sequence length",
    "size of the prompt",
    "token count",
    "token limit",
    "tokens in request",
    "n_ctx",
];

/// What holds the tokens that are too many.
const PROMPTS: [&str; 5] = ["conversation", "input", "messages", "prompt", "your request"];

const RELATIONS: [&str; 19] = [
    "at most",
    "beyond",
    "exceed",
    "full",
    "greater than",
    "larger than",
    "longer than",
    "maximum",
    "more than",
    "only",
    "out of",
    "over the",
    "overflow",
    "reached",
    "reduce",
    "surpass",
    "too large",
    "too long",
    "too many",
];
