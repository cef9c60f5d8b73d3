//! [`Grants`]: what core gives the agent beyond its sandbox if a request is approved.
//!
//! | request | approved |
//! |---|---|
//! | a patch | core makes the folder of each file writable for it |
//! | a command | it runs in the sandbox all the same: the profile of every conversation has paths that cannot be read, and core keeps such a command sandboxed, also one that asks to leave; permissions that it asks for beside are added to its sandbox |
//! | permissions | they are added to the sandbox of the turn, or of the session |
//! | a question, a call of a tool server | nothing |
//!
//! Amendments of the execution policy or the network policy, which core proposes with some commands,
//! are never sent: no [`Decision`](super::Decision) stands for one.

use std::path::Path;
use std::path::PathBuf;

use codex_protocol::models::FileSystemPermissions;
use codex_protocol::models::NetworkPermissions;
use codex_protocol::permissions::FileSystemPath;
use codex_protocol::protocol::EventMsg;
use codex_protocol::protocol::FileChange;

/// What the agent gets beyond its sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Files and folders that it may write, or read in spite of a rule. Absolute, or relative to the
    /// conversation's folder.
    pub paths: Vec<PathBuf>,
    /// A permission that no folder bounds, in words.
    pub unbounded: Option<&'static str>,
}

impl Grants {
    /// Returns what the approval of a request grants.
    pub(super) fn from_event(message: &EventMsg) -> Self {
        let mut grants = Self::default();
        match message {
            EventMsg::ApplyPatchApprovalRequest(ask) => {
                for (path, change) in &ask.changes {
                    grants.file(path);
                    match change {
                        FileChange::Update { move_path: Some(path), .. } => grants.file(path),
                        FileChange::Add { .. }
                        | FileChange::Delete { .. }
                        | FileChange::Update { move_path: None, .. } => {}
                    }
                }
                grants.paths.extend(ask.grant_root.clone());
            }
            EventMsg::ExecApprovalRequest(ask) => {
                if let Some(asked) = &ask.additional_permissions {
                    grants.permissions(asked.file_system.as_ref(), asked.network.as_ref());
                }
                if ask.network_approval_context.is_some() {
                    grants.unbounded = Some("network access");
                }
            }
            EventMsg::RequestPermissions(ask) => {
                let asked = &ask.permissions;
                grants.permissions(asked.file_system.as_ref(), asked.network.as_ref());
            }
            // Others grant nothing.
            _ => {}
        }
        grants
    }

    /// Adds a file of a patch. Core makes its folder writable.
    fn file(&mut self, path: &Path) {
        self.paths.push(path.to_owned());
        self.paths.extend(path.parent().map(Path::to_owned));
    }

    fn permissions(
        &mut self,
        files: Option<&FileSystemPermissions>,
        network: Option<&NetworkPermissions>,
    ) {
        for entry in files.iter().flat_map(|files| &files.entries) {
            match &entry.path {
                FileSystemPath::Path { path } => self.paths.push(path.as_path().to_owned()),
                FileSystemPath::GlobPattern { .. } | FileSystemPath::Special { .. } => {
                    self.unbounded = Some("a pattern or a set of files");
                }
            }
        }
        if network.is_some_and(|network| network.enabled.unwrap_or_default()) {
            self.unbounded = Some("network access");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn grants(event: &Value) -> Grants {
        Grants::from_event(&serde_json::from_value(event.clone()).unwrap())
    }

    fn paths(grants: &Grants) -> Vec<String> {
        let mut paths: Vec<_> =
            grants.paths.iter().map(|path| path.display().to_string()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn patch_grants_folders_of_all_its_files() {
        let patch = grants(&json!({
            "type": "apply_patch_approval_request", "call_id": "c", "turn_id": "t",
            "started_at_ms": 0, "grant_root": "/g",
            "changes": {
                "/a/added": { "type": "add", "content": "" },
                "/b/deleted": { "type": "delete", "content": "" },
                "/c/old": { "type": "update", "unified_diff": "", "move_path": "/d/new" },
            },
        }));
        let expected = ["/a", "/a/added", "/b", "/b/deleted", "/c", "/c/old", "/d", "/d/new", "/g"];
        assert_eq!(paths(&patch), expected);
        assert_eq!(patch.unbounded, None);
    }

    #[test]
    fn permissions_of_requests_and_commands_are_grants() {
        let special = json!({ "path": { "type": "special", "value": { "kind": "root" } },
                              "access": "write" });
        let path = json!({ "path": { "type": "path", "path": "/a" }, "access": "write" });
        for (file_system, network, expected) in [
            (json!({ "entries": [path] }), json!(null), (vec!["/a"], None)),
            (
                json!({ "entries": [special] }),
                json!(null),
                (vec![], Some("a pattern or a set of files")),
            ),
            (json!(null), json!({ "enabled": true }), (vec![], Some("network access"))),
            (json!(null), json!({ "enabled": false }), (vec![], None)),
        ] {
            let asked = json!({ "file_system": file_system, "network": network });
            let request = json!({ "type": "request_permissions", "call_id": "c", "turn_id": "t",
                                  "started_at_ms": 0, "permissions": asked });
            let command = json!({ "type": "exec_approval_request", "call_id": "c", "turn_id": "t",
                                  "started_at_ms": 0, "command": ["id"], "cwd": "/w",
                                  "parsed_cmd": [], "additional_permissions": asked });
            for event in [request, command] {
                let got = grants(&event);
                assert_eq!(paths(&got), expected.0, "{event}");
                assert_eq!(got.unbounded, expected.1, "{event}");
            }
        }
        let host = grants(&json!({
            "type": "exec_approval_request", "call_id": "c", "turn_id": "t", "started_at_ms": 0,
            "command": ["curl"], "cwd": "/w", "parsed_cmd": [],
            "network_approval_context": { "host": "h", "protocol": "https" },
        }));
        assert_eq!(host.unbounded, Some("network access"));
    }
}
