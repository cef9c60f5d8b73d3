//! Full and quick runs.

use std::env::VarError;

/// How much a bench measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Enough rounds for meaningful figures.
    Full,
    /// A few rounds that only prove that the bench works.
    Quick,
}

impl Mode {
    /// Returns the mode of a bench target: quick under `cargo test` or with `--quick`.
    #[must_use]
    pub fn of_bench_target() -> Self {
        let given = |expected: &str| std::env::args().any(|argument| argument == expected);
        // Only `cargo bench` passes `--bench`.
        if given("--bench") && !given("--quick") { Self::Full } else { Self::Quick }
    }

    #[must_use]
    pub fn is_full(self) -> bool {
        self == Self::Full
    }

    /// The number of rounds per measurement.
    #[must_use]
    pub fn rounds(self) -> usize {
        match self {
            Self::Full => 40,
            Self::Quick => 2,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
        }
    }

    /// Reads a mode from an environment variable; `None` if it is not set.
    pub(crate) fn from_env(variable: &str) -> anyhow::Result<Option<Self>> {
        match std::env::var(variable).as_deref() {
            Ok("full") => Ok(Some(Self::Full)),
            Ok("quick") => Ok(Some(Self::Quick)),
            Err(VarError::NotPresent) => Ok(None),
            other => anyhow::bail!("{variable}: expected full or quick, got {other:?}"),
        }
    }
}
