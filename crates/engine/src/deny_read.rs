//! Deny-read rules: files that commands cannot read, in core's form and in the sandbox's.
//!
//! Core evaluates a policy several times a turn and looks up each of its paths on disk every time;
//! patterns it only compares. Therefore the rules are patterns, most of them without a wildcard.
//! Bubblewrap hides files, not patterns. Core's sandbox helper is this binary under another name:
//! it expands the patterns into files ([`helper_arguments`]), once per command.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

#[cfg(target_os = "linux")]
use anyhow::Context;
use codex_protocol::models::ManagedFileSystemPermissions;
use codex_protocol::models::PermissionProfile;
use codex_protocol::permissions::FileSystemAccessMode;
use codex_protocol::permissions::FileSystemPath;
use codex_protocol::permissions::FileSystemSandboxEntry;
use codex_utils_absolute_path::AbsolutePathBuf;

/// Characters with a meaning in core's patterns.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];
/// The helper's argument before the profile.
#[cfg(target_os = "linux")]
pub(crate) const PROFILE: &str = "--permission-profile";
/// Everything in a folder, in core's patterns.
pub(crate) const EVERYTHING: &str = "**";

/// Rules for `name` in a folder. `name` may contain `*`; with a `/` at its end it is a folder, and
/// the rules cover its content too.
pub(crate) fn rules(folder: &Path, name: &str) -> Vec<FileSystemSandboxEntry> {
    let everything = if name.ends_with('/') { EVERYTHING } else { "" };
    match folder.to_str() {
        Some(text) if cfg!(target_os = "linux") && !text.contains(SPECIAL) => {
            let path =
                FileSystemPath::GlobPattern { pattern: format!("{text}/{name}{everything}") };
            vec![FileSystemSandboxEntry::new(path, FileSystemAccessMode::Deny)]
        }
        // Other sandboxes have helpers of their own; a special character in the folder's path fits
        // no pattern.
        Some(_) | None => expand(folder, name).iter().filter_map(|path| path_rule(path)).collect(),
    }
}

/// Rules for one file.
pub(crate) fn file_rules(path: &Path) -> Vec<FileSystemSandboxEntry> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) if !name.contains(SPECIAL) => rules(folder, name),
        _ => path_rule(path).into_iter().collect(),
    }
}

fn path_rule(path: &Path) -> Option<FileSystemSandboxEntry> {
    let path = FileSystemPath::Path { path: AbsolutePathBuf::from_absolute_path(path).ok()? };
    // Missing paths need no rule.
    Some(FileSystemSandboxEntry::skip_missing_path(path, FileSystemAccessMode::Deny))
}

/// The paths that `name` matches in a folder. Without a wildcard the path need not exist.
fn expand(folder: &Path, name: &str) -> Vec<PathBuf> {
    if name == EVERYTHING {
        return vec![folder.to_owned()];
    }
    if !name.contains('*') {
        return vec![folder.join(name.trim_end_matches('/'))];
    }
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let matching =
        files.filter(|file| file.file_name().to_str().is_some_and(|it| matches(it, name)));
    matching.map(|file| file.path()).collect()
}

