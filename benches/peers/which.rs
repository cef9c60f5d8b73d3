//! The systems by name, and which of them are there.

use std::sync::Arc;

use codex_gateway_engine::arg0::HelperPaths;

use crate::app_server::AppServer;
use crate::app_server::AppServerKept;
use crate::app_server::AppServerSpawned;
use crate::app_server::Recipe;
use crate::bare::Bare;
use crate::exec::Exec;
use crate::floor::Floor;
use crate::gateway::Gateway;
use crate::opencode::Opencode;
use crate::plan::Plan;
use crate::system::Site;
use crate::system::System;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Gateway,
    Floor,
    Bare,
    Spawned,
    Kept,
    Tuned,
    Exec,
    Opencode,
}

impl Which {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "**codex-gateway**",
            Self::Floor => "floor: codex-core directly",
            Self::Bare => "floor: bare Hyper, same bytes",
            Self::Spawned => "app-server, spawned per request",
            Self::Kept => "app-server, kept alive",
            Self::Tuned => "app-server, kept alive, tuned",
            Self::Exec => "codex exec --json",
            Self::Opencode => "opencode serve",
        }
    }

    /// Whether a conversation of it lives on after its first turn.
    pub(crate) fn keeps(self) -> bool {
        match self {
            Self::Spawned | Self::Exec => false,
            Self::Gateway
            | Self::Floor
            | Self::Bare
            | Self::Kept
            | Self::Tuned
            | Self::Opencode => true,
        }
    }
}

/// The systems that are there, started.
pub(crate) struct Field {
    pub(crate) systems: Vec<(Which, Arc<dyn System>)>,
    pub(crate) floor: Arc<Floor>,
    pub(crate) gateway: Arc<Gateway>,
}

/// Starts them. A peer that is missing is skipped, loudly.
///
/// # Errors
/// The gateway or a floor does not start.
pub(crate) async fn start(site: &Site, helpers: HelperPaths, plan: &Plan) -> anyhow::Result<Field> {
    let floor = Arc::new(Floor::start(site, helpers).await?);
    let gateway = Arc::new(Gateway::start(site).await?);
    let bare = Bare::start(site, &gateway, &plan.prompts()).await?;
    let mut systems: Vec<(Which, Arc<dyn System>)> = vec![
        (Which::Gateway, Arc::clone(&gateway) as Arc<dyn System>),
        (Which::Floor, Arc::clone(&floor) as Arc<dyn System>),
        (Which::Bare, Arc::new(bare)),
    ];
    for which in [Which::Spawned, Which::Kept, Which::Tuned, Which::Exec, Which::Opencode] {
        match peer(which, site).await {
            Ok(system) => systems.push((which, system)),
            Err(error) => eprintln!("SKIPPED: {}: {error:#}", which.name()),
        }
    }
    Ok(Field { systems, floor, gateway })
}

/// A peer, started anew.
///
/// # Errors
/// It is not installed, or does not start.
pub(crate) async fn peer(which: Which, site: &Site) -> anyhow::Result<Arc<dyn System>> {
    Ok(match which {
        Which::Gateway => Arc::new(Gateway::start(site).await?),
        Which::Spawned => Arc::new(AppServerSpawned::new(Recipe::new(site, "spawned", false)?)),
        Which::Kept => {
            let recipe = Recipe::new(site, "kept", false)?;
            Arc::new(AppServerKept(AppServer::start(&recipe).await?))
        }
        Which::Tuned => {
            let recipe = Recipe::new(site, "tuned", true)?;
            Arc::new(AppServerKept(AppServer::start(&recipe).await?))
        }
        Which::Exec => Arc::new(Exec::new(Recipe::new(site, "exec", false)?)),
        Which::Opencode => Arc::new(Opencode::start(site).await?),
        Which::Floor | Which::Bare => anyhow::bail!("a floor is no peer"),
    })
}
