//! Messages for the person or program that started the gateway.

use std::fmt;
use std::io;
use std::io::Write;

/// Writes a line to standard error and ignores failures. `eprintln!` panics if the pipe is closed,
/// so a server would stop when the program that started it stops reading.
pub fn eprint_lossy(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
