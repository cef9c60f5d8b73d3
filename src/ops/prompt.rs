//! Starts a turn: the body of `/exec` and its like, the params of `conversation.prompt`, and the
//! prompt of the command line.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use tracing::Span;

use super::cancel_on_disconnect::CancelOnDrop;
use super::integer;
use super::policy;
use crate::app::App;
use crate::config::Config;
use crate::conversation::IfBusy;
use crate::conversation::ModelChoice;
use crate::conversation::StartOptions;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::ConversationKey;
use crate::conversation::id::SessionId;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::error::Error;
use crate::error::Kind;

/// A prompt and how its turn runs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct PromptRequest {
    /// The task for the agent. Not blank.
    #[schemars(length(min = 1), regex(pattern = r"\S"))]
    pub(crate) prompt: String,
    /// A name that the client chooses; a known one continues its conversation.
    #[schemars(with = "Option<SessionId>")]
    pub(crate) session_id: Option<String>,
    /// The conversation to continue, by its id.
    #[schemars(with = "Option<ConversationId>")]
    pub(crate) conversation_id: Option<String>,
    /// A model, or an alias from `[gateway.models]`.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"\S"))]
    pub(crate) model: Option<String>,
    /// Chosen when a conversation starts.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"\S"))]
    pub(crate) model_provider: Option<String>,
    /// The turn's time limit.
    #[serde(default, deserialize_with = "integer::optional")]
    #[schemars(range(min = 1000, max = 3_600_000))]
    pub(crate) timeout_ms: Option<u64>,
    /// A folder inside the workspace root, for a new conversation.
    #[schemars(length(min = 1))]
    pub(crate) cwd: Option<String>,
    /// What commands may touch; read-only or workspace-write unless the operator permits more.
    pub(crate) sandbox: Option<Sandbox>,
    /// When the agent asks before it acts; `never` unless the operator permits more.
    pub(crate) approval_policy: Option<Approval>,
    /// A JSON Schema for the agent's last message.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(crate) output_schema: Option<Value>,
    /// `data:image/…;base64,…` URIs.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^data:image/")))]
    pub(crate) images: Vec<String>,
    /// What to do while a turn runs. `steer` takes no output_schema, model or sandbox beside it.
    #[serde(default)]
    pub(crate) if_busy: IfBusy,
    /// Whether to stream `raw_response_*` events too, where the operator permits it.
    #[serde(default)]
    pub(crate) raw_events: bool,
    /// Whether the result of `conversation.prompt` holds deltas.
    #[serde(default)]
    pub(crate) include_deltas: bool,
    /// Reserved: webhooks are not built into this version.
    #[schemars(with = "Option<()>")]
    pub(crate) callback_url: Option<String>,
}

/// A turn that a prompt started.
#[derive(Debug)]
pub(crate) struct StartedTurn {
    pub(crate) turn: Turn,
    /// To be dropped when the client leaves.
    pub(crate) cancel_on_drop: CancelOnDrop,
    /// Whether the client may read `raw_response_*` events, and asks for them.
    pub(crate) raw_events: bool,
}

/// Starts the turn of a prompt, in the conversation that it names or in a new one. `tied`: whether
/// the turn ends with the client's connection.
///
/// A valid prompt is started even if the caller is dropped: a conversation is never left half
/// started. A tied turn is then interrupted at once.
///
/// # Errors
/// `InvalidRequest` that names the field and what it takes; `TooLarge` for the prompt; `Forbidden`
/// for what the operator does not permit; any error of
/// [`Registry::prompt`](crate::conversation::registry::Registry::prompt).
pub(crate) async fn prompt(
    app: &Arc<App>,
    caller: &str,
    request: PromptRequest,
    tied: bool,
) -> Result<StartedTurn, Error> {
    let raw_events = request.raw_events;
    let ValidPrompt { key, options, prompt, timeout, if_busy } =
        request.validate(app.config(), caller)?;
    let starting = app.detached(move |app| async move {
        let turn = app.conversations().prompt(&key, &options, prompt, timeout, if_busy).await?;
        let cancel_on_drop = CancelOnDrop::new(tied, &turn);
        Ok((turn, cancel_on_drop))
    });
    let (turn, cancel_on_drop) = starting.await?;
    Ok(StartedTurn { turn, cancel_on_drop, raw_events })
}

