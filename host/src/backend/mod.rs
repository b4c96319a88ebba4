//! The safe face of the plugins: above this folder nobody knows what a shared library is.
//!
//! [`Backends::discover`] finds the plugins; a plugin's library is opened when something of it is needed.
//! What a plugin says is checked here, so that the rest of the host may trust it; a plugin that breaks the
//! contract is an [`Error`] of the kind `Plugin`, and no other plugin is the worse for it.

mod check;
mod convert;
mod discover;
mod error;
mod library_file;
mod load;
mod manifest;
mod nature;
mod ownership;
mod plugin;
mod probe;
mod progress;
mod python;
mod receive;
mod request;
mod runtime;
mod session;
mod spare;

pub use check::{CheckLine, CheckReport, CheckVerdict};
pub use manifest::{Format, Manifest, OptionInfo};
pub use plugin::{PluginEntry, PluginState};
pub use progress::{NoProgress, Progress};
pub use python::PythonPlaces;
pub use runtime::{RuntimeFolder, RuntimeOrigin, RuntimeStatus};
pub use session::{Edit, Fetch, RunOptions, RunOutcome, RunReport, Session};
pub use spare::Spare;

use crate::error::{Error, ErrorKind, Result};
use crate::model::ModelInfo;
use error::{breach, from_plugin_on};
use manifest::{Key, ManifestCache};
use nature::Nature;
use plugin::Start;
use probe::Candidate;
use progress::Ticker;
use python::Python;
use runtime::{Reach, Started};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where plugins and runtimes are, and what the user has set for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendConfig {
    /// Folders with plugin libraries; of two plugins with the same id, that of the first folder is used.
    pub plugin_folders: Vec<PathBuf>,
    /// The file that keeps the plugins' manifests between starts; without one, every library is opened.
    pub manifest_cache: Option<PathBuf>,
    /// Folders with native runtimes, the first to be searched first.
    pub runtime_folders: Vec<RuntimeFolder>,
    /// Where Python environments may be, which are searched for runtimes after these folders.
    pub python: PythonPlaces,
    /// Settings by plugin id: `runtime.path`, …
    pub settings: BTreeMap<String, BTreeMap<String, String>>,
    /// The id of the plugin to use, by format, where several read it.
    pub preferred: BTreeMap<String, String>,
}

/// The plugins of this process. To be made once: a library that was opened stays.
pub struct Backends {
    config: BackendConfig,
    plugins: Vec<PluginEntry>,
    python: Arc<Python>,
}

/// What a file was recognized as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// The id of the plugin that reads it.
    pub backend: String,
    /// The name of its format.
    pub format: String,
}

impl Backends {
    /// Finds the plugins in the folders. It never fails: a library that is not a plugin is an entry that says
    /// so. A library whose manifest is in the cache is not opened.
    pub fn discover(config: BackendConfig) -> Self {
        let mut cache = ManifestCache::read(config.manifest_cache.clone());
        let mut plugins: Vec<PluginEntry> = Vec::new();
        for path in discover::libraries(&config.plugin_folders) {
            if let Err(error) = ownership::check(&path) {
                plugins.push(PluginEntry::refused(path, error));
                continue;
            }
            let key = Key::of(&path);
            let cached = key.as_ref().and_then(|key| cache.get(key)).cloned();
            let entry = match cached {
                Some(manifest) => PluginEntry::known(path, manifest),
                None => {
                    let entry = PluginEntry::read(path);
                    if let (Some(key), Some(manifest)) = (key, entry.manifest()) {
                        cache.put(key, manifest.clone());
                    }
                    entry
                }
            };
            let first = plugins.iter().find(|first| first.usable().is_some() && first.id() == entry.id());
            let entry = match first {
                Some(first) if entry.usable().is_some() => entry.shadowed_by(first.path()),
                _ => entry,
            };
            plugins.push(entry);
        }
        cache.write();
        let python = Arc::new(Python::new(config.python.clone()));
        Self { config, plugins, python }
    }

