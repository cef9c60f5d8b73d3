//! [`TokenUsageSchema`]: the schema of core's token counts; core's own is of an older schemars.

use schemars::JsonSchema;

/// Numbers of tokens.
#[derive(JsonSchema)]
#[schemars(rename = "TokenUsage")]
#[expect(dead_code, reason = "the schema of a type of core's")]
pub(crate) struct TokenUsageSchema {
    /// Input tokens, cached ones included.
    input_tokens: i64,
    /// Input tokens read from the provider's cache.
    cached_input_tokens: i64,
    /// Input tokens written to the provider's cache.
    cache_write_input_tokens: i64,
    /// Output tokens, those spent on reasoning included.
    output_tokens: i64,
    /// Output tokens spent on reasoning.
    reasoning_output_tokens: i64,
    total_tokens: i64,
}
