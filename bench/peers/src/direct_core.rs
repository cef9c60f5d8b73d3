//! The first baseline: codex-core driven directly, in this process and without HTTP, assembled as in
//! the gateway.

use std::path::PathBuf;
use std::sync::Arc;

use codex_gateway::app::App;
use codex_gateway::app::Assembly;
use codex_gateway::config::Config;
use codex_gateway::config::Overrides;
use codex_gateway_engine::Engine;
use codex_gateway_engine::Thread;
use codex_gateway_engine::arg0::HelperPaths;
use codex_gateway_engine::protocol::EventMsg;
use tokio::time::Instant;

use crate::system::Conversation;
use crate::system::Setup;
use crate::system::System;
use crate::system::TryBoxFuture;
use crate::timing::EventKind;
use crate::timing::TurnRecorder;
use crate::timing::TurnTiming;
use crate::timing::now_nanos;

pub(crate) struct DirectCore {
    engine: Arc<dyn Engine>,
    cwd: PathBuf,
    _app: Arc<App>,
}

impl DirectCore {
    /// Starts core.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn start(setup: &Setup, helpers: HelperPaths) -> anyhow::Result<Self> {
        setup.configure(&codex_gateway_engine::arg0::codex_home()?, false)?;
        let assembly = Assembly::open(Config::load(&Overrides::default())?, helpers).await?;
        let cwd = assembly.config.workspace_root.join("core");
        std::fs::create_dir_all(&cwd)?;
        let (app, engine) = assembly.into_app();
        Ok(Self { engine, cwd, _app: app })
    }

    /// Returns the age of each stamped delta at core's event, in milliseconds.
    ///
    /// # Errors
    /// If the turn fails.
    pub(crate) async fn ages(&self, prompt: &str) -> anyhow::Result<Vec<f64>> {
        let thread = bench_support::start(&*self.engine, &self.cwd).await?;
        let mut ages = Vec::new();
        bench_support::turn(&*thread, prompt, |event| {
            if let EventMsg::AgentMessageContentDelta(event) = event
                && let Ok(sent) = event.delta.trim().parse::<u64>()
            {
                ages.push(now_nanos().saturating_sub(sent) as f64 / 1e6);
            }
        })
        .await?;
        thread.close().await;
        Ok(ages)
    }
}

impl System for DirectCore {
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            // The gateway too creates a folder per conversation.
            let cwd = self.cwd.join(uuid::Uuid::now_v7().simple().to_string());
            tokio::fs::create_dir(&cwd).await?;
            let thread = bench_support::start(&*self.engine, &cwd).await?;
            let opened: Box<dyn Conversation> = Box::new(Direct(thread));
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

struct Direct(Arc<dyn Thread>);

impl Conversation for Direct {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming> {
        Box::pin(async move {
            let mut recorder = TurnRecorder::since(begun);
            let mut outcome = Ok(false);
            bench_support::turn(&*self.0, prompt, |event| {
                let kind = match event {
                    EventMsg::TurnStarted(_) => EventKind::Started,
                    EventMsg::AgentMessageContentDelta(_) => EventKind::Delta,
                    EventMsg::TurnComplete(_) => EventKind::Completed,
                    _ => EventKind::Other,
                };
                outcome = recorder.record(kind, 0, Instant::now());
            })
            .await?;
            outcome?;
            Ok(recorder.timing)
        })
    }

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()> {
        Box::pin(async move {
            self.0.close().await;
            Ok(())
        })
    }
}
