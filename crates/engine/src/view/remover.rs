//! The thread that removes views without users, once no process is in them.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tokio::time::Instant;

use super::live::Shared;
use super::processes::Processes;

/// How often processes are looked for that still run in a view without users.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long they may take to end before they are killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long the end of killed processes is awaited. Later the view stays until the next start.
const LIMIT: Duration = Duration::from_secs(30);

/// Removes views, by their folders, until all senders are gone.
pub(super) fn run(shared: &Shared, unused: &mpsc::Receiver<PathBuf>) {
    let mut pending: HashMap<PathBuf, Instant> = HashMap::new();
    loop {
        let next = if pending.is_empty() {
            unused.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            unused.recv_timeout(LOOK_AGAIN)
        };
        match next {
            Ok(folder) => drop(pending.insert(folder, Instant::now())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(folder) = unused.try_recv() {
            pending.insert(folder, Instant::now());
        }
        let ends = shared.ends_of_use(pending.keys());
        pending.retain(|folder, _| ends.contains_key(folder));
        let processes = Processes::scan();
        pending.retain(|folder, since| {
            let ends = ends.get(folder).copied().unwrap_or_default();
            try_remove(shared, folder, ends, &processes, since.elapsed())
        });
    }
}

/// Removes a view if no process is in it. Returns whether to look again.
fn try_remove(
    shared: &Shared,
    folder: &Path,
    ends: u64,
    processes: &Processes,
    waited: Duration,
) -> bool {
    let mut live = shared.live();
    let Some(view) = live.get(folder) else { return false };
    // A user that came and went after the scan may have left a process.
    if view.users > 0 || view.ends != ends {
        return view.users == 0;
    }
    if processes.are_in(&view.files.dir) {
        if waited > GRACE {
            processes.kill(&view.files.dir);
        }
        if waited > LIMIT {
            tracing::warn!("a command does not end; its temporary files stay until the next start");
        }
        return waited <= LIMIT;
    }
    let Some(view) = live.remove(folder) else { return false };
    view.files.remove_placeholders();
    drop(live);
    view.files.remove();
    false
}
