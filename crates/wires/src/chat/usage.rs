//! Token counts of a `usage` object, in the variants that servers send.

use serde_json::Value;

use crate::usage::Usage;

/// Reads a `usage` object.
pub(super) fn read(usage: &Value) -> Usage {
    let count = |pointers: &[&str]| {
        let found = pointers
            .iter()
            .find_map(|pointer| usage.pointer(pointer).filter(|value| value.is_number()));
        // Bounded, so that sums of garbage cannot overflow.
        found.map(|value| {
            value.as_i64().unwrap_or(value.as_f64().unwrap_or(0.0) as i64).clamp(0, 1 << 50)
        })
    };
    let input = count(&["/prompt_tokens"]).unwrap_or(0);
    let completion = count(&["/completion_tokens"]).unwrap_or(0);
    let reasoning =
        count(&["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]).unwrap_or(0);
    let cached =
        ["/prompt_tokens_details/cached_tokens", "/prompt_cache_hit_tokens", "/cached_tokens"];
    let cache_written = count(&["/prompt_tokens_details/cache_write_tokens"]).unwrap_or(0);
    let total = count(&["/total_tokens"]);
    // xAI counts reasoning beside the completion; the Responses API counts it within.
    let beside = reasoning > 0 && total == Some(input + completion + reasoning);
    let output = if beside { completion + reasoning } else { completion };
    Usage {
        input: Some(input),
        cached: Some(count(&cached).unwrap_or(0)),
        cache_written: Some(cache_written),
        output: Some(output),
        reasoning: Some(reasoning),
        total: Some(total.unwrap_or(input + output)),
    }
}