/// A prompt whose fields are valid.
#[derive(Debug)]
struct ValidPrompt {
    key: ConversationKey,
    options: StartOptions,
    prompt: Prompt,
    timeout: Duration,
    if_busy: IfBusy,
}

impl PromptRequest {
    /// Sends the prompt to this conversation.
    ///
    /// # Errors
    /// `InvalidRequest` where `conversation_id` names another one.
    pub(crate) fn in_conversation(&mut self, id: &ConversationId) -> Result<(), Error> {
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
    /// `Forbidden` for what the operator does not permit.
    fn validate(self, config: &Config, caller: &str) -> Result<ValidPrompt, Error> {
        self.validate_prompt(config)?;
        let timeout = time_limit(self.timeout_ms, &TIMEOUT_RANGE_MS)?;
        let timeout = timeout.unwrap_or(config.turns.default_timeout);
        policy::allow_sandbox(config, self.sandbox)?;
        policy::allow_raw_events(config, self.raw_events)?;
        policy::allow_approvals(config, self.approval_policy)?;
        if self.if_busy == IfBusy::Steer
            && (self.output_schema.is_some() || self.model.is_some() || self.sandbox.is_some())
        {
            return Err(Error::invalid(
                "if_busy: steer adds prompt and images to the running turn; expected no \
                 output_schema, model or sandbox beside it",
            ));
        }
        if self.callback_url.is_some() {
            return Err(Error::invalid("callback_url: webhooks are not built into this version"));
        }
        validate_images(&self.images)?;
        if self.output_schema.as_ref().is_some_and(|schema| !schema.is_object()) {
            return Err(Error::invalid("output_schema: expected a JSON Schema object"));
        }
        let (session_id, conversation_id) =
            (self.session_id.as_deref(), self.conversation_id.as_deref());
        Ok(ValidPrompt {
            key: ConversationKey::parse(session_id, conversation_id)?,
            options: StartOptions {
                cwd: self.cwd,
                model: choose_model(config, self.model, self.model_provider)?,
                sandbox: self.sandbox,
                approval_policy: self.approval_policy,
                span: Span::current(),
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

    fn validate_prompt(&self, config: &Config) -> Result<(), Error> {
        validate_text(&self.prompt)?;
        let limit = config.turns.prompt_limit_chars;
        if self.prompt.len() > limit && self.prompt.chars().count() > limit {
            return Err(Error::new(
                Kind::TooLarge,
                format!("prompt: expected at most {limit} characters"),
            ));
        }
        Ok(())
    }
}

/// Resolves `model` and `model_provider`; an alias from `[gateway.models]` becomes its model.
///
/// # Errors
/// `InvalidRequest` where one is blank or too long, or the two disagree.
pub(crate) fn choose_model(
    config: &Config,
    model: Option<String>,
    model_provider: Option<String>,
) -> Result<ModelChoice, Error> {
    for (field, value) in [("model", &model), ("model_provider", &model_provider)] {
        let fits = |value: &String| !value.trim().is_empty() && value.chars().count() <= 256;
        if value.as_ref().is_some_and(|value| !fits(value)) {
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
            "model_provider: the model {alias:?} stands for {primary}; expected {} or no \
             model_provider",
            primary.provider
        )));
    }
    let (model, provider) = (Some(primary.model), Some(primary.provider));
    Ok(ModelChoice { model, provider, alias: Some(alias) })
}

/// Checks the text of a prompt.
///
/// # Errors
/// `InvalidRequest` where it is blank.
pub(crate) fn validate_text(prompt: &str) -> Result<(), Error> {
    if prompt.trim().is_empty() {
        return Err(Error::invalid("prompt: expected a string that is not empty"));
    }
    Ok(())
}

/// Checks that images come as data: the gateway fetches no addresses.
///
/// # Errors
/// `InvalidRequest` where one is not a `data:image/…` URI.
pub(crate) fn validate_images(images: &[String]) -> Result<(), Error> {
    match images.iter().find(|image| !image.starts_with("data:image/")) {
        None => Ok(()),
        Some(bad) => Err(Error::invalid(format!(
            "images: expected `data:image/…;base64,…` URIs, got {}",
            crate::text::excerpt(bad)
        ))),
    }
}

/// Checks a time limit.
///
/// # Errors
/// `InvalidRequest` where it is out of range.
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
