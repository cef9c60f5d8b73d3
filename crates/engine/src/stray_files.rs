//! Empty files that the sandbox of earlier versions left in codex's home. They were mount points of
//! files that it hid: an empty `auth.json` looked like a login, and an `archived_sessions` that is a
//! file kept conversations from being deleted.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Names in codex's home that are files.
const FILES: [&str; 6] = [
    "auth.json",
    "config.toml",
    ".env",
    ".credentials.json",
    "history.jsonl",
    "session_index.jsonl",
];
/// Names in codex's home that are folders.
const FOLDERS: [&str; 4] = ["sessions", "archived_sessions", "gateway", "log"];

/// Removes them: empty files that nobody may write, and empty files in the place of folders.
pub(crate) fn remove(codex_home: &Path) {
    let files = FILES.iter().map(|name| (name, false));
    for (name, is_folder) in files.chain(FOLDERS.iter().map(|name| (name, true))) {
        let path = codex_home.join(name);
        let Ok(found) = path.symlink_metadata() else { continue };
        let is_read_only = found.permissions().mode() & 0o222 == 0;
        if found.is_file() && found.len() == 0 && (is_folder || is_read_only) {
            let (did, error) = match std::fs::remove_file(&path) {
                Ok(()) => ("removed", String::new()),
                Err(error) => ("cannot remove", format!(": {error}")),
            };
            // The log is not open yet.
            let text =
                format!("{did} {}, which an earlier version left empty{error}", path.display());
            let _ = writeln!(std::io::stderr(), "codex-gateway: {text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_files_of_no_use_are_removed() {
        let home = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir_all(home.join("sessions")).unwrap();
        for (name, content, mode, stays) in [
            ("auth.json", "", 0o444, false),
            (".env", "", 0o644, true),
            ("config.toml", "x = 1", 0o444, true),
            ("archived_sessions", "", 0o644, false),
            ("log", "x", 0o444, true),
            ("other", "", 0o444, true),
        ] {
            let path = home.join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            remove(&home);
            assert_eq!(path.exists(), stays, "{name}");
        }
        assert!(home.join("sessions").exists());
        std::fs::remove_dir_all(home).unwrap();
    }
}
