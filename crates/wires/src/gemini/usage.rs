//! Token counts of `usageMetadata`.

use serde_json::Value;

use crate::usage::Usage;

/// Reads the counts as the Responses API counts: cached tokens are input, thoughts are output.
pub(super) fn read(metadata: &Value) -> Usage {
    let count = |key: &str| metadata[key].as_i64().unwrap_or_default().max(0);
    let input = count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount"));
    let thoughts = count("thoughtsTokenCount");
    let output = count("candidatesTokenCount").saturating_add(thoughts);
    let total = metadata["totalTokenCount"].as_i64();
    Usage {
        input: Some(input),
        cached: Some(count("cachedContentTokenCount")),
        cache_written: None,
        output: Some(output),
        reasoning: Some(thoughts),
        total: Some(total.unwrap_or_else(|| input.saturating_add(output))),
    }
}
