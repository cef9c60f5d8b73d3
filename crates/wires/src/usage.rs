//! Token counts of an answer.

use serde_json::Value;
use serde_json::json;

use crate::json::at;
use crate::json::set;

/// Token counts as the Responses API reports them. `None` if the provider does not report one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, those read from and written to a cache included.
    pub input: Option<i64>,
    /// Input tokens read from the provider's cache.
    pub cached: Option<i64>,
    /// Input tokens written to the provider's cache.
    pub cache_written: Option<i64>,
    /// Output tokens, reasoning included.
    pub output: Option<i64>,
    /// Output tokens spent on reasoning.
    pub reasoning: Option<i64>,
    /// All tokens.
    pub total: Option<i64>,
}

impl Usage {
    /// Reads the `usage` of a response.
    pub(crate) fn read(usage: &Value) -> Self {
        let count = |pointer: &str| at(usage, pointer).as_i64();
        Self {
            input: count("/input_tokens"),
            cached: count("/input_tokens_details/cached_tokens"),
            cache_written: count("/input_tokens_details/cache_write_tokens"),
            output: count("/output_tokens"),
            reasoning: count("/output_tokens_details/reasoning_tokens"),
            total: count("/total_tokens"),
        }
    }

    /// Writes the `usage` of a response.
    pub(crate) fn to_value(self) -> Value {
        let mut input_details = json!({});
        set(&mut input_details, "cached_tokens", self.cached.map(Value::from));
        set(&mut input_details, "cache_write_tokens", self.cache_written.map(Value::from));
        let mut output_details = json!({});
        set(&mut output_details, "reasoning_tokens", self.reasoning.map(Value::from));
        let mut usage = json!({
            "input_tokens_details": input_details,
            "output_tokens_details": output_details,
        });
        set(&mut usage, "input_tokens", self.input.map(Value::from));
        set(&mut usage, "output_tokens", self.output.map(Value::from));
        set(&mut usage, "total_tokens", self.total.map(Value::from));
        usage
    }
}
