//! What a server refuses of its API. Servers that imitate an API accept less than the original, or
//! want it in another form. A quirk is known from the host or the model, set by the operator, or
//! learned from a refusal ([`Quirks::learn`]); it changes the request that a wire has encoded
//! ([`Quirks::apply`]).

mod apply;
mod ids;
mod learn;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

/// What a server refuses, or wants in another form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Members of a request to leave out, such as `parallel_tool_calls`.
    pub omit: BTreeSet<String>,
    /// The most output tokens to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Whether the limit of output tokens is named `max_completion_tokens`.
    pub max_completion_tokens: bool,
    /// Whether an assistant's message must stand between a tool's message and the user's.
    pub assistant_after_tool: bool,
    /// Whether the system's message must be a part of the user's first one.
    pub system_as_user: bool,
    /// Whether an assistant's message that only calls must have an empty text.
    pub empty_content: bool,
    /// The shape of the ids of calls.
    pub call_ids: CallIds,
    /// Tools to leave out, by their name in the request.
    pub omit_tools: BTreeSet<String>,
}

/// The shape that a server demands of the ids of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallIds {
    /// Any text.
    #[default]
    Any,
    /// Nine letters or digits, as Mistral demands. Every known server accepts these.
    Nine,
    /// `functions.NAME:INDEX`, as Kimi's models write them.
    Kimi,
}

/// Models of Mistral, whose chat templates have Mistral's rules on every server.
const MISTRAL: [&str; 7] =
    ["codestral", "devstral", "magistral", "ministral", "mistral", "mixtral", "pixtral"];

impl Quirks {
    /// The quirks that a host and a model are known for.
    pub fn known(host: &str, model: &str) -> Self {
        let (host, model) = (host.to_ascii_lowercase(), model.to_ascii_lowercase());
        let is_at = |domain: &str| {
            let before = host.strip_suffix(domain);
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let name = model.rsplit('/').next().unwrap_or(&model);
        let mut quirks = Self::default();
        if is_at("mistral.ai") || MISTRAL.iter().any(|family| name.contains(family)) {
            quirks.assistant_after_tool = true;
            quirks.call_ids = CallIds::Nine;
        } else if name.contains("kimi-k2") || is_at("moonshot.ai") || is_at("moonshot.cn") {
            quirks.call_ids = CallIds::Kimi;
        }
        if is_at("mistral.ai") {
            quirks.omit.insert("stream_options".to_owned());
        }
        if is_at("openai.com") {
            quirks.max_completion_tokens = true;
        }
        quirks
    }

    /// Adds the quirks that an operator has set.
    #[must_use]
    pub fn with(mut self, set: &Self) -> Self {
        self.omit.extend(set.omit.iter().cloned());
        self.omit_tools.extend(set.omit_tools.iter().cloned());
        self.max_tokens = set.max_tokens.or(self.max_tokens);
        self.max_completion_tokens |= set.max_completion_tokens;
        self.assistant_after_tool |= set.assistant_after_tool;
        self.system_as_user |= set.system_as_user;
        self.empty_content |= set.empty_content;
        if set.call_ids != CallIds::Any {
            self.call_ids = set.call_ids;
        }
        self
    }

    /// Whether requests stay as they are.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
