//! Project documents (`AGENTS.md`), read without following links.
//!
//! Core reads them outside the sandbox and follows links: in a folder that a command or a clone has
//! written, `AGENTS.md` may be a link to any file of the gateway's user, and the model gets its
//! content. Core's own search is therefore off (`project_doc_max_bytes = 0`), and core gets the
//! documents as user instructions, from [`Instructions`]. Core asks for them while it starts, resumes
//! or forks a conversation, in the same task; [`Documents::scope`] tells the provider for which.

use std::io;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use codex_config::default_project_root_markers;
use codex_config::project_root_markers_from_config;
use codex_core::config::Config;
use codex_extension_api::LoadUserInstructionsFuture;
use codex_extension_api::LoadedUserInstructions;
use codex_extension_api::UserInstructions;
use codex_extension_api::UserInstructionsProvider;
use codex_home::CodexHomeUserInstructionsProvider;
use codex_utils_absolute_path::AbsolutePathBuf;

use super::contained;

/// Core's names of the documents, the first that exists in a folder counts.
const NAMES: [&str; 2] = ["AGENTS.override.md", "AGENTS.md"];
/// Core's text between the user's instructions and the project's.
const SEPARATOR: &str = "\n\n--- project-doc ---\n\n";

tokio::task_local! {
    /// The folder of the conversation that this task starts.
    static FOLDER: PathBuf;
}

/// The operator's settings of project documents.
#[derive(Debug)]
pub(super) struct Documents {
    /// No folder outside is searched; the path itself is trusted.
    workspace_root: PathBuf,
    /// Names of files or folders that mark the root of a project.
    markers: Vec<String>,
    names: Vec<String>,
    /// The limit of all documents of a conversation, in bytes.
    max_bytes: usize,
}

impl Documents {
    /// Takes the settings out of core's configuration, so that core reads no documents itself.
    pub(super) fn take(config: &mut Config, workspace_root: &Path) -> Self {
        let effective = config.config_layer_stack.effective_config();
        let markers = project_root_markers_from_config(&effective).unwrap_or_else(|error| {
            tracing::warn!(%error, "project_root_markers");
            None
        });
        let fallbacks = config.project_doc_fallback_filenames.iter().map(String::as_str);
        let names = NAMES.into_iter().chain(fallbacks).filter(|name| is_file_name(name));
        Self {
            workspace_root: workspace_root.to_owned(),
            markers: markers.unwrap_or_else(default_project_root_markers),
            names: names.map(str::to_owned).collect(),
            max_bytes: std::mem::take(&mut config.project_doc_max_bytes),
        }
    }

    /// The setting with which core reads no documents itself.
    pub(super) fn off() -> (String, toml::Value) {
        ("project_doc_max_bytes".to_owned(), 0.into())
    }

    /// Runs `start`, in which core starts a conversation in `folder`.
    pub(super) async fn scope<F: Future>(folder: PathBuf, start: F) -> F::Output {
        FOLDER.scope(folder, start).await
    }

    /// Reads the documents from the root of the project down to `folder`. Blocking.
    fn read(&self, folder: &Path) -> Found {
        let mut found = Found::default();
        if self.max_bytes == 0 {
            return found;
        }
        let folders = match self.project(folder) {
            Ok(folders) => folders,
            Err(error) => {
                found.warn(folder, &error);
                return found;
            }
        };
        let mut remaining = self.max_bytes as u64;
        for (path, folder) in folders {
            let Some((path, mut bytes)) = self.first(&path, &folder, remaining, &mut found) else {
                continue;
            };
            if bytes.len() as u64 > remaining {
                tracing::warn!(path = %path.display(), remaining, "project document is cut");
                bytes.truncate(usize::try_from(remaining).unwrap_or(usize::MAX));
            }
            let text = String::from_utf8_lossy(&bytes);
            if text.trim().is_empty() {
                continue;
            }
            remaining = remaining.saturating_sub(bytes.len() as u64);
            found.texts.push(text.into_owned());
            found.source.get_or_insert(path);
            if remaining == 0 {
                break;
            }
        }
        found
    }

    /// Opens the folders from the root of the project down to `folder`: the nearest one that holds a
    /// marker, or `folder` itself. Never one above the workspace root.
    fn project(&self, folder: &Path) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
        let mut opened = contained::folders(&self.workspace_root, folder)?;
        let is_root = |(_, folder): &(PathBuf, OwnedFd)| {
            self.markers.iter().any(|marker| contained::exists(folder, marker))
        };
        let start = opened.iter().rposition(is_root).unwrap_or(opened.len().saturating_sub(1));
        Ok(opened.split_off(start))
    }

    /// Reads the first document of a folder, one byte more than `remaining` at most.
    fn first(
        &self,
        path: &Path,
        folder: &OwnedFd,
        remaining: u64,
        found: &mut Found,
    ) -> Option<(PathBuf, Vec<u8>)> {
        for name in &self.names {
            let path = path.join(name);
            let mut bytes = Vec::new();
            let read = contained::open_file(folder, name)
                .and_then(|file| file.take(remaining.saturating_add(1)).read_to_end(&mut bytes));
            match read {
                Ok(_) => return Some((path, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => found.warn(&path, &error),
            }
        }
        None
    }
}

/// Whether a name is one component, so that it cannot lead out of its folder.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

/// The documents of a project, outermost first.
#[derive(Debug, Default)]
struct Found {
    texts: Vec<String>,
    /// The path of the first.
    source: Option<PathBuf>,
    warnings: Vec<String>,
}

impl Found {
    fn warn(&mut self, path: &Path, error: &io::Error) {
        let path = path.display();
        tracing::warn!(%path, %error, "project document is skipped");
        self.warnings.push(format!("{path} is skipped: {error}"));
    }

    /// Appends the documents to the user's own instructions.
    fn append_to(self, loaded: &mut LoadedUserInstructions) {
        loaded.warnings.extend(self.warnings);
        let Some(source) = self.source else { return };
        let project = self.texts.join("\n\n");
        match &mut loaded.instructions {
            Some(own) => own.text = format!("{}{SEPARATOR}{project}", own.text),
            None => {
                let source = AbsolutePathBuf::from_absolute_path(source).ok();
                loaded.instructions =
                    source.map(|source| UserInstructions { text: project, source });
            }
        }
    }
}

/// The user's own instructions in codex's home, and the documents of the conversation's project.
#[derive(Debug)]
pub(super) struct Instructions {
    pub(super) own: CodexHomeUserInstructionsProvider,
    pub(super) documents: Arc<Documents>,
}

impl UserInstructionsProvider for Instructions {
    fn load_user_instructions(&self) -> LoadUserInstructionsFuture<'_> {
        Box::pin(async move {
            let mut loaded = self.own.load_user_instructions().await;
            let Ok(folder) = FOLDER.try_with(PathBuf::clone) else { return loaded };
            let documents = Arc::clone(&self.documents);
            match tokio::task::spawn_blocking(move || documents.read(&folder)).await {
                Ok(found) => found.append_to(&mut loaded),
                Err(error) => tracing::error!(%error, "project documents are skipped"),
            }
            loaded
        })
    }
}
