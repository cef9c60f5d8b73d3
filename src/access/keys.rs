//! [`Keys`]: named API keys, stored as SHA-256 hashes and compared in constant time.

use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The name of the caller in development mode, and of the user of the command line: the operator.
pub const DEVELOPMENT: &str = "development";

/// The accepted API keys. Empty in development mode.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Vec<(Arc<str>, [u8; 32])>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Keys {
    /// Parses keys of the form `KEY` or `name=KEY`. A key without a name is named by the beginning of
    /// its hash, and not by its place: what belongs to it must not pass to another key that takes its
    /// place.
    ///
    /// # Errors
    /// A key is empty or contains white space, two keys have the same name, or one is named
    /// `development`.
    pub fn parse<'a>(list: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Self> {
        let mut keys: Vec<(Arc<str>, [u8; 32])> = Vec::new();
        for (index, entry) in list.into_iter().enumerate() {
            let entry = entry.trim();
            let (name, key) = match entry.split_once('=') {
                Some((name, key)) if is_name(name) && !key.trim_matches('=').is_empty() => {
                    (name.to_owned(), key)
                }
                // A long entry that ends in `=` is a Base64 key without a name.
                Some((name, _)) if is_name(name) && entry.len() < 16 => {
                    anyhow::bail!("key {}: expected name=KEY, got no key after the name", index + 1)
                }
                _ => (format!("key-{}", beginning(&Sha256::digest(entry.as_bytes()))), entry),
            };
            if name == DEVELOPMENT {
                anyhow::bail!(
                    "key {}: expected another name than {DEVELOPMENT}, which stands for callers \
                     without a key",
                    index + 1
                );
            }
            if key.is_empty() || key.contains(char::is_whitespace) {
                anyhow::bail!("key {}: expected a key without white space", index + 1);
            }
            if keys.iter().any(|(known, _)| **known == *name) {
                anyhow::bail!("key {}: expected a unique name, got {name:?} twice", index + 1);
            }
            keys.push((name.into(), Sha256::digest(key.as_bytes()).into()));
        }
        Ok(Self { keys })
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Iterates over the names of the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(name, _)| &**name)
    }

    /// Returns whether this is the key of that name.
    pub fn is_key_of(&self, name: &str, key: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut named = self.keys.iter().filter(|(known, _)| **known == *name);
        named.any(|(_, known)| bool::from(known.ct_eq(&hash)))
    }

    /// Returns the name of a key. The time does not depend on which key matches, or whether one
    /// does.
    pub fn find(&self, key: &[u8]) -> Option<Arc<str>> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut found = None;
        for (name, known) in &self.keys {
            if bool::from(known.ct_eq(&hash)) {
                found = Some(name);
            }
        }
        found.cloned()
    }
}

/// Returns the first 4 bytes of a hash in hexadecimal. They tell keys apart, and are of no help in
/// guessing a random one.
fn beginning(hash: &[u8]) -> String {
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_and_never_shown() {
        let keys = Keys::parse(["alpha", "ops=beta", "Zm9vYmFyYmF6cXV4=="]).unwrap();
        let names: Vec<_> = keys.names().collect();
        assert_eq!(names, ["key-8ed3f6ad", "ops", "key-bf59f95b"]);
        assert_eq!(format!("{keys:?}"), format!("{names:?}"));
        assert_eq!(keys.find(b"Zm9vYmFyYmF6cXV4==").as_deref(), Some(names[2]));
        assert_eq!(keys.find(b"ops=beta"), None);
        assert!(keys.is_key_of("ops", b"beta") && !keys.is_key_of(names[0], b"beta"));
        // A key keeps its name when those before it are removed.
        let fewer = Keys::parse(["Zm9vYmFyYmF6cXV4=="]).unwrap();
        assert_eq!(fewer.names().collect::<Vec<_>>(), names[2..]);
    }

    #[test]
    fn invalid_lists_are_refused() {
        for list in [&["a="][..], &[""], &["two words"], &["a=x", "a=y"], &["development=x"]] {
            assert!(Keys::parse(list.iter().copied()).is_err(), "{list:?}");
        }
    }
}
