//! Whether commands can run at all: without a sandbox they are disabled.

use codex_gateway_engine::sandbox::Tools;

use crate::app::App;
use crate::error::Error;
use crate::error::Kind;

/// Checks that commands can run. `feature` is disabled otherwise, in the plural.
///
/// # Errors
/// `Forbidden` if no sandbox works and the operator has not permitted to run without one.
pub(super) fn require_sandbox(app: &App, feature: &str) -> Result<(), Error> {
    let sandbox = &app.facts().sandbox;
    match sandbox.tools {
        Tools::On | Tools::Unsandboxed => Ok(()),
        Tools::Off => {
            let fix = sandbox.fix.unwrap_or(sandbox.detail.as_str());
            Err(Error::new(
                Kind::Forbidden,
                format!("no sandbox works here, so {feature} are disabled: {fix}"),
            ))
        }
    }
}