    /// Every plugin that was found, in the order of the folders and of the file names.
    pub fn plugins(&self) -> &[PluginEntry] {
        &self.plugins
    }

    /// The plugin of that id: the one that is used, if several have it.
    ///
    /// # Errors
    /// `NotFound` with the ids there are.
    pub fn plugin(&self, id: &str) -> Result<&PluginEntry> {
        let of_id = || self.plugins.iter().filter(|entry| entry.id() == id);
        of_id().find(|entry| entry.usable().is_some()).or_else(|| of_id().next()).ok_or_else(|| {
            let ids: Vec<&str> = self.plugins.iter().map(PluginEntry::id).collect();
            let error = Error::not_found(format!("no plugin `{id}`"));
            if ids.is_empty() {
                error.with_hint("Put a plugin library into a plugin folder.")
            } else {
                error.with_hint(format!("Use one of these plugins: {}.", ids.join(", ")))
            }
        })
    }

    /// Whether a file could be a model, judged by its extension alone: for scans of whole folders.
    pub fn could_be_model(&self, path: &Path) -> bool {
        file_name(path).is_some_and(|name| !probe::by_extension(self.manifests(), name).is_empty())
    }

    /// The file's name without the extension that its format has, which may be of several parts.
    pub fn stem(&self, path: &Path) -> String {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        probe::stem(self.manifests(), &name).to_owned()
    }

    /// The backend and the format of a file: by its extension, if its first bytes are those that a format of that
    /// extension begins with; else by its first bytes and by what the plugins say of them, and only if nobody
    /// knows them by the extension alone. Opens a library only where names and first bytes leave it open.
    ///
    /// # Errors
    /// `UnsupportedFormat` when no plugin reads it, `Ambiguous` when several do and none is preferred,
    /// `NotFound` and `Io` when it cannot be read.
    pub fn recognize(&self, path: &Path) -> Result<Recognized> {
        let head = probe::head(path)?;
        let mut candidates = probe::by_extension(self.manifests(), file_name(path).unwrap_or_default());
        if probe::by_magic(candidates.iter().copied(), &head).is_empty() {
            let judged = self.beyond_the_name(&candidates, path, &head);
            candidates = if judged.is_empty() { candidates } else { judged };
        }
        if probe::plugins(&candidates).len() > 1 {
            candidates = self.chosen_among(candidates, path, &head)?;
        }
        if candidates.len() > 1 {
            candidates = self.format_among(candidates, path, &head);
        }
        candidates
            .first()
            .map(|candidate| Recognized {
                backend: candidate.manifest.id.clone(),
                format: candidate.format.name.clone(),
            })
            .ok_or_else(|| self.with_broken(explained(probe::unsupported(path, self.manifests()), &head)))
    }

    /// An error about files that no plugin reads, with the plugins that might but cannot be used.
    pub(crate) fn with_broken(&self, error: Error) -> Error {
        let is_replaced = |broken: &PluginEntry| {
            self.plugins.iter().any(|other| other.usable().is_some() && other.id() == broken.id())
        };
        self.plugins.iter().fold(error, |error, plugin| match plugin.state() {
            PluginState::Broken(reason) if !is_replaced(plugin) => error.with_cause(format!(
                "`{}` cannot be used: {}",
                file_name(plugin.path()).unwrap_or_default(),
                reason.message()
            )),
            _ => error,
        })
    }

    /// What the names of models end in, in a sentence; `None` where no plugin can be used.
    pub(crate) fn endings_hint(&self) -> Option<String> {
        probe::endings_hint(self.manifests())
    }

    /// Reads what the file holds, without a runtime.
    ///
    /// # Errors
    /// Those of [`Self::recognize`], and what the backend says of the file.
    pub fn inspect(&self, path: &Path, progress: &dyn Progress) -> Result<ModelInfo> {
        self.inspect_with(&self.recognize(path)?.backend, path, progress)
    }

