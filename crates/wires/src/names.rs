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

/// Returns the name of an offered tool within a name that a model or its server decorated: special
/// tokens of the model behind it (`shell<|channel|>commentary`), a recipient before it
/// (`functions.shell`).
pub(crate) fn recovered(name: &str, is_offered: impl Fn(&str) -> bool) -> &str {
    if is_offered(name) {
        return name;
    }
    let cut = name.split("<|").next().unwrap_or(name).trim();
    let bare = ["functions.", "function.", "tools."].iter().find_map(|to| cut.strip_prefix(to));
    let numbered = bare.and_then(|bare| bare.rsplit_once(':')).map(|(bare, _number)| bare);
    let forms = [Some(cut), bare, numbered];
    forms.into_iter().flatten().find(|form| is_offered(form)).unwrap_or(name)
}
