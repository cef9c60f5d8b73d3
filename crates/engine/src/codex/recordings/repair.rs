//! Repair of one recording.
//!
//! Core records each message twice: as an item for the model and as an event for clients. Where one
//! of the two is damaged, it is made from the other, so that the model and the history agree.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use codex_protocol::ThreadId;
use codex_protocol::models::ContentItem;
use codex_protocol::models::ResponseItem;
use codex_protocol::protocol::AgentMessageEvent;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::RolloutItem;
use codex_protocol::protocol::RolloutLine;
use codex_protocol::protocol::SessionMeta;
use codex_protocol::protocol::SessionMetaLine;
use codex_protocol::protocol::SessionSource;
use codex_protocol::protocol::UserMessageEvent;

use super::Condition;
use super::item;
use super::lines;
use super::whole;

/// A line of a recording.
enum Line {
    Damaged,
    Whole {
        text: String,
        /// `None` for one of another version of core.
        parsed: Option<Box<RolloutLine>>,
    },
}

impl Line {
    fn new(line: &[u8]) -> Self {
        match whole(line) {
            None => Self::Damaged,
            Some(text) => Self::Whole {
                text: text.to_owned(),
                parsed: serde_json::from_str(text).map(Box::new).ok(),
            },
        }
    }

    fn item(&self) -> Option<&RolloutItem> {
        match self {
            Self::Whole { parsed: Some(line), .. } => Some(&line.item),
            Self::Whole { parsed: None, .. } | Self::Damaged => None,
        }
    }
}

/// Repairs a recording where it is damaged. Blocks.
///
/// # Errors
/// Propagates I/O errors; the recording is as it was.
pub(super) fn repair(path: &Path, id: ThreadId) -> io::Result<Condition> {
    let (mut count, mut damaged_lines, mut has_meta) = (0, 0, false);
    for line in lines(path)? {
        let line = line?;
        match whole(&line) {
            None => damaged_lines += 1,
            Some(text) => {
                if count == 0 {
                    has_meta = matches!(item(text), Some(RolloutItem::SessionMeta(_)));
                }
                count += 1;
            }
        }
    }
    if count == 0 {
        return Ok(Condition::Empty);
    }
    if damaged_lines == 0 && has_meta {
        return Ok(Condition::Readable { damaged_lines });
    }
    let damaged_lines = damaged_lines.max(1);
    tracing::error!(thread = %id, file = %path.display(), damaged_lines, "a recording is damaged");
    let read: io::Result<Vec<_>> = lines(path)?.map(|line| Ok(Line::new(&line?))).collect();
    let mut read = read?;
    complete(&mut read);
    if !has_meta {
        read.insert(0, session_meta(&read, id));
    }
    replace(path, &read)?;
    Ok(Condition::Readable { damaged_lines })
}