    /// As [`Self::inspect`], by the plugin of that id.
    ///
    /// # Errors
    /// What the backend says of the file; `Plugin` when the plugin cannot be used.
    pub fn inspect_with(&self, id: &str, path: &Path, progress: &dyn Progress) -> Result<ModelInfo> {
        probe::check_file(path)?;
        let backend = self.backend(id)?;
        let info = backend
            .inspect(location(path)?.into(), [].as_slice().into(), Ticker(progress).as_object())
            .into_result()
            .map_err(|error| refused(id, path, error))?;
        convert::model_info(&backend.manifest, info).map_err(|fault| breach(id, &fault))
    }

    /// Opens a model. No runtime is loaded before its first run.
    ///
    /// # Errors
    /// As [`Self::inspect`].
    pub fn open(&self, path: &Path, progress: &dyn Progress) -> Result<Session> {
        self.open_with(&self.recognize(path)?.backend, path, progress)
    }

    /// As [`Self::open`], by the plugin of that id.
    ///
    /// # Errors
    /// As [`Self::inspect_with`].
    pub fn open_with(&self, id: &str, path: &Path, progress: &dyn Progress) -> Result<Session> {
        probe::check_file(path)?;
        let backend = self.backend(id)?;
        let model = backend
            .open(location(path)?.into(), [].as_slice().into(), Ticker(progress).as_object())
            .into_result()
            .map_err(|error| refused(id, path, error))?;
        Session::new(backend, model)
    }

    /// Whether the native runtime of that plugin can be used, found without loading it or starting any process.
    ///
    /// # Errors
    /// `NotFound` for an unknown plugin, `Plugin` for one that cannot be used.
    pub fn runtime(&self, id: &str) -> Result<RuntimeStatus> {
        self.backend(id)?.runtime(Reach::Files)
    }

    /// As [`Self::runtime`], but searched as for a run: Python may be asked where it keeps packages.
    ///
    /// # Errors
    /// As [`Self::runtime`].
    pub fn find_runtime(&self, id: &str) -> Result<RuntimeStatus> {
        self.backend(id)?.runtime(Reach::Python)
    }

    /// Says to all backends that were made that no run follows for now.
    pub fn idle(&self) {
        self.plugins.iter().filter_map(PluginEntry::made).for_each(|backend| backend.idle());
    }

    /// Loads the library at `library` and tries every claim of the contract on it, and on `samples`, model
    /// files that it reads. Models run if their runtime is found.
    ///
    /// # Errors
    /// `NotFound` and `Io` when there is no such file. A library that is not a plugin is a failed line.
    pub fn check(&self, library: &Path, samples: &[PathBuf]) -> Result<CheckReport> {
        check::check(library, samples, &self.start())
    }

