//! Who may use what a caller has made: [`Owners::may_use`]. Conversations, the names of their sessions, and
//! tool servers for new conversations belong to the key that made them.

use super::DEVELOPMENT;
use super::Keys;

/// Whether callers are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// Whether there is more than one API key.
    apart: bool,
}

impl Owners {
    /// Keeps callers apart if there is more than one. Without a key, and with a single one, everything
    /// belongs to the operator, also what was made under an earlier key.
    pub fn new(keys: &Keys) -> Self {
        Self { apart: keys.names().nth(1).is_some() }
    }

    /// Returns whether a caller may use what `owner` has made. What has no owner was made before there
    /// were any. Every door's look-ups pass here.
    pub fn may_use(self, caller: &str, owner: Option<&str>) -> bool {
        !self.apart || caller == DEVELOPMENT || owner == Some(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_keys_are_kept_apart() {
        for (keys, caller, owner, expected) in [
            (&["a=x", "b=y"][..], "a", Some("a"), true),
            (&["a=x", "b=y"], "a", Some("b"), false),
            (&["a=x", "b=y"], "a", None, false),
            (&["a=x", "b=y"], "a", Some(DEVELOPMENT), false),
            (&["a=x", "b=y"], DEVELOPMENT, Some("a"), true),
            (&["a=x"], "a", Some("earlier"), true),
            (&["a=x"], "a", None, true),
            (&[], DEVELOPMENT, Some("a"), true),
        ] {
            let owners = Owners::new(&Keys::parse(keys.iter().copied()).unwrap());
            assert_eq!(owners.may_use(caller, owner), expected, "{keys:?} {caller} {owner:?}");
        }
    }
}
