//! `codex exec --json`: a process per prompt, events as JSON lines. It does not stream deltas.

use std::process::Stdio;

use anyhow::Context;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::time::Instant;

use crate::app_server::CodexCommand;
use crate::http::between;
use crate::process;
use crate::process::RunningIds;
use crate::system::Conversation;
use crate::system::System;
use crate::system::TryBoxFuture;
use crate::timing::EventKind;
use crate::timing::TurnRecorder;
use crate::timing::TurnTiming;

pub(crate) struct CodexExec {
    codex: CodexCommand,
    running: RunningIds,
}

impl CodexExec {
    pub(crate) fn new(codex: CodexCommand) -> Self {
        Self { codex, running: RunningIds::default() }
    }
}

impl System for CodexExec {
    fn open(&self) -> TryBoxFuture<'_, Box<dyn Conversation>> {
        Box::pin(async move {
            let (codex, running) = (self.codex.clone(), self.running.clone());
            let opened: Box<dyn Conversation> = Box::new(Once { codex, running, child: None });
            Ok(opened)
        })
    }

    fn processes(&self) -> Vec<u32> {
        self.running.list()
    }
}

struct Once {
    codex: CodexCommand,
    running: RunningIds,
    child: Option<(Child, u32)>,
}

impl Conversation for Once {
    fn turn<'a>(&'a mut self, prompt: &'a str, begun: Instant) -> TryBoxFuture<'a, TurnTiming> {
        Box::pin(async move {
            let mut child = self
                .codex
                .command()
                .args(["exec", "--json", "--skip-git-repo-check", "--sandbox", "workspace-write"])
                .arg(prompt)
                .stdout(Stdio::piped())
                .spawn()?;
            let id = child.id().unwrap_or_default();
            self.running.add(id);
            let stdout = child.stdout.take().context("stdout")?;
            self.child = Some((child, id));
            let mut lines = BufReader::new(stdout).lines();
            let mut recorder = TurnRecorder::since(begun);
            while let Some(line) = lines.next_line().await? {
                let kind = match between(line.as_bytes(), "{\"type\":\"", '"') {
                    "turn.started" => EventKind::Started,
                    "turn.completed" => EventKind::Completed,
                    "turn.failed" | "error" => EventKind::Failed,
                    _ if line.contains("\"agent_message\"") => EventKind::Delta,
                    _ => EventKind::Other,
                };
                if recorder.record(kind, line.len() + 1, Instant::now())? {
                    return Ok(recorder.timing);
                }
            }
            anyhow::bail!("codex exec ended within a turn")
        })
    }

    fn close(self: Box<Self>) -> TryBoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some((child, id)) = self.child {
                process::end(child).await;
                self.running.remove(id);
            }
            Ok(())
        })
    }
}
