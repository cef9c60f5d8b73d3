//! The name and version of the operating system, read once per process and without a subprocess.
//!
//! Core puts them in the user agent of each HTTP client it builds, at least one per conversation.
//! The original crate runs `lsb_release` and `getconf` each time: a dozen processes and about 50 ms
//! of CPU, while the calling thread blocks. This one reads os-release(5) once.

use std::fmt;
use std::sync::OnceLock;

/// The locations of os-release(5), in order of precedence.
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    os_type: Type,
    version: Version,
}

/// The name of an operating system, such as `Debian GNU/Linux`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type(String);

/// The version of an operating system, such as `12`; `Unknown` without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

/// Returns the operating system this process runs on.
pub fn get() -> Info {
    static INFO: OnceLock<Info> = OnceLock::new();
    INFO.get_or_init(|| {
        let mut texts = FILES.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        Info::read(&texts.next().unwrap_or_default())
    })
    .clone()
}

impl Info {
    pub fn os_type(&self) -> &Type {
        &self.os_type
    }

    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The processor architecture this program was built for, such as `x86_64`.
    pub fn architecture(&self) -> Option<&str> {
        Some(std::env::consts::ARCH)
    }

    /// Parses the text of an os-release file; an empty text yields the defaults.
    fn read(os_release: &str) -> Self {
        let value = |key: &str| {
            let mut pairs = os_release.lines().filter_map(|line| line.split_once('='));
            let (_, value) = pairs.find(|(known, _)| *known == key)?;
            Some(value.trim().trim_matches(['"', '\'']).to_owned())
        };
        Self {
            os_type: Type(value("NAME").unwrap_or_else(|| std::env::consts::OS.to_owned())),
            version: Version(value("VERSION_ID").unwrap_or_else(|| "Unknown".to_owned())),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_gives_name_and_version() {
        let read = |text: &str| {
            let info = Info::read(text);
            (info.os_type().to_string(), info.version().to_string())
        };
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n\
                      NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n";
        assert_eq!(read(debian), ("Debian GNU/Linux".to_owned(), "12".to_owned()));
        assert_eq!(read("NAME=Arch\n"), ("Arch".to_owned(), "Unknown".to_owned()));
        assert_eq!(read("# nothing\n").0, std::env::consts::OS);
    }

    #[test]
    fn current_system_has_a_name() {
        assert!(!get().os_type().to_string().is_empty());
        assert_eq!(get(), get());
    }
}
