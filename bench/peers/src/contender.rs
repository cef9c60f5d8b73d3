//! The contenders: the gateway, two baselines and the peers.

use std::sync::Arc;

use codex_gateway_engine::arg0::HelperPaths;

use crate::app_server::AppServer;
use crate::app_server::AppServerKept;
use crate::app_server::AppServerSpawned;
use crate::app_server::CodexCommand;
use crate::bare_hyper::BareHyper;
use crate::codex_exec::CodexExec;
use crate::direct_core::DirectCore;
use crate::gateway::Gateway;
use crate::opencode::Opencode;
use crate::plan::Plan;
use crate::system::Setup;
use crate::system::System;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    Gateway,
    DirectCore,
    BareHyper,
    AppServerSpawned,
    AppServerKept,
    AppServerTuned,
    CodexExec,
    Opencode,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "**codex-gateway**",
            Self::DirectCore => "baseline: codex-core directly",
            Self::BareHyper => "baseline: bare Hyper, same bytes",
            Self::AppServerSpawned => "app-server, spawned per request",
            Self::AppServerKept => "app-server, kept alive",
            Self::AppServerTuned => "app-server, kept alive, tuned",
            Self::CodexExec => "codex exec --json",
            Self::Opencode => "opencode serve",
        }
    }

    /// Whether its conversations outlive their first turn.
    pub(crate) fn keeps(self) -> bool {
        match self {
            Self::AppServerSpawned | Self::CodexExec => false,
            Self::Gateway
            | Self::DirectCore
            | Self::BareHyper
            | Self::AppServerKept
            | Self::AppServerTuned
            | Self::Opencode => true,
        }
    }
}

/// The started systems.
pub(crate) struct Contenders {
    pub(crate) systems: Vec<(Contender, Arc<dyn System>)>,
    pub(crate) core: Arc<DirectCore>,
    pub(crate) gateway: Arc<Gateway>,
}

/// Starts all systems. A missing peer is skipped with a message.
///
/// # Errors
/// If the gateway or a baseline does not start.
pub(crate) async fn start(
    setup: &Setup,
    helpers: HelperPaths,
    plan: &Plan,
) -> anyhow::Result<Contenders> {
    let core = Arc::new(DirectCore::start(setup, helpers).await?);
    let gateway = Arc::new(Gateway::start(setup).await?);
    let bare = BareHyper::start(setup, &gateway, &plan.prompts()).await?;
    let mut systems: Vec<(Contender, Arc<dyn System>)> = vec![
        (Contender::Gateway, Arc::clone(&gateway) as Arc<dyn System>),
        (Contender::DirectCore, Arc::clone(&core) as Arc<dyn System>),
        (Contender::BareHyper, Arc::new(bare)),
    ];
    for contender in [
        Contender::AppServerSpawned,
        Contender::AppServerKept,
        Contender::AppServerTuned,
        Contender::CodexExec,
        Contender::Opencode,
    ] {
        match peer(contender, setup).await {
            Ok(system) => systems.push((contender, system)),
            Err(error) => eprintln!("SKIPPED: {}: {error:#}", contender.name()),
        }
    }
    Ok(Contenders { systems, core, gateway })
}

/// Starts the gateway or a peer in a new process.
///
/// # Errors
/// If it is not installed or does not start.
pub(crate) async fn peer(contender: Contender, setup: &Setup) -> anyhow::Result<Arc<dyn System>> {
    Ok(match contender {
        Contender::Gateway => Arc::new(Gateway::start(setup).await?),
        Contender::AppServerSpawned => {
            Arc::new(AppServerSpawned::new(CodexCommand::new(setup, "spawned", false)?))
        }
        Contender::AppServerKept => {
            let codex = CodexCommand::new(setup, "kept", false)?;
            Arc::new(AppServerKept(AppServer::start(&codex).await?))
        }
        Contender::AppServerTuned => {
            let codex = CodexCommand::new(setup, "tuned", true)?;
            Arc::new(AppServerKept(AppServer::start(&codex).await?))
        }
        Contender::CodexExec => Arc::new(CodexExec::new(CodexCommand::new(setup, "exec", false)?)),
        Contender::Opencode => Arc::new(Opencode::start(setup).await?),
        Contender::DirectCore | Contender::BareHyper => {
            anyhow::bail!("a baseline has no process to restart")
        }
    })
}
