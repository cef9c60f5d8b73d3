//! Read-only access to a folder in a hidden one, in a form that core's sandbox can enforce.
//!
//! Core's policy hides a folder and shows one inside. Bubblewrap does that where the inner one is
//! writable. Where it is only readable, core would hide both. Therefore everything but the hidden
//! folder is shown, entry by entry: the siblings of the folders on the way to it.

use std::path::Path;
use std::path::PathBuf;

use codex_protocol::models::ManagedFileSystemPermissions;
use codex_protocol::models::PermissionProfile;
use codex_protocol::permissions::FileSystemAccessMode;
use codex_protocol::permissions::FileSystemPath;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_protocol::permissions::FileSystemSpecialPath;
use codex_utils_absolute_path::AbsolutePathBuf;

/// Folders that the sandbox mounts itself.
const MOUNTED: [&str; 2] = ["/dev", "/proc"];

/// Replaces "read everything but the hidden folder" by what may be read, if a folder inside the
/// hidden one is readable. Returns whether it was so.
pub(crate) fn list(profile: &mut PermissionProfile) -> bool {
    let PermissionProfile::Managed {
        file_system: ManagedFileSystemPermissions::Restricted { entries, .. },
        ..
    } = profile
    else {
        return false;
    };
    let paths = |access: FileSystemAccessMode| {
        entries.iter().filter(move |entry| entry.access == access).filter_map(path)
    };
    let readable: Vec<_> = paths(FileSystemAccessMode::Read).collect();
    let hidden = paths(FileSystemAccessMode::Deny)
        .find(|hidden| readable.iter().any(|inner| inner.starts_with(hidden.as_path())))
        .cloned();
    let Some(hidden) = hidden else { return false };
    entries.retain(|entry| !is_root(entry) && path(entry) != Some(&hidden));
    // Core resolves links in `/`, such as `/bin` and `/lib64`, except those of its own list.
    let minimal = FileSystemPath::Special { value: FileSystemSpecialPath::Minimal };
    entries.push(FileSystemSandboxEntry::new(minimal, FileSystemAccessMode::Read));
    entries.extend(siblings(&hidden).into_iter().filter_map(|path| {
        let path = FileSystemPath::Path { path: AbsolutePathBuf::from_absolute_path(path).ok()? };
        Some(FileSystemSandboxEntry::new(path, FileSystemAccessMode::Read))
    }));
    true
}

fn path(entry: &FileSystemSandboxEntry) -> Option<&AbsolutePathBuf> {
    match &entry.path {
        FileSystemPath::Path { path } => Some(path),
        FileSystemPath::GlobPattern { .. } | FileSystemPath::Special { .. } => None,
    }
}

fn is_root(entry: &FileSystemSandboxEntry) -> bool {
    matches!(entry.path, FileSystemPath::Special { value: FileSystemSpecialPath::Root })
}

/// Everything beside a folder and beside the folders around it.
fn siblings(hidden: &Path) -> Vec<PathBuf> {
    let around = hidden.ancestors().skip(1).flat_map(|outer| outer.read_dir().ok()).flatten();
    let entries = around.flatten().map(|entry| entry.path());
    let shown = entries.filter(|path| {
        !hidden.starts_with(path) && !MOUNTED.iter().any(|mounted| path == Path::new(mounted))
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use codex_protocol::permissions::FileSystemSandboxPolicy;
    use codex_protocol::permissions::NetworkSandboxPolicy;

    use super::*;

    #[test]
    fn siblings_are_shown_instead_of_the_root() {
        let rule = |path: &str, access| {
            let path = AbsolutePathBuf::from_absolute_path(path).unwrap();
            FileSystemSandboxEntry::new(FileSystemPath::Path { path }, access)
        };
        let root = FileSystemPath::Special { value: FileSystemSpecialPath::Root };
        let root = FileSystemSandboxEntry::new(root, FileSystemAccessMode::Read);
        let hidden = rule("/usr/bin", FileSystemAccessMode::Deny);
        let profile = |entries: Vec<_>| {
            let files = FileSystemSandboxPolicy::restricted(entries);
            PermissionProfile::from_runtime_permissions(&files, NetworkSandboxPolicy::Restricted)
        };
        let inner = rule("/usr/bin/own", FileSystemAccessMode::Read);
        let mut shown = profile(vec![root.clone(), hidden.clone(), inner.clone()]);
        assert!(list(&mut shown));
        let text = serde_json::to_string(&shown).unwrap();
        assert!(text.contains("\"/usr/lib\"") && text.contains("\"/usr/bin/own\""), "{text}");
        for absent in ["\"/usr\"", "\"/usr/bin\"", "\"/dev\"", "\"/proc\"", "\"root\""] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
        // Bubblewrap shows a writable folder in a hidden one.
        let inner = rule("/usr/bin/own", FileSystemAccessMode::Write);
        assert!(!list(&mut profile(vec![root, hidden, inner])));
    }
}
