//! Token counts as the Responses API has them.

use serde_json::{Value, json};

/// The counts of a `usage` object, and of those that servers write differently.
pub(super) fn tokens(usage: &Value) -> Value {
    let count = |paths: &[&str]| {
        let found =
            paths.iter().find_map(|path| usage.pointer(path).filter(|value| value.is_number()));
        // Bounded, so that sums of garbage cannot overflow.
        found.map(|value| {
            value.as_i64().unwrap_or(value.as_f64().unwrap_or(0.0) as i64).clamp(0, 1 << 50)
        })
    };
    let input = count(&["/prompt_tokens"]).unwrap_or(0);
    let written = count(&["/completion_tokens"]).unwrap_or(0);
    let thought =
        count(&["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]).unwrap_or(0);
    let cached =
        ["/prompt_tokens_details/cached_tokens", "/prompt_cache_hit_tokens", "/cached_tokens"];
    let stored = count(&["/prompt_tokens_details/cache_write_tokens"]).unwrap_or(0);
    let total = count(&["/total_tokens"]);
    // xAI counts reasoning beside the completion; the Responses API counts it within.
    let beside = thought > 0 && total == Some(input + written + thought);
    let output = if beside { written + thought } else { written };
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": count(&cached).unwrap_or(0), "cache_write_tokens": stored},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": total.unwrap_or(input + output),
    })
}
