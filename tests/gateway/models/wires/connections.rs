//! Connections to a provider: one is enough, whatever is spoken on it.

use std::sync::atomic::Ordering;

use crate::support::gateway::Setup;
use crate::support::provider::Provider;
use crate::support::provider::Transport;
use crate::support::wires::Speaks;
use crate::support::wires::WIRES;
use crate::support::wires::ask;

#[tokio::test]
async fn calls_and_turns_reuse_one_connection() {
    for speaks in &WIRES[..4] {
        for transport in [Transport::Plain, Transport::Tls, Transport::TlsH2] {
            let wire = format!("{}, {transport:?}", speaks.name());
            let script = ["one", "two", "three", "four"]
                .map(|word| speaks.call(&format!("echo {word}")))
                .into_iter()
                .chain([speaks.text("Five calls."), speaks.text("One more.")]);
            let provider = Provider::over(transport, script).await;
            let gateway = trusting(speaks, &provider).start();
            let answer = ask(&gateway, "four tools, please").await;
            assert_eq!(answer["task_result"]["summary"], "Five calls.", "{wire}: {answer}");
            assert_eq!(answer["steps_completed"], 4, "{wire}: {answer}");
            let opened = || provider.connections.load(Ordering::SeqCst);
            assert_eq!((provider.asked().len(), opened()), (5, 1), "{wire}");
            let answer = ask(&gateway, "and once more").await;
            assert_eq!(answer["task_result"]["summary"], "One more.", "{wire}: {answer}");
            assert_eq!((provider.asked().len(), opened()), (6, 1), "{wire}");
            let version = match transport {
                Transport::Plain | Transport::Tls => http::Version::HTTP_11,
                Transport::TlsH2 => http::Version::HTTP_2,
            };
            assert!(provider.asked().iter().all(|asked| asked.version == version), "{wire}");
        }
    }
}

#[tokio::test]
async fn unknown_certificate_is_not_trusted() {
    let speaks = &WIRES[1];
    let provider = Provider::over(Transport::TlsH2, [speaks.text("Hello.")]).await;
    let gateway = speaks.gateway(&provider);
    let answer = ask(&gateway, "hello").await;
    assert_eq!(
        (&answer["status"], &answer["error"]["source"]),
        (&"failed".into(), &"model".into())
    );
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("scripted: ") && message.contains("certificate"), "{message}");
    assert!(provider.asked().is_empty());
}

/// A gateway that knows the provider's certificate.
pub fn trusting(speaks: &Speaks, provider: &Provider) -> Setup {
    let setup = speaks.setup(provider);
    match &provider.certificate {
        Some(file) => setup.env("SSL_CERT_FILE", file.path().to_str().unwrap()),
        None => setup,
    }
}
