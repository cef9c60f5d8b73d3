//! The row of a live conversation in core's state database.

use std::time::SystemTime;

use codex_protocol::models::PermissionProfile;
use codex_protocol::protocol::AskForApproval;
use codex_thread_store::CreateThreadParams;
use codex_thread_store::StoredThread;
use codex_thread_store::ThreadMetadataPatch;

/// The row of a live conversation.
#[derive(Default)]
pub(super) struct Row {
    /// The row including `pending`. `None` for a conversation that was resumed or moved, until its
    /// first write.
    pub(super) current: Option<StoredThread>,
    /// The merged patches that are not written yet.
    pub(super) pending: Option<ThreadMetadataPatch>,
}

/// Whether a patch holds observations of core during a turn, as opposed to a client's changes.
/// Observations carry their time.
pub(super) fn is_observation(patch: &ThreadMetadataPatch) -> bool {
    patch.updated_at.is_some() && patch.name.is_none() && patch.rollout_path.is_none()
}

/// The row of a new conversation, before any observation.
pub(super) fn new_row(params: &CreateThreadParams) -> StoredThread {
    let now = SystemTime::now().into();
    StoredThread {
        thread_id: params.thread_id,
        extra_config: params.extra_config.clone(),
        rollout_path: None,
        forked_from_id: params.forked_from_id,
        parent_thread_id: params.parent_thread_id,
        preview: String::new(),
        name: None,
        model_provider: params.metadata.model_provider.clone(),
        model: None,
        reasoning_effort: None,
        created_at: now,
        updated_at: now,
        recency_at: now,
        archived_at: None,
        cwd: params.metadata.cwd.clone().unwrap_or_default(),
        cli_version: String::new(),
        source: params.source.clone(),
        history_mode: params.history_mode,
        thread_source: params.thread_source.clone(),
        agent_nickname: params.source.get_nickname(),
        agent_role: params.source.get_agent_role(),
        agent_path: params.source.get_agent_path().map(Into::into),
        git_info: None,
        approval_mode: AskForApproval::default(),
        permission_profile: PermissionProfile::default(),
        token_usage: None,
        first_user_message: None,
        history: None,
    }
}

/// Applies a pending patch to a row, as core's store will.
pub(super) fn apply_patch(thread: &mut StoredThread, patch: &ThreadMetadataPatch) {
    fn set<T: Clone>(field: &mut T, value: &Option<T>) {
        if let Some(value) = value {
            field.clone_from(value);
        }
    }
    fn set_some<T: Clone>(field: &mut Option<T>, value: &Option<T>) {
        if value.is_some() {
            field.clone_from(value);
        }
    }
    // Path and name are not observations. Title (the row has only the name) and git state are read
    // only after all patches are written.
    let ThreadMetadataPatch {
        name: _,
        rollout_path: _,
        preview,
        title: _,
        model_provider,
        model,
        reasoning_effort,
        created_at,
        updated_at,
        advance_recency_at,
        source,
        thread_source,
        agent_nickname,
        agent_role,
        agent_path,
        cwd,
        cli_version,
        approval_mode,
        permission_profile,
        token_usage,
        first_user_message,
        git_info: _,
        memory_mode: _,
    } = patch;
    set(&mut thread.preview, preview);
    set(&mut thread.model_provider, model_provider);
    set_some(&mut thread.model, model);
    set(&mut thread.reasoning_effort, reasoning_effort);
    set(&mut thread.created_at, created_at);
    set(&mut thread.updated_at, updated_at);
    set(&mut thread.source, source);
    set(&mut thread.thread_source, thread_source);
    set(&mut thread.agent_nickname, agent_nickname);
    set(&mut thread.agent_role, agent_role);
    set(&mut thread.agent_path, agent_path);
    set(&mut thread.cwd, cwd);
    set(&mut thread.cli_version, cli_version);
    set(&mut thread.approval_mode, approval_mode);
    set(&mut thread.permission_profile, permission_profile);
    set_some(&mut thread.token_usage, token_usage);
    set_some(&mut thread.first_user_message, first_user_message);
    if let Some(at) = *advance_recency_at {
        thread.recency_at = thread.recency_at.max(at);
    }
}
