//! Variables from files: `NAME_FILE` names a file whose content is the value of `NAME`, as Docker and
//! Cloud Run mount secrets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;

use super::file::Env;

/// The largest file.
const MAX_BYTES: u64 = 64 << 10;

/// An environment with the values that files hold. Remembers the first error, because a lookup cannot
/// fail.
pub(super) struct SecretFiles<'a> {
    env: Env<'a>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// By the name of the variable.
    values: BTreeMap<String, String>,
    files: Vec<PathBuf>,
    error: Option<anyhow::Error>,
}

impl<'a> SecretFiles<'a> {
    pub(super) fn new(env: Env<'a>) -> Self {
        Self { env, state: RefCell::default() }
    }

    /// Returns the value of a variable. Blank ones count as unset.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let set = |name: &str| (self.env)(name).filter(|value| !value.trim().is_empty());
        let own = set(name);
        let Some(path) = set(&format!("{name}_FILE")) else { return own };
        let mut state = self.state.borrow_mut();
        if let Some(value) = state.values.get(name) {
            return Some(value.clone());
        }
        match read(name, own.as_deref(), &path) {
            Ok(value) => {
                state.values.insert(name.to_owned(), value.clone());
                // The sandbox hides a file, not a link to it.
                state.files.push(std::fs::canonicalize(&path).unwrap_or_else(|_| path.into()));
                Some(value)
            }
            Err(error) => {
                state.error.get_or_insert(error);
                None
            }
        }
    }

    /// Returns the files that were read.
    ///
    /// # Errors
    /// A file could not be used; the message names its variable.
    pub(super) fn finish(self) -> anyhow::Result<Vec<PathBuf>> {
        let State { files, error, .. } = self.state.into_inner();
        error.map_or(Ok(files), Err)
    }
}

fn read(name: &str, own: Option<&str>, path: &str) -> anyhow::Result<String> {
    if own.is_some() {
        bail!("{name} and {name}_FILE: expected one of the two, got both; unset one");
    }
    let file = File::open(path).with_context(|| format!("{name}_FILE: cannot read {path}"))?;
    let is_file = file.metadata().is_ok_and(|data| data.is_file());
    ensure!(is_file, "{name}_FILE: expected a file, got {path}");
    let mut value = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut value)
        .with_context(|| format!("{name}_FILE: cannot read {path} as text"))?;
    ensure!(
        value.len() as u64 <= MAX_BYTES,
        "{name}_FILE: expected at most {MAX_BYTES} bytes in {path}, got more"
    );
    let value = value.trim_end_matches(['\r', '\n']);
    ensure!(!value.trim().is_empty(), "{name}_FILE: expected a value in {path}, got an empty file");
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_gives_the_value_of_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("key"), "secret\r\n").unwrap();
        std::fs::write(path("empty"), "\n").unwrap();
        std::fs::write(path("long"), "x".repeat(70_000)).unwrap();
        let variables = |name: &str| match name {
            "KEY_FILE" | "BOTH_FILE" => Some(path("key")),
            "BOTH" | "OWN" => Some("own".to_owned()),
            "EMPTY_FILE" => Some(path("empty")),
            "MISSING_FILE" => Some(path("missing")),
            "LONG_FILE" => Some(path("long")),
            "FOLDER_FILE" => Some(folder.path().display().to_string()),
            "BLANK_FILE" => Some(" ".to_owned()),
            _ => None,
        };
        let files = SecretFiles::new(&variables);
        assert_eq!(files.get("KEY").as_deref(), Some("secret"));
        assert_eq!(files.get("KEY").as_deref(), Some("secret"));
        assert_eq!(files.get("OWN").as_deref(), Some("own"));
        assert_eq!(files.get("BLANK"), None);
        assert_eq!(files.finish().unwrap(), [folder.path().join("key")]);
        for (name, says) in [
            ("BOTH", "BOTH and BOTH_FILE: expected one of the two"),
            ("EMPTY", "EMPTY_FILE: expected a value"),
            ("MISSING", "MISSING_FILE: cannot read"),
            ("LONG", "LONG_FILE: expected at most 65536 bytes"),
            ("FOLDER", "FOLDER_FILE: expected a file"),
        ] {
            let files = SecretFiles::new(&variables);
            assert_eq!(files.get(name), None);
            let error = files.finish().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
