//! [`LogWriter`]: hands log lines to a thread that writes them, so that a reader that stalls (a
//! full pipe, a paused terminal) never stalls a task.
//!
//! The queue is bounded in bytes. Lines that do not fit are dropped and counted, and the number is
//! logged once lines are read again. (`tracing-appender` bounds the number of lines, not bytes,
//! does not report what it drops, and prints to the stalled pipe at exit.)

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::Mutex;

/// The size of the queue.
const CAPACITY: usize = 2 << 20;
/// A larger queue gives its memory back once it is empty.
const KEPT: usize = 64 * 1024;
/// The pause before the next attempt to write to a pipe that is full and does not block.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The queue of log lines. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LogWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signals that the queue has lines.
    filled: Condvar,
    /// Signals that every line is written.
    emptied: Condvar,
    /// Dropped lines since the start.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: u64,
    /// Dropped lines that are not reported.
    unreported: u64,
    /// Whether the thread is writing lines that it has taken.
    writing: bool,
}

impl LogWriter {
    /// Starts the thread. It calls `report` with the number of dropped lines, once the reader of the
    /// log reads again.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(output: impl Write + Send + 'static, report: fn(u64)) -> io::Result<Self> {
        let this = Self(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        }));
        let shared = Arc::clone(&this.0);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || shared.run(output, report))?;
        Ok(this)
    }

    /// Returns the number of dropped lines.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Blocks until every line is written, at most `limit`.
    pub(super) fn flush_within(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut queue = self.0.queue.lock();
        while queue.writing || !queue.bytes.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.emptied.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Write for LogWriter {
    /// Queues a line. Each event is one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.queue.lock();
        if queue.bytes.len() + line.len() > CAPACITY {
            queue.unreported += 1;
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            queue.bytes.extend_from_slice(line);
            queue.lines += 1;
            self.0.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Writes what is queued, for the life of the process.
    fn run(&self, mut output: impl Write, report: fn(u64)) {
        let mut taken = Vec::new();
        loop {
            let lines = self.take(&mut taken);
            let unreported = match write_all(&mut output, &taken) {
                Ok(()) => std::mem::take(&mut self.queue.lock().unreported),
                // The reader is gone for good.
                Err(_) => {
                    self.dropped.fetch_add(lines, Ordering::Relaxed);
                    0
                }
            };
            if unreported > 0 {
                report(unreported);
            }
            self.queue.lock().writing = false;
            self.emptied.notify_all();
        }
    }

    /// Waits for lines and swaps them with `taken`. Returns their number.
    fn take(&self, taken: &mut Vec<u8>) -> u64 {
        taken.clear();
        if taken.capacity() > KEPT {
            *taken = Vec::new();
        }
        let mut queue = self.queue.lock();
        while queue.bytes.is_empty() {
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.writing = true;
        std::mem::swap(&mut queue.bytes, taken);
        std::mem::take(&mut queue.lines)
    }
}

fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program may have made the terminal or pipe that it shares non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(RETRY_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns an unbuffered output to the same file as `stream`, without its lock: a thread that
/// blocks in a write would keep that lock.
///
/// # Errors
/// The file descriptor cannot be duplicated.
pub(super) fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that blocks until the test takes what is written.
    struct Pipe(mpsc::SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    static REPORTED: AtomicU64 = AtomicU64::new(0);

    fn report(lines: u64) {
        REPORTED.fetch_add(lines, Ordering::Relaxed);
    }

    #[test]
    fn stalled_reader_loses_lines_and_stalls_nothing() {
        let (sender, pipe) = mpsc::sync_channel(0);
        let mut writer = LogWriter::start(Pipe(sender), report).unwrap();
        let line = [b'x'; 1024];
        let capacity = CAPACITY / line.len();
        let sent = 3 * capacity;
        for _ in 0..sent {
            writer.write_all(&line).unwrap();
        }
        // The thread has taken some lines before the queue was full, and holds them.
        let dropped = usize::try_from(writer.dropped()).unwrap();
        assert!((sent - 2 * capacity..=sent - capacity).contains(&dropped), "{dropped}");
        writer.flush_within(Duration::from_millis(10));
        assert_eq!(REPORTED.load(Ordering::Relaxed), 0);

        let mut read = 0;
        while read < (sent - dropped) * line.len() {
            read += pipe.recv().unwrap().len();
        }
        writer.flush_within(Duration::from_secs(60));
        assert_eq!(REPORTED.load(Ordering::Relaxed), dropped as u64);
        // Nothing is dropped any more.
        writer.write_all(b"last\n").unwrap();
        assert_eq!(pipe.recv().unwrap(), b"last\n");
        assert_eq!(writer.dropped(), dropped as u64);
    }

    #[test]
    fn lines_after_the_reader_is_gone_are_dropped() {
        let (sender, pipe) = mpsc::sync_channel(0);
        let mut writer = LogWriter::start(Pipe(sender), |_| {}).unwrap();
        drop(pipe);
        writer.write_all(b"one\n").unwrap();
        writer.flush_within(Duration::from_secs(60));
        assert_eq!(writer.dropped(), 1);
    }
}
