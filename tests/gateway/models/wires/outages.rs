//! Providers that answer with an error status: the bridge retries, core does not, and the client
//! gets the words of the provider.

use serde_json::json;

use super::endings::assert_failed;
use super::endings::with_core_retries;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::ask;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::provider::status;

const WORDS: &str = "in the provider's own words";

/// Retries that `provider.config` allows.
const RETRIES: usize = 2;

#[tokio::test]
async fn lasting_outage_reports_provider_words_after_retries() {
    for dialect in &DIALECTS {
        for (code, sort) in
            [(429, "rate limited"), (503, "overloaded"), (529, "overloaded"), (500, "")]
        {
            let wire = format!("{}, {code}", dialect.name());
            let provider = Provider::start([outage(dialect, code)]).await;
            let gateway = with_core_retries(dialect, &provider);
            let answer = ask(&gateway, "hello").await;
            assert_failed(&wire, &answer, WORDS);
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("scripted: "), "{wire}: {message}");
            assert!(message.contains(sort), "{wire}: {message}");
            assert_eq!(provider.requests().len(), 1 + RETRIES, "{wire}: {answer}");
            provider.respond_with(dialect.text("Back."));
            assert_eq!(
                ask(&gateway, "and now?").await["task_result"]["summary"],
                "Back.",
                "{wire}"
            );
        }
    }
}

#[tokio::test]
async fn long_retry_after_is_reported_at_once() {
    for dialect in &DIALECTS {
        let wire = dialect.name();
        let mut limited = outage(dialect, 429);
        limited.headers = vec![("retry-after", "3600")];
        let provider = Provider::start([limited]).await;
        let answer = ask(&with_core_retries(dialect, &provider), "hello").await;
        assert_failed(&wire, &answer, WORDS);
        assert_failed(&wire, &answer, "try again in 3600 s");
        assert_eq!(provider.requests().len(), 1, "{wire}: {answer}");
    }
}

#[tokio::test]
async fn refused_request_is_sent_once() {
    for dialect in &DIALECTS {
        for code in [400, 401, 403, 404] {
            let wire = format!("{}, {code}", dialect.name());
            let provider = Provider::start([outage(dialect, code)]).await;
            let answer = ask(&with_core_retries(dialect, &provider), "hello").await;
            assert_failed(&wire, &answer, WORDS);
            assert_eq!(provider.requests().len(), 1, "{wire}: {answer}");
        }
    }
}

/// Returns an error of this status in the form of the wire.
fn outage(dialect: &Dialect, code: u16) -> Answer {
    let mut error = json!({ "message": WORDS });
    if dialect.wire_api == "anthropic" {
        let kind = match code {
            400 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        error = json!({ "type": kind, "message": WORDS });
    }
    Answer {
        headers: vec![("retry-after", "0")],
        ..status(code, &json!({ "type": "error", "error": error }))
    }
}
