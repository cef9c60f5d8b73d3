//! Core's store of conversations, with what it writes about them held back a moment.
//!
//! Core writes down what it observes of a conversation (its first message, its model, its tokens, when it
//! last said something) ten times a turn; each time its own store updates a row with many indexes and
//! reads the head of the recording twice. What is said is recorded as ever. Of what is said about it only
//! the latest counts: it is merged, and written [`DELAY`] after the first of it, before anyone reads it,
//! and when the conversation is closed. A killed process loses that much of the row, or the row: core
//! then finds the recording by its name, and makes the row from it.
//!
//! One mark core makes in the row past its store: that a conversation with a tool from outside is no source
//! of memories (`memories.disable_on_external_context`). A model that asks for such a tool within
//! [`DELAY`] of a conversation's first message would have it lost.
//!
//! Core hands it every piece of an answer too, of which nothing is recorded: those go no further.
//!
//! Of a conversation that it has just created core asks for the title; its store, which finds no row, goes
//! through the names of all recordings there are, those in the archive too, on a dozen threads. Of what was
//! never written, that is known here.
//!
//! Core waits for all that is said to be on disk, and asks five times a turn that it be: see [`recording`].

mod recording;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use codex_protocol::ThreadId;
use codex_protocol::models::PermissionProfile;
use codex_protocol::protocol::AskForApproval;
use codex_protocol::protocol::RolloutItem;
use codex_protocol::protocol::ThreadHistoryMode;
use codex_rollout::is_persisted_rollout_item;
use codex_thread_store::AppendThreadItemsParams;
use codex_thread_store::ArchiveThreadParams;
use codex_thread_store::CreateThreadParams;
use codex_thread_store::DeleteThreadParams;
use codex_thread_store::DeleteThreadsParams;
use codex_thread_store::ItemPage;
use codex_thread_store::ListItemsParams;
use codex_thread_store::ListThreadsParams;
use codex_thread_store::ListTurnsParams;
use codex_thread_store::LoadThreadHistoryParams;
use codex_thread_store::ReadThreadByRolloutPathParams;
use codex_thread_store::ReadThreadParams;
use codex_thread_store::ResumeThreadParams;
use codex_thread_store::SearchThreadOccurrencesParams;
use codex_thread_store::SearchThreadsParams;
use codex_thread_store::StoredModelContext;
use codex_thread_store::StoredThread;
use codex_thread_store::StoredThreadHistory;
use codex_thread_store::ThreadMetadataPatch;
use codex_thread_store::ThreadOccurrenceSearchPage;
use codex_thread_store::ThreadPage;
use codex_thread_store::ThreadSearchPage;
use codex_thread_store::ThreadStore;
use codex_thread_store::ThreadStoreError;
use codex_thread_store::ThreadStoreFuture;
use codex_thread_store::ThreadStoreResult;
use codex_thread_store::TurnPage;
use codex_thread_store::UpdateThreadMetadataParams;
use tokio::sync::Mutex;

use self::recording::Recording;

/// How long what is known of a conversation is held back, where not many are to be written.
const DELAY: Duration = Duration::from_millis(100);

const NOT_STORED: &str = "what is known of the conversation was not stored";

/// Core's store, and what it is still to be told.
#[derive(Clone)]
pub(super) struct MergingStore(Arc<Inner>);

struct Inner {
    store: Arc<dyn ThreadStore>,
    live: StdMutex<HashMap<ThreadId, Arc<Live>>>,
    /// Rows whose time has come are written one after another: the turns of a crowd come first.
    in_turn: Mutex<()>,
}

/// A live conversation.
#[derive(Default)]
struct Live {
    row: Mutex<Row>,
    /// It was created here, and nothing of it was written yet: it is nowhere to be found.
    unwritten: AtomicBool,
    recording: Arc<Recording>,
}

/// What is known of a live conversation.
#[derive(Default)]
struct Row {
    /// As it is, with what is still to be written. Of a conversation that was resumed or moved, none until
    /// it was written once.
    current: Option<StoredThread>,
    /// What is still to be written.
    pending: Option<ThreadMetadataPatch>,
}

