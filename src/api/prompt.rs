//! The request that starts a turn: the body of `/exec`, `/api/v1/exec` and `/api/v1/exec/stream`,
//! and the params of `conversation.prompt`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tracing::Span;

use super::cancel_on_disconnect::CancelOnDrop;
use crate::app::App;
use crate::config::Config;
use crate::conversation::IfBusy;
use crate::conversation::ModelChoice;
use crate::conversation::StartOptions;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::error::Error;
use crate::error::Kind;

/// The request as it is written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct PromptRequest {
    /// What the agent is to do. Not empty.
    #[schemars(length(min = 1))]
    pub(super) prompt: String,
    /// A name that the client chooses; a known one continues its conversation.
    #[schemars(regex(pattern = "^[A-Za-z0-9._:-]{1,128}$"))]
    pub(super) session_id: Option<String>,
    /// The gateway's name of a conversation to continue.
    pub(super) conversation_id: Option<String>,
    pub(super) model: Option<String>,
    /// Chosen when a conversation starts.
    pub(super) model_provider: Option<String>,
    /// When the turn is interrupted.
    #[schemars(range(min = 1000, max = 3_600_000))]
    pub(super) timeout_ms: Option<u64>,
    /// A folder inside the workspace root, for a new conversation.
    pub(super) cwd: Option<String>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) approval_policy: Option<Approval>,
    /// A JSON Schema for the agent's last message.
    pub(super) output_schema: Option<Value>,
    /// `data:image/…;base64,…` URIs.
    #[serde(default)]
    pub(super) images: Vec<String>,
    /// What to do while a turn runs.
    #[serde(default)]
    pub(super) if_busy: IfBusy,
    /// Whether `raw_response_*` events are wanted.
    #[serde(default)]
    pub raw_events: bool,
    /// Whether the answer of `conversation.prompt` holds deltas.
    #[serde(default)]
    pub include_deltas: bool,
    pub(super) callback_url: Option<String>,
}

/// The request, checked.
#[derive(Debug)]
pub struct Checked {
    key: ConversationKey,
    options: StartOptions,
    prompt: Prompt,
    timeout: Duration,
    if_busy: IfBusy,
}

impl PromptRequest {
    /// Sends it to the conversation that the path names.
    ///
    /// # Errors
    /// The body names another one.
    pub fn address(&mut self, id: &ConversationId) -> Result<(), Error> {
        match &self.conversation_id {
            Some(other) if ConversationId::parse(other)? != *id => Err(Error::invalid(format!(
                "conversation_id: expected {id}, as in the path, or nothing"
            ))),
            Some(_) | None => {
                self.conversation_id = Some(id.to_string());
                Ok(())
            }
        }
    }

    /// Checks every field; `caller` is the name of the caller's key.
    ///
    /// # Errors
    /// `InvalidRequest` that names the field and what it takes; `TooLarge` for the prompt;
    /// `Forbidden` for what the operator does not allow.
    pub fn check(self, app: &App, caller: &str) -> Result<Checked, Error> {
        let config = app.config();
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
        let timeout = time_limit(self.timeout_ms, &TIMEOUT_RANGE_MS)?;
        let timeout = timeout.unwrap_or(config.turns.default_timeout);
        allow_sandbox(config, self.sandbox)?;
        allow_raw_events(config, self.raw_events)?;
        allow_approvals(config, self.approval_policy)?;
        if self.if_busy == IfBusy::Steer
            && (self.output_schema.is_some() || self.model.is_some() || self.sandbox.is_some())
        {
            return Err(Error::invalid(
                "if_busy: steer adds prompt and images to the running turn; expected no output_schema, \
                 model or sandbox beside it",
            ));
        }
        if self.callback_url.is_some() {
            return Err(Error::invalid("callback_url: webhooks are not built into this version"));
        }
        only_data_uris(&self.images)?;
        if self.output_schema.as_ref().is_some_and(|schema| !schema.is_object()) {
            return Err(Error::invalid("output_schema: expected a JSON Schema object"));
        }
        Ok(Checked {
            key: ConversationKey::parse(
                self.session_id.as_deref(),
                self.conversation_id.as_deref(),
            )?,
            options: StartOptions {
                cwd: self.cwd,
                model: choose(config, self.model, self.model_provider)?,
                sandbox: self.sandbox,
                approval_policy: self.approval_policy,
                ..StartOptions::new(caller)
            },
            prompt: Prompt {
                text: self.prompt,
                images: self.images,
                output_schema: self.output_schema,
                ..Prompt::default()
            },
            timeout,
            if_busy: self.if_busy,
        })
    }
}

