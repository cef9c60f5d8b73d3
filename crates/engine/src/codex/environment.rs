//! The environment of the agent's commands: an allow-list, because no list of patterns names every
//! variable in which an operator may keep a secret.

use std::collections::HashMap;

use codex_core::config::Config;
use codex_protocol::config_types::EnvironmentVariablePattern;
use codex_protocol::config_types::ShellEnvironmentPolicyInherit;
use toml::Table;
use toml::Value as TomlValue;

use super::Options;

/// Core's table of the environment, with which an operator allows more.
const TABLE: &str = "shell_environment_policy";
/// Variables that commands inherit in addition to core's set (`inherit = "core"`): PATH, HOME, USER,
/// LOGNAME, SHELL, TMPDIR, TEMP, TMP, LANG, LC_ALL, LC_CTYPE.
const INHERITED: [&str; 2] = ["TERM", "TZ"];
/// Variables with secrets that no command inherits, even with `inherit = "all"`, in addition to
/// core's own patterns (`*KEY*`, `*SECRET*`, `*TOKEN*`).
const SECRET_VARIABLES: [&str; 4] = ["GATEWAY_*", "OTEL_EXPORTER_*", "*PASSWORD*", "*CREDENTIAL*"];

/// Restricts the environment to the allow-list, unless the operator's file says what to inherit.
/// Secrets stay excluded in either case. Returns core's table of the same, for agents whose
/// configuration core derives from the file again.
pub(super) fn restrict(config: &mut Config, options: &Options) -> (String, TomlValue) {
    let own = config.config_layer_stack.effective_config();
    let chosen = own.get(TABLE).is_some_and(|table| table.get("inherit").is_some());
    let policy = &mut config.permissions.shell_environment_policy;
    let mut table = Table::new();
    if !chosen {
        policy.inherit = ShellEnvironmentPolicyInherit::Core;
        table.insert("inherit".to_owned(), "core".into());
        for name in INHERITED {
            if let Ok(value) = std::env::var(name) {
                policy.r#set.entry(name.to_owned()).or_insert(value);
            }
        }
    }
    policy.ignore_default_excludes = false;
    table.insert("ignore_default_excludes".to_owned(), false.into());
    let bridged = options.bridge.iter().flat_map(|bridge| &bridge.providers);
    // Variables whose values are sent to providers, under any name.
    let keys = config.model_providers.values().flat_map(|provider| {
        let headers = provider.env_http_headers.iter().flat_map(HashMap::values);
        provider.env_key.iter().chain(headers).map(String::as_str)
    });
    let keys = keys.chain(bridged.flat_map(|bridged| &bridged.secrets).map(String::as_str));
    policy.exclude.extend(
        SECRET_VARIABLES
            .into_iter()
            .chain(keys)
            .map(EnvironmentVariablePattern::new_case_insensitive),
    );
    (TABLE.to_owned(), table.into())
}
