//! Differences between Claude models, above all in thinking (pages "Thinking", "Effort", "Preserved
//! thinking" and the migration guide of each model).

use serde_json::Value;
use serde_json::json;

use super::api::invalid;
use crate::WireError;
use crate::json::set;

/// A model, as its name describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claude {
    family: String,
    version: (u32, u32),
}

/// The thinking of one request.
pub(super) struct Plan {
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<String>,
    /// Whether the model thinks, in which case its earlier thinking is sent too.
    pub(super) thinks: bool,
}

impl Claude {
    /// Understands `claude-3-7-sonnet-20250219`, `claude-opus-4-5`, `anthropic/claude-opus-4.5` and
    /// `anthropic.claude-opus-4-6-v1:0`.
    pub(super) fn named(model: &str) -> Self {
        let model = model.to_lowercase();
        let Some((_, name)) = model.split_once("claude") else {
            return Self { family: String::new(), version: (4, 0) };
        };
        let parts: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        // Versions have one or two digits, dates have more.
        let mut digits =
            parts.iter().filter(|part| part.len() < 3).filter_map(|part| part.parse::<u32>().ok());
        let families = ["opus", "sonnet", "haiku", "fable", "mythos"];
        let family =
            parts.iter().find(|part| families.contains(part)).map_or("claude", |part| *part);
        // A name without a number is an alias of a recent model, and all of those accept what 4.6
        // does.
        let version = digits.next().map_or((4, 6), |major| (major, digits.next().unwrap_or(0)));
        Self { family: family.to_owned(), version }
    }

    pub(super) fn max_tokens(&self) -> u64 {
        match self.version {
            (..3, _) | (3, 0) => 4_096,
            (3, ..7) => 8_192,
            (3, _) | (4, ..5) => 32_000,
            _ => 64_000,
        }
    }

    /// Whether the model accepts `output_config.format`.
    pub(super) fn has_structured_outputs(&self) -> bool {
        self.version >= (4, 5)
    }

    fn always_thinks(&self) -> bool {
        matches!(self.family.as_str(), "fable" | "mythos")
            || (self.version >= (5, 1) && self.family != "haiku")
    }

    fn thinks_by_default(&self) -> bool {
        self.always_thinks() || self.version >= (5, 0)
    }

    fn effort(&self, effort: &str) -> Option<String> {
        let effort = match effort {
            "" => return None,
            "none" | "minimal" => "low",
            "xhigh" if self.version < (4, 7) => "high",
            "ultra" => "max",
            other => other,
        };
        Some(effort.to_owned())
    }

    /// Plans the thinking of a request. `lacking`: the history is amid tool calls that began
    /// without thinking, which budgeted thinking cannot join.
    pub(super) fn plan(
        &self,
        request: &Value,
        forced: bool,
        max_tokens: u64,
        lacking: bool,
    ) -> Result<Plan, WireError> {
        let effort = request["reasoning"]["effort"].as_str().unwrap_or_default();
        let summary = request["reasoning"]["summary"].as_str();
        let shown = summary.is_some_and(|summary| summary != "none");
        let wanted = effort != "none" && (shown || !effort.is_empty());
        if self.version < (4, 6) {
            let thinks =
                wanted && !forced && !lacking && max_tokens >= 2048 && self.version >= (3, 7);
            let budget = budget(effort, max_tokens);
            let thinking = thinks.then(|| json!({"type": "enabled", "budget_tokens": budget}));
            return Ok(Plan { thinking, effort: None, thinks });
        }
        if (forced || effort == "none") && !self.always_thinks() {
            let thinking = self.thinks_by_default().then(|| json!({"type": "disabled"}));
            let effort = Some(effort)
                .filter(|effort| *effort != "none")
                .and_then(|effort| self.effort(effort));
            // Thinking can be disabled up to a high effort only.
            let effort = effort.map(|effort| {
                if matches!(effort.as_str(), "xhigh" | "max") { "high".to_owned() } else { effort }
            });
            return Ok(Plan { thinking, effort, thinks: false });
        }
        if forced && self.version >= (5, 1) {
            return Err(invalid(
                "tool_choice: expected auto or none; this model accepts no forced choice",
            ));
        }
        let bound = self.version >= (5, 1);
        let mut thinking = json!({"type": "adaptive"});
        set(&mut thinking, "display", shown.then(|| json!("summarized")));
        let binding = bound.then(|| json!({"prefix_mismatch_behavior": "drop_block"}));
        set(&mut thinking, "block_binding", binding);
        let explicit = (wanted || bound) && !forced;
        Ok(Plan {
            thinking: explicit.then_some(thinking),
            effort: self.effort(effort),
            thinks: wanted || self.thinks_by_default(),
        })
    }
}

fn budget(effort: &str, max_tokens: u64) -> u64 {
    let share = match effort {
        "minimal" => 0,
        "low" => max_tokens / 8,
        "high" => max_tokens / 2,
        "xhigh" | "max" | "ultra" => max_tokens / 4 * 3,
        _ => max_tokens / 4,
    };
    share.max(1024)
}
