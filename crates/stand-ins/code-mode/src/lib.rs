//! The stand-in for `codex-code-mode`.
//!
//! Code mode runs JavaScript written by the model in V8. The build script of V8 downloads a
//! prebuilt library of about 70 MB, which rules out offline builds and small images. codex-core
//! depends on this crate unconditionally. The stand-in re-exports the protocol and refuses to
//! create sessions, with an error that reaches the user. `codex_code_mode_protocol::host` describes
//! the protocol of the real out-of-process host.

use std::path::PathBuf;
use std::sync::Arc;

pub use codex_code_mode_protocol::*;

const REFUSAL: &str = "code mode is not built into this gateway";

fn refuse<'a>() -> CodeModeSessionProviderFuture<'a> {
    Box::pin(std::future::ready(Err(REFUSAL.to_owned())))
}

/// Upstream: V8 in this process. Here: a refusal.
#[derive(Debug, Default, Clone, Copy)]
pub struct InProcessCodeModeSessionProvider;

impl CodeModeSessionProvider for InProcessCodeModeSessionProvider {
    fn create_session<'a>(
        &'a self,
        _delegate: Arc<dyn CodeModeSessionDelegate>,
    ) -> CodeModeSessionProviderFuture<'a> {
        refuse()
    }
}

/// Upstream: V8 in a separate host process. Here: a refusal.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProcessOwnedCodeModeSessionProvider;

impl ProcessOwnedCodeModeSessionProvider {
    /// The host program is never started.
    pub fn with_host_program(_host_program: PathBuf) -> Self {
        Self
    }
}

impl CodeModeSessionProvider for ProcessOwnedCodeModeSessionProvider {
    fn create_session<'a>(
        &'a self,
        _delegate: Arc<dyn CodeModeSessionDelegate>,
    ) -> CodeModeSessionProviderFuture<'a> {
        refuse()
    }
}
