//! The `[gateway.commands]` table: limits of commands.

use std::ops::RangeInclusive;

use anyhow::bail;
use codex_gateway_engine::children::CommandLimits;
use serde::Deserialize;
use serde::Serialize;

/// The `[gateway.commands]` table as written.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Commands {
    max_processes: Option<u64>,
    max_memory_bytes: Option<u64>,
    max_file_bytes: Option<u64>,
    max_open_files: Option<u64>,
    max_address_space_bytes: Option<u64>,
    cpu_percent: Option<u64>,
    nice: Option<u64>,
    oom_score_adj: Option<u64>,
    min_free_bytes: Option<u64>,
    use_cgroup: Option<bool>,
}

/// The largest size: an exbibyte, more than any volume has.
const LARGEST: u64 = 1 << 60;

impl Commands {
    /// Resolves the table.
    ///
    /// # Errors
    /// A value is out of range.
    pub(super) fn resolve(&self) -> anyhow::Result<CommandLimits> {
        let defaults = CommandLimits::default();
        // The sandbox alone has a few processes.
        let processes = within("max_processes", self.max_processes, 16..=1 << 22)?;
        let memory = within("max_memory_bytes", self.max_memory_bytes, 16 << 20..=LARGEST)?;
        let file = within("max_file_bytes", self.max_file_bytes, 4096..=LARGEST)?;
        let files = within("max_open_files", self.max_open_files, 64..=1 << 20)?;
        // The sandbox's helper is this binary, which must fit.
        let address_space = self.max_address_space_bytes;
        let address_space = within("max_address_space_bytes", address_space, 1 << 30..=LARGEST)?;
        let nice = within("nice", self.nice, 0..=19)?;
        let oom_score_adj = within("oom_score_adj", self.oom_score_adj, 0..=1000)?;
        let small = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
        Ok(CommandLimits {
            max_processes: processes.unwrap_or(defaults.max_processes),
            max_memory_bytes: memory.unwrap_or(defaults.max_memory_bytes),
            max_file_bytes: file.unwrap_or(defaults.max_file_bytes),
            max_open_files: files.unwrap_or(defaults.max_open_files),
            max_address_space_bytes: address_space,
            cpu_percent: within("cpu_percent", self.cpu_percent, 1..=1_000_000)?,
            nice: nice.map_or(defaults.nice, small),
            oom_score_adj: oom_score_adj.map_or(defaults.oom_score_adj, small),
            min_free_bytes: within("min_free_bytes", self.min_free_bytes, 0..=LARGEST)?,
            use_cgroup: self.use_cgroup.unwrap_or(defaults.use_cgroup),
        })
    }
}

/// Returns the value of `gateway.commands.{key}`, which must be in `range`.
fn within(
    key: &str,
    value: Option<u64>,
    range: RangeInclusive<u64>,
) -> anyhow::Result<Option<u64>> {
    if let Some(value) = value.filter(|value| !range.contains(value)) {
        let (least, most) = (range.start(), range.end());
        bail!("gateway.commands.{key}: expected {least} to {most}, got {value}");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_out_of_range_names_the_key() {
        let resolve = |text: &str| toml::from_str::<Commands>(text).unwrap().resolve();
        assert_eq!(resolve("").unwrap(), CommandLimits::default());
        let limits = resolve("max_processes = 64\nnice = 0\nmin_free_bytes = 5").unwrap();
        assert_eq!((limits.max_processes, limits.nice), (64, 0));
        assert_eq!(limits.min_free_bytes, Some(5));
        for (text, says) in [
            ("max_processes = 1", "gateway.commands.max_processes: expected 16 to"),
            ("max_address_space_bytes = 1", "max_address_space_bytes: expected 1073741824 to"),
            ("nice = 20", "gateway.commands.nice: expected 0 to 19, got 20"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(toml::from_str::<Commands>("max_fork = 1").is_err());
    }
}