impl MergingStore {
    pub(super) fn new(store: Arc<dyn ThreadStore>) -> Self {
        Self(Arc::new(Inner { store, live: StdMutex::default(), in_turn: Mutex::default() }))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ThreadId, Arc<Live>>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, id: ThreadId) -> Option<Arc<Live>> {
        self.all().get(&id).cloned()
    }

    /// The same, before something of it is written.
    fn live_to_write(&self, id: ThreadId) -> Option<Arc<Live>> {
        let live = self.live(id)?;
        live.unwritten.store(false, Ordering::Release);
        Some(live)
    }

    fn opened(&self, id: ThreadId, live: Live) {
        self.all().insert(id, Arc::new(live));
    }

    /// Has the recording be there, with all that was said, by `ask` where it may not be. Core wants
    /// that when it has a prompt, before the model hears of it, and before it ends a turn.
    async fn record(&self, id: ThreadId, ask: ThreadStoreFuture<'_, ()>) -> ThreadStoreResult<()> {
        let live = self.live_to_write(id);
        if let Some(live) = &live {
            live.recording.written().await;
            if live.recording.exists() {
                return Ok(());
            }
        }
        ask.await?;
        if let Some(live) = live {
            live.recording.set_exists(true);
        }
        Ok(())
    }

    /// What is still to be written of a conversation that was live goes with it.
    async fn drop_live(&self, id: ThreadId) {
        let live = self.all().remove(&id);
        if let Some(live) = live {
            live.row.lock().await.pending = None;
            live.recording.drop_waiting();
            live.recording.written().await;
        }
    }

    /// Writes what is held back of a row; what could not be written is for the next time.
    async fn write(&self, id: ThreadId, row: &mut Row) -> ThreadStoreResult<()> {
        let Some(patch) = row.pending.clone() else { return Ok(()) };
        let params = UpdateThreadMetadataParams { thread_id: id, patch, include_archived: true };
        row.current = Some(self.0.store.update_thread_metadata(params).await?);
        row.pending = None;
        Ok(())
    }

    /// The same, after what was said; that it failed is no concern of who comes next, as it was none of
    /// core's own store.
    async fn settle_live(&self, id: ThreadId, live: &Live) {
        live.recording.written().await;
        if let Err(error) = self.write(id, &mut *live.row.lock().await).await {
            tracing::warn!(%error, thread = %id, "{NOT_STORED}");
        }
    }

    async fn settle(&self, id: ThreadId) {
        if let Some(live) = self.live(id) {
            self.settle_live(id, &live).await;
        }
    }

    async fn settle_all(&self) {
        let ids: Vec<ThreadId> = self.all().keys().copied().collect();
        for id in ids {
            self.settle(id).await;
        }
    }

    /// Before a conversation is moved: neither its row nor its recording will be where it was.
    async fn forget(&self, id: ThreadId) {
        if let Some(live) = self.live(id) {
            self.settle_live(id, &live).await;
            live.row.lock().await.current = None;
            live.recording.set_exists(false);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it ends by itself, a moment later")]
    fn settle_soon(&self, id: ThreadId, live: Arc<Live>) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            let _turn = this.0.in_turn.lock().await;
            this.settle_live(id, &live).await;
        });
    }

    async fn update(&self, params: UpdateThreadMetadataParams) -> ThreadStoreResult<StoredThread> {
        let id = params.thread_id;
        let Some(live) = self.live_to_write(id) else {
            return self.0.store.update_thread_metadata(params).await;
        };
        let mut row = live.row.lock().await;
        let Row { current, pending } = &mut *row;
        if let Some(current) = current.as_mut().filter(|_| is_observed(&params.patch)) {
            show(current, &params.patch);
            let current = current.clone();
            match pending {
                Some(pending) => pending.merge(params.patch),
                None => {
                    *pending = Some(params.patch);
                    self.settle_soon(id, Arc::clone(&live));
                }
            }
            return Ok(current);
        }
        live.recording.written().await;
        if let Err(error) = self.write(id, &mut row).await {
            tracing::warn!(%error, thread = %id, "{NOT_STORED}");
        }
        let stored = self.0.store.update_thread_metadata(params).await?;
        row.current = Some(stored.clone());
        Ok(stored)
    }
}

