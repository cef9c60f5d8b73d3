//! Metrics of the process, read from `/proc` (proc(5)) at each collection.

use std::sync::LazyLock;

use opentelemetry::KeyValue;
use opentelemetry::global;
use tokio::time::Instant;

use super::metrics::gauge;
use super::names;
use super::names::SCOPE;

/// `USER_HZ`: the kernel reports CPU time in hundredths of a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Registers the metrics.
pub(super) fn measure() {
    LazyLock::force(&STARTED);
    gauge(names::MEMORY, resident);
    gauge(names::THREADS, threads);
    gauge(names::FILES, files);
    gauge(names::UPTIME, || Some(STARTED.elapsed().as_secs()));
    let meter = global::meter(SCOPE);
    let cpu = meter.f64_observable_counter(names::CPU.name);
    let cpu = cpu.with_unit(names::CPU.unit).with_description(names::CPU.about);
    cpu.with_callback(|observer| {
        let Some((user, system)) = cpu_time() else { return };
        observer.observe(user, &[KeyValue::new(names::CPU_MODE, "user")]);
        observer.observe(system, &[KeyValue::new(names::CPU_MODE, "system")]);
    })
    .build();
}

/// Returns the resident memory in bytes.
fn resident() -> Option<u64> {
    status("VmRSS:").map(|kibibytes| kibibytes * 1024)
}

fn threads() -> Option<u64> {
    status("Threads:")
}

fn files() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory being read.
    u64::try_from(open.saturating_sub(1)).ok()
}

fn status(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the seconds spent in user and in kernel mode.
fn cpu_time() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program name, in parentheses, may contain any character.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some((seconds()?, seconds()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn proc_values_are_plausible() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
        assert!(threads().is_some_and(|threads| threads >= 1));
        let before = files().unwrap();
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert!(files().is_some_and(|files| files > before || files >= 3));
        drop(file);
        let (user, system) = cpu_time().unwrap();
        assert!(user >= 0.0 && system >= 0.0);
    }
}
