//! Codex's own form of patches, as core's parser reads it.
//!
//! The gateway applies patches itself: core's function rewrites context lines and line endings,
//! overwrites files, and takes quadratic time.

use crate::EngineError;

/// A patch in codex's own form that core accepts.
#[derive(Debug)]
pub struct CodexPatch(usize);

impl CodexPatch {
    /// Parses the text of a patch.
    ///
    /// # Errors
    /// `Rejected` names the invalid line.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        match codex_apply_patch::parse_patch(text) {
            Ok(args) => Ok(Self(args.hunks.len())),
            Err(error) => Err(EngineError::Rejected(error.to_string())),
        }
    }

    /// The number of files that it names, with repetitions.
    pub fn sections(&self) -> usize {
        self.0
    }
}
