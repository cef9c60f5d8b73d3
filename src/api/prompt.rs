//! The request that starts a turn: the body of `/exec`, `/api/v1/exec` and `/api/v1/exec/stream`,
//! and the params of `conversation.prompt`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use codex_gateway_engine::Approval;
use codex_gateway_engine::Prompt;
use codex_gateway_engine::Sandbox;
use codex_gateway_engine::ThreadSpec;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tracing::Instrument;
use tracing::Span;

use super::cancel_on_disconnect::CancelOnDrop;
use crate::app::App;
use crate::bridge::demo;
use crate::config::Config;
use crate::config::models::ModelRef;
use crate::conversation::Activity;
use crate::conversation::IfBusy;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::conversation::registry::Opening;
use crate::conversation::registry::Selector;
use crate::error::Error;
use crate::error::Kind;
use crate::telemetry::trace;

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
    selector: Selector,
    opening: Opening,
    prompt: Prompt,
    timeout: Duration,
    if_busy: IfBusy,
    /// What the client called the model, and what it stands for.
    alias: Option<(String, ModelRef)>,
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
        let Choice { model, model_provider, alias } =
            choose(config, self.model, self.model_provider)?;
        Ok(Checked {
            selector: selector(self.session_id.as_deref(), self.conversation_id.as_deref())?,
            opening: Opening {
                cwd: self.cwd,
                caller: caller.to_owned(),
                spec: ThreadSpec {
                    model: model.clone(),
                    model_provider,
                    sandbox: self.sandbox,
                    approval_policy: self.approval_policy,
                    mcp_servers: Vec::new(),
                    ..ThreadSpec::default()
                },
            },
            prompt: Prompt {
                text: self.prompt,
                images: self.images,
                output_schema: self.output_schema,
                model,
                sandbox: self.sandbox,
                approval_policy: self.approval_policy,
            },
            timeout,
            if_busy: self.if_busy,
            alias,
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
    /// What [`Registry::open`](crate::conversation::registry::Registry::open) and
    /// [`Conversation::prompt`](crate::conversation::Conversation::prompt) say.
    pub(crate) async fn start(
        mut self,
        app: &Arc<App>,
        tied: bool,
    ) -> Result<(Turn, CancelOnDrop), Error> {
        let app_ = Arc::clone(app);
        let span = Span::current();
        self.opening.spec.trace = trace::for_core(&span);
        let starting = app.detached(async move {
            let turn = self.run(&app_, &span).await?;
            let tied = CancelOnDrop::new(tied, &turn);
            Ok((turn, tied))
        });
        starting.await
    }

    /// The turn is traced below `span`. Opening the conversation is not done inside it: core's tasks
    /// would hold it for as long as the conversation lives.
    async fn run(self, app: &App, span: &Span) -> Result<Turn, Error> {
        let provider = self.opening.spec.model_provider.clone();
        loop {
            let conversation = app.conversations().open(&self.selector, &self.opening).await?;
            let in_use = conversation.model_provider();
            if provider.as_ref().is_some_and(|provider| provider != in_use) {
                return Err(Error::invalid(match &self.alias {
                    Some((name, primary)) => format!(
                        "model: {name:?} stands for {primary}, and the conversation already uses \
                         {in_use}; a provider is chosen when it starts"
                    ),
                    None => format!(
                        "model_provider: the conversation already uses {in_use}; a provider is chosen \
                         when it starts"
                    ),
                }));
            }
            let mut prompt = self.prompt.clone();
            if in_use == demo::ID {
                prompt.model = None;
            }
            let turn = conversation.prompt(prompt, self.timeout, self.if_busy);
            let turn = turn.instrument(span.clone()).await;
            match turn {
                // It was put to rest between the two calls; the next round takes it up again.
                Err(_) if conversation.snapshot().activity == Activity::Closed => {}
                turn => return turn,
            }
        }
    }
}

/// The model that a request means.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) model: Option<String>,
    pub(crate) model_provider: Option<String>,
    /// What the client called the model, and what it stands for.
    alias: Option<(String, ModelRef)>,
}

/// Reads `model` and `model_provider`; a name from `[gateway.models]` becomes what it stands for.
///
/// # Errors
/// `InvalidRequest` where one is empty or too long, or the two disagree.
pub(crate) fn choose(
    config: &Config,
    model: Option<String>,
    model_provider: Option<String>,
) -> Result<Choice, Error> {
    for (field, value) in [("model", &model), ("model_provider", &model_provider)] {
        if value.as_ref().is_some_and(|value| value.trim().is_empty() || value.len() > 256) {
            return Err(Error::invalid(format!("{field}: expected 1 to 256 characters")));
        }
    }
    let alias = model.as_deref().and_then(|model| {
        config.models.get(model).map(|entry| (model.to_owned(), entry.primary.clone()))
    });
    if let (Some((name, primary)), Some(provider)) = (&alias, &model_provider)
        && primary.provider != *provider
    {
        return Err(Error::invalid(format!(
            "model_provider: the model {name:?} stands for {primary}; expected {} or no model_provider",
            primary.provider
        )));
    }
    let (model, model_provider) = match &alias {
        Some((_, primary)) => (Some(primary.model.clone()), Some(primary.provider.clone())),
        None => (model, model_provider),
    };
    Ok(Choice { model, model_provider, alias })
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
