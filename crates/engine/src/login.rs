//! Codex's own login.

use std::path::Path;

use codex_login::AuthCredentialsStoreMode;
use codex_login::AuthDotJson;
use codex_login::AuthKeyringBackendKind;

/// Whether `auth.json` in codex's home holds a login: a file without one is none.
pub fn is_stored(codex_home: &Path) -> bool {
    let keyring = AuthKeyringBackendKind::default();
    let stored =
        codex_login::load_auth_dot_json(codex_home, AuthCredentialsStoreMode::File, keyring);
    stored.ok().flatten().is_some_and(|stored| has_credential(&stored))
}

fn has_credential(stored: &AuthDotJson) -> bool {
    let is_given =
        |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
    is_given(&stored.openai_api_key)
        || is_given(&stored.personal_access_token)
        || stored.tokens.is_some()
        || stored.bedrock_api_key.is_some()
        || stored.agent_identity.as_ref().is_some_and(|identity| identity.has_auth_material())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_a_credential_is_no_login() {
        let home = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&home).unwrap();
        assert!(!is_stored(&home));
        for (content, expected) in [
            ("", false),
            ("{", false),
            ("{}", false),
            (r#"{"OPENAI_API_KEY":null}"#, false),
            (r#"{"OPENAI_API_KEY":" "}"#, false),
            (r#"{"OPENAI_API_KEY":"sk-1"}"#, true),
            (r#"{"OPENAI_API_KEY":null,"personal_access_token":"t"}"#, true),
        ] {
            std::fs::write(home.join("auth.json"), content).unwrap();
            assert_eq!(is_stored(&home), expected, "{content}");
        }
        std::fs::remove_dir_all(home).unwrap();
    }
}
