//! The scripts of the model. `deltas: N` asks for N text deltas as fast as possible;
//! `stamped: N PAUSE` for N deltas, PAUSE milliseconds apart, each with its send time;
//! `run: COMMAND` for a tool call and two deltas after its output.

use std::time::Duration;

use anyhow::Context;
use async_stream::stream;
use futures::Stream;

use super::encoder::Encoder;
use super::encoder::Event;
use super::encoder::Wire;
use super::request::ModelRequest;
use crate::timing;

/// Deltas per write.
const CHUNK: usize = 64;

#[derive(Debug)]
pub(super) enum Script {
    Deltas(usize),
    Stamped { count: usize, pause: Duration },
    Run { tool: &'static str, command: String },
    Empty,
}

/// The tools that run a command: two of Codex, one of opencode.
const TOOLS: [&str; 3] = ["exec_command", "shell_command", "bash"];

impl Script {
    /// Reads the script from the prompt.
    ///
    /// # Errors
    /// If the script runs a command, and no offered tool can.
    pub(super) fn of(request: &ModelRequest) -> anyhow::Result<Self> {
        let prompt = request.prompt.as_deref().unwrap_or_default();
        let (directive, arguments) = prompt.split_once(": ").unwrap_or_default();
        let mut numbers = arguments.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let mut number = || numbers.next().unwrap_or(2);
        Ok(match directive {
            "stamped" => Self::Stamped {
                count: usize::try_from(number()).unwrap_or_default(),
                pause: Duration::from_millis(number()),
            },
            "run" => {
                let offered = |tool: &&str| request.tools.iter().any(|name| name == tool);
                let tool = TOOLS
                    .into_iter()
                    .find(offered)
                    .context("the request offers no tool that runs commands")?;
                Self::Run { tool, command: arguments.to_owned() }
            }
            _ => Self::Deltas(usize::try_from(number()).unwrap_or_default()),
        })
    }
}

/// Returns the events of a response, in the chunks in which they are written.
pub(super) fn chunks(wire: Wire, script: Script) -> impl Stream<Item = Vec<Event>> + Send {
    let encoder = Encoder::new(wire);
    stream! {
        match script {
            Script::Empty => yield [encoder.created(), encoder.completed()].concat(),
            Script::Run { tool, command } => {
                yield [encoder.created(), encoder.tool_call(tool, &command), encoder.completed()].concat();
            }
            Script::Deltas(count) => {
                yield [encoder.created(), encoder.item_added()].concat();
                let mut text = String::new();
                for first in (0..count).step_by(CHUNK) {
                    let deltas = (first..count.min(first + CHUNK)).map(|n| {
                        let delta = format!("{n} ");
                        text.push_str(&delta);
                        encoder.text_delta(&delta)
                    });
                    yield deltas.collect();
                }
                yield [encoder.item_done(&text), encoder.completed()].concat();
            }
            Script::Stamped { count, pause } => {
                yield [encoder.created(), encoder.item_added()].concat();
                let mut text = String::new();
                for _ in 0..count {
                    tokio::time::sleep(pause).await;
                    let delta = format!("{} ", timing::now_nanos());
                    text.push_str(&delta);
                    yield vec![encoder.text_delta(&delta)];
                }
                yield [encoder.item_done(&text), encoder.completed()].concat();
            }
        }
    }
}
