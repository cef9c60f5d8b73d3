//! The mounts of a view, for one policy.
//!
//! Each mount has a target, and they are made from the outermost to the innermost: a folder is shown
//! in a hidden one, another one is hidden in that. A mount point must exist, and the gateway creates
//! none outside its own files: a target is left out where nothing is to be seen anyway, and in a
//! temporary folder the way to a target consists of mounts itself, so that no command can replace
//! the way by a link.

use std::collections::BTreeMap;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use super::INNER_HELPER;
use super::View;

/// Access of a command, resolved.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// Whether it writes everywhere but to what is hidden.
    pub(super) writes_everywhere: bool,
    /// Files and folders that it writes.
    pub(super) writable: Vec<PathBuf>,
    /// Files and folders in those that it does not write. They exist.
    pub(super) protected: Vec<PathBuf>,
    /// Files and folders that it does not read.
    pub(super) denied: Vec<PathBuf>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mount {
    /// An empty folder, read-only.
    Empty,
    /// A file that cannot be read.
    Unreadable,
    /// A file or folder.
    Show { source: PathBuf, writable: bool },
}

/// Mounts, in their order.
#[derive(Debug)]
pub(super) struct Mounts(BTreeMap<(usize, PathBuf), Mount>);

impl Mounts {
    /// Computes the mounts.
    ///
    /// # Errors
    /// The policy denies the command its own folder.
    pub(super) fn of(view: &View, access: &Access) -> anyhow::Result<Self> {
        let mut mounts = Self(BTreeMap::new());
        let denied = access.denied.iter().filter(|path| !path.starts_with(&view.home));
        for path in [&view.home, &view.root].into_iter().chain(denied.clone()) {
            mounts.insert(path, if path.is_file() { Mount::Unreadable } else { Mount::Empty });
        }
        for (path, source) in &view.temporary {
            mounts.show(path, source, access.writes(path));
        }
        mounts.show(&view.home.join(INNER_HELPER), &view.exe, false);
        for (path, source) in view.shown.iter().filter(|(_, source)| source.exists()) {
            mounts.show(path, source, false);
        }
        anyhow::ensure!(!access.denied.contains(&view.folder), "the command's folder is denied");
        mounts.show(&view.folder, &view.folder, access.writes(&view.folder));
        // A terminal's first program is this binary.
        mounts.show_if_covered(&view.exe);
        for path in access.writable.iter().filter(|path| path.exists()) {
            let seen = mounts.cover(path).map(|(_, mount)| mount);
            if matches!(seen, None | Some(Mount::Show { writable: false, .. })) {
                mounts.show(path, path, true);
            }
        }
        for path in &access.protected {
            if let Some((_, Mount::Show { writable: true, .. })) = mounts.cover(path) {
                mounts.show(path, path, false);
            }
        }
        mounts.leave_out_unseen();
        mounts.add_ways_in_temporary(view);
        Ok(mounts)
    }

    /// The mounts with their targets, from the outermost to the innermost.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &Mount)> {
        self.0.iter().map(|((_, target), mount)| (target.as_path(), mount))
    }

    fn insert(&mut self, target: &Path, mount: Mount) {
        self.0.insert((target.components().count(), target.to_owned()), mount);
    }

    fn show(&mut self, target: &Path, source: &Path, writable: bool) {
        self.insert(target, Mount::Show { source: source.to_owned(), writable });
    }

    /// Shows a file if another mount hides it.
    fn show_if_covered(&mut self, path: &Path) {
        let seen = self.cover(path).map(|(target, mount)| match mount {
            Mount::Show { source, .. } => source == target,
            Mount::Empty | Mount::Unreadable => false,
        });
        if seen == Some(false) {
            self.show(path, path, false);
        }
    }

    /// The innermost mount that a path is on.
    fn cover(&self, path: &Path) -> Option<(&Path, &Mount)> {
        self.iter().filter(|(target, _)| path.starts_with(target)).last()
    }

    /// The innermost mount around a target.
    fn outer(&self, target: &Path) -> Option<(&Path, &Mount)> {
        self.cover(target.parent()?)
    }

    /// Whether a command without the mount on `target` would see something there.
    fn is_seen(&self, target: &Path) -> bool {
        match self.outer(target) {
            None => target.exists(),
            Some((_, Mount::Empty | Mount::Unreadable)) => false,
            Some((outer, Mount::Show { source, .. })) => {
                target.strip_prefix(outer).is_ok_and(|rest| source.join(rest).exists())
            }
        }
    }

    /// Removes mounts that would hide nothing.
    fn leave_out_unseen(&mut self) {
        let hiding = |mount: &Mount| matches!(mount, Mount::Empty | Mount::Unreadable);
        let shows: Vec<_> = self.iter().filter(|(_, mount)| !hiding(mount)).collect();
        let unseen = self.0.iter().filter(|((_, target), mount)| {
            let holds = shows.iter().any(|(shown, _)| shown.starts_with(target));
            hiding(mount) && !holds && !self.is_seen(target)
        });
        for key in unseen.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.0.remove(&key);
        }
    }

    /// Mounts each folder on the way from a temporary folder to a target in it.
    fn add_ways_in_temporary(&mut self, view: &View) {
        let targets: Vec<_> = self.iter().map(|(target, _)| target.to_owned()).collect();
        for target in targets {
            let Some((outer, Mount::Show { source, writable })) = self.outer(&target) else {
                continue;
            };
            if !view.temporary.iter().any(|(path, _)| path == outer) {
                continue;
            }
            let (mut path, mut source, writable) = (outer.to_owned(), source.clone(), *writable);
            let way = target.strip_prefix(outer).map(Path::components).into_iter().flatten();
            let mut way: Vec<_> = way.map(Component::as_os_str).map(ToOwned::to_owned).collect();
            way.pop();
            for name in way {
                path.push(&name);
                source.push(&name);
                let key = (path.components().count(), path.clone());
                self.0.entry(key).or_insert(Mount::Show { source: source.clone(), writable });
            }
        }
    }
}

