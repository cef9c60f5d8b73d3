//! A model catalogue with the scripted model: core then offers `apply_patch` and honours the
//! configured reasoning.

use serde_json::Value;
use serde_json::json;
use tempfile::NamedTempFile;

use super::gateway::Setup;

/// Adds the model to the catalogue of core. The file must live as long as the gateway.
pub fn with_catalogue(model: &str, mut setup: Setup) -> (NamedTempFile, Setup) {
    let known = include_str!("../../../crates/engine/src/codex/demo_model.json");
    let mut catalogue: Value = serde_json::from_str(known).unwrap();
    catalogue["models"][0]["slug"] = json!(model);
    catalogue["models"][0]["supports_parallel_tool_calls"] = json!(true);
    let file = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(file.path(), catalogue.to_string()).unwrap();
    setup.config = format!("model_catalog_json = {:?}\n{}", file.path(), setup.config);
    (file, setup)
}
