//! Connections to a provider: reuse and trust, over every wire and transport.

use std::sync::atomic::Ordering;

use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::ask;
use crate::support::gateway::Setup;
use crate::support::provider::Provider;
use crate::support::provider::Transport;

#[tokio::test]
async fn calls_and_turns_reuse_one_connection() {
    for dialect in &DIALECTS[..4] {
        for transport in [Transport::Plain, Transport::Tls, Transport::TlsH2] {
            let wire = format!("{}, {transport:?}", dialect.name());
            let script = ["one", "two", "three", "four"]
                .map(|word| dialect.call(&format!("echo {word}")))
                .into_iter()
                .chain([dialect.text("Five calls."), dialect.text("One more.")]);
            let provider = Provider::over(transport, script).await;
            let gateway = trusting(dialect, &provider).start();
            let answer = ask(&gateway, "four tools, please").await;
            assert_eq!(answer["task_result"]["summary"], "Five calls.", "{wire}: {answer}");
            assert_eq!(answer["steps_completed"], 4, "{wire}: {answer}");
            let opened = || provider.connections.load(Ordering::SeqCst);
            assert_eq!((provider.requests().len(), opened()), (5, 1), "{wire}");
            let answer = ask(&gateway, "and once more").await;
            assert_eq!(answer["task_result"]["summary"], "One more.", "{wire}: {answer}");
            assert_eq!((provider.requests().len(), opened()), (6, 1), "{wire}");
            let version = match transport {
                Transport::Plain | Transport::Tls => http::Version::HTTP_11,
                Transport::TlsH2 => http::Version::HTTP_2,
            };
            assert!(provider.requests().iter().all(|request| request.version == version), "{wire}");
        }
    }
}

#[tokio::test]
async fn unknown_certificate_is_not_trusted() {
    let dialect = &DIALECTS[1];
    let provider = Provider::over(Transport::TlsH2, [dialect.text("Hello.")]).await;
    let gateway = dialect.gateway(&provider);
    let answer = ask(&gateway, "hello").await;
    assert_eq!(
        (&answer["status"], &answer["error"]["source"]),
        (&"failed".into(), &"model".into())
    );
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("scripted: ") && message.contains("certificate"), "{message}");
    assert!(provider.requests().is_empty());
}

/// Returns the set-up of a gateway that trusts the provider's certificate.
pub fn trusting(dialect: &Dialect, provider: &Provider) -> Setup {
    let setup = dialect.setup(provider);
    match &provider.certificate {
        Some(file) => setup.env("SSL_CERT_FILE", file.path().to_str().unwrap()),
        None => setup,
    }
}