impl Access {
    fn writes(&self, path: &Path) -> bool {
        self.writes_everywhere || self.writable.iter().any(|root| path.starts_with(root))
    }
}

/// Mount points that a view needs in its temporary folders, as paths in those that are shown there,
/// and whether they are folders.
pub(super) fn points_in_temporary(view: &View) -> Vec<(PathBuf, bool)> {
    let innermost = |path: &Path| {
        let around =
            view.temporary.iter().filter(|(outer, _)| path != outer && path.starts_with(outer));
        around.max_by_key(|(outer, _)| outer.components().count())
    };
    [(&view.home, true), (&view.root, true), (&view.folder, true), (&view.exe, false)]
        .into_iter()
        .filter_map(|(path, is_folder)| {
            let (outer, source) = innermost(path)?;
            Some((source.join(path.strip_prefix(outer).ok()?), is_folder))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a home, two workspaces and a temporary folder of a view; removed on drop.
    struct Disk(PathBuf);

    impl Disk {
        fn new() -> Self {
            let disk = Self(std::env::temp_dir().join(uuid::Uuid::new_v4().to_string()));
            for folder in ["home/ws/a/.git", "home/ws/b", "home/skills", "view/tmp", "else/x"] {
                std::fs::create_dir_all(disk.path(folder)).unwrap();
            }
            for file in ["bin", "else/key", "home/key"] {
                std::fs::write(disk.path(file), "").unwrap();
            }
            disk
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn view(&self) -> View {
            View {
                bwrap: PathBuf::from("/usr/bin/bwrap"),
                exe: self.path("bin"),
                mounts_proc: true,
                home: self.path("home"),
                root: self.path("home/ws"),
                folder: self.path("home/ws/a"),
                temporary: Vec::new(),
                shown: vec![(self.path("home/skills"), self.path("home/skills"))],
            }
        }

        /// The targets of mounts below the disk, each with what is there.
        fn mounts(&self, view: &View, access: &Access) -> Vec<String> {
            let mounts = Mounts::of(view, access).unwrap();
            let name = |path: &Path| match path.strip_prefix(&self.0) {
                Ok(inner) => inner.display().to_string(),
                Err(_) => path.display().to_string(),
            };
            let line = |(target, mount): (&Path, &Mount)| match mount {
                Mount::Empty => format!("{} empty", name(target)),
                Mount::Unreadable => format!("{} unreadable", name(target)),
                Mount::Show { source, writable } => {
                    let access = if *writable { "rw" } else { "ro" };
                    format!("{} {access} {}", name(target), name(source))
                }
            };
            mounts.iter().map(line).collect()
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn home_is_hidden_except_what_is_needed() {
        let disk = Disk::new();
        let access = Access {
            writable: vec![disk.path("home/ws/a"), disk.path("home/ws/b"), disk.path("else")],
            protected: vec![disk.path("home/ws/a/.git"), disk.path("home/ws/b/.git")],
            denied: vec![disk.path("else/key"), disk.path("home/key"), disk.path("missing")],
            ..Access::default()
        };
        assert_eq!(
            disk.mounts(&disk.view(), &access),
            [
                "else rw else",
                "home empty",
                "else/key unreadable",
                "home/codex-linux-sandbox ro bin",
                "home/skills ro home/skills",
                "home/ws empty",
                "home/ws/a rw home/ws/a",
                "home/ws/a/.git ro home/ws/a/.git",
            ]
        );
        let read_only = disk.mounts(&disk.view(), &Access::default());
        assert!(read_only.contains(&"home/ws/a ro home/ws/a".to_owned()), "{read_only:?}");
        let everything = Access { writes_everywhere: true, ..Access::default() };
        let everything = disk.mounts(&disk.view(), &everything);
        assert!(everything.contains(&"home empty".to_owned()), "{everything:?}");
        assert!(everything.contains(&"home/ws/a rw home/ws/a".to_owned()), "{everything:?}");
        let denied = Access { denied: vec![disk.path("home/ws/a")], ..Access::default() };
        assert!(Mounts::of(&disk.view(), &denied).is_err());
    }

    #[test]
    fn way_through_a_temporary_folder_is_mounted() {
        let disk = Disk::new();
        let mut view = disk.view();
        view.temporary = vec![(disk.0.clone(), disk.path("view/tmp"))];
        view.exe = disk.path("deep/er/bin");
        let points = points_in_temporary(&view);
        for (point, is_folder) in [("home", true), ("home/ws/a", true), ("deep/er/bin", false)] {
            assert!(points.contains(&(disk.path("view/tmp").join(point), is_folder)), "{points:?}");
        }
        let access = Access { writable: vec![disk.0.clone()], ..Access::default() };
        let mounts = disk.mounts(&view, &access);
        for expected in [
            " rw view/tmp",
            "deep rw view/tmp/deep",
            "deep/er rw view/tmp/deep/er",
            "deep/er/bin ro deep/er/bin",
            "home empty",
            "home/ws empty",
            "home/ws/a rw home/ws/a",
        ] {
            assert!(mounts.iter().any(|mount| mount == expected), "{expected} in {mounts:#?}");
        }
    }
}