/// Whether an item is for the recording, in either mode of it. Pieces of answers and of output are not;
/// core's own store finds that out behind three locks.
fn may_be_recorded(item: &RolloutItem) -> bool {
    [ThreadHistoryMode::Legacy, ThreadHistoryMode::Paginated]
        .into_iter()
        .any(|mode| is_persisted_rollout_item(item, mode))
}

/// Whether a patch is what core observes as a turn goes along, rather than what someone wants: it then says
/// when that was.
fn is_observed(patch: &ThreadMetadataPatch) -> bool {
    patch.updated_at.is_some() && patch.name.is_none() && patch.rollout_path.is_none()
}

/// The row of a conversation before anything was observed of it.
fn unobserved(params: &CreateThreadParams) -> StoredThread {
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

/// Shows in a row what a patch that waits will make of it.
fn show(thread: &mut StoredThread, patch: &ThreadMetadataPatch) {
    fn put<T: Clone>(field: &mut T, value: &Option<T>) {
        if let Some(value) = value {
            field.clone_from(value);
        }
    }
    fn put_some<T: Clone>(field: &mut Option<T>, value: &Option<T>) {
        if value.is_some() {
            field.clone_from(value);
        }
    }
    // Where the conversation is, and what someone called it, is not observed; its title, of which the row
    // has only the name, and the state of its git repository are for who reads them, when all is written.
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
    put(&mut thread.preview, preview);
    put(&mut thread.model_provider, model_provider);
    put_some(&mut thread.model, model);
    put(&mut thread.reasoning_effort, reasoning_effort);
    put(&mut thread.created_at, created_at);
    put(&mut thread.updated_at, updated_at);
    put(&mut thread.source, source);
    put(&mut thread.thread_source, thread_source);
    put(&mut thread.agent_nickname, agent_nickname);
    put(&mut thread.agent_role, agent_role);
    put(&mut thread.agent_path, agent_path);
    put(&mut thread.cwd, cwd);
    put(&mut thread.cli_version, cli_version);
    put(&mut thread.approval_mode, approval_mode);
    put(&mut thread.permission_profile, permission_profile);
    put_some(&mut thread.token_usage, token_usage);
    put_some(&mut thread.first_user_message, first_user_message);
    if let Some(at) = *advance_recency_at {
        thread.recency_at = thread.recency_at.max(at);
    }
}

impl ThreadStore for MergingStore {
    /// Core looks for its own store here.
    fn as_any(&self) -> &dyn Any {
        self.0.store.as_any()
    }

    fn default_history_mode(&self) -> ThreadHistoryMode {
        self.0.store.default_history_mode()
    }

    fn create_thread(&self, params: CreateThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            let row = Row { current: Some(unobserved(&params)), pending: None };
            let id = params.thread_id;
            self.0.store.create_thread(params).await?;
            let unwritten = true.into();
            self.opened(id, Live { row: Mutex::new(row), unwritten, ..Live::default() });
            Ok(())
        })
    }

    fn resume_thread(&self, params: ResumeThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            let id = params.thread_id;
            self.settle(id).await;
            self.0.store.resume_thread(params).await?;
            self.opened(id, Live::default());
            Ok(())
        })
    }

    fn append_items(&self, params: AppendThreadItemsParams) -> ThreadStoreFuture<'_, ()> {
        if !params.items.iter().any(may_be_recorded) {
            return Box::pin(std::future::ready(Ok(())));
        }
        Box::pin(async move {
            let Some(live) = self.live_to_write(params.thread_id) else {
                return self.0.store.append_items(params).await;
            };
            let AppendThreadItemsParams { thread_id, items } = params;
            let store = Arc::clone(&self.0.store);
            let write = move |items| {
                let store = Arc::clone(&store);
                async move {
                    let params = AppendThreadItemsParams { thread_id, items };
                    let written = store.append_items(params).await;
                    written.inspect_err(|error| {
                        tracing::warn!(%error, thread = %thread_id, "what was said was not recorded");
                    })
                }
            };
            live.recording.say(items, write).await;
            Ok(())
        })
    }

    fn persist_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(self.record(thread_id, self.0.store.persist_thread(thread_id)))
    }

    fn flush_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(self.record(thread_id, self.0.store.flush_thread(thread_id)))
    }

    fn shutdown_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            let live = self.all().remove(&thread_id);
            if let Some(live) = live {
                self.settle_live(thread_id, &live).await;
            }
            self.0.store.shutdown_thread(thread_id).await
        })
    }

    fn discard_thread(&self, thread_id: ThreadId) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            self.drop_live(thread_id).await;
            self.0.store.discard_thread(thread_id).await
        })
    }

    fn load_history(
        &self,
        params: LoadThreadHistoryParams,
    ) -> ThreadStoreFuture<'_, StoredThreadHistory> {
        Box::pin(async move {
            self.settle(params.thread_id).await;
            self.0.store.load_history(params).await
        })
    }

    fn load_latest_model_context(
        &self,
        params: LoadThreadHistoryParams,
    ) -> ThreadStoreFuture<'_, StoredModelContext> {
        Box::pin(async move {
            self.settle(params.thread_id).await;
            self.0.store.load_latest_model_context(params).await
        })
    }

    fn read_thread(&self, params: ReadThreadParams) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(async move {
            let thread_id = params.thread_id;
            let live = self.live(thread_id);
            if live.is_some_and(|live| live.unwritten.load(Ordering::Acquire)) {
                // In the words of core's store, which would look through all recordings first.
                let message = format!("no rollout found for thread id {thread_id}");
                return Err(ThreadStoreError::InvalidRequest { message });
            }
            self.settle(thread_id).await;
            self.0.store.read_thread(params).await
        })
    }

    fn read_thread_by_rollout_path(
        &self,
        params: ReadThreadByRolloutPathParams,
    ) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(async move {
            self.settle_all().await;
            self.0.store.read_thread_by_rollout_path(params).await
        })
    }

    fn list_threads(&self, params: ListThreadsParams) -> ThreadStoreFuture<'_, ThreadPage> {
        Box::pin(async move {
            self.settle_all().await;
            self.0.store.list_threads(params).await
        })
    }

    fn supports_paginated_history_lists(&self) -> bool {
        self.0.store.supports_paginated_history_lists()
    }

    fn search_threads(
        &self,
        params: SearchThreadsParams,
    ) -> ThreadStoreFuture<'_, ThreadSearchPage> {
        Box::pin(async move {
            self.settle_all().await;
            self.0.store.search_threads(params).await
        })
    }

    fn search_thread_occurrences(
        &self,
        params: SearchThreadOccurrencesParams,
    ) -> ThreadStoreFuture<'_, ThreadOccurrenceSearchPage> {
        Box::pin(async move {
            self.settle(params.thread_id).await;
            self.0.store.search_thread_occurrences(params).await
        })
    }

    fn list_turns(&self, params: ListTurnsParams) -> ThreadStoreFuture<'_, TurnPage> {
        Box::pin(async move {
            self.settle(params.thread_id).await;
            self.0.store.list_turns(params).await
        })
    }

    fn list_items(&self, params: ListItemsParams) -> ThreadStoreFuture<'_, ItemPage> {
        Box::pin(async move {
            self.settle(params.thread_id).await;
            self.0.store.list_items(params).await
        })
    }

    fn update_thread_metadata(
        &self,
        params: UpdateThreadMetadataParams,
    ) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(self.update(params))
    }

    fn archive_thread(&self, params: ArchiveThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            self.forget(params.thread_id).await;
            self.0.store.archive_thread(params).await
        })
    }

    fn unarchive_thread(&self, params: ArchiveThreadParams) -> ThreadStoreFuture<'_, StoredThread> {
        Box::pin(async move {
            self.forget(params.thread_id).await;
            self.0.store.unarchive_thread(params).await
        })
    }

    fn delete_thread(&self, params: DeleteThreadParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            // What is held back of it would bring it back.
            self.drop_live(params.thread_id).await;
            self.0.store.delete_thread(params).await
        })
    }

    fn delete_threads(&self, params: DeleteThreadsParams) -> ThreadStoreFuture<'_, ()> {
        Box::pin(async move {
            for id in &params.thread_ids {
                self.drop_live(*id).await;
            }
            self.0.store.delete_threads(params).await
        })
    }
}
