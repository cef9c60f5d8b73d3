//! Keys that sessions bring along (`auth.login`): kept in memory only, wiped on drop, used for the
//! model calls of their own session only.
//!
//! A call names its conversation, and a conversation is bound to its session when it opens. A
//! sub-agent of core's is a conversation of its own that names its parent.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::MutexGuard;

use chrono::DateTime;
use chrono::Utc;
use http::HeaderName;
use http::HeaderValue;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use wires::Code;
use wires::WireError;

use super::call::ModelCall;
use super::provider::Provider;
use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

/// The most sessions that are logged in at a time.
const MAX_LOGINS: usize = 10_000;
/// The most providers that one session is logged in with.
const MAX_KEYS: usize = 16;

/// The logins of this process.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Logins by session.
    logins: HashMap<String, Login>,
    /// Sessions by conversation.
    sessions: HashMap<String, String>,
}

/// The keys of one session.
struct Login {
    /// The name of the caller's API key.
    owner: String,
    /// One per provider, the newest last.
    keys: Vec<Key>,
}

/// A key for one provider.
pub struct Key {
    /// The id of the provider.
    pub provider: String,
    /// The value of the key.
    pub secret: SecretString,
    /// The account of the key, if the provider requires it.
    pub account_id: Option<String>,
    /// The end of its validity.
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for Key {
    /// Omits the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("logins", &self.lock().logins.len()).finish()
    }
}

