//! Free space: the floor below which no command starts.

use std::path::Path;
use std::path::PathBuf;

use super::settings::CommandLimits;

/// The default floor, for volumes of which it is at most [`SHARE`].
const FLOOR: u64 = 512 << 20;
/// One in how many bytes of a volume the default floor is at most.
const SHARE: u64 = 20;

/// A volume with less free space than its floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) path: PathBuf,
    pub(super) free: u64,
    pub(super) floor: u64,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, free, floor } = self;
        write!(
            f,
            "the volume of {} is nearly full: expected at least {floor} free bytes \
             (gateway.commands.min_free_bytes), got {free}; delete files there",
            path.display()
        )
    }
}

/// The free bytes of a volume for this user, and its floor.
pub(super) fn free_and_floor(path: &Path, limits: &CommandLimits) -> std::io::Result<(u64, u64)> {
    let volume = rustix::fs::statvfs(path)?;
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    let size = volume.f_blocks.saturating_mul(volume.f_frsize);
    Ok((free, limits.min_free_bytes.unwrap_or(FLOOR.min(size / SHARE))))
}

/// The first volume that is short of space.
pub(super) fn shortage(volumes: &[PathBuf], limits: &CommandLimits) -> Option<Shortage> {
    volumes.iter().find_map(|path| {
        let (free, floor) = free_and_floor(path, limits).ok()?;
        (free < floor).then(|| Shortage { path: path.clone(), free, floor })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_is_compared_with_free_space() {
        let volumes = [std::env::temp_dir()];
        let with = |floor| CommandLimits { min_free_bytes: floor, ..CommandLimits::default() };
        let (free, floor) = free_and_floor(&volumes[0], &with(None)).unwrap();
        assert!(free > 0 && floor <= FLOOR);
        assert_eq!(shortage(&volumes, &with(Some(0))), None);
        let shortage = shortage(&volumes, &with(Some(u64::MAX))).unwrap();
        assert!(shortage.to_string().contains("min_free_bytes"));
    }
}
