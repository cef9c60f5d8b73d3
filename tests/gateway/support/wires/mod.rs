//! What the providers of the four wires say, in their own words: the bytes of each answer as the real
//! API sends them. A test says what the model does ([`Part`]); a file per wire puts it into events.
//! [`heard`] reads what they were sent.

mod anthropic;
mod chat;
mod gemini;
mod heard;
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
pub use responses::too_long_in_the_stream as responses_too_long_in_the_stream;

/// A piece of an answer.
#[derive(Debug, Clone)]
pub enum Part {
    /// A summary of thoughts, and what the provider wants back with it.
    Thought { text: String, seal: &'static str },
    /// Text, delta by delta.
    Text(Vec<String>),
    /// A call of a function.
    Call { id: &'static str, name: &'static str, arguments: Value },
    /// A call of a freeform tool; where the wire has none, of the function that stands in for it.
    Freeform { id: &'static str, name: &'static str, input: String },
    /// The model will not answer.
    Refusal(String),
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is whole.
    Whole,
    /// It has reached the limit of tokens.
    Length,
}

/// How one provider is asked, and says things.
#[derive(Debug, Clone, Copy)]
pub struct Speaks {
    pub wire_api: &'static str,
    pub model: &'static str,
    pub path: &'static str,
    pub key_header: (&'static str, &'static str),
    say: fn(&str, &[Part], Stop) -> Answer,
    too_long: fn() -> Answer,
    /// An event that says that the provider gives up, in the midst of a stream.
    gives_up: fn() -> Value,
}

/// Every wire; Gemini twice, for its generations differ in more than their names.
pub const WIRES: [Speaks; 5] = [
    Speaks {
        wire_api: "responses",
        model: "scripted",
        path: "/v1/responses",
        key_header: ("authorization", "Bearer canary-key"),
        say: responses::say,
        too_long: responses::too_long,
        gives_up: responses::gives_up,
    },
    Speaks {
        wire_api: "chat",
        model: "scripted",
        path: "/v1/chat/completions",
        key_header: ("authorization", "Bearer canary-key"),
        say: chat::say,
        too_long: chat::too_long,
        gives_up: chat::gives_up,
    },
    Speaks {
        wire_api: "anthropic",
        model: "claude-sonnet-4-5",
        path: "/v1/messages",
        key_header: ("x-api-key", "canary-key"),
        say: anthropic::say,
        too_long: anthropic::too_long,
        gives_up: anthropic::gives_up,
    },
    GEMINI,
    Speaks {
        model: "gemini-3-pro-preview",
        path: "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse",
        ..GEMINI
    },
];

const GEMINI: Speaks = Speaks {
    wire_api: "gemini",
    model: "gemini-2.5-pro",
    path: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    key_header: ("x-goog-api-key", "canary-key"),
    say: gemini::say,
    too_long: gemini::too_long,
    gives_up: gemini::gives_up,
};

impl Speaks {
    /// An answer of these parts.
    pub fn say(&self, parts: &[Part]) -> Answer {
        (self.say)(self.model, parts, Stop::Whole)
    }

    pub fn text(&self, text: &str) -> Answer {
        self.deltas([text.to_owned()])
    }

    pub fn deltas(&self, deltas: impl IntoIterator<Item = String>) -> Answer {
        self.say(&[Part::Text(deltas.into_iter().collect())])
    }

    /// A command for the shell.
    pub fn call(&self, command: &str) -> Answer {
        self.say(&[shell("call_1", command)])
    }

    /// `apply_patch`.
    pub fn patch(&self, patch: &str) -> Answer {
        self.say(&[Part::Freeform { id: "call_p", name: "apply_patch", input: patch.to_owned() }])
    }

    /// Thoughts, then the rest.
    pub fn thought(&self, text: &str, seal: &'static str, then: Part) -> Answer {
        self.say(&[Part::Thought { text: text.to_owned(), seal }, then])
    }

    pub fn refusal(&self, why: &str) -> Answer {
        self.say(&[Part::Refusal(why.to_owned())])
    }

    /// Text that the limit of tokens has cut off.
    pub fn length(&self, text: &str) -> Answer {
        (self.say)(self.model, &[Part::Text(vec![text.to_owned()])], Stop::Length)
    }

    /// The first delta of a text, and nothing after it.
    pub fn begun(&self, delta: &str) -> Answer {
        let mut answer = self.deltas([delta.to_owned(), "(the-second-delta)".to_owned()]);
        let second = answer.body.find("(the-second-delta)").unwrap();
        let end = answer.body[..second].rfind("\n\n").unwrap() + 2;
        answer.body.truncate(end);
        answer
    }

    /// The same, and then the provider gives up.
    pub fn gives_up(&self, delta: &str) -> Answer {
        let mut answer = self.begun(delta);
        answer.body.push_str(&sse(&[(self.gives_up)()]).body);
        answer
    }

    /// The prompt does not fit into the context window.
    pub fn too_long(&self) -> Answer {
        (self.too_long)()
    }

    /// How tests name it.
    pub fn name(&self) -> String {
        format!("{} ({})", self.wire_api, self.model)
    }

    /// A gateway whose provider this is.
    pub fn setup(&self, provider: &Provider) -> Setup {
        Gateway::config(&provider.config(self.wire_api, self.model))
            .env("SCRIPTED_KEY", "canary-key")
    }

    pub fn gateway(&self, provider: &Provider) -> Gateway {
        self.setup(provider).start()
    }
}

/// A call of the shell.
pub fn shell(id: &'static str, command: &str) -> Part {
    Part::Call { id, name: "shell_command", arguments: json!({ "command": command }) }
}

/// A prompt in the one session of the test, and the whole answer.
pub async fn ask(gateway: &Gateway, prompt: &str) -> Value {
    gateway.post("/api/v1/exec", json!({ "prompt": prompt, "session_id": "s" })).await.json()
}

/// Ids differ from answer to answer, as the real ones do.
fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A text in two pieces: arguments come in such.
fn halves(text: &str) -> [&str; 2] {
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap();
    let (head, tail) = text.split_at(middle);
    [head, tail]
}
