//! The keys that sessions bring along (`auth.login`): kept in memory only, wiped when they go, used for
//! the model calls of their own session and no others.
//!
//! A call says which conversation it belongs to; a conversation is bound to its session when it is
//! opened. A sub-agent of core's is a conversation of its own, which names the one that it works for.

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

use super::ask::Ask;
use super::provider::Provider;
use super::wire::Failure;
use crate::error::Error;
use crate::error::Kind;
use crate::sync::Mutex;

/// Sessions that are logged in at a time; more are refused.
const MAX_LOGINS: usize = 10_000;
/// Providers that one session is logged in with.
const MAX_KEYS: usize = 16;

/// The logins of this process.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By session.
    logins: HashMap<String, Login>,
    /// Which session a conversation belongs to.
    sessions: HashMap<String, String>,
}

/// What one session brought.
struct Login {
    /// The name of the caller's key.
    owner: String,
    /// The newest last.
    keys: Vec<Key>,
}

/// A key for one provider.
pub struct Key {
    /// The id of the provider.
    pub provider: String,
    /// What is sent.
    pub secret: SecretString,
    /// The account that it belongs to, where the provider wants to hear it.
    pub account_id: Option<String>,
    /// Until when it is used.
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for Key {
    /// Without the secret.
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
    /// `Forbidden` where another caller has logged it in; `Overloaded` where there are too many.
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

    /// Logs a session out of all its providers. Says whether it was logged in.
    ///
    /// # Errors
    /// `Forbidden` where another caller has logged it in.
    pub fn logout(&self, session_id: &str, caller: &str) -> Result<bool, Error> {
        let mut inner = self.lock();
        match inner.logins.get(session_id) {
            Some(login) if login.owner != caller => Err(foreign()),
            Some(_) => Ok(inner.logins.remove(session_id).is_some()),
            None => Ok(false),
        }
    }

    /// Whether a caller may start turns in a session: in one that is logged in, only its owner may,
    /// because the turns go on the owner's account.
    ///
    /// # Errors
    /// `Forbidden` where another caller has logged it in.
    pub fn admit(&self, session_id: &str, caller: &str) -> Result<(), Error> {
        match self.lock().logins.get(session_id) {
            Some(login) if login.owner != caller => Err(foreign()),
            Some(_) | None => Ok(()),
        }
    }

    /// The provider of a session's newest login.
    pub fn preferred(&self, session_id: &str) -> Option<String> {
        let inner = self.lock();
        inner.logins.get(session_id)?.keys.last().map(|key| key.provider.clone())
    }

    /// From here on, a conversation's calls are its session's.
    pub fn bind(&self, conversation_id: &str, session_id: &str) {
        self.lock().sessions.insert(conversation_id.to_owned(), session_id.to_owned());
    }

    /// A conversation has ended.
    pub fn unbind(&self, conversation_id: &str) {
        self.lock().sessions.remove(conversation_id);
    }

    /// The provider as a call is to see it: with the key of the call's session in the place of the
    /// operator's, where there is one.
    pub(super) fn apply(
        &self,
        provider: &Arc<Provider>,
        ask: &Ask,
    ) -> Result<Arc<Provider>, Failure> {
        let inner = self.lock();
        // The conversation itself, the one that it works for, and the one that core counts it to.
        let ids = [&ask.conversation_id, &ask.parent_id, &ask.root_id];
        let session = ids.into_iter().flatten().find_map(|id| inner.sessions.get(id));
        let own = session.and_then(|session| {
            let login = inner.logins.get(session)?;
            login.keys.iter().find(|key| key.provider == provider.id)
        });
        match own {
            Some(key) if key.expires_at.is_some_and(|end| end <= Utc::now()) => {
                Err(ending(format!("the login with {} has expired: auth.login again", provider.id)))
            }
            Some(key) => own_key(provider, key).map(Arc::new).ok_or_else(|| {
                ending(format!("the key for {} fits into no header: auth.login again", provider.id))
            }),
            None if provider.lacks_key() => Err(ending(match &provider.key_variable {
                Some(variable) => {
                    format!("no key for {}: auth.login or set {variable}", provider.id)
                }
                None => format!("no key for {}: auth.login", provider.id),
            })),
            None => Ok(Arc::clone(provider)),
        }
    }
}

/// The provider with this key, and without the operator's.
fn own_key(provider: &Provider, key: &Key) -> Option<Provider> {
    let (name, before) = provider.key_header.clone();
    let secret = SecretString::from(format!("{before}{}", key.secret.expose_secret()));
    let mut value = HeaderValue::from_str(secret.expose_secret()).ok()?;
    value.set_sensitive(true);
    let mut own = provider.clone();
    // What the operator sends beside the key may be a secret too: another form of the key, an account.
    own.headers.retain(|(known, _)| *known != name && !provider.secret_headers.contains(known));
    own.headers.push((name, value));
    if let Some(account) = &key.account_id {
        let account = HeaderValue::from_str(account).ok()?;
        own.headers.push((HeaderName::from_static("chatgpt-account-id"), account));
    }
    Some(own)
}

/// A failure that ends the turn: asking again is of no use.
fn ending(message: String) -> Failure {
    Failure { code: "invalid_prompt", message, retryable: false }
}

fn foreign() -> Error {
    Error::new(
        Kind::Forbidden,
        "session_id: another caller has logged this session in; expected a session of one's own",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bridge::provider::Surroundings;
    use crate::bridge::provider::Written;
    use crate::bridge::request::ModelRequest;

    fn provider(env_key: Option<&str>) -> Arc<Provider> {
        let written: Written = toml::from_str(
            "base_url = \"https://x.example\"\nenv_key = \"KEY\"\nhttp_headers = { \"x-a\" = \"b\" }\n\
             env_http_headers = { \"x-secret\" = \"KEY\" }\n",
        )
        .unwrap();
        let env = |_: &str| env_key.map(str::to_owned);
        let surroundings =
            Surroundings { env: &env, folder: std::path::Path::new("/"), max_retries: None };
        Arc::new(written.resolve("x", "x", &surroundings).unwrap())
    }

    fn ask(thread: &str, parent: &str, root: &str) -> Ask {
        let request = json!({ "client_metadata": {
            "thread_id": thread, "x-codex-parent-thread-id": parent, "session_id": root,
        } });
        Ask::new(ModelRequest::parse(request.to_string().as_bytes()).unwrap())
    }

    fn key(secret: &str) -> Key {
        Key { provider: "x".into(), secret: secret.into(), account_id: None, expires_at: None }
    }

    fn sent(credentials: &Credentials, provider: &Arc<Provider>, ask: &Ask) -> String {
        match credentials.apply(provider, ask) {
            Ok(provider) => {
                let headers = provider.headers.iter();
                let headers =
                    headers.map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
                headers.collect::<Vec<_>>().join(" ")
            }
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn a_call_gets_its_sessions_key_and_no_other() {
        let credentials = Credentials::default();
        credentials.login("a", "ci", key("key-a")).unwrap();
        credentials.login("b", "ci", key("key-b")).unwrap();
        for (thread, session) in [("1", "a"), ("2", "b"), ("3", "c")] {
            credentials.bind(thread, session);
        }
        let operators = provider(Some("op"));
        let of_operator = "authorization=Bearer op x-a=b x-secret=op";
        for (ask, expected) in [
            (ask("1", "", ""), "x-a=b authorization=Bearer key-a"),
            (ask("2", "", ""), "x-a=b authorization=Bearer key-b"),
            (ask("3", "", ""), of_operator),
            // Sub-agents.
            (ask("11", "1", "1"), "x-a=b authorization=Bearer key-a"),
            (ask("12", "11", "1"), "x-a=b authorization=Bearer key-a"),
            // A conversation that was forked from another session's is its own.
            (ask("2", "", "1"), "x-a=b authorization=Bearer key-b"),
            (ask("9", "", "9"), of_operator),
        ] {
            assert_eq!(sent(&credentials, &operators, &ask), expected, "{ask:?}");
        }
        let first = ask("1", "", "");
        assert!(credentials.logout("a", "ci").unwrap());
        assert_eq!(sent(&credentials, &operators, &first), of_operator);
        let none = provider(None);
        let says = "no key for x: auth.login or set KEY";
        assert_eq!(sent(&credentials, &none, &first), says);
        assert!(!credentials.logout("a", "ci").unwrap());
    }

    #[test]
    fn a_login_ends_when_it_says_so() {
        let credentials = Credentials::default();
        let expires_at = Some(Utc::now());
        credentials.login("a", "ci", Key { expires_at, ..key("key-a") }).unwrap();
        credentials.bind("1", "a");
        let told = sent(&credentials, &provider(Some("op")), &ask("1", "", ""));
        assert!(told.contains("has expired"), "{told}");
    }

    #[test]
    fn a_login_is_its_callers() {
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
