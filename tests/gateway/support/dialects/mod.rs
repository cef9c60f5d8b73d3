//! Scripted answers of each provider API, byte for byte as the real API sends them. A test chooses
//! the parts of an answer ([`Part`]); a file per wire encodes them. [`requests`] reads the
//! requests.

mod anthropic;
mod chat;
mod gemini;
mod requests;
mod responses;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;

use super::Gateway;
use super::gateway::Setup;
use super::provider::Answer;
use super::provider::Provider;
use super::provider::sse;

pub use gemini::blocked as gemini_blocked;
pub use responses::too_long_in_stream as responses_too_long_in_stream;

/// A part of an answer.
#[derive(Debug, Clone)]
pub enum Part {
    /// A reasoning summary, and the opaque signature that must be sent back.
    Thought { text: String, seal: &'static str },
    /// Text, one string per delta.
    Text(Vec<String>),
    /// A function call.
    Call { id: &'static str, name: &'static str, arguments: Value },
    /// A call of a freeform tool; on wires without them, of the function that replaces it.
    Freeform { id: &'static str, name: &'static str, input: String },
    /// A refusal of the model.
    Refusal(String),
}

/// The end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Complete.
    Whole,
    /// Cut at the token limit.
    Length,
}

/// One provider API: its address, and its encoding of answers.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    pub wire_api: &'static str,
    pub model: &'static str,
    pub path: &'static str,
    pub key_header: (&'static str, &'static str),
    say: fn(&str, &[Part], Stop) -> Answer,
    too_long: fn() -> Answer,
    /// The event of a provider that fails in mid-stream.
    fails_midway: fn() -> Value,
}

/// Every wire; Gemini twice, as its generations differ.
pub const DIALECTS: [Dialect; 5] = [
    Dialect {
        wire_api: "responses",
        model: "scripted",
        path: "/v1/responses",
        key_header: ("authorization", "Bearer canary-key"),
        say: responses::say,
        too_long: responses::too_long,
        fails_midway: responses::fails_midway,
    },
    Dialect {
        wire_api: "chat",
        model: "scripted",
        path: "/v1/chat/completions",
        key_header: ("authorization", "Bearer canary-key"),
        say: chat::say,
        too_long: chat::too_long,
        fails_midway: chat::fails_midway,
    },
    Dialect {
        wire_api: "anthropic",
        model: "claude-sonnet-4-5",
        path: "/v1/messages",
        key_header: ("x-api-key", "canary-key"),
        say: anthropic::say,
        too_long: anthropic::too_long,
        fails_midway: anthropic::fails_midway,
    },
    GEMINI,
    Dialect {
        model: "gemini-3-pro-preview",
        path: "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse",
        ..GEMINI
    },
];

const GEMINI: Dialect = Dialect {
    wire_api: "gemini",
    model: "gemini-2.5-pro",
    path: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    key_header: ("x-goog-api-key", "canary-key"),
    say: gemini::say,
    too_long: gemini::too_long,
    fails_midway: gemini::fails_midway,
};

impl Dialect {
    /// Returns an answer of these parts.
    pub fn say(&self, parts: &[Part]) -> Answer {
        (self.say)(self.model, parts, Stop::Whole)
    }

    pub fn text(&self, text: &str) -> Answer {
        self.deltas([text.to_owned()])
    }

    pub fn deltas(&self, deltas: impl IntoIterator<Item = String>) -> Answer {
        self.say(&[Part::Text(deltas.into_iter().collect())])
    }

    /// Returns a call of the shell tool.
    pub fn call(&self, command: &str) -> Answer {
        self.say(&[shell("call_1", command)])
    }

    /// Returns a call of `apply_patch`.
    pub fn patch(&self, patch: &str) -> Answer {
        self.say(&[Part::Freeform { id: "call_p", name: "apply_patch", input: patch.to_owned() }])
    }

    /// Returns reasoning followed by another part.
    pub fn thought(&self, text: &str, seal: &'static str, then: Part) -> Answer {
        self.say(&[Part::Thought { text: text.to_owned(), seal }, then])
    }

    pub fn refusal(&self, why: &str) -> Answer {
        self.say(&[Part::Refusal(why.to_owned())])
    }

    /// Returns text cut at the token limit.
    pub fn truncated(&self, text: &str) -> Answer {
        (self.say)(self.model, &[Part::Text(vec![text.to_owned()])], Stop::Length)
    }

    /// Returns the first delta of a text and nothing after it.
    pub fn partial(&self, delta: &str) -> Answer {
        let mut answer = self.deltas([delta.to_owned(), "(the-second-delta)".to_owned()]);
        let second = answer.body.find("(the-second-delta)").unwrap();
        let end = answer.body[..second].rfind("\n\n").unwrap() + 2;
        answer.body.truncate(end);
        answer
    }

    /// Returns the first delta of a text, then a failure of the provider.
    pub fn fails_midway(&self, delta: &str) -> Answer {
        let mut answer = self.partial(delta);
        answer.body.push_str(&sse(&[(self.fails_midway)()]).body);
        answer
    }

    /// Returns the error for a prompt that exceeds the context window.
    pub fn too_long(&self) -> Answer {
        (self.too_long)()
    }

    /// Returns the name for messages of tests.
    pub fn name(&self) -> String {
        format!("{} ({})", self.wire_api, self.model)
    }

    /// Returns the set-up of a gateway with this provider.
    pub fn setup(&self, provider: &Provider) -> Setup {
        Gateway::config(&provider.config(self.wire_api, self.model))
            .env("SCRIPTED_KEY", "canary-key")
    }

    pub fn gateway(&self, provider: &Provider) -> Gateway {
        self.setup(provider).start()
    }
}

/// Returns a call of the shell tool.
pub fn shell(id: &'static str, command: &str) -> Part {
    Part::Call { id, name: "shell_command", arguments: json!({ "command": command }) }
}

/// Runs a prompt in the session `s` and returns the answer.
pub async fn ask(gateway: &Gateway, prompt: &str) -> Value {
    gateway.ask("s", prompt).await
}

/// Returns a number for ids, which differ from answer to answer as the real ones do.
fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Splits a text in two, as providers stream arguments.
fn halves(text: &str) -> [&str; 2] {
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap();
    let (head, tail) = text.split_at(middle);
    [head, tail]
}
