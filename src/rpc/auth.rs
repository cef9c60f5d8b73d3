//! `auth.login`, `auth.logout`: a session brings its own key for a provider.

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use sha2::Digest;
use sha2::Sha256;

use super::call_context::CallContext;
use crate::app::providers;
use crate::bridge::built_in::CHATGPT;
use crate::bridge::credentials::Key;
use crate::conversation::id::SessionId;
use crate::error::Error;
use crate::error::Kind;

/// No key of a provider is longer.
const MAX_SECRET: usize = 16 * 1024;

/// A key, and whose it is to be.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Login {
    /// `openai`, `chatgpt`, `anthropic`, `openrouter`, `google`, or a provider of the configuration.
    provider: String,
    /// Read as a value first: what serde says of a bad one would hold the secret.
    #[schemars(with = "Secrets")]
    credentials: Value,
    /// The session that it is for; one is made up where none is named.
    session_id: Option<String>,
}

/// What `credentials` holds.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what is read by hand")]
struct Secrets {
    /// For every provider but `chatgpt`.
    api_key: Option<String>,
    /// For `chatgpt`: an access token.
    token: Option<String>,
    /// For `chatgpt`, where the token does not say it.
    account_id: Option<String>,
    /// RFC 3339: no call is made with it afterwards.
    expires_at: Option<String>,
}

/// The session is logged in.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LoggedIn {
    logged_in: bool,
    session_id: String,
    provider: String,
    /// The account, or the beginning of the key's SHA-256.
    account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

pub(super) async fn login(call: &CallContext, params: Login) -> Result<LoggedIn, Error> {
    let app = call.app();
    let config = app.config();
    let known = providers::bridged(config).map(|provider| provider.id.as_str());
    if !known.clone().any(|id| id == params.provider) {
        return Err(Error::invalid(format!(
            "provider: expected one of {} (others are called by Codex itself, with its own login)",
            known.collect::<Vec<_>>().join(", ")
        )));
    }
    let session_id = match &params.session_id {
        Some(session_id) => SessionId::parse(session_id)?,
        None => SessionId::generate(),
    };
    let (key, account) = read(&params.provider, params.credentials)?;
    let expires_at = key.expires_at.map(|end| end.to_rfc3339_opts(SecondsFormat::Millis, true));
    app.conversations().credentials().login(session_id.as_str(), call.caller(), key)?;
    tracing::info!(%session_id, provider = params.provider, caller = call.caller(), "logged in");
    Ok(LoggedIn {
        logged_in: true,
        session_id: session_id.to_string(),
        provider: params.provider,
        account,
        expires_at,
    })
}

/// The key in the credentials, and what to call its account.
fn read(provider: &str, credentials: Value) -> Result<(Key, String), Error> {
    let is_chatgpt = provider == CHATGPT.id;
    let member = if is_chatgpt { "token" } else { "api_key" };
    let Value::Object(mut members) = credentials else {
        return Err(Error::invalid(format!(
            "credentials: expected an object, {{\"{member}\": \"…\"}}"
        )));
    };
    let secret = take(&mut members, member)?.ok_or_else(|| {
        Error::invalid(format!("credentials.{member}: expected a string: {provider} takes it"))
    })?;
    let account_id = take(&mut members, "account_id")?;
    let expires_at = match take(&mut members, "expires_at")? {
        Some(text) => Some(DateTime::parse_from_rfc3339(text.expose_secret()).map_err(|_| {
            Error::invalid("credentials.expires_at: expected a time such as 2030-01-31T12:00:00Z")
        })?),
        None => None,
    };
    let mut expires_at = expires_at.map(|end| end.to_utc());
    let mut account_id = account_id.map(|id| id.expose_secret().to_owned());
    let mut account = None;
    if is_chatgpt {
        let claims = claims(secret.expose_secret()).unwrap_or_default();
        expires_at = expires_at.or(claims.expires_at);
        account_id = account_id.or(claims.account_id);
        let Some(account_id) = &account_id else {
            return Err(Error::invalid(
                "credentials.account_id: expected the id of the ChatGPT account, which the token does \
                 not say",
            ));
        };
        account = claims.email.or(Some(account_id.clone()));
    }
    if expires_at.is_some_and(|end| end <= Utc::now()) {
        return Err(Error::invalid("credentials: expected ones that have not expired"));
    }
    let account = account.unwrap_or_else(|| {
        let hash = Sha256::digest(secret.expose_secret().as_bytes());
        let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    });
    let account_id = account_id.filter(|_| is_chatgpt);
    Ok((Key { provider: provider.to_owned(), secret, account_id, expires_at }, account))
}

