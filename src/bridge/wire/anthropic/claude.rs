//! What differs between Claude models, and how a request thinks on each (pages "Thinking", "Effort", "Preserved thinking"
//! and the migration guide of each model).

use super::{Failure, invalid};
use serde_json::{Value, json};

/// What a model's name says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claude {
    family: String,
    version: (u32, u32),
}

/// How one request thinks.
pub(super) struct Plan {
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<String>,
    /// The model will think: its earlier thinking is sent along.
    pub(super) thinks: bool,
}

impl Claude {
    /// Knows `claude-3-7-sonnet-20250219`, `claude-opus-4-5`, `anthropic/claude-opus-4.5` and `anthropic.claude-opus-4-6-v1:0`.
    pub(super) fn named(model: &str) -> Self {
        let model = model.to_lowercase();
        let Some((_, name)) = model.split_once("claude") else {
            return Self { family: String::new(), version: (4, 0) };
        };
        let parts: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        // A date is longer than two digits.
        let mut digits =
            parts.iter().filter(|part| part.len() < 3).filter_map(|part| part.parse::<u32>().ok());
        let families = ["opus", "sonnet", "haiku", "fable", "mythos"];
        let family =
            parts.iter().find(|part| families.contains(part)).map_or("claude", |part| *part);
        // A name without a number is an alias of something recent: what 4.6 takes, all later models take.
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

    /// Takes `output_config.format`.
    pub(super) fn structures(&self) -> bool {
        self.version >= (4, 5)
    }

    fn always_thinks(&self) -> bool {
        matches!(self.family.as_str(), "fable" | "mythos")
            || (self.version >= (5, 1) && self.family != "haiku")
    }

    fn thinks_unasked(&self) -> bool {
        self.always_thinks() || self.version >= (5, 0)
    }

    fn effort(&self, asked: &str) -> Option<String> {
        let effort = match asked {
            "" => return None,
            "none" | "minimal" => "low",
            "xhigh" if self.version < (4, 7) => "high",
            "ultra" => "max",
            asked => asked,
        };
        Some(effort.to_owned())
    }

    /// `lacking` says that the history is amid tool calls that began without thinking: budgeted thinking cannot join them.
    pub(super) fn plan(
        &self,
        ask: &Value,
        forced: bool,
        max_tokens: u64,
        lacking: bool,
    ) -> Result<Plan, Failure> {
        let effort = ask["reasoning"]["effort"].as_str().unwrap_or_default();
        let shown = ask["reasoning"]["summary"].as_str().is_some_and(|summary| summary != "none");
        let asked = effort != "none" && (shown || !effort.is_empty());
        if self.version < (4, 6) {
            let thinks =
                asked && !forced && !lacking && max_tokens >= 2048 && self.version >= (3, 7);
            let budget = budget(effort, max_tokens);
            let thinking = thinks.then(|| json!({"type": "enabled", "budget_tokens": budget}));
            return Ok(Plan { thinking, effort: None, thinks });
        }
        if (forced || effort == "none") && !self.always_thinks() {
            let thinking = self.thinks_unasked().then(|| json!({"type": "disabled"}));
            let effort = Some(effort)
                .filter(|effort| *effort != "none")
                .and_then(|effort| self.effort(effort));
            // Thinking can be turned off up to a high effort only.
            let effort = effort.map(|effort| {
                if matches!(effort.as_str(), "xhigh" | "max") { "high".to_owned() } else { effort }
            });
            return Ok(Plan { thinking, effort, thinks: false });
        }
        if forced && self.version >= (5, 1) {
            return Err(invalid(
                "this model takes no forced tool choice (tool_choice must be auto or none)",
            ));
        }
        let bound = self.version >= (5, 1);
        let mut thinking = json!({"type": "adaptive"});
        if let Some(fields) = thinking.as_object_mut() {
            if shown {
                fields.insert("display".to_owned(), json!("summarized"));
            }
            if bound {
                fields.insert(
                    "block_binding".to_owned(),
                    json!({"prefix_mismatch_behavior": "drop_block"}),
                );
            }
        }
        let said = (asked || bound) && !forced;
        Ok(Plan {
            thinking: said.then_some(thinking),
            effort: self.effort(effort),
            thinks: asked || self.thinks_unasked(),
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
