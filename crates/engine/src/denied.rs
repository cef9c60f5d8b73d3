//! What commands may not read, as core carries it and as its sandbox hides it.
//!
//! Core works out several times a turn what a policy means, and looks up every path of it on disk each
//! time; patterns it only compares. So what is denied are patterns, most of them without a wildcard.
//! Bubblewrap hides files, not patterns, and core's sandbox helper is this binary under another name:
//! it is given the files ([`for_the_helper`]), once per command.

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

/// What has a meaning in core's patterns.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];
/// The helper's argument before the profile.
#[cfg(target_os = "linux")]
const PROFILE: &str = "--permission-profile";
/// All that is in a folder, in core's patterns.
pub(crate) const EVERYTHING: &str = "**";

/// Denies what `name`, which may hold `*`, names in a folder; with a `/` at its end it is a folder, and
/// all that is in it is denied too.
pub(crate) fn entries(folder: &Path, name: &str) -> Vec<FileSystemSandboxEntry> {
    let everything = if name.ends_with('/') { EVERYTHING } else { "" };
    match folder.to_str() {
        Some(text) if cfg!(target_os = "linux") && !text.contains(SPECIAL) => {
            let path =
                FileSystemPath::GlobPattern { pattern: format!("{text}/{name}{everything}") };
            vec![FileSystemSandboxEntry::new(path, FileSystemAccessMode::Deny)]
        }
        // The other sandboxes have helpers of their own, or no pattern says what this folder is called.
        Some(_) | None => named(folder, name).iter().filter_map(|path| hidden(path)).collect(),
    }
}

/// The same of one file.
pub(crate) fn entry(path: &Path) -> Vec<FileSystemSandboxEntry> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) if !name.contains(SPECIAL) => entries(folder, name),
        _ => hidden(path).into_iter().collect(),
    }
}

fn hidden(path: &Path) -> Option<FileSystemSandboxEntry> {
    let path = FileSystemPath::Path { path: AbsolutePathBuf::from_absolute_path(path).ok()? };
    // What is not there cannot be hidden, and need not be.
    Some(FileSystemSandboxEntry::skip_missing_path(path, FileSystemAccessMode::Deny))
}

/// The paths that `name` stands for in a folder. Without a wildcard it need not be there.
fn named(folder: &Path, name: &str) -> Vec<PathBuf> {
    if name == EVERYTHING {
        return vec![folder.to_owned()];
    }
    if !name.contains('*') {
        return vec![folder.join(name.trim_end_matches('/'))];
    }
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let matching = files.filter(|file| file.file_name().to_str().is_some_and(|it| fits(it, name)));
    matching.map(|file| file.path()).collect()
}

/// Whether a name is one that `pattern`, with its `*`, stands for.
fn fits(name: &str, pattern: &str) -> bool {
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

/// The arguments with which core's sandbox helper hides the files of the patterns that it is given;
/// `None` where nothing is to be changed. They are those of this process, its name first.
///
/// # Errors
/// The profile cannot be read: the command must not run.
#[cfg(target_os = "linux")]
pub(crate) fn for_the_helper(
    mut arguments: Vec<OsString>,
) -> anyhow::Result<Option<Vec<OsString>>> {
    let called = arguments.first().and_then(|name| Path::new(name).file_name());
    if called.is_none_or(|name| name != codex_sandboxing::landlock::CODEX_LINUX_SANDBOX_ARG0) {
        return Ok(None);
    }
    // What is behind `--` is the command's.
    let mut own = arguments.iter_mut().take_while(|argument| *argument != "--");
    if !own.any(|argument| argument == PROFILE) {
        return Ok(None);
    }
    let Some(written) = own.next() else { return Ok(None) };
    let text = written.to_str().with_context(|| format!("{PROFILE}: expected UTF-8"))?;
    let mut profile: PermissionProfile =
        serde_json::from_str(text).with_context(|| format!("{PROFILE}: expected a profile"))?;
    if !hide(&mut profile) {
        return Ok(None);
    }
    *written = serde_json::to_string(&profile)?.into();
    Ok(Some(arguments))
}

/// Puts paths in the place of patterns that stand for names in one folder. Says whether there were any.
pub(crate) fn hide(profile: &mut PermissionProfile) -> bool {
    let PermissionProfile::Managed {
        file_system: ManagedFileSystemPermissions::Restricted { entries, .. },
        ..
    } = profile
    else {
        return false;
    };
    let before = entries.len();
    let mut files = Vec::new();
    entries.retain(|entry| match &entry.path {
        FileSystemPath::GlobPattern { pattern } if entry.access == FileSystemAccessMode::Deny => {
            let Some((folder, name)) = pattern.rsplit_once('/') else { return true };
            let simple = name.chars().filter(|letter| *letter != '*');
            if folder.contains(SPECIAL) || simple.clone().any(|letter| SPECIAL.contains(&letter)) {
                return true;
            }
            files.extend(named(Path::new(folder), name).iter().filter_map(|path| hidden(path)));
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

    /// Removed in the end.
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
    fn a_star_stands_for_any_letters() {
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
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_helper_is_given_the_files_of_the_patterns_and_the_command_stays_as_it_is() {
        let home = Folder::new("home");
        for name in ["state.sqlite", "state.sqlite-wal", "skills"] {
            std::fs::write(home.0.join(name), "").unwrap();
        }
        let mut denied = entries(&home.0, "*.sqlite*");
        denied.extend(entries(&home.0, "sessions/"));
        denied.extend(entry(&home.0.join("auth.json")));
        assert!(denied.iter().all(|it| matches!(it.path, FileSystemPath::GlobPattern { .. })));
        let text = serde_json::to_string(&profile(denied)).unwrap();
        let arguments = |name: &str, profile: &str| {
            let all = [name, "--command-cwd", "/", PROFILE, profile, "--", PROFILE, "{"];
            all.map(OsString::from).to_vec()
        };

        let changed = for_the_helper(arguments("/x/codex-linux-sandbox", &text)).unwrap().unwrap();
        let hidden = changed[4].to_str().unwrap();
        let mut same = arguments("/x/codex-linux-sandbox", hidden);
        assert_eq!(changed, same);
        for name in ["state.sqlite\"", "state.sqlite-wal\"", "sessions\"", "auth.json\""] {
            assert!(hidden.contains(name), "{hidden}");
        }
        assert!(!hidden.contains('*') && !hidden.contains("skills"), "{hidden}");
        // Once is enough, and others are none of its business.
        assert_eq!(for_the_helper(changed).unwrap(), None);
        assert_eq!(for_the_helper(arguments("/x/codex-gateway", &text)).unwrap(), None);
        same[4] = "{".into();
        assert!(for_the_helper(same).is_err());
    }

    #[test]
    fn a_folder_that_no_pattern_can_name_is_denied_file_by_file() {
        let home = Folder::new("a[b]*");
        std::fs::write(home.0.join("state.sqlite"), "").unwrap();
        let denied = [entries(&home.0, "*.sqlite*"), entries(&home.0, "sessions/")].concat();
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
