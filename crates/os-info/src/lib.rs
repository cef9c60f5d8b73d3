//! What the operating system is called, looked up once per process and without a subprocess.
//!
//! Core says it in the user agent of every client that it builds, one for each conversation at least.
//! The crate of this name runs `lsb_release` and `getconf` each time, a dozen processes and some 50 ms of
//! a core, while the thread that asks waits. Here it is what `os-release` says (os-release(5)), read once.

use std::fmt;
use std::sync::OnceLock;

/// Where distributions keep it, in the order in which it is looked for.
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    os_type: Type,
    version: Version,
}

/// Its name: `Debian GNU/Linux`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type(String);

/// Its version: `12`; `Unknown` where it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

/// The operating system that this process runs on.
pub fn get() -> Info {
    static INFO: OnceLock<Info> = OnceLock::new();
    INFO.get_or_init(|| {
        let mut texts = FILES.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        Info::read(&texts.next().unwrap_or_default())
    })
    .clone()
}

impl Info {
    /// Its name.
    pub fn os_type(&self) -> &Type {
        &self.os_type
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What the processor is called: `x86_64`.
    pub fn architecture(&self) -> Option<&str> {
        Some(std::env::consts::ARCH)
    }

    /// Reads an `os-release`; an empty one where there is none.
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
    fn an_os_release_says_what_it_is() {
        let read = |text: &str| {
            let info = Info::read(text);
            (info.os_type().to_string(), info.version().to_string())
        };
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n";
        assert_eq!(read(debian), ("Debian GNU/Linux".to_owned(), "12".to_owned()));
        assert_eq!(read("NAME=Arch\n"), ("Arch".to_owned(), "Unknown".to_owned()));
        assert_eq!(read("# nothing\n").0, std::env::consts::OS);
    }

    #[test]
    fn this_one_has_a_name() {
        assert!(!get().os_type().to_string().is_empty());
        assert_eq!(get(), get());
    }
}
