//! The stand-in for `codex-code-mode`.
//!
//! Code mode runs JavaScript that the model writes, in V8. V8's build script downloads a prebuilt
//! library of some 70 MB, which neither an offline build nor a small image can have. codex-core
//! names this crate unconditionally, so it has to exist; it re-exports the protocol and refuses to
//! create sessions with a sentence that reaches the user. `codex_code_mode_protocol::host`
//! describes the wire of the real out-of-process host.

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

/// Upstream: V8 in a host process of its own. Here: a refusal.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProcessOwnedCodeModeSessionProvider;

impl ProcessOwnedCodeModeSessionProvider {
    /// Upstream's constructor; the program is never started.
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