    fn start(&self) -> Start<'_> {
        Start {
            runtime_folders: &self.config.runtime_folders,
            settings: &self.config.settings,
            python: &self.python,
        }
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.plugins.iter().filter_map(PluginEntry::usable)
    }

    fn backend(&self, id: &str) -> Result<&Arc<Started>> {
        self.plugin(id)?.backend(&self.start())
    }

    /// What reads a file that does not begin as a format of its extension does: the formats whose mark it has, if
    /// their plugins agree; none, if a plugin of its extension knows it all the same; else whatever some plugin
    /// says that it is.
    fn beyond_the_name<'a>(
        &'a self,
        of_name: &[Candidate<'a>],
        path: &Path,
        head: &[u8],
    ) -> Vec<Candidate<'a>> {
        let marked = probe::by_magic(probe::all(self.manifests()), head);
        if of_name.is_empty() && probe::plugins(&marked).len() == 1 {
            return marked;
        }
        let marked = self.by_judgement(marked, path, head);
        if !marked.is_empty() {
            return marked;
        }
        let is_of_name =
            |manifest: &&Manifest| of_name.iter().any(|candidate| candidate.manifest.id == manifest.id);
        let own = probe::all(self.manifests().filter(is_of_name)).collect();
        if !self.by_judgement(own, path, head).is_empty() {
            return Vec::new();
        }
        let others = probe::all(self.manifests().filter(|manifest| !is_of_name(manifest))).collect();
        self.by_judgement(others, path, head)
    }

    /// Of candidates of several plugins, those of the one to use.
    fn chosen_among<'a>(
        &self,
        candidates: Vec<Candidate<'a>>,
        path: &Path,
        head: &[u8],
    ) -> Result<Vec<Candidate<'a>>> {
        let is_preferred = |candidate: &Candidate<'_>| {
            self.config.preferred.get(&candidate.format.name) == Some(&candidate.manifest.id)
        };
        let preferred: Vec<_> = candidates.iter().copied().filter(is_preferred).collect();
        if !preferred.is_empty() {
            return Ok(preferred);
        }
        // Formats of different names may share an extension: their contents tell them apart.
        let by_magic = probe::by_magic(candidates.iter().copied(), head);
        if probe::plugins(&by_magic).len() == 1 {
            return Ok(by_magic);
        }
        let by_judgement = self.by_judgement(candidates.clone(), path, head);
        match probe::plugins(&by_judgement).len() {
            0 => Err(probe::ambiguous(path, &candidates)),
            1 => Ok(by_judgement),
            _ => Err(probe::ambiguous(path, &by_judgement)),
        }
    }

    /// Of several formats of one plugin, the one to use: by the first bytes, or by the plugin's judgement, which
    /// may name a format of another extension. All of them when nothing tells.
    fn format_among<'a>(
        &'a self,
        candidates: Vec<Candidate<'a>>,
        path: &Path,
        head: &[u8],
    ) -> Vec<Candidate<'a>> {
        let by_magic = probe::by_magic(candidates.iter().copied(), head);
        if by_magic.len() == 1 {
            return by_magic;
        }
        let own = candidates.first().map(|candidate| candidate.manifest).into_iter();
        let by_judgement = self.by_judgement(probe::all(own).collect(), path, head);
        if by_judgement.is_empty() { candidates } else { by_judgement }
    }

    /// Those of the candidates that their plugins themselves name, when they see the file's first bytes. A
    /// plugin that cannot be asked names none.
    fn by_judgement<'a>(
        &self,
        candidates: Vec<Candidate<'a>>,
        path: &Path,
        head: &[u8],
    ) -> Vec<Candidate<'a>> {
        let name = file_name(path).unwrap_or_default();
        let judgements: BTreeMap<&str, String> = probe::plugins(&candidates)
            .into_iter()
            .filter_map(|id| {
                let backend = self.backend(id).ok()?;
                let format = backend.probe(head.into(), name.into()).into_result().ok()?.into_option()?;
                Some((id, format.into_string()))
            })
            .collect();
        candidates
            .into_iter()
            .filter(|candidate| {
                judgements.get(candidate.manifest.id.as_str()) == Some(&candidate.format.name)
            })
            .collect()
    }
}

/// A plugin's refusal of a file; of what it does not read at all, with what the file really is.
fn refused(id: &str, path: &Path, error: qp_abi::BackendError) -> Error {
    let error = from_plugin_on(id, path, error);
    match probe::head(path) {
        Ok(head) if error.kind() == ErrorKind::UnsupportedFormat => explained(error, &head),
        _ => error,
    }
}

fn explained(error: Error, head: &[u8]) -> Error {
    match Nature::of(head) {
        Some(nature) => nature.explain(error),
        None => error,
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// A path as plugins take it, which is text.
fn location(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("the path `{}` is not valid UTF-8", path.display()))
            .with_hint("Rename the file.")
    })
}