impl Checked {
    /// Opens the conversation and starts the turn.
    ///
    /// This goes on in a task of its own where the client leaves meanwhile: a conversation is never
    /// left half started. A turn that is `tied` to the client is stopped whenever the second of the
    /// two is dropped, on its way here too.
    ///
    /// # Errors
    /// As of [`Registry::prompt`](crate::conversation::registry::Registry::prompt).
    pub(crate) async fn start(
        self,
        app: &Arc<App>,
        tied: bool,
    ) -> Result<(Turn, CancelOnDrop), Error> {
        let app_ = Arc::clone(app);
        let Self { key, mut options, prompt, timeout, if_busy } = self;
        options.span = Span::current();
        let starting = app.detached(async move {
            let conversations = app_.conversations();
            let turn = conversations.prompt(&key, &options, prompt, timeout, if_busy).await?;
            let tied = CancelOnDrop::new(tied, &turn);
            Ok((turn, tied))
        });
        starting.await
    }
}

/// Reads `model` and `model_provider`; a name from `[gateway.models]` becomes what it stands for.
///
/// # Errors
/// `InvalidRequest` where one is empty or too long, or the two disagree.
pub(crate) fn choose(
    config: &Config,
    model: Option<String>,
    model_provider: Option<String>,
) -> Result<ModelChoice, Error> {
    for (field, value) in [("model", &model), ("model_provider", &model_provider)] {
        if value.as_ref().is_some_and(|value| value.trim().is_empty() || value.len() > 256) {
            return Err(Error::invalid(format!("{field}: expected 1 to 256 characters")));
        }
    }
    let Some((alias, primary)) = model.as_deref().and_then(|model| {
        config.models.get(model).map(|entry| (model.to_owned(), entry.primary.clone()))
    }) else {
        return Ok(ModelChoice { model, provider: model_provider, alias: None });
    };
    if let Some(provider) = &model_provider
        && primary.provider != *provider
    {
        return Err(Error::invalid(format!(
            "model_provider: the model {alias:?} stands for {primary}; expected {} or no model_provider",
            primary.provider
        )));
    }
    let (model, provider) = (Some(primary.model), Some(primary.provider));
    Ok(ModelChoice { model, provider, alias: Some(alias) })
}

/// Images come as data, never as addresses to be fetched.
///
/// # Errors
/// One of them is something else.
pub(crate) fn only_data_uris(images: &[String]) -> Result<(), Error> {
    match images.iter().find(|image| !image.starts_with("data:image/")) {
        None => Ok(()),
        Some(bad) => Err(Error::invalid(format!(
            "images: expected `data:image/…;base64,…` URIs, got {}",
            crate::text::excerpt(bad)
        ))),
    }
}

/// The time limit that a request names.
///
/// # Errors
/// It is out of range.
pub(crate) fn time_limit(
    timeout_ms: Option<u64>,
    range: &RangeInclusive<u64>,
) -> Result<Option<Duration>, Error> {
    match timeout_ms {
        Some(timeout) if !range.contains(&timeout) => Err(Error::invalid(format!(
            "timeout_ms: expected {} to {} milliseconds, got {timeout}",
            range.start(),
            range.end()
        ))),
        timeout => Ok(timeout.map(Duration::from_millis)),
    }
}

/// Whether a request may be sent the events that carry the system prompt.
///
/// # Errors
/// `Forbidden` where the operator does not allow it.
pub(crate) fn allow_raw_events(config: &Config, wanted: bool) -> Result<(), Error> {
    if wanted && !config.allow_raw_events {
        return Err(Error::new(
            Kind::Forbidden,
            "raw_events: these events carry the system prompt and need gateway.allow_raw_events",
        ));
    }
    Ok(())
}

/// Whether a request may choose this sandbox.
///
/// # Errors
/// `Forbidden` where the operator does not allow it.
pub(crate) fn allow_sandbox(config: &Config, sandbox: Option<Sandbox>) -> Result<(), Error> {
    if sandbox == Some(Sandbox::DangerFullAccess) && !config.allow_danger_full_access {
        return Err(Error::new(
            Kind::Forbidden,
            "sandbox: danger-full-access needs gateway.allow_danger_full_access; expected read-only \
             or workspace-write",
        ));
    }
    Ok(())
}

/// Whether a request may have the agent ask: what is approved may leave the sandbox.
///
/// # Errors
/// `Forbidden` where the operator does not allow it.
pub(crate) fn allow_approvals(config: &Config, policy: Option<Approval>) -> Result<(), Error> {
    if !matches!(policy, None | Some(Approval::Never)) && !config.allow_approvals {
        return Err(Error::new(
            Kind::Forbidden,
            "approval_policy: on-request and untrusted need gateway.allow_approvals; expected never",
        ));
    }
    Ok(())
}
