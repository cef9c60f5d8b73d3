//! What the scripted model says: `deltas: N` asks for N pieces of text as fast as they can be written,
//! `stamped: N PAUSE` for N pieces one at a time, PAUSE milliseconds apart, each the time at which it
//! was sent, and `run: COMMAND` for a tool call and a few words when it has answered.

use std::time::Duration;

use anyhow::Context;
use async_stream::stream;
use futures::Stream;

use super::ask::Ask;
use super::wire::Event;
use super::wire::Voice;
use super::wire::Wire;
use crate::seen;

/// How many pieces are written at a time.
const BURST: usize = 64;

#[derive(Debug)]
pub(super) enum Reply {
    Pieces(usize),
    Stamped { count: usize, pause: Duration },
    Run { tool: &'static str, command: String },
    Nothing,
}

/// The tools that run a command: Codex's two and opencode's.
const TOOLS: [&str; 3] = ["exec_command", "shell_command", "bash"];

impl Reply {
    /// # Errors
    /// A command is wanted, and no tool is offered that runs one.
    pub(super) fn to(ask: &Ask) -> anyhow::Result<Self> {
        let prompt = ask.prompt.as_deref().unwrap_or_default();
        let (verb, rest) = prompt.split_once(": ").unwrap_or_default();
        let mut numbers = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let mut number = || numbers.next().unwrap_or(2);
        Ok(match verb {
            "stamped" => Self::Stamped {
                count: usize::try_from(number()).unwrap_or_default(),
                pause: Duration::from_millis(number()),
            },
            "run" => {
                let offered = |tool: &&str| ask.tools.iter().any(|name| name == tool);
                let tool = TOOLS.into_iter().find(offered).context("no tool runs commands")?;
                Self::Run { tool, command: rest.to_owned() }
            }
            _ => Self::Pieces(usize::try_from(number()).unwrap_or_default()),
        })
    }
}

/// The events of an answer, in the portions in which they are written.
pub(super) fn bursts(wire: Wire, reply: Reply) -> impl Stream<Item = Vec<Event>> + Send {
    let voice = Voice::new(wire);
    stream! {
        match reply {
            Reply::Nothing => yield [voice.begins(), voice.ends()].concat(),
            Reply::Run { tool, command } => {
                yield [voice.begins(), voice.calls(tool, &command), voice.ends()].concat();
            }
            Reply::Pieces(count) => {
                yield [voice.begins(), voice.opens()].concat();
                let mut text = String::new();
                for first in (0..count).step_by(BURST) {
                    let pieces = (first..count.min(first + BURST)).map(|n| {
                        let piece = format!("{n} ");
                        text.push_str(&piece);
                        voice.says(&piece)
                    });
                    yield pieces.collect();
                }
                yield [voice.closes(&text), voice.ends()].concat();
            }
            Reply::Stamped { count, pause } => {
                yield [voice.begins(), voice.opens()].concat();
                let mut text = String::new();
                for _ in 0..count {
                    tokio::time::sleep(pause).await;
                    let piece = format!("{} ", seen::now_nanos());
                    text.push_str(&piece);
                    yield vec![voice.says(&piece)];
                }
                yield [voice.closes(&text), voice.ends()].concat();
            }
        }
    }
}
