//! [`ReviewTarget`]: what to review, as a client says it.

use std::borrow::Cow;

use codex_gateway_engine::Review;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use serde::Deserialize;

use crate::error::Error;
use crate::input::text::SomeText;

/// The changes to review.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Members")]
pub(crate) struct ReviewTarget(Review);

impl From<ReviewTarget> for Review {
    fn from(ReviewTarget(review): ReviewTarget) -> Self {
        review
    }
}

/// The kind of a target.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    UncommittedChanges,
    BaseBranch,
    Commit,
    Custom,
}

/// The members of a target. Each kind has at most one beside its type.
#[derive(Debug, Deserialize)]
struct Members {
    r#type: Kind,
    branch: Option<SomeText>,
    sha: Option<SomeText>,
    instructions: Option<SomeText>,
}

impl TryFrom<Members> for ReviewTarget {
    type Error = Error;

    fn try_from(members: Members) -> Result<Self, Error> {
        let Members { r#type, branch, sha, instructions } = members;
        let review = match (r#type, branch, sha, instructions) {
            (Kind::UncommittedChanges, None, None, None) => Review::UncommittedChanges,
            (Kind::BaseBranch, Some(branch), None, None) => {
                Review::BaseBranch { branch: branch.into_string() }
            }
            (Kind::Commit, None, Some(sha), None) => Review::Commit { sha: sha.into_string() },
            (Kind::Custom, None, None, Some(instructions)) => {
                Review::Custom { instructions: instructions.into_string() }
            }
            (kind, ..) => {
                let members = match kind {
                    Kind::UncommittedChanges => "nothing beside the type uncommitted_changes",
                    Kind::BaseBranch => "branch, and it alone, beside the type base_branch",
                    Kind::Commit => "sha, and it alone, beside the type commit",
                    Kind::Custom => "instructions, and it alone, beside the type custom",
                };
                return Err(Error::invalid(format!("expected {members}, got other members")));
            }
        };
        Ok(Self(review))
    }
}

/// One kind of target after the other.
#[derive(JsonSchema)]
#[schemars(rename = "ReviewTarget", tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of what `Members` decodes")]
enum Target {
    /// Uncommitted changes: staged, unstaged and untracked.
    UncommittedChanges,
    /// Changes of the current branch.
    BaseBranch {
        /// The branch to compare with.
        branch: SomeText,
    },
    /// Changes of one commit.
    Commit {
        /// The commit.
        sha: SomeText,
    },
    /// A subject given in words.
    Custom {
        /// Instructions: the code to look at, and what to look for.
        instructions: SomeText,
    },
}

impl JsonSchema for ReviewTarget {
    fn schema_name() -> Cow<'static, str> {
        Target::schema_name()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        Target::json_schema(schemas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::from_json;

    #[test]
    fn each_kind_has_its_member_alone() {
        for (text, valid) in [
            (r#"{"type":"uncommitted_changes"}"#, true),
            (r#"{"type":"base_branch","branch":"main"}"#, true),
            (r#"{"type":"commit","sha":"abc"}"#, true),
            (r#"{"type":"custom","instructions":"look"}"#, true),
            (r#"{"type":"uncommitted_changes","sha":"abc"}"#, false),
            (r#"{"type":"uncommitted_changes","x":1}"#, false),
            (r#"{"type":"custom"}"#, false),
            (r#"{"type":"custom","instructions":" "}"#, false),
            (r#"{"type":"custom","instructions":"look","branch":"main"}"#, false),
            (r#"{"type":"other"}"#, false),
            (r#"["custom","look"]"#, false),
            (r#""uncommitted_changes""#, false),
            ("{}", false),
        ] {
            assert_eq!(from_json::<ReviewTarget>(text.as_bytes()).is_ok(), valid, "{text}");
        }
    }
}
