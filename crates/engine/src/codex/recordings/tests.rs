//! Damaged recordings.

use std::path::Path;

use serde_json::Value;
use serde_json::json;

use super::page::page;
use super::repair::repair;
use super::*;

const ID: &str = "01a1fc12-401b-725d-8040-2fd6b782cca6";

fn id() -> ThreadId {
    ThreadId::from_string(ID).unwrap()
}

fn line(kind: &str, payload: Value) -> String {
    let time = "2026-11-28T03:18:26.599Z";
    json!({ "timestamp": time, "type": kind, "payload": payload }).to_string()
}

fn event(payload: Value) -> String {
    line("event_msg", payload)
}

fn message(role: &str, text: &str) -> String {
    let kind = if role == "user" { "input_text" } else { "output_text" };
    let content = json!([{ "type": kind, "text": text }]);
    line("response_item", json!({ "type": "message", "role": role, "content": content }))
}

/// A turn as core records it.
fn turn(name: &str) -> Vec<String> {
    vec![
        event(json!({ "type": "task_started", "turn_id": name })),
        message("user", "<environment_context>…</environment_context>"),
        message("user", &format!("prompt {name}")),
        event(json!({ "type": "user_message", "message": format!("prompt {name}") })),
        event(json!({ "type": "agent_message", "message": format!("answer {name}") })),
        message("assistant", &format!("answer {name}")),
        event(json!({ "type": "task_complete", "turn_id": name })),
    ]
}

fn recording() -> Vec<String> {
    let meta = codex_protocol::protocol::SessionMeta {
        id: id(),
        timestamp: "2026-11-28T03:18:26Z".to_owned(),
        cwd: "/w".into(),
        ..Default::default()
    };
    let mut lines = vec![line("session_meta", serde_json::to_value(meta).unwrap())];
    lines.extend(turn("one"));
    lines.extend(turn("two"));
    lines
}

/// A recording in a folder of its own.
struct Recording(PathBuf);

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Recording {
    fn of(bytes: &[u8]) -> Self {
        let this = Self(std::env::temp_dir().join(uuid::Uuid::now_v7().to_string()));
        std::fs::create_dir(&this.0).unwrap();
        std::fs::write(this.path(), bytes).unwrap();
        this
    }

    fn path(&self) -> PathBuf {
        self.0.join(format!("rollout-2026-11-28T03-18-26-{ID}.jsonl"))
    }
}

fn read(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// The texts of messages: of the model's items, and of the client's events.
fn texts(path: &Path) -> [Vec<String>; 2] {
    let of = |kind: &str, text: &str| {
        let lines =
            read(path).into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        let found = lines.filter(|line| line["type"] == kind);
        let texts =
            found.filter_map(|line| Some(line["payload"].pointer(text)?.as_str()?.to_owned()));
        texts.filter(|text| !text.starts_with('<')).collect::<Vec<_>>()
    };
    [of("response_item", "/content/0/text"), of("event_msg", "/message")]
}

#[test]
fn whole_recording_is_left_alone() {
    let recording_file = Recording::of(recording().join("\n").as_bytes());
    let condition = repair(&recording_file.path(), id()).unwrap();
    assert_eq!(condition, Condition::Readable { damaged_lines: 0 });
    assert_eq!(std::fs::read_dir(&recording_file.0).unwrap().count(), 1);
}

#[test]
fn recording_without_a_whole_line_is_empty() {
    for bytes in [&b""[..], b"\n\n", b"{\"timestamp\":\"20", b"\0\0\0\0", b"\xff\xfe\n"] {
        let file = Recording::of(bytes);
        assert_eq!(repair(&file.path(), id()).unwrap(), Condition::Empty, "{bytes:?}");
    }
}

#[test]
fn any_damaged_line_leaves_both_sides_of_messages() {
    let whole = recording();
    let expected = {
        let file = Recording::of(whole.join("\n").as_bytes());
        texts(&file.path())
    };
    for (at, line) in whole.iter().enumerate() {
        for damaged in [&b"\xff\xfe"[..], b"{\"timestamp\":\"2026", b"\0\0", b"null"] {
            let mut bytes = Vec::new();
            for (n, line) in whole.iter().enumerate() {
                bytes.extend_from_slice(if n == at { damaged } else { line.as_bytes() });
                bytes.push(b'\n');
            }
            let file = Recording::of(&bytes);
            let condition = repair(&file.path(), id()).unwrap();
            assert_eq!(condition, Condition::Readable { damaged_lines: 1 }, "{line}");
            assert!(read(&file.path())[0].contains("session_meta"), "{line}");
            assert_eq!(texts(&file.path()), expected, "{line}");
            // The second time there is nothing to repair, and the file as it was is there.
            let condition = repair(&file.path(), id()).unwrap();
            assert_eq!(condition, Condition::Readable { damaged_lines: 0 });
            assert_eq!(std::fs::read_dir(&file.0).unwrap().count(), 2);
        }
    }
}

#[test]
fn torn_last_line_keeps_the_rest() {
    let text = recording().join("\n");
    let file = Recording::of(&text.as_bytes()[..text.len() - 10]);
    assert_eq!(repair(&file.path(), id()).unwrap(), Condition::Readable { damaged_lines: 1 });
    let turns = page(&file.path(), None, 10).unwrap().unwrap().turns;
    assert_eq!(turns.len(), 2);
}

#[test]
fn history_comes_in_pages() {
    let mut lines = recording();
    lines.extend(turn("three"));
    lines.push(event(json!({ "type": "thread_rolled_back", "num_turns": 1 })));
    lines.extend(turn("four"));
    let file = Recording::of(lines.join("\n").as_bytes());
    let names = |after: Option<&str>, limit| {
        let page = page(&file.path(), after, limit).unwrap().unwrap();
        let names = page.turns.iter().map(|turn| turn.turn_id.clone()).collect::<Vec<_>>();
        assert!(page.turns.iter().all(|turn| turn.items.len() == 2), "{:?}", page.turns);
        (names.join(" "), page.next)
    };
    assert_eq!(names(None, 10), ("one two four".to_owned(), None));
    assert_eq!(names(None, 2), ("one two".to_owned(), Some("two".to_owned())));
    assert_eq!(names(Some("two"), 2), ("four".to_owned(), None));
    assert!(page(&file.path(), Some("three"), 2).unwrap().is_none());
}
