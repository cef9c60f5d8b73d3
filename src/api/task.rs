//! [`Task`]: the outcome of a turn as one document, the reply of `POST /api/v1/exec`.

use codex_gateway_engine::protocol::TokenUsage;
use codex_gateway_engine::sandbox;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::conversation::Turn;
use crate::conversation::id::ConversationId;
use crate::conversation::id::SessionId;
use crate::conversation::limits::TIMEOUT_RANGE_MS;
use crate::conversation::report::Change;
use crate::conversation::report::TurnError;
use crate::conversation::report::TurnReport;
use crate::conversation::report::TurnStatus;
use crate::ops::usage::TokenUsageSchema;

/// The outcome of a turn.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Task {
    session_id: SessionId,
    conversation_id: ConversationId,
    turn_id: String,
    /// As a process would exit: 0, 1, 124 at the time limit, 130 when it was cancelled.
    exit_code: i32,
    status: TurnStatus,
    task_result: TaskResult,
    error: Option<TurnError>,
    /// Paths relative to the conversation's folder, here and below.
    files_created: Vec<String>,
    files_modified: Vec<String>,
    files_deleted: Vec<String>,
    /// Commands, patches and tool calls that have ended.
    steps_completed: u64,
    execution_time_ms: u64,
    /// The output of commands; where it is long, its beginning is cut off.
    stdout: String,
    stderr: String,
    /// Tokens of the turn.
    #[schemars(with = "Option<TokenUsageSchema>")]
    usage: Option<TokenUsage>,
    model: String,
    /// The mechanism that confines commands.
    sandbox: sandbox::Mechanism,
    /// Whether the agent may run commands.
    tools: sandbox::Tools,
}

/// The agent's result.
#[derive(Debug, Serialize, JsonSchema)]
struct TaskResult {
    success: bool,
    /// The agent's last message, perhaps unfinished.
    summary: String,
    artifacts: Vec<Artifact>,
    /// Suggestions for the client's next call.
    next_steps: Vec<String>,
}

/// A file that the turn created.
#[derive(Debug, Serialize, JsonSchema)]
struct Artifact {
    #[schemars(extend("const" = "file"))]
    artifact_type: &'static str,
    name: Option<String>,
    path: String,
    content: String,
    metadata: ArtifactMetadata,
}

/// Facts about an artifact.
#[derive(Debug, Serialize, JsonSchema)]
struct ArtifactMetadata {
    /// Whether the content is cut.
    truncated: bool,
}

impl Task {
    /// The document of a turn that has ended.
    pub(super) fn new(app: &App, turn: &Turn, report: &TurnReport) -> Self {
        let sandbox = &app.facts().sandbox;
        Self {
            session_id: turn.conversation.session_id().clone(),
            conversation_id: turn.conversation.id().clone(),
            turn_id: turn.id.to_string(),
            exit_code: report.status.exit_code(),
            status: report.status,
            task_result: TaskResult {
                success: report.status == TurnStatus::Completed,
                summary: report.message.clone(),
                artifacts: artifacts(report),
                next_steps: next_steps(app, turn, report),
            },
            error: report.error.clone(),
            files_created: report.created(),
            files_modified: report.modified(),
            files_deleted: report.deleted(),
            steps_completed: report.steps,
            execution_time_ms: report.duration_ms,
            stdout: report.stdout.text(),
            stderr: report.stderr.text(),
            usage: report.usage.clone(),
            model: turn.conversation.snapshot().model,
            sandbox: sandbox.mechanism,
            tools: sandbox.tools,
        }
    }
}

fn artifacts(report: &TurnReport) -> Vec<Artifact> {
    let created = report.files.iter().filter_map(|(path, change)| match change {
        Change::Created { content, truncated } => Some(Artifact {
            artifact_type: "file",
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()),
            path: path.display().to_string(),
            content: content.clone(),
            metadata: ArtifactMetadata { truncated: *truncated },
        }),
        Change::Modified | Change::Deleted => None,
    });
    created.collect()
}

fn next_steps(app: &App, turn: &Turn, report: &TurnReport) -> Vec<String> {
    let mut steps = Vec::new();
    match report.status {
        TurnStatus::TimedOut => steps.push(format!(
            "The turn was interrupted after {} ms: send a longer timeout_ms (at most {}), or go on \
             with the same session_id.",
            report.duration_ms,
            TIMEOUT_RANGE_MS.end()
        )),
        TurnStatus::Cancelled => steps.push("Go on with the same session_id.".to_owned()),
        TurnStatus::Failed => steps.push("See error, then send the prompt again.".to_owned()),
        TurnStatus::Completed => {}
    }
    steps.extend(turn.conversation.reduced().iter().map(|reduced| {
        format!(
            "This conversation began with {} = {}, which needs {}; it runs with {} now.",
            reduced.setting, reduced.recorded, reduced.needs, reduced.now
        )
    }));
    steps.extend(app.facts().sandbox.fix.map(|fix| format!("To sandbox tools: {fix}.")));
    steps
}
