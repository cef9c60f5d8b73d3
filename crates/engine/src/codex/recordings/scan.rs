//! What recordings say of their conversations, to rebuild what the session file has lost.

use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;

use codex_protocol::protocol::AskForApproval;
use codex_protocol::protocol::RolloutItem;
use codex_protocol::protocol::SandboxPolicy;
use codex_protocol::protocol::SessionSource;

use super::item;
use super::lines;
use super::whole;
use crate::Approval;
use crate::RecordedConversation;
use crate::Sandbox;

/// Reads the recordings of a codex home, but for those of `known` conversations and of sub-agents.
/// Blocks.
pub(in crate::codex) fn recorded_conversations(
    codex_home: &Path,
    known: &HashSet<String>,
) -> Vec<RecordedConversation> {
    let mut found = Vec::new();
    for (folder, archived) in
        [(codex_rollout::SESSIONS_SUBDIR, false), (codex_rollout::ARCHIVED_SESSIONS_SUBDIR, true)]
    {
        for path in recordings(codex_home.join(folder)) {
            let Some(id) = thread_id(&path) else { continue };
            if !known.contains(id) {
                found.extend(read(&path, id, archived));
            }
        }
    }
    found
}

/// The recordings below a folder, without following links.
fn recordings(folder: PathBuf) -> Vec<PathBuf> {
    let mut folders = vec![folder];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found
}

/// The id in the name of a recording: `rollout-TIME-UUID.jsonl`.
fn thread_id(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_prefix("rollout-")?.strip_suffix(".jsonl")?;
    let id = name.get(name.len().checked_sub(36)?..)?;
    uuid::Uuid::try_parse(id).is_ok().then_some(id)
}

/// `None` for a recording of a sub-agent or another program, or without a turn.
fn read(path: &Path, id: &str, archived: bool) -> Option<RecordedConversation> {
    let (mut meta, mut context) = (None, None);
    for line in lines(path).ok()? {
        let line = line.ok()?;
        match whole(&line).and_then(item) {
            Some(RolloutItem::SessionMeta(line)) if meta.is_none() => meta = Some(line.meta),
            Some(RolloutItem::TurnContext(turn)) => context = Some(turn),
            _ => {}
        }
    }
    let (meta, context) = (meta?, context?);
    if !matches!(meta.source, SessionSource::Exec) || meta.id.to_string() != id {
        return None;
    }
    Some(RecordedConversation {
        id: id.to_owned(),
        cwd: meta.cwd,
        model: context.model,
        model_provider: meta.model_provider?,
        sandbox: match context.sandbox_policy {
            SandboxPolicy::ReadOnly { .. } => Sandbox::ReadOnly,
            // More than this is the operator's to permit again.
            SandboxPolicy::WorkspaceWrite { .. }
            | SandboxPolicy::DangerFullAccess
            | SandboxPolicy::ExternalSandbox { .. } => Sandbox::WorkspaceWrite,
        },
        approval_policy: match context.approval_policy {
            AskForApproval::OnRequest => Approval::OnRequest,
            AskForApproval::UnlessTrusted => Approval::Untrusted,
            // The first is ours; core has others.
            _ => Approval::Never,
        },
        created_at: meta.timestamp,
        archived,
    })
}
