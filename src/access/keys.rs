//! [`Keys`]: named API keys, stored as SHA-256 hashes and compared in constant time.

use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;
use subtle::ConstantTimeEq;

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
    /// Parses keys of the form `KEY` or `name=KEY`. The Nth key is named `key-N` if it has no name.
    ///
    /// # Errors
    /// A key is empty or contains white space, or two keys have the same name.
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
                _ => (format!("key-{}", index + 1), entry),
            };
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
        assert_eq!(keys.names().collect::<Vec<_>>(), ["key-1", "ops", "key-3"]);
        assert_eq!(format!("{keys:?}"), r#"["key-1", "ops", "key-3"]"#);
        assert_eq!(keys.find(b"Zm9vYmFyYmF6cXV4==").as_deref(), Some("key-3"));
        assert_eq!(keys.find(b"ops=beta"), None);
        assert!(keys.is_key_of("ops", b"beta") && !keys.is_key_of("key-1", b"beta"));
    }

    #[test]
    fn invalid_lists_are_refused() {
        for list in [&["a="][..], &[""], &["two words"], &["a=x", "a=y"]] {
            assert!(Keys::parse(list.iter().copied()).is_err(), "{list:?}");
        }
    }
}
