//! Skills of a project (`.agents/skills`), refused if a link leads out of their folder.
//!
//! Core reads them outside the sandbox and follows links to folders, and to files that it opens by
//! name: a repository could have core read any `SKILL.md`, or a client replace one by a link. No
//! setting turns a project's skills off. Commands cannot write `.agents` at the top of their folder,
//! and nothing begins inside a folder that commands write; so the look before the start holds.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Folders whose content core reads: skills, and manifests that give them a prefix.
const FOLDERS: [&str; 4] = [".agents/skills", ".codex-plugin", ".claude-plugin", ".cursor-plugin"];
/// The limit of files and folders of one project's skills; core's own.
const MAX_ENTRIES: usize = 20_000;

/// Checks the folders from the workspace root down to `folder`. Blocking.
///
/// # Errors
/// A link leads out, or there are too many files to look at; names the path.
pub(super) fn check(workspace_root: &Path, folder: &Path) -> Result<(), String> {
    let inside = folder.ancestors().take_while(|path| path.starts_with(workspace_root));
    for project in inside {
        for name in FOLDERS {
            let mut path = project.to_owned();
            for part in Path::new(name).components() {
                path.push(part);
                if path.symlink_metadata().is_err() {
                    break;
                }
            }
            if path.symlink_metadata().is_ok() {
                Walk { project, seen: HashSet::new(), remaining: MAX_ENTRIES }.enter(&path)?;
            }
        }
    }
    Ok(())
}

struct Walk<'a> {
    project: &'a Path,
    seen: HashSet<PathBuf>,
    remaining: usize,
}

impl Walk<'_> {
    fn enter(&mut self, start: &Path) -> Result<(), String> {
        let mut pending = vec![start.to_owned()];
        while let Some(path) = pending.pop() {
            self.remaining = self.remaining.checked_sub(1).ok_or_else(|| {
                format!("{}: expected at most {MAX_ENTRIES} files", start.display())
            })?;
            let real = match path.canonicalize() {
                Ok(real) if real.starts_with(self.project) => real,
                Ok(_) => return Err(leads_out(&path)),
                // Removed in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(&path) => {
                    continue;
                }
                Err(_) => return Err(leads_out(&path)),
            };
            if real.is_dir() && self.seen.insert(real.clone()) {
                let entries = real
                    .read_dir()
                    .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
                pending.extend(entries.flatten().map(|entry| entry.path()));
            }
        }
        Ok(())
    }
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_symlink())
}

fn leads_out(path: &Path) -> String {
    format!(
        "cwd: expected skills without links that lead out of their folder, got {}; remove the link",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_out_of_the_folder_are_refused() {
        let root = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        let project = root.join("project");
        let skill = project.join(".agents/skills/one");
        std::fs::create_dir_all(&skill).unwrap();
        std::fs::create_dir_all(project.join("docs")).unwrap();
        std::fs::write(skill.join("SKILL.md"), "").unwrap();
        let root = root.canonicalize().unwrap();
        let project = root.join("project");
        let folder = project.join("docs");
        assert_eq!(check(&root, &folder), Ok(()));
        let links = project.join(".agents/skills");
        symlink("../../docs", links.join("inside")).unwrap();
        symlink("..", project.join("docs/round")).unwrap();
        assert_eq!(check(&root, &folder), Ok(()));
        for target in ["/etc", "../../..", "nowhere"] {
            let link = links.join("out");
            symlink(target, &link).unwrap();
            assert!(check(&root, &folder).is_err(), "{target}");
            std::fs::remove_file(link).unwrap();
        }
        // By way of a link that stays inside.
        symlink("/etc/passwd", project.join("docs/SKILL.md")).unwrap();
        assert!(check(&root, &folder).is_err());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
