//! Submissions: the input of a conversation.

use serde_json::Value;

use crate::Approval;
use crate::Sandbox;
use crate::approval::Answer;
use crate::approval::ApprovalRequest;

/// One input of a conversation.
#[derive(Debug, Clone)]
pub enum Submission {
    /// Starts a turn.
    Prompt(Prompt),
    /// Adds text and images to the running turn, if it is this one.
    Steer { turn_id: String, text: String, images: Vec<String> },
    /// Answers a request of the agent.
    Answer(ApprovalRequest, Answer),
    /// Starts a turn that summarises the history to free context.
    Compact,
    /// Starts a turn that reviews code.
    Review(Review),
    /// Removes the last turns from the history. Files stay as they are.
    Rollback { turns: u32 },
    /// Stops the running turn and the background processes that it left.
    Interrupt,
}

/// The subject of a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// Uncommitted changes: staged, unstaged and untracked.
    UncommittedChanges,
    /// Changes of the current branch.
    BaseBranch {
        /// The branch to compare with.
        branch: String,
    },
    /// Changes of one commit.
    Commit {
        /// The commit.
        sha: String,
    },
    /// A subject given in words.
    Custom {
        /// Instructions: the code to look at, and what to look for.
        instructions: String,
    },
}

/// One prompt, with overrides for its turn and the ones after it.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// The user's text.
    pub text: String,
    /// `data:` URIs of images.
    pub images: Vec<String>,
    /// JSON Schema that the final message must satisfy.
    pub output_schema: Option<Value>,
    /// Model slug.
    pub model: Option<String>,
    /// Access of commands.
    pub sandbox: Option<Sandbox>,
    /// When core asks before it acts.
    pub approval_policy: Option<Approval>,
}
