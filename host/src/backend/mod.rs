//! The safe interface to the plugins: nothing outside this folder deals with shared libraries.
//!
//! [`Backends::discover`] finds the plugins; a plugin's library is opened when it is needed.
//! What a plugin says is checked here, so that the rest of the host may trust it; a plugin that breaks the
//! contract causes an [`Error`] of the kind `Plugin` and does not affect other plugins.

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
mod worker;

pub use check::{CheckLine, CheckReport, CheckVerdict};
pub use manifest::{Format, Manifest, OptionInfo};
pub use plugin::{PluginEntry, PluginState};
pub use progress::{NoProgress, Progress};
pub use python::PythonPlaces;
pub use runtime::{RuntimeFolder, RuntimeOrigin, RuntimeStatus};
pub use session::{Edit, Fetch, RunOptions, RunOutcome, RunReport, Session};
pub use spare::Spare;
pub use worker::{Heard, Isolation, Workers, serve};

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
    /// The file that caches the plugins' manifests between starts; without one, every library is opened.
    pub manifest_cache: Option<PathBuf>,
    /// Folders with native runtimes, the first to be searched first.
    pub runtime_folders: Vec<RuntimeFolder>,
    /// Where Python environments may be, which are searched for runtimes after these folders.
    pub python: PythonPlaces,
    /// Settings by plugin id: `runtime.path`, …
    pub settings: BTreeMap<String, BTreeMap<String, String>>,
    /// The id of the plugin to use, by format, where several read it.
    pub preferred: BTreeMap<String, String>,
    /// Where models run.
    pub isolation: Isolation,
}

/// The plugins of this process. Create only one: a library that was opened stays open.
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
    /// Finds the plugins in the folders. It never fails: a library that is not a plugin is listed as such. A library
    /// whose manifest is cached is not opened.
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

    /// The plugin with this id: the one in use, if several have it.
    ///
    /// # Errors
    /// `NotFound` with the ids that exist.
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

    /// Whether a file could be a model, by its extension alone: for scans of whole folders.
    pub fn could_be_model(&self, path: &Path) -> bool {
        file_name(path).is_some_and(|name| !probe::by_extension(self.manifests(), name).is_empty())
    }

    /// The file's name without its format's extension, which may have several parts.
    pub fn stem(&self, path: &Path) -> String {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        probe::stem(self.manifests(), &name).to_owned()
    }

    /// The backend and the format of a file: by its extension, if its first bytes match a format with that extension;
    /// otherwise by its first bytes and the plugins' verdict on them; if no plugin knows them, by the extension alone.
    /// Opens a library only if name and first bytes do not decide.
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

    /// Adds the plugins that cannot be used, and might have read the file, to an error about it.
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

    /// The file extensions of models, as a sentence; `None` if no plugin can be used.
    pub(crate) fn endings_hint(&self) -> Option<String> {
        probe::endings_hint(self.manifests())
    }

    /// Reads what the file holds, without a runtime.
    ///
    /// # Errors
    /// Those of [`Self::recognize`] and of the backend.
    pub fn inspect(&self, path: &Path, progress: &dyn Progress) -> Result<ModelInfo> {
        self.inspect_with(&self.recognize(path)?.backend, path, progress)
    }

    /// As [`Self::inspect`], with the plugin of this id.
    ///
    /// # Errors
    /// Those of the backend; `Plugin` when the plugin cannot be used.
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

    /// As [`Self::open`], with the plugin of this id.
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
        Session::new(&backend, model)
    }

    /// As [`Self::open_with`], for runs on the native runtime at the place `runtime`, a library or its folder: beside the usual one, in a
    /// worker of its own.
    ///
    /// # Errors
    /// As [`Self::inspect_with`]; `UnsupportedOp` where models run in this process, which holds one runtime.
    pub fn open_on(&self, id: &str, path: &Path, runtime: &Path, progress: &dyn Progress) -> Result<Session> {
        if self.config.isolation == Isolation::None {
            return Err(Error::new(ErrorKind::UnsupportedOp, "one process cannot hold two runtimes")
                .with_hint("Set `isolation = \"worker\"` in config.toml, or leave QP_ISOLATION unset."));
        }
        let backend = self.plugin(id)?.backend_on(&self.start(), runtime)?;
        if let Some(obstacle) = backend.runtime(Reach::Files)?.obstacle {
            return Err(obstacle);
        }
        let model = backend
            .open(location(path)?.into(), [].as_slice().into(), Ticker(progress).as_object())
            .into_result()
            .map_err(|error| refused(id, path, error))?;
        Session::new(&backend, model)
    }

    /// Whether the plugin's native runtime can be used, found without loading it or starting a process.
    ///
    /// # Errors
    /// `NotFound` for an unknown plugin, `Plugin` for one that cannot be used.
    pub fn runtime(&self, id: &str) -> Result<RuntimeStatus> {
        self.backend(id)?.runtime(Reach::Files)
    }

    /// As [`Self::runtime`], but searches as for a run: it may ask Python where its packages are.
    ///
    /// # Errors
    /// As [`Self::runtime`].
    pub fn find_runtime(&self, id: &str) -> Result<RuntimeStatus> {
        self.backend(id)?.runtime(Reach::Python)
    }

    /// Tells all backends in use that no run follows for now.
    pub fn idle(&self) {
        self.plugins.iter().filter_map(PluginEntry::in_use).for_each(|backend| backend.idle());
    }

    /// Loads the library at `library` and tries every claim of the contract on it, and on `samples`, model
    /// files that it reads. Models run if their runtime is found.
    ///
    /// # Errors
    /// `NotFound` and `Io` for the file. A library that is not a plugin is a failed line.
    pub fn check(&self, library: &Path, samples: &[PathBuf]) -> Result<CheckReport> {
        check::check(library, samples, &self.start())
    }

    fn start(&self) -> Start<'_> {
        Start {
            runtime_folders: &self.config.runtime_folders,
            settings: &self.config.settings,
            isolation: &self.config.isolation,
            python: &self.python,
        }
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.plugins.iter().filter_map(PluginEntry::usable)
    }

    fn backend(&self, id: &str) -> Result<Arc<Started>> {
        self.plugin(id)?.backend(&self.start())
    }

    /// The formats of a file whose first bytes do not match its extension: those whose magic it has, if their plugins
    /// agree; none, if a plugin for its extension recognizes it anyway; otherwise whatever some plugin says it is.
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

    /// The candidates of the plugin to use.
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
        // Formats with different names may share an extension: their contents tell them apart.
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

    /// The one of a plugin's several formats to use: by the first bytes, or by the plugin's verdict, which may be a
    /// format with another extension. All of them if neither decides.
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

    /// The candidates that their plugins confirm when they see the file's first bytes. A plugin that cannot be asked
    /// confirms none.
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

/// A plugin's refusal of a file; if it does not read the format, with what the file really is.
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

/// A path as text, which is what plugins take.
fn location(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("the path `{}` is not valid UTF-8", path.display()))
            .with_hint("Rename the file.")
    })
}
