//! Facts about an engine and its threads, and the context in which they are traced.

use std::path::PathBuf;

use serde::Serialize;

use crate::Approval;
use crate::Sandbox;
use crate::children;
use crate::sandbox;

/// Facts about an engine.
#[derive(Debug, Clone, Serialize)]
pub struct EngineFacts {
    /// `codex-core`, or the name of a stand-in.
    pub name: &'static str,
    /// The model of prompts that name none.
    pub model: String,
    /// The id of the default model's provider in the configuration.
    pub model_provider: String,
    /// The ids of all providers that a conversation may have.
    pub model_providers: Vec<String>,
    /// The result of the sandbox self-test.
    pub sandbox: sandbox::Report,
    /// The limits of commands.
    pub limits: children::Report,
}

/// Facts that were settled when a conversation started.
#[derive(Debug, Clone)]
pub struct ThreadFacts {
    /// Codex's thread id: a UUID.
    pub id: String,
    /// The model in use.
    pub model: String,
    /// The id of the model's provider.
    pub model_provider: String,
    /// The conversation's working folder.
    pub cwd: PathBuf,
    /// The number of damaged lines that were found in its recording since it was last live.
    pub damaged_lines: usize,
}

/// What the recording of a conversation says of it.
#[derive(Debug, Clone)]
pub struct RecordedConversation {
    /// Codex's thread id: a UUID.
    pub id: String,
    /// The working folder.
    pub cwd: PathBuf,
    /// The model of the last turn.
    pub model: String,
    /// The id of the model's provider.
    pub model_provider: String,
    /// Access of commands.
    pub sandbox: Sandbox,
    /// When core asks before it acts.
    pub approval_policy: Approval,
    /// The time of its start (RFC 3339).
    pub created_at: String,
    /// Whether it is in the archive.
    pub archived: bool,
}

/// The position of a cause in its trace (W3C Trace Context).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`
    pub traceparent: String,
    /// `tracestate`
    pub tracestate: Option<String>,
}
