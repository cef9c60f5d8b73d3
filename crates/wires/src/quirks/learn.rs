//! Learns from a refusal. A refusal names what it refuses, so names and numbers are looked for, not
//! sentences.

use serde_json::Value;

use super::CallIds;
use super::Quirks;
use super::apply::LIMITS;
use super::apply::has_calls;
use super::apply::has_user_after_tool;
use super::apply::is_empty;
use super::apply::tool_name;
use crate::json::list;

/// The most tools that are left out.
const MAX_TOOLS: usize = 16;

/// Members that an answer does not depend on. Their names are found as whole words.
const OPTIONAL: [&str; 23] = [
    "block_binding",
    "cache_control",
    "client_metadata",
    "disable_parallel_tool_use",
    "output_config",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_content",
    "reasoning_details",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "stream_options",
    "temperature",
    "thinkingConfig",
    "tool_choice",
    "top_p",
    "truncation",
    "verbosity",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
];

/// Optional members whose names are words of the language: they count only in quotes or as a place
/// (`body.store`).
const WORDS: [&str; 7] =
    ["display", "effort", "include", "metadata", "reasoning", "store", "strict"];

impl Quirks {
    /// Learns from the refusal of a request, `sent`. Returns the quirks for the next attempt. `None`
    /// if the refusal names nothing that can be changed.
    pub fn learn(&self, sent: &Value, refusal: &str) -> Option<Self> {
        let refusal = refusal.to_lowercase();
        let mut next = self.clone();
        let learned = next.learn_system(sent, &refusal)
            || next.learn_content(sent, &refusal)
            || next.learn_roles(sent, &refusal)
            || next.learn_ids(sent, &refusal)
            || next.learn_limit(sent, &refusal)
            || next.learn_members(sent, &refusal)
            || next.learn_tools(sent, &refusal);
        (learned && next != *self).then_some(next)
    }

    /// Templates of some models have no system, as Gemma's.
    fn learn_system(&mut self, sent: &Value, refusal: &str) -> bool {
        let says = |words: &[&str]| words.iter().any(|word| refusal.contains(word));
        let has_system = list(&sent["messages"]).iter().any(|message| message["role"] == "system");
        let learned = !self.system_as_user
            && has_system
            && says(&[
                "system role",
                "role system",
                "role 'system'",
                "role \"system\"",
                "system message",
            ])
            && says(&[
                "not support",
                "unsupported",
                "not allowed",
                "unknown",
                "invalid",
                "unexpected",
            ]);
        self.system_as_user |= learned;
        learned
    }

    fn learn_content(&mut self, sent: &Value, refusal: &str) -> bool {
        let says = |words: &[&str]| words.iter().any(|word| refusal.contains(word));
        let learned = !self.empty_content
            && list(&sent["messages"]).iter().any(is_empty)
            && refusal.contains("content")
            && says(&["null", "none", "valid string", "be a string", "required", "missing"]);
        self.empty_content |= learned;
        learned
    }

    fn learn_roles(&mut self, sent: &Value, refusal: &str) -> bool {
        let says = |word: &str| refusal.contains(word);
        let is_order = says("role")
            && says("tool")
            && (says("after") || says("follow") || says("alternat") || says("unexpected"));
        let learned = is_order && !self.assistant_after_tool && has_user_after_tool(sent);
        self.assistant_after_tool |= learned;
        learned
    }

    fn learn_ids(&mut self, sent: &Value, refusal: &str) -> bool {
        let says = |words: &[&str]| words.iter().any(|word| refusal.contains(word));
        let names_one = says(&["call id", "call_id", "tool_calls", "tool call ids", "id of"])
            || (says(&["tool"]) && says(&[".id"]));
        let shape = ["a-z", "length", "pattern", "character", "format", "regex", "alphanumeric"];
        let learned =
            names_one && says(&shape) && self.call_ids != CallIds::Nine && has_calls(sent);
        if learned {
            self.call_ids = CallIds::Nine;
        }
        learned
    }

