//! Starts a turn: the body of `/exec` and its like, the params of `conversation.prompt`, and the
//! prompt of the command line.

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
use crate::conversation::limits::TurnTimeout;
use crate::error::Error;
use crate::error::Kind;
use crate::input::image::ImageUri;
use crate::input::path::FolderPath;
use crate::input::text::ModelName;
use crate::input::text::SomeText;

/// A prompt and how its turn runs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptRequest {
    /// The task for the agent. Not blank.
    pub(crate) prompt: SomeText,
    /// A name that the client chooses; a known one continues its conversation.
    pub(crate) session_id: Option<SessionId>,
    /// The conversation to continue, by its id.
    #[serde(alias = "conversationId")]
    pub(crate) conversation_id: Option<ConversationId>,
    /// A model, or an alias from `[gateway.models]`.
    pub(crate) model: Option<ModelName>,
    /// Chosen when a conversation starts.
    #[serde(alias = "modelProvider")]
    pub(crate) model_provider: Option<ModelName>,
    /// The turn's time limit in milliseconds.
    pub(crate) timeout_ms: Option<TurnTimeout>,
    /// A folder inside the workspace root, for a new conversation.
    pub(crate) cwd: Option<FolderPath>,
    /// The sandbox of commands: read-only or workspace-write, unless the operator permits more.
    #[serde(alias = "sandbox_mode", alias = "sandboxMode")]
    pub(crate) sandbox: Option<Sandbox>,
    /// When the agent asks before it acts; `never` unless the operator permits more.
    #[serde(alias = "approvalPolicy")]
    pub(crate) approval_policy: Option<Approval>,
    /// A JSON Schema for the agent's last message.
    #[serde(alias = "outputSchema")]
    pub(crate) output_schema: Option<Map<String, Value>>,
    /// `data:image/…;base64,…` URIs.
    #[serde(default)]
    pub(crate) images: Vec<ImageUri>,
    /// The handling of the prompt while a turn runs. `steer` takes no output_schema, model or sandbox beside it.
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

/// Starts the turn of a prompt, in the conversation that it names or in a new one.
/// `cancel_on_disconnect`: whether the turn ends with the client's connection.
///
/// A valid prompt is started even if the caller is dropped: a conversation is never left half
/// started. A turn that depends on its client is then interrupted at once.
///
/// # Errors
/// `InvalidRequest` that names the field and what it takes; `TooLarge` for the prompt; `Forbidden`
/// for what the operator does not permit; any error of
/// [`Registry::prompt`](crate::conversation::registry::Registry::prompt).
pub(crate) async fn prompt(
    app: &Arc<App>,
    caller: &str,
    request: PromptRequest,
    cancel_on_disconnect: bool,
) -> Result<StartedTurn, Error> {
    let raw_events = request.raw_events;
    let ValidPrompt { key, options, prompt, timeout, if_busy } =
        request.validate(app.config(), caller)?;
    let starting = app.detached(move |app| async move {
        let turn = app.conversations().prompt(&key, &options, prompt, timeout, if_busy).await?;
        let cancel_on_drop = CancelOnDrop::new(cancel_on_disconnect, &turn);
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
        match self.conversation_id.replace(id.clone()) {
            Some(other) if other != *id => Err(Error::invalid(format!(
                "conversation_id: expected {id}, as in the path, or nothing, got {other}"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks what depends on the configuration or on several fields; `caller` is the name of the
    /// caller's key.
    ///
    /// # Errors
    /// `InvalidRequest` that names the field and what it takes; `TooLarge` for the prompt;
    /// `Forbidden` for what the operator does not permit.
    fn validate(self, config: &Config, caller: &str) -> Result<ValidPrompt, Error> {
        check_length(config, &self.prompt)?;
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
            return Err(Error::invalid(
                "callback_url: expected null: webhooks are not built into this version",
            ));
        }
        Ok(ValidPrompt {
            key: ConversationKey {
                session_id: self.session_id,
                conversation_id: self.conversation_id,
            },
            options: StartOptions {
                cwd: self.cwd.map(FolderPath::into_string),
                model: choose_model(config, self.model, self.model_provider)?,
                sandbox: self.sandbox,
                approval_policy: self.approval_policy,
                span: Span::current(),
                ..StartOptions::new(caller)
            },
            prompt: Prompt {
                text: self.prompt.into_string(),
                images: ImageUri::strings(self.images),
                output_schema: self.output_schema.map(Value::Object),
                ..Prompt::default()
            },
            timeout: time_limit(self.timeout_ms).unwrap_or(config.turns.default_timeout),
            if_busy: self.if_busy,
        })
    }
}

/// Resolves `model` and `model_provider`; an alias from `[gateway.models]` becomes its model.
///
/// # Errors
/// `InvalidRequest` where the two disagree.
pub(crate) fn choose_model(
    config: &Config,
    model: Option<ModelName>,
    model_provider: Option<ModelName>,
) -> Result<ModelChoice, Error> {
    let [model, model_provider] =
        [model, model_provider].map(|name| name.map(ModelName::into_string));
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

/// Checks the length of a prompt, also of one that steers a turn.
///
/// # Errors
/// `TooLarge`.
pub(crate) fn check_length(config: &Config, prompt: &SomeText) -> Result<(), Error> {
    let (limit, prompt) = (config.turns.prompt_limit_chars, prompt.as_str());
    if prompt.len() <= limit {
        return Ok(());
    }
    match prompt.chars().count() {
        length if length > limit => Err(Error::new(
            Kind::TooLarge,
            format!("prompt: expected at most {limit} characters, got {length}"),
        )),
        _ => Ok(()),
    }
}

/// The time limit of a turn, if the request chooses one.
pub(crate) fn time_limit(timeout_ms: Option<TurnTimeout>) -> Option<Duration> {
    timeout_ms.map(|timeout| Duration::from_millis(timeout.get()))
}