/// A member that is a string; errors do not hold what it is instead.
fn take(members: &mut Map<String, Value>, member: &str) -> Result<Option<SecretString>, Error> {
    match members.get_mut(member).map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let text = SecretString::from(text);
            let fits = (1..=MAX_SECRET).contains(&text.expose_secret().len())
                && text.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
            if fits {
                Ok(Some(text))
            } else {
                Err(Error::invalid(format!(
                    "credentials.{member}: expected 1 to {MAX_SECRET} visible ASCII characters"
                )))
            }
        }
        Some(_) => Err(Error::invalid(format!("credentials.{member}: expected a string"))),
    }
}

/// What a ChatGPT token says of itself. It is not verified: the provider does that.
#[derive(Default)]
struct Claims {
    account_id: Option<String>,
    email: Option<String>,
    expires_at: Option<DateTime<Utc>>,
}

fn claims(token: &str) -> Option<Claims> {
    use base64::Engine;

    let payload = token.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    let text = |pointer: &str| {
        let text = payload.pointer(pointer)?.as_str()?;
        text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.to_owned())
    };
    Some(Claims {
        account_id: text("/https:~1~1api.openai.com~1auth/chatgpt_account_id"),
        email: text("/https:~1~1api.openai.com~1profile/email").or(text("/email")),
        expires_at: payload
            .get("exp")
            .and_then(Value::as_i64)
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
    })
}

/// Which session.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Logout {
    session_id: String,
}

/// The session's keys are forgotten.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LoggedOut {
    logged_out: bool,
    session_id: String,
}

pub(super) async fn logout(call: &CallContext, params: Logout) -> Result<LoggedOut, Error> {
    let session_id = SessionId::parse(&params.session_id)?;
    let credentials = call.app().conversations().credentials();
    if !credentials.logout(session_id.as_str(), call.caller())? {
        return Err(Error::new(
            Kind::NotFound,
            format!("session_id: {session_id} is not logged in"),
        ));
    }
    tracing::info!(%session_id, caller = call.caller(), "logged out");
    Ok(LoggedOut { logged_out: true, session_id: session_id.to_string() })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> String {
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        format!("e30.{}.sig", engine.encode(claims.to_string()))
    }

    #[test]
    fn a_chatgpt_token_says_whose_it_is_and_until_when() {
        let token = token(&json!({
            "exp": 4_000_000_000_u64,
            "https://api.openai.com/auth": { "chatgpt_account_id": "acc-1" },
            "https://api.openai.com/profile": { "email": "a@b.example" },
        }));
        let (key, account) = read("chatgpt", json!({ "token": token })).unwrap();
        assert_eq!((key.account_id.as_deref(), account.as_str()), (Some("acc-1"), "a@b.example"));
        assert_eq!(key.expires_at.unwrap().timestamp(), 4_000_000_000);
        let given = json!({ "token": "opaque", "account_id": "acc-2" });
        assert_eq!(read("chatgpt", given).unwrap().1, "acc-2");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let old = token(&json!({ "exp": 1 }));
        for (provider, credentials, says) in [
            ("openai", json!("canary"), "credentials: expected an object"),
            ("openai", json!({}), "credentials.api_key: expected a string"),
            ("openai", json!({ "token": "canary" }), "credentials.api_key"),
            ("openai", json!({ "api_key": ["canary"] }), "credentials.api_key: expected a string"),
            ("openai", json!({ "api_key": "canary canary" }), "visible ASCII"),
            ("openai", json!({ "api_key": "" }), "visible ASCII"),
            ("chatgpt", json!({ "api_key": "canary" }), "credentials.token"),
            ("chatgpt", json!({ "token": "canary" }), "credentials.account_id"),
            ("chatgpt", json!({ "token": old, "account_id": "a" }), "not expired"),
            ("openai", json!({ "api_key": "canary", "expires_at": "canary" }), "expires_at"),
        ] {
            let error = read(provider, credentials).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("canary"), "{error}");
        }
    }
}
