//! `codex exec --json`: a process per prompt, events as JSON lines. It does not stream words.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::time::Instant;

use crate::app_server::Recipe;
use crate::child;
use crate::http::between;
use crate::seen::Kind;
use crate::seen::Seen;
use crate::seen::Watch;
use crate::system::Conversation;
use crate::system::Job;
use crate::system::System;

pub(crate) struct Exec {
    pub(crate) recipe: Recipe,
    running: Arc<Mutex<Vec<u32>>>,
}

impl Exec {
    pub(crate) fn new(recipe: Recipe) -> Self {
        Self { recipe, running: Arc::default() }
    }
}

impl System for Exec {
    fn open(&self) -> Job<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let (recipe, running) = (self.recipe.clone(), Arc::clone(&self.running));
            let opened: Box<dyn Conversation> = Box::new(Once { recipe, running, child: None });
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Once {
    recipe: Recipe,
    running: Arc<Mutex<Vec<u32>>>,
    child: Option<(Child, u32)>,
}

impl Conversation for Once {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> Job<'a, Seen> {
        Box::pin(async move {
            let mut child = self
                .recipe
                .command()
                .args(["exec", "--json", "--skip-git-repo-check", "--sandbox", "workspace-write"])
                .arg(prompt)
                .stdout(Stdio::piped())
                .spawn()?;
            let id = child.id().unwrap_or_default();
            self.running.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            let stdout = child.stdout.take().context("stdout")?;
            self.child = Some((child, id));
            let mut lines = BufReader::new(stdout).lines();
            let mut watch = Watch::since(begun);
            while let Some(line) = lines.next_line().await? {
                let kind = match between(line.as_bytes(), "{\"type\":\"", '"') {
                    "turn.started" => Kind::First,
                    "turn.completed" => Kind::Last,
                    "turn.failed" | "error" => Kind::Failed,
                    _ if line.contains("\"agent_message\"") => Kind::Word,
                    _ => Kind::Other,
                };
                if watch.event(kind, line.len() + 1, Instant::now())? {
                    return Ok(watch.seen);
                }
            }
            anyhow::bail!("codex exec ended within a turn")
        })
    }

    fn close(self: Box<Self>) -> Job<'static, ()> {
        Box::pin(async move {
            if let Some((child, id)) = self.child {
                child::end(child).await;
                let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                running.retain(|other| *other != id);
            }
            Ok(())
        })
    }
}
