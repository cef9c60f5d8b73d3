//! The credentials of a login.

use chrono::DateTime;
use chrono::Utc;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::Map;
use serde_json::Value;
use sha2::Digest;
use sha2::Sha256;

use crate::bridge::built_in::CHATGPT;
use crate::bridge::credentials::Key;
use crate::error::Error;
use crate::text::excerpt;

/// The longest secret, in bytes. The keys of all providers are shorter.
const MAX_SECRET: usize = 16 * 1024;

/// The members of the credentials.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of what `read` takes by hand")]
pub(super) struct Credentials {
    /// For every provider but `chatgpt`.
    #[schemars(length(max = MAX_SECRET), regex(pattern = VISIBLE))]
    api_key: Option<String>,
    /// For `chatgpt`: an access token.
    #[schemars(length(max = MAX_SECRET), regex(pattern = VISIBLE))]
    token: Option<String>,
    /// For `chatgpt`, if the token does not contain it.
    #[schemars(length(max = MAX_SECRET), regex(pattern = VISIBLE))]
    account_id: Option<String>,
    /// RFC 3339: the key is not used afterwards.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

/// Visible ASCII characters.
const VISIBLE: &str = "^[!-~]+$";

/// The names of the members.
const MEMBERS: [&str; 4] = ["api_key", "token", "account_id", "expires_at"];

/// Reads the credentials of a provider. Returns the key and the name of its account.
pub(super) fn read(provider: &str, credentials: Value) -> Result<(Key, String), Error> {
    let is_chatgpt = provider == CHATGPT.id;
    let member = if is_chatgpt { "token" } else { "api_key" };
    let Value::Object(mut members) = credentials else {
        return Err(Error::invalid(format!(
            "credentials: expected an object, {{\"{member}\": \"…\"}}"
        )));
    };
    if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(Error::invalid(format!(
            "credentials: expected the fields {}, got {}",
            MEMBERS.join(", "),
            excerpt(unknown)
        )));
    }
    let secret = take(&mut members, member)?.ok_or_else(|| {
        Error::invalid(format!("credentials.{member}: expected a string, the key for {provider}"))
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
                "credentials.account_id: expected the id of the ChatGPT account: the token does not \
                 contain it",
            ));
        };
        account = claims.email.or(Some(account_id.clone()));
    }
    if expires_at.is_some_and(|end| end <= Utc::now()) {
        return Err(Error::invalid("credentials: already expired"));
    }
    let account = account.unwrap_or_else(|| {
        let hash = Sha256::digest(secret.expose_secret().as_bytes());
        let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    });
    let account_id = account_id.filter(|_| is_chatgpt);
    Ok((Key { provider: provider.to_owned(), secret, account_id, expires_at }, account))
}

/// Takes a member that is a string. Errors do not quote it.
fn take(members: &mut Map<String, Value>, member: &str) -> Result<Option<SecretString>, Error> {
    match members.get_mut(member).map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let text = SecretString::from(text);
            let is_valid = (1..=MAX_SECRET).contains(&text.expose_secret().len())
                && text.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
            if is_valid {
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

/// The claims of a ChatGPT token. They are not verified: the provider does that.
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
    fn chatgpt_token_yields_account_and_expiry() {
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
    fn errors_do_not_quote_the_secret() {
        let old = token(&json!({ "exp": 1 }));
        for (provider, credentials, says) in [
            ("openai", json!("canary"), "credentials: expected an object"),
            ("openai", json!({}), "credentials.api_key: expected a string"),
            ("openai", json!({ "token": "canary" }), "credentials.api_key"),
            ("openai", json!({ "api_key": ["canary"] }), "credentials.api_key: expected a string"),
            ("openai", json!({ "api_key": "canary canary" }), "visible ASCII"),
            ("openai", json!({ "api_key": "" }), "visible ASCII"),
            (
                "openai",
                json!({ "api_key": "canary", "key": 1 }),
                "credentials: expected the fields",
            ),
            ("chatgpt", json!({ "api_key": "canary" }), "credentials.token"),
            ("chatgpt", json!({ "token": "canary" }), "credentials.account_id"),
            ("chatgpt", json!({ "token": old, "account_id": "a" }), "already expired"),
            ("openai", json!({ "api_key": "canary", "expires_at": "canary" }), "expires_at"),
        ] {
            let error = read(provider, credentials).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("canary"), "{error}");
        }
    }
}