    /// Learns the name or the size of the limit of output tokens.
    fn learn_limit(&mut self, sent: &Value, refusal: &str) -> bool {
        let asked = LIMITS.iter().find_map(|name| Some((*name, sent[*name].as_u64()?)));
        let Some((name, asked)) = asked else { return false };
        let is_renamed = refusal.contains("instead") || refusal.contains("not supported");
        if name == "max_tokens" && refusal.contains("max_completion_tokens") && is_renamed {
            self.max_completion_tokens = true;
            return true;
        }
        let too_large = ["too large", "too high", "too big", "exceed", "maximum", "at most", "<="]
            .iter()
            .chain(&[
                "less than",
                "smaller",
                "greater than",
                "larger than",
                " > ",
                "range",
                "context",
            ])
            .any(|phrase| refusal.contains(phrase));
        let is_named = LIMITS.iter().any(|name| has_word(refusal, name))
            || refusal.contains("completion tokens")
            || refusal.contains("output tokens");
        if !is_named || !too_large {
            return false;
        }
        // A number below the one that was asked for is the limit of the answer, or that of prompt
        // and answer together, of which the prompt needs most.
        let below = numbers(refusal).filter(|number| (256..asked).contains(number)).max();
        let shared = refusal.contains("context") || refusal.contains("input");
        let least = 1024;
        let most = match below {
            Some(limit) if shared => limit / 4,
            Some(limit) => limit,
            None if asked > 8192 => 8192,
            None => asked / 2,
        };
        let learned = asked > least;
        if learned {
            self.max_tokens = Some(most.clamp(least, asked - 1));
        }
        learned
    }

    fn learn_members(&mut self, sent: &Value, refusal: &str) -> bool {
        let thinks =
            ["support thinking", "support reasoning", "reasoning is not", "thinking is not"];
        let phrased = thinks.iter().any(|phrase| refusal.contains(phrase));
        let efforts: &[&str] = if phrased {
            &["reasoning_effort", "reasoning", "thinking", "thinkingConfig", "output_config"]
        } else {
            &[]
        };
        let named = OPTIONAL.iter().filter(|name| has_word(refusal, &name.to_lowercase()));
        let quoted = WORDS.iter().filter(|name| is_quoted(refusal, name));
        let found: Vec<&str> = named
            .chain(quoted)
            .chain(efforts)
            .copied()
            .filter(|name| !self.omit.contains(*name) && holds(sent, name))
            .collect();
        self.omit.extend(found.iter().map(|name| (*name).to_owned()));
        !found.is_empty()
    }

    /// Learns which tool has a schema that the server does not accept. One of an MCP server must
    /// not fail every turn.
    fn learn_tools(&mut self, sent: &Value, refusal: &str) -> bool {
        let says = |word: &str| refusal.contains(word);
        let about = says("schema") || says("parameters") || says("properties") || says("pattern");
        if !about || self.omit_tools.len() >= MAX_TOOLS {
            return false;
        }
        let tools = list(&sent["tools"]);
        let declared = tools.first().map_or(&[][..], |tool| list(&tool["functionDeclarations"]));
        let offered = if declared.is_empty() { tools } else { declared };
        let place = if declared.is_empty() { "tools" } else { "function_declarations" };
        let named = offered
            .iter()
            .map(tool_name)
            .find(|name| name.len() > 2 && is_quoted(refusal, &name.to_lowercase()));
        let at = || offered.get(index_after(refusal, place)?).map(tool_name);
        let Some(name) = named.or_else(at).filter(|name| !name.is_empty()) else { return false };
        self.omit_tools.insert(name.to_owned())
    }
}

/// Whether a request holds a member: at its top, or where [`Quirks::apply`] removes it.
fn holds(sent: &Value, name: &str) -> bool {
    let mut without = sent.clone();
    let quirks = Quirks { omit: [name.to_owned()].into(), ..Quirks::default() };
    quirks.apply(&mut without);
    without != *sent
}

/// Whether a text holds a name as a whole word.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + name.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Whether a text quotes a name, or names it as a place.
fn is_quoted(text: &str, name: &str) -> bool {
    let quotes = [('\'', '\''), ('"', '"'), ('`', '`'), ('[', ']')];
    let forms = quotes.map(|(open, close)| format!("{open}{name}{close}"));
    forms.iter().any(|form| text.contains(form))
        || ["body.", "request."].iter().any(|place| has_word(text, &format!("{place}{name}")))
        || text.contains(&format!("'{name}."))
        || text.contains(&format!("\"{name}."))
}

/// Returns the number behind a name: `tools.3`, `tools[3]`.
fn index_after(text: &str, name: &str) -> Option<usize> {
    text.match_indices(name).find_map(|(at, _)| {
        let rest = text.get(at + name.len()..)?.strip_prefix(['.', '[', '/'])?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits)?.parse().ok()
    })
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}