/// Replaces a recording; the old one stays beside it.
fn replace(path: &Path, lines: &[Line]) -> io::Result<()> {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = time.unwrap_or_default().as_secs();
    let beside = |ending: &str| path.with_extension(format!("jsonl.{ending}"));
    let repaired = beside("repaired");
    let written = (|| {
        let mut file = BufWriter::new(File::create(&repaired)?);
        for line in lines {
            if let Line::Whole { text, .. } = line {
                file.write_all(text.as_bytes())?;
                file.write_all(b"\n")?;
            }
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::hard_link(path, beside(&format!("damaged-{seconds}"))).or_else(|_| {
            // No hard links here.
            std::fs::copy(path, beside(&format!("damaged-{seconds}"))).map(|_| ())
        })?;
        std::fs::rename(&repaired, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&repaired);
    }
    written
}

/// The first line, made from the others.
fn session_meta(lines: &[Line], id: ThreadId) -> Line {
    let timestamp = lines.iter().find_map(|line| match line {
        Line::Whole { parsed: Some(line), .. } => Some(line.timestamp.clone()),
        Line::Whole { parsed: None, .. } | Line::Damaged => None,
    });
    let cwd = lines.iter().find_map(|line| match line.item() {
        Some(RolloutItem::TurnContext(context)) => Some(context.cwd.to_path_buf()),
        _ => None,
    });
    let timestamp = timestamp.unwrap_or_default();
    let meta = SessionMeta {
        session_id: id.into(),
        id,
        timestamp: timestamp.clone(),
        cwd: cwd.unwrap_or_default(),
        originator: "codex-gateway".to_owned(),
        cli_version: env!("CARGO_PKG_VERSION").to_owned(),
        source: SessionSource::Exec,
        ..SessionMeta::default()
    };
    line(timestamp, RolloutItem::SessionMeta(SessionMetaLine { meta, git: None }))
}

fn line(timestamp: String, item: RolloutItem) -> Line {
    let line = RolloutLine { timestamp, ordinal: None, item };
    match serde_json::to_string(&line) {
        Ok(text) => Line::Whole { text, parsed: Some(Box::new(line)) },
        Err(_) => Line::Damaged,
    }
}

/// Adds the missing halves of messages, in turns with damaged lines.
fn complete(lines: &mut Vec<Line>) {
    // From the end, so that positions before stay.
    for turn in turns(lines).into_iter().rev() {
        let Some(of_turn) = lines.get(turn.clone()) else { continue };
        if !of_turn.iter().any(|line| matches!(line, Line::Damaged)) {
            continue;
        }
        for (at, added) in missing(of_turn).into_iter().rev() {
            lines.insert(turn.start + at, added);
        }
    }
}

/// The ranges of turns. What comes before the first belongs to it.
fn turns(lines: &[Line]) -> Vec<Range<usize>> {
    let starts = lines.iter().enumerate().filter_map(|(at, line)| match line.item() {
        Some(RolloutItem::EventMsg(EventMsg::TurnStarted(_))) => Some(at),
        _ => None,
    });
    let mut bounds: Vec<usize> = std::iter::once(0).chain(starts.skip(1)).collect();
    bounds.push(lines.len());
    bounds.iter().zip(bounds.iter().skip(1)).map(|(start, end)| *start..*end).collect()
}

/// The missing halves of a turn's messages, each with the position before which it belongs.
fn missing(turn: &[Line]) -> Vec<(usize, Line)> {
    let mut items: HashSet<(bool, String)> = HashSet::new();
    let mut events: HashSet<(bool, String)> = HashSet::new();
    for line in turn {
        items.extend(line.item().and_then(item_message));
        events.extend(line.item().and_then(event_message));
    }
    let has_prompt = events.iter().any(|(is_user, _)| *is_user);
    // The prompt comes after what the agent is told about its surroundings.
    let prompt_item = turn.iter().rposition(|line| {
        let message = line.item().and_then(item_message);
        message.is_some_and(|(is_user, text)| is_user && !text.trim_start().starts_with('<'))
    });
    let mut missing = Vec::new();
    for (at, one) in turn.iter().enumerate() {
        let Line::Whole { parsed: Some(parsed), .. } = one else { continue };
        let RolloutLine { timestamp, ordinal, item } = &**parsed;
        if ordinal.is_some() {
            // Paginated recordings number their lines, so nothing can come between.
            continue;
        }
        if let Some(message) = event_message(item)
            && !items.contains(&message)
        {
            missing.push((at, line(timestamp.clone(), as_item(item, message))));
        } else if let Some((is_user, text)) = item_message(item)
            && !events.contains(&(is_user, text.clone()))
            && (!is_user || (!has_prompt && prompt_item == Some(at)))
        {
            missing.push((at + 1, line(timestamp.clone(), as_event(is_user, text))));
        }
    }
    missing
}

/// A message for the model: whether the user's, and its text.
fn item_message(item: &RolloutItem) -> Option<(bool, String)> {
    let RolloutItem::ResponseItem(ResponseItem::Message { role, content, .. }) = item else {
        return None;
    };
    let is_user = match role.as_str() {
        "user" => true,
        "assistant" => false,
        _ => return None,
    };
    let texts = content.iter().filter_map(|content| match content {
        ContentItem::InputText { text } | ContentItem::OutputText { text } => Some(text.as_str()),
        ContentItem::InputImage { .. } | ContentItem::InputAudio { .. } => None,
    });
    Some((is_user, texts.collect()))
}

/// A message for clients: whether the user's, and its text.
fn event_message(item: &RolloutItem) -> Option<(bool, String)> {
    match item {
        RolloutItem::EventMsg(EventMsg::UserMessage(message)) => {
            Some((true, message.message.clone()))
        }
        RolloutItem::EventMsg(EventMsg::AgentMessage(message)) => {
            Some((false, message.message.clone()))
        }
        _ => None,
    }
}

fn as_item(event: &RolloutItem, (is_user, text): (bool, String)) -> RolloutItem {
    let mut content = Vec::new();
    if let RolloutItem::EventMsg(EventMsg::UserMessage(message)) = event {
        content.push(ContentItem::InputText { text });
        let images = message.images.iter().flatten().cloned();
        content.extend(images.map(|image_url| ContentItem::InputImage { image_url, detail: None }));
    } else {
        content.push(ContentItem::OutputText { text });
    }
    RolloutItem::ResponseItem(ResponseItem::Message {
        id: None,
        role: if is_user { "user" } else { "assistant" }.to_owned(),
        content,
        phase: None,
        internal_chat_message_metadata_passthrough: None,
    })
}

fn as_event(is_user: bool, message: String) -> RolloutItem {
    RolloutItem::EventMsg(if is_user {
        EventMsg::UserMessage(UserMessageEvent { message, ..UserMessageEvent::default() })
    } else {
        EventMsg::AgentMessage(AgentMessageEvent { message, phase: None, memory_citation: None })
    })
}
