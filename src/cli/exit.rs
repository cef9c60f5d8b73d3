//! The end of the process, where returning from `main` takes too long.

use std::time::Duration;

use super::output::eprint_lossy;
use crate::telemetry;

/// The time that the log has to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// Returns the exit code of a process that a signal ended, as shells do.
pub(super) fn of_signal(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(0).saturating_add(128)
}

/// Ends the process without dropping anything.
#[expect(
    clippy::disallowed_methods,
    reason = "the operator, or a time limit, asks for exactly this"
)]
pub(super) fn at_once(code: u8) -> ! {
    telemetry::flush_log(FLUSH_TIMEOUT);
    std::process::exit(code.into())
}

/// Ends the process after `limit` if it has not ended by then: the runtime waits for blocking calls
/// without a limit, such as reading from a terminal or a name server. Prints `error` in that case.
pub(super) fn within(limit: Duration, code: u8, error: Option<String>) {
    let thread = std::thread::Builder::new().name("exit".to_owned());
    // Without the thread, the process may take longer.
    let _ = thread.spawn(move || {
        std::thread::sleep(limit);
        if let Some(error) = error {
            eprint_lossy(format_args!("codex-gateway: {error}"));
        }
        at_once(code);
    });
}