impl Credentials {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }

    /// Logs a session in. A second login with the same provider replaces the first.
    ///
    /// # Errors
    /// `Forbidden` if the session is another caller's; `Overloaded` if there are too many logins.
    pub fn login(&self, session_id: &str, owner: &str, key: Key) -> Result<(), Error> {
        let mut inner = self.lock();
        if inner.logins.len() >= MAX_LOGINS && !inner.logins.contains_key(session_id) {
            return Err(Error::new(Kind::Overloaded, "too many sessions are logged in"));
        }
        let login = inner
            .logins
            .entry(session_id.to_owned())
            .or_insert_with(|| Login { owner: owner.to_owned(), keys: Vec::new() });
        if login.owner != owner {
            return Err(foreign());
        }
        login.keys.retain(|known| known.provider != key.provider);
        if login.keys.len() >= MAX_KEYS {
            return Err(Error::new(
                Kind::Overloaded,
                format!("the session is logged in with {MAX_KEYS} providers already"),
            ));
        }
        login.keys.push(key);
        Ok(())
    }

    /// Logs a session out of all its providers. Returns whether it was logged in.
    ///
    /// # Errors
    /// `Forbidden` if the session is another caller's.
    pub fn logout(&self, session_id: &str, caller: &str) -> Result<bool, Error> {
        let mut inner = self.lock();
        match inner.logins.get(session_id) {
            Some(login) if login.owner != caller => Err(foreign()),
            Some(_) => Ok(inner.logins.remove(session_id).is_some()),
            None => Ok(false),
        }
    }

    /// Checks whether a caller may start turns in a session. In a session that is logged in only
    /// its owner may, because the provider bills the owner.
    ///
    /// # Errors
    /// `Forbidden` if the session is another caller's.
    pub fn admit(&self, session_id: &str, caller: &str) -> Result<(), Error> {
        match self.lock().logins.get(session_id) {
            Some(login) if login.owner != caller => Err(foreign()),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the provider of a session's newest login.
    pub fn preferred(&self, session_id: &str) -> Option<String> {
        let inner = self.lock();
        inner.logins.get(session_id)?.keys.last().map(|key| key.provider.clone())
    }

    /// Binds a conversation to a session, whose keys its calls use from now on.
    pub fn bind(&self, conversation_id: &str, session_id: &str) {
        self.lock().sessions.insert(conversation_id.to_owned(), session_id.to_owned());
    }

    /// Unbinds a conversation that has closed.
    pub fn unbind(&self, conversation_id: &str) {
        self.lock().sessions.remove(conversation_id);
    }

    /// Returns the provider with the key of the call's session in place of the operator's, if the
    /// session has one.
    ///
    /// # Errors
    /// `Authentication`, which ends the turn, if there is no usable key.
    pub(super) fn apply(
        &self,
        provider: &Arc<Provider>,
        call: &ModelCall,
    ) -> Result<Arc<Provider>, WireError> {
        let inner = self.lock();
        let session = call.conversation_ids().find_map(|id| inner.sessions.get(id));
        let own = session.and_then(|session| {
            let login = inner.logins.get(session)?;
            login.keys.iter().find(|key| key.provider == provider.id)
        });
        let id = &provider.id;
        match own {
            Some(key) if key.expires_at.is_some_and(|end| end <= Utc::now()) => {
                Err(unusable(format!("the login with {id} has expired: auth.login again")))
            }
            Some(key) => own_key(provider, key).map(Arc::new).ok_or_else(|| {
                unusable(format!("the key for {id} fits into no header: auth.login again"))
            }),
            None if provider.lacks_key() => Err(unusable(match &provider.key_variable {
                Some(variable) => format!("no key for {id}: auth.login or set {variable}"),
                None => format!("no key for {id}: auth.login"),
            })),
            None => Ok(Arc::clone(provider)),
        }
    }
}

/// Returns the provider with this key and without the operator's. `None` if the key fits into no
/// header.
fn own_key(provider: &Provider, key: &Key) -> Option<Provider> {
    let (name, before) = provider.key_header.clone();
    let secret = SecretString::from(format!("{before}{}", key.secret.expose_secret()));
    let mut value = HeaderValue::from_str(secret.expose_secret()).ok()?;
    value.set_sensitive(true);
    let mut own = provider.clone();
    // Secret headers of the operator go too: they may hold another form of the key, or an account.
    own.headers.retain(|(known, _)| *known != name && !provider.secret_headers.contains(known));
    own.headers.push((name, value));
    if let Some(account) = &key.account_id {
        let account = HeaderValue::from_str(account).ok()?;
        own.headers.push((HeaderName::from_static("chatgpt-account-id"), account));
    }
    Some(own)
}

fn unusable(message: String) -> WireError {
    WireError::new(Code::Authentication, message)
}

fn foreign() -> Error {
    Error::new(
        Kind::Forbidden,
        "session_id: another caller has logged in with this session; use your own session",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bridge::provider::ProviderConfig;
    use crate::bridge::provider::ResolveContext;
    use crate::bridge::request::ModelRequest;

    fn provider(env_key: Option<&str>) -> Arc<Provider> {
        let config: ProviderConfig = toml::from_str(
            "base_url = \"https://x.example\"\nenv_key = \"KEY\"\nhttp_headers = { \"x-a\" = \"b\" }\n\
             env_http_headers = { \"x-secret\" = \"KEY\" }\n",
        )
        .unwrap();
        let env = |_: &str| env_key.map(str::to_owned);
        let context =
            ResolveContext { env: &env, folder: std::path::Path::new("/"), max_retries: None };
        Arc::new(config.resolve("x", "x", &context).unwrap())
    }

    fn call(thread: &str, parent: &str, root: &str) -> ModelCall {
        let request = json!({ "client_metadata": {
            "thread_id": thread, "x-codex-parent-thread-id": parent, "session_id": root,
        } });
        ModelCall::new(ModelRequest::parse(request.to_string().as_bytes()).unwrap())
    }

    fn key(secret: &str) -> Key {
        Key { provider: "x".into(), secret: secret.into(), account_id: None, expires_at: None }
    }

    fn sent(credentials: &Credentials, provider: &Arc<Provider>, call: &ModelCall) -> String {
        match credentials.apply(provider, call) {
            Ok(provider) => {
                let headers = provider.headers.iter();
                let headers =
                    headers.map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
                headers.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.message,
        }
    }

    #[test]
    fn call_gets_only_its_sessions_key() {
        let credentials = Credentials::default();
        credentials.login("a", "ci", key("key-a")).unwrap();
        credentials.login("b", "ci", key("key-b")).unwrap();
        for (thread, session) in [("1", "a"), ("2", "b"), ("3", "c")] {
            credentials.bind(thread, session);
        }
        let operators = provider(Some("op"));
        let of_operator = "authorization=Bearer op x-a=b x-secret=op";
        for (call, expected) in [
            (call("1", "", ""), "x-a=b authorization=Bearer key-a"),
            (call("2", "", ""), "x-a=b authorization=Bearer key-b"),
            (call("3", "", ""), of_operator),
            // Sub-agents.
            (call("11", "1", "1"), "x-a=b authorization=Bearer key-a"),
            (call("12", "11", "1"), "x-a=b authorization=Bearer key-a"),
            // A conversation that was forked from another session's is its own.
            (call("2", "", "1"), "x-a=b authorization=Bearer key-b"),
            (call("9", "", "9"), of_operator),
        ] {
            assert_eq!(sent(&credentials, &operators, &call), expected, "{call:?}");
        }
        let first = call("1", "", "");
        assert!(credentials.logout("a", "ci").unwrap());
        assert_eq!(sent(&credentials, &operators, &first), of_operator);
        let none = provider(None);
        let missing = "no key for x: auth.login or set KEY";
        assert_eq!(sent(&credentials, &none, &first), missing);
        assert!(!credentials.logout("a", "ci").unwrap());
    }

    #[test]
    fn expired_login_is_rejected() {
        let credentials = Credentials::default();
        let expires_at = Some(Utc::now());
        credentials.login("a", "ci", Key { expires_at, ..key("key-a") }).unwrap();
        credentials.bind("1", "a");
        let message = sent(&credentials, &provider(Some("op")), &call("1", "", ""));
        assert!(message.contains("has expired"), "{message}");
    }

    #[test]
    fn login_belongs_to_its_caller() {
        let credentials = Credentials::default();
        credentials.login("a", "ci", key("key-a")).unwrap();
        credentials.login("a", "ci", key("key-b")).unwrap();
        assert_eq!(*credentials.login("a", "other", key("k")).unwrap_err().kind(), Kind::Forbidden);
        assert_eq!(*credentials.logout("a", "other").unwrap_err().kind(), Kind::Forbidden);
        assert_eq!(*credentials.admit("a", "other").unwrap_err().kind(), Kind::Forbidden);
        assert!(credentials.admit("a", "ci").is_ok() && credentials.admit("b", "other").is_ok());
        assert_eq!(credentials.preferred("a").as_deref(), Some("x"));
        assert!(!format!("{:?}{:?}", credentials, key("canary")).contains("canary"));
    }
}
