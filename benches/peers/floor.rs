//! The first floor: codex-core driven directly, in the bench's own process and without HTTP, set up as
//! the gateway sets it up.

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

use crate::seen::Kind;
use crate::seen::Seen;
use crate::seen::Watch;
use crate::seen::now_nanos;
use crate::support;
use crate::system::Conversation;
use crate::system::Job;
use crate::system::Site;
use crate::system::System;

pub(crate) struct Floor {
    engine: Arc<dyn Engine>,
    cwd: PathBuf,
    _gateway: Arc<App>,
}

impl Floor {
    /// Core, started.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(site: &Site, helpers: HelperPaths) -> anyhow::Result<Self> {
        site.configure(&codex_gateway_engine::arg0::codex_home()?, false)?;
        let assembly = Assembly::open(Config::load(&Overrides::default())?, helpers).await?;
        let cwd = assembly.config.workspace_root.join("floor");
        std::fs::create_dir_all(&cwd)?;
        let (gateway, engine) = assembly.into_app();
        Ok(Self { engine, cwd, _gateway: gateway })
    }

    /// How old each stamped piece of an answer is at core's own event.
    ///
    /// # Errors
    /// The turn fails.
    pub(crate) async fn ages(&self, prompt: &str) -> anyhow::Result<Vec<f64>> {
        let thread = support::start(&*self.engine, &self.cwd).await?;
        let mut ages = Vec::new();
        support::turn(&*thread, prompt, |event| {
            if let EventMsg::AgentMessageContentDelta(piece) = event
                && let Ok(sent) = piece.delta.trim().parse::<u64>()
            {
                ages.push(now_nanos().saturating_sub(sent) as f64 / 1e6);
            }
        })
        .await?;
        thread.close().await;
        Ok(ages)
    }
}

impl System for Floor {
    fn open(&self) -> Job<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            // A folder of its own, as the gateway makes one.
            let cwd = self.cwd.join(uuid::Uuid::now_v7().simple().to_string());
            tokio::fs::create_dir(&cwd).await?;
            let thread = support::start(&*self.engine, &cwd).await?;
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
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen> {
        Box::pin(async move {
            let mut watch = Watch::since(begun);
            let mut outcome = Ok(false);
            support::turn(&*self.0, prompt, |event| {
                let kind = match event {
                    EventMsg::TurnStarted(_) => Kind::First,
                    EventMsg::AgentMessageContentDelta(_) => Kind::Word,
                    EventMsg::TurnComplete(_) => Kind::Last,
                    _ => Kind::Other,
                };
                outcome = watch.event(kind, 0, Instant::now());
            })
            .await?;
            outcome?;
            Ok(watch.seen)
        })
    }

    fn close(self: Box<Self>) -> Job<'static, ()> {
        Box::pin(async move {
            self.0.close().await;
            Ok(())
        })
    }
}
