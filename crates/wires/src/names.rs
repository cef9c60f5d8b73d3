//! Tool names within the limits of a provider. A name depends on the tool alone, never on the
//! process: histories outlive processes.

/// The longest tool name that OpenAI and the older Claude models accept.
pub(crate) const NAME_CHARS: usize = 64;

/// Replaces every character outside `[A-Za-z0-9_-]` with `_`.
pub(crate) fn sanitized(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// Returns the name itself if a provider accepts it, or else a short one with a hash.
pub(crate) fn fitted(name: &str) -> String {
    let clean = sanitized(name);
    if clean == name && clean.len() <= NAME_CHARS { clean } else { hashed(&clean, name) }
}

/// Shortens a name and makes it unique with a 32-bit FNV-1a hash of `identity`.
pub(crate) fn hashed(name: &str, identity: &str) -> String {
    let hash = identity
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let kept: String = name.chars().take(NAME_CHARS - 9).collect();
    format!("{kept}_{hash:08x}")
}
