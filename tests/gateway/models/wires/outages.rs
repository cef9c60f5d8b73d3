//! Providers that answer with an error status: asked as often as is of use by the bridge, and not once more by core,
//! which passes their own words on.

use serde_json::Value;
use serde_json::json;

use super::endings::assert_failed;
use super::endings::retrying;
use crate::support::provider::Answer;
use crate::support::provider::Provider;
use crate::support::provider::status;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;
use crate::support::wires::ask;

const WORDS: &str = "in the provider's own words";

/// What `provider.config` allows beside the first request.
const RETRIES: usize = 2;

#[tokio::test]
async fn lasting_outage_reports_provider_words_after_retries() {
    for speaks in &WIRES {
        for (code, sort) in
            [(429, "rate limited"), (503, "overloaded"), (529, "overloaded"), (500, "")]
        {
            let wire = format!("{}, {code}", speaks.name());
            let provider = Provider::start([outage(speaks, code)]).await;
            let gateway = retrying(speaks, &provider);
            let answer = ask(&gateway, "hello").await;
            assert_failed(&wire, &answer, WORDS);
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("scripted: "), "{wire}: {message}");
            assert!(message.contains(sort), "{wire}: {message}");
            assert_eq!(provider.asked().len(), 1 + RETRIES, "{wire}: {answer}");
            provider.now(speaks.text("Back."));
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
    for speaks in &WIRES {
        let wire = speaks.name();
        let mut limited = outage(speaks, 429);
        limited.headers = vec![("retry-after", "3600")];
        let provider = Provider::start([limited]).await;
        let answer = ask(&retrying(speaks, &provider), "hello").await;
        assert_failed(&wire, &answer, WORDS);
        assert_failed(&wire, &answer, "try again in 3600 s");
        assert_eq!(provider.asked().len(), 1, "{wire}: {answer}");
    }
}

#[tokio::test]
async fn refused_request_is_sent_once() {
    for speaks in &WIRES {
        for code in [400, 401, 403, 404] {
            let wire = format!("{}, {code}", speaks.name());
            let provider = Provider::start([outage(speaks, code)]).await;
            let answer = ask(&retrying(speaks, &provider), "hello").await;
            let why = match (code, speaks.wire_api) {
                // Servers quote the key that they refuse.
                (401, "chat") => "refused the credentials",
                _ => WORDS,
            };
            assert_failed(&wire, &answer, why);
            assert_eq!(provider.asked().len(), 1, "{wire}: {answer}");
        }
    }
}

/// After a stream that was cut for good, core does without its WebSocket.
#[tokio::test]
async fn outage_over_http_reports_the_same_words() {
    for speaks in &WIRES {
        let wire = speaks.name();
        let provider = Provider::start([speaks.begun("Half"), outage(speaks, 503)]).await;
        let gateway = speaks.gateway(&provider);
        let events = gateway.exec(json!({ "prompt": "hello" })).await;
        let of = |kind: &str| -> Vec<&Value> {
            events.iter().map(|event| &event["msg"]).filter(|msg| msg["type"] == kind).collect()
        };
        let fell_back =
            of("warning").iter().any(|warning| warning.to_string().contains("Falling back"));
        assert!(fell_back, "{wire}: {events:?}");
        let errors = of("error");
        assert!(
            matches!(errors[..], [error] if error["message"].as_str().unwrap().contains(WORDS)),
            "{wire}: {errors:?}"
        );
        assert_eq!(provider.asked().len(), 2 + RETRIES, "{wire}");
    }
}

fn outage(speaks: &Speaks, code: u16) -> Answer {
    let mut error = json!({ "message": WORDS });
    if speaks.wire_api == "anthropic" {
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
