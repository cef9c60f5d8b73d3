//! The memory of process trees: the proportional set size, or the resident set size if the kernel
//! does not expose the former.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::system::System;

/// The sampling period.
const PERIOD: Duration = Duration::from_millis(20);

/// Returns the memory of these processes and their descendants in MB (1,000,000 bytes).
pub(crate) fn megabytes(roots: &[u32]) -> f64 {
    tree(roots).into_iter().filter_map(bytes).sum::<u64>() as f64 / 1e6
}

fn tree(roots: &[u32]) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may contain spaces and parentheses.
        let parent = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found: Vec<u32> = roots.to_vec();
    let mut next = 0;
    while let Some(id) = found.get(next).copied() {
        found.extend(children.remove(&id).unwrap_or_default());
        next += 1;
    }
    found
}

fn bytes(id: u32) -> Option<u64> {
    let kilobytes = |file: &str, key: &str| {
        let text = std::fs::read_to_string(format!("/proc/{id}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let size = kilobytes("smaps_rollup", "Pss:").or_else(|| kilobytes("status", "VmRSS:"))?;
    Some(size * 1024)
}

/// Samples the memory of a system on its own thread.
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<f64>,
}

impl Peak {
    pub(crate) fn watch(system: Arc<dyn System>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peak = 0.0_f64;
            while !stopped.load(Ordering::Relaxed) {
                peak = peak.max(megabytes(&system.processes()));
                std::thread::sleep(PERIOD);
            }
            peak
        });
        Self { stop, thread }
    }

    /// Stops sampling and returns the peak in MB.
    pub(crate) async fn end(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || self.thread.join().unwrap_or(f64::NAN))
            .await
            .unwrap_or(f64::NAN)
    }
}
