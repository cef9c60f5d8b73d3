//! Keys that a session brings for a provider (`auth.*`). They are kept in memory only.

mod credentials;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use self::credentials::Credentials;
use crate::app::App;
use crate::app::providers;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::error::Kind;
use crate::text::excerpt;
use crate::text::rfc3339;

/// A key of a session.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    /// `openai`, `chatgpt`, `anthropic`, `openrouter`, `google` or a configured provider.
    provider: String,
    // Decoded by hand: the errors of serde would quote the secret.
    #[schemars(with = "Credentials")]
    credentials: Value,
    /// The session. Default: a new name.
    session_id: Option<SessionId>,
}

/// A session that is logged in.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LoggedIn {
    logged_in: bool,
    session_id: SessionId,
    provider: String,
    /// The account, or the beginning of the key's SHA-256.
    account: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

/// Sets the key of a session for a provider.
///
/// # Errors
/// `InvalidRequest` names the field, without its value; `NotFound` if another caller has started the
/// session; `Forbidden` if another caller has logged it in.
pub(crate) fn login(app: &App, caller: &str, request: LoginRequest) -> Result<LoggedIn, Error> {
    let known = providers::bridged(app.config()).map(|provider| provider.id.as_str());
    if !known.clone().any(|id| id == request.provider) {
        return Err(Error::invalid(format!(
            "provider: expected one of {} (Codex calls all others itself, with its own login), got {}",
            known.collect::<Vec<_>>().join(", "),
            excerpt(&request.provider)
        )));
    }
    let session_id = request.session_id.unwrap_or_else(SessionId::generate);
    let (key, account) = credentials::read(&request.provider, request.credentials)?;
    let expires_at = key.expires_at.map(rfc3339);
    app.conversations().check_name(caller, &session_id)?;
    app.credentials().login(session_id.as_str(), caller, key)?;
    // Another caller may have started the session in between.
    if let Err(taken) = app.conversations().check_name(caller, &session_id) {
        app.credentials().logout(session_id.as_str(), caller)?;
        return Err(taken);
    }
    tracing::info!(%session_id, provider = request.provider, caller, "logged in");
    Ok(LoggedIn { logged_in: true, session_id, provider: request.provider, account, expires_at })
}

/// The session to log out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogoutRequest {
    session_id: SessionId,
}

/// A session without keys.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LoggedOut {
    logged_out: bool,
    session_id: SessionId,
}

/// Removes the keys of a session.
///
/// # Errors
/// `NotFound` if it has none; `Forbidden` if it belongs to another caller.
pub(crate) fn logout(app: &App, caller: &str, request: LogoutRequest) -> Result<LoggedOut, Error> {
    let session_id = request.session_id;
    let credentials = app.credentials();
    if !credentials.logout(session_id.as_str(), caller)? {
        return Err(Error::new(
            Kind::NotFound,
            format!("session_id: {session_id} is not logged in"),
        ));
    }
    tracing::info!(%session_id, caller, "logged out");
    Ok(LoggedOut { logged_out: true, session_id })
}
