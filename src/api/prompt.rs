//! The request that starts a turn: the body of `/exec`, `/api/v1/exec` and `/api/v1/exec/stream`,
//! and the params of `conversation.prompt`.

use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::ThreadSpec;
use serde::Deserialize;
use serde_json::Value;

use crate::config::TIMEOUT_RANGE_MS;
use crate::conversation::Conversation;
use crate::conversation::IfBusy;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::conversation::registry::Opening;
use crate::conversation::registry::Selector;
use crate::error::Error;
use crate::error::Kind;
use crate::gateway::Gateway;

/// The request as it is written.
#[derive(Debug, Clone, Deserialize)]
pub struct PromptRequest {
    prompt: String,
    session_id: Option<String>,
    conversation_id: Option<String>,
    model: Option<String>,
    model_provider: Option<String>,
    timeout_ms: Option<u64>,
    cwd: Option<String>,
    sandbox: Option<Sandbox>,
    approval_policy: Option<Approval>,
    output_schema: Option<Value>,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    if_busy: IfBusy,
    /// Whether `raw_response_*` events are wanted.
    #[serde(default)]
    pub raw_events: bool,
    /// Whether the answer of `conversation.prompt` holds deltas.
    #[serde(default)]
    pub include_deltas: bool,
    callback_url: Option<String>,
}

/// The request, checked.
#[derive(Debug)]
pub struct Checked {
    selector: Selector,
    opening: Opening,
    prompt: Prompt,
    timeout: Duration,
    if_busy: IfBusy,
}

impl PromptRequest {
    /// Checks every field.
    ///
    /// # Errors
    /// `InvalidRequest` that names the field and what it takes; `TooLarge` for the prompt;
    /// `Forbidden` for what the operator does not allow.
    pub fn check(self, gateway: &Gateway) -> Result<Checked, Error> {
        let config = gateway.config();
        if self.prompt.trim().is_empty() {
            return Err(Error::invalid("prompt: expected a string that is not empty"));
        }
        let limit = config.turns.prompt_limit_chars;
        if self.prompt.len() > limit && self.prompt.chars().count() > limit {
            return Err(Error::new(
                Kind::TooLarge,
                format!("prompt: expected at most {limit} characters"),
            ));
        }
        let timeout = match self.timeout_ms {
            Some(timeout) if !TIMEOUT_RANGE_MS.contains(&timeout) => {
                return Err(Error::invalid(format!(
                    "timeout_ms: expected {} to {} milliseconds, got {timeout}",
                    TIMEOUT_RANGE_MS.start(),
                    TIMEOUT_RANGE_MS.end()
                )));
            }
            Some(timeout) => Duration::from_millis(timeout),
            None => config.turns.default_timeout,
        };
        if self.sandbox == Some(Sandbox::DangerFullAccess) && !config.allow_danger_full_access {
            return Err(Error::new(
                Kind::Forbidden,
                "sandbox: danger-full-access needs gateway.allow_danger_full_access; expected \
                 read-only or workspace-write",
            ));
        }
        if self.raw_events && !config.allow_raw_events {
            return Err(Error::new(
                Kind::Forbidden,
                "raw_events: these events carry the system prompt and need gateway.allow_raw_events",
            ));
        }
        if self.callback_url.is_some() {
            return Err(Error::invalid("callback_url: webhooks are not built into this version"));
        }
        if let Some(bad) = self.images.iter().find(|image| !image.starts_with("data:image/")) {
            return Err(Error::invalid(format!(
                "images: expected `data:image/…;base64,…` URIs, got {}",
                crate::conversation::id::excerpt(bad)
            )));
        }
        if self.output_schema.as_ref().is_some_and(|schema| !schema.is_object()) {
            return Err(Error::invalid("output_schema: expected a JSON Schema object"));
        }
        for (field, value) in [("model", &self.model), ("model_provider", &self.model_provider)] {
            if value.as_ref().is_some_and(|value| value.trim().is_empty() || value.len() > 256) {
                return Err(Error::invalid(format!("{field}: expected 1 to 256 characters")));
            }
        }
        Ok(Checked {
            selector: selector(self.session_id.as_deref(), self.conversation_id.as_deref())?,
            opening: Opening {
                cwd: self.cwd,
                spec: ThreadSpec {
                    cwd: Default::default(),
                    model: self.model.clone(),
                    model_provider: self.model_provider,
                    sandbox: self.sandbox,
                    approval_policy: self.approval_policy,
                },
            },
            prompt: Prompt {
                text: self.prompt,
                images: self.images,
                output_schema: self.output_schema,
                model: self.model,
                sandbox: self.sandbox,
                approval_policy: self.approval_policy,
            },
            timeout,
            if_busy: self.if_busy,
        })
    }
}

impl Checked {
    /// Opens the conversation and starts the turn.
    ///
    /// # Errors
    /// What [`crate::conversation::registry::Registry::open`] and [`Conversation::prompt`] say.
    pub async fn start(self, gateway: &Gateway) -> Result<Turn, Error> {
        let conversation: Arc<Conversation> =
            gateway.conversations().open(&self.selector, &self.opening).await?;
        let provider = self.opening.spec.model_provider.as_deref();
        if provider.is_some_and(|provider| provider != conversation.model_provider()) {
            return Err(Error::invalid(format!(
                "model_provider: the conversation already uses {}; a provider is chosen when it starts",
                conversation.model_provider()
            )));
        }
        conversation.prompt(self.prompt, self.timeout, self.if_busy).await
    }
}

/// The two names of a conversation, as a client wrote them.
///
/// # Errors
/// One of them is malformed.
pub fn selector(
    session_id: Option<&str>,
    conversation_id: Option<&str>,
) -> Result<Selector, Error> {
    Ok(Selector {
        session_id: session_id.map(SessionId::parse).transpose()?,
        conversation_id: conversation_id.map(ConversationId::parse).transpose()?,
    })
}
