//! The limit of open file descriptors.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::web::Limits;
use crate::web::connections::MAX_CLOSING;

/// The soft limit is not raised beyond this number unless the connections need it: programs that
/// close every possible descriptor when they start take minutes under a limit of a billion.
const ENOUGH: u64 = 65_536;
/// Descriptors for everything but clients: files, databases, providers, pipes of commands.
const OTHERS: u64 = 256;

/// Raises the soft limit towards the hard limit. Reduces `max_connections` if the limit is still
/// too low for it, and logs that.
pub fn raise_limit(limits: &mut Limits) {
    let closing = MAX_CLOSING as u64;
    let needed = u64::try_from(limits.connection_capacity()).unwrap_or(u64::MAX);
    let needed = needed.saturating_add(closing);
    let Some(files) = raise(ENOUGH.max(needed.saturating_mul(2).saturating_add(OTHERS))) else {
        return;
    };
    let clients = files.saturating_sub(OTHERS.min(files / 2));
    if needed <= clients {
        return;
    }
    let configured = limits.max_connections;
    // The reserve is a sixteenth of the connections, and at least 16.
    let open = clients.saturating_sub(closing);
    let most = (open / 17 * 16).min(open.saturating_sub(16)).max(1);
    limits.reduce_connections(usize::try_from(most).unwrap_or(usize::MAX));
    tracing::warn!(
        open_files = files,
        configured,
        max_connections = limits.max_connections,
        "the limit of open files is too low for max_connections; raise it (ulimit -Hn)"
    );
}

/// Raises the soft limit to `wanted`, or to the hard limit if that is lower. Returns the limit;
/// `None` if there is none.
fn raise(wanted: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if raised <= current {
        return Some(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => Some(raised),
        Err(error) => {
            tracing::warn!(%error, current, "cannot raise the limit of open files");
            Some(current)
        }
    }
}