/// Whether a name matches `pattern`, in which `*` stands for any characters.
fn matches(name: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(name) = name.strip_prefix(start) else { return false };
    let Some((middle, end)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
    let Some(mut name) = name.strip_suffix(end) else { return false };
    middle.split('*').all(|part| {
        let found = name.split_once(part);
        name = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

/// Arguments for core's sandbox helper in which patterns are expanded into files. `None` if this
/// process is not the helper or there is nothing to expand. Takes this process's arguments, its
/// name first.
///
/// # Errors
/// The profile cannot be parsed: the command must not run.
#[cfg(target_os = "linux")]
pub(crate) fn helper_arguments(
    mut arguments: Vec<OsString>,
) -> anyhow::Result<Option<Vec<OsString>>> {
    let called = arguments.first().and_then(|name| Path::new(name).file_name());
    if called.is_none_or(|name| name != codex_sandboxing::landlock::CODEX_LINUX_SANDBOX_ARG0) {
        return Ok(None);
    }
    // The arguments after `--` are the command's.
    let mut own = arguments.iter_mut().take_while(|argument| *argument != "--");
    if !own.any(|argument| argument == PROFILE) {
        return Ok(None);
    }
    let Some(written) = own.next() else { return Ok(None) };
    let text = written.to_str().with_context(|| format!("{PROFILE}: expected UTF-8"))?;
    let mut profile: PermissionProfile = serde_json::from_str(text)
        .with_context(|| format!("{PROFILE}: expected a permission profile"))?;
    if !expand_patterns(&mut profile) {
        return Ok(None);
    }
    *written = serde_json::to_string(&profile)?.into();
    Ok(Some(arguments))
}

/// Replaces deny patterns over names in one folder by the paths that they match. Returns whether
/// there were any.
pub(crate) fn expand_patterns(profile: &mut PermissionProfile) -> bool {
    let PermissionProfile::Managed {
        file_system: ManagedFileSystemPermissions::Restricted { entries, .. },
        ..
    } = profile
    else {
        return false;
    };
    expand_entries(entries)
}

/// As of [`expand_patterns`], for the entries of a policy.
pub(crate) fn expand_entries(entries: &mut Vec<FileSystemSandboxEntry>) -> bool {
    let before = entries.len();
    let mut files = Vec::new();
    entries.retain(|entry| match &entry.path {
        FileSystemPath::GlobPattern { pattern } if entry.access == FileSystemAccessMode::Deny => {
            let Some((folder, name)) = pattern.rsplit_once('/') else { return true };
            let simple = name.chars().filter(|letter| *letter != '*');
            if folder.contains(SPECIAL) || simple.clone().any(|letter| SPECIAL.contains(&letter)) {
                return true;
            }
            files.extend(expand(Path::new(folder), name).iter().filter_map(|path| path_rule(path)));
            false
        }
        FileSystemPath::GlobPattern { .. }
        | FileSystemPath::Path { .. }
        | FileSystemPath::Special { .. } => true,
    });
    let changed = entries.len() < before;
    entries.extend(files);
    changed
}

#[cfg(test)]
mod tests {
    use codex_protocol::permissions::FileSystemSandboxPolicy;
    use codex_protocol::permissions::NetworkSandboxPolicy;

    use super::*;

    /// A temporary folder, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("{}-{name}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn profile(entries: Vec<FileSystemSandboxEntry>) -> PermissionProfile {
        let files = FileSystemSandboxPolicy::restricted(entries);
        PermissionProfile::from_runtime_permissions(&files, NetworkSandboxPolicy::Restricted)
    }

    #[test]
    fn star_matches_any_characters() {
        for (name, pattern, expected) in [
            ("state_5.sqlite", "*.sqlite*", true),
            ("state_5.sqlite-wal", "*.sqlite*", true),
            ("sqlite", "*.sqlite*", false),
            ("a.json", "a.json", true),
            ("a.json", "*.json", true),
            ("a.json", "a*", true),
            ("a", "a*a", false),
            ("abcbd", "a*b*d", true),
            ("abd", "a*b*c*d", false),
        ] {
            assert_eq!(matches(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn helper_gets_files_and_command_stays() {
        let home = Folder::new("home");
        for name in ["state.sqlite", "state.sqlite-wal", "skills"] {
            std::fs::write(home.0.join(name), "").unwrap();
        }
        let mut denied = rules(&home.0, "*.sqlite*");
        denied.extend(rules(&home.0, "sessions/"));
        denied.extend(file_rules(&home.0.join("auth.json")));
        assert!(denied.iter().all(|it| matches!(it.path, FileSystemPath::GlobPattern { .. })));
        let text = serde_json::to_string(&profile(denied)).unwrap();
        let arguments = |name: &str, profile: &str| {
            let all = [name, "--command-cwd", "/", PROFILE, profile, "--", PROFILE, "{"];
            all.map(OsString::from).to_vec()
        };

        let changed =
            helper_arguments(arguments("/x/codex-linux-sandbox", &text)).unwrap().unwrap();
        let hidden = changed[4].to_str().unwrap();
        let mut same = arguments("/x/codex-linux-sandbox", hidden);
        assert_eq!(changed, same);
        for name in ["state.sqlite\"", "state.sqlite-wal\"", "sessions\"", "auth.json\""] {
            assert!(hidden.contains(name), "{hidden}");
        }
        assert!(!hidden.contains('*') && !hidden.contains("skills"), "{hidden}");
        // Expanded arguments do not change again; other programs' arguments never change.
        assert_eq!(helper_arguments(changed).unwrap(), None);
        assert_eq!(helper_arguments(arguments("/x/codex-gateway", &text)).unwrap(), None);
        same[4] = "{".into();
        assert!(helper_arguments(same).is_err());
    }

    #[test]
    fn special_characters_are_denied_file_by_file() {
        let home = Folder::new("a[b]*");
        std::fs::write(home.0.join("state.sqlite"), "").unwrap();
        let denied = [rules(&home.0, "*.sqlite*"), rules(&home.0, "sessions/")].concat();
        let denied: Vec<_> = denied
            .into_iter()
            .map(|entry| match entry.path {
                FileSystemPath::Path { path } => path.to_path_buf(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(denied, [home.0.join("state.sqlite"), home.0.join("sessions")]);
    }
}
