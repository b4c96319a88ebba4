//! One plugin: a library, what it says about itself, and its backend once it is needed.

use super::convert;
use super::error::{breach, from_plugin, from_start};
use super::library_file;
use super::load;
use super::manifest::{self, Format, Manifest, OptionInfo};
use super::ownership;
use super::python::Python;
use super::runtime::{IDLE, RuntimeFolder, Started};
use super::worker::{self, Isolation};
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use qp_abi::abi_stable::std_types::RString;
use qp_abi::manifest::lookup;
use qp_abi::{PluginRef, Setup};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A plugin that was found, usable or not.
pub struct PluginEntry {
    path: PathBuf,
    manifest: Option<Arc<Manifest>>,
    /// Why it must not be used, known before its backend was needed.
    refusal: Option<Error>,
    made: Mutex<Made>,
}

/// What is open of a plugin.
#[derive(Default)]
struct Made {
    /// The library's file when it was opened, or was tried to be.
    stamp: Option<Stamp>,
    library: Option<Result<Library>>,
    backend: Option<Result<Arc<Started>>>,
}

/// An open library, with what it says about itself.
#[derive(Clone)]
struct Library {
    root: PluginRef,
    manifest: Arc<Manifest>,
}

impl Made {
    /// What opening the library gives.
    fn of(path: &Path, open: impl FnOnce() -> Result<Library>) -> Self {
        // The stamp first: a change while the library opens is then noticed later.
        let stamp = Stamp::read(path).ok();
        Self { stamp, library: Some(open()), backend: None }
    }

    /// Whether another file is there now. One that could not be used may also have been completed.
    fn is_outdated(&self, path: &Path) -> bool {
        let (Some(library), Some(old)) = (&self.library, &self.stamp) else { return false };
        let is_broken = library.is_err() || self.backend.as_ref().is_some_and(Result::is_err);
        Stamp::read(path).is_ok_and(|new| !new.is_of_same_file(old) || is_broken && new != *old)
    }
}

/// The state of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginState {
    /// Its manifest is known from the cache; its library is not loaded.
    Known,
    /// Its library is loaded.
    Loaded,
    /// It cannot be used, and why.
    Broken(Error),
}

impl PluginEntry {
    /// A plugin whose manifest is known; its library is opened when it is needed.
    pub(super) fn known(path: PathBuf, manifest: Manifest) -> Self {
        Self { path, manifest: Some(Arc::new(manifest)), refusal: None, made: Mutex::default() }
    }

    /// A plugin whose library is opened now to get its manifest.
    pub(super) fn read(path: PathBuf) -> Self {
        let made = Made::of(&path, || Library::open(&path));
        let (manifest, refusal) = match &made.library {
            Some(Ok(library)) => (Some(Arc::clone(&library.manifest)), None),
            Some(Err(error)) => (None, Some(error.clone())),
            None => (None, None),
        };
        Self { path, manifest, refusal, made: Mutex::new(made) }
    }

    /// A library that must not be opened.
    pub(super) fn refused(path: PathBuf, reason: Error) -> Self {
        Self { path, manifest: None, refusal: Some(reason), made: Mutex::default() }
    }

    /// The same plugin, unused because another one with the same id came first.
    pub(super) fn shadowed_by(mut self, first: &Path) -> Self {
        let error = Error::new(
            ErrorKind::Plugin,
            format!("plugin `{}` is shadowed by `{}`, which has the same id", self.id(), first.display()),
        )
        .with_hint("Take one of the two files out of its plugin folder.");
        self.refusal = Some(error);
        self
    }

    /// The short name: from the manifest, or from the file's name if there is none.
    pub fn id(&self) -> &str {
        match &self.manifest {
            Some(manifest) => &manifest.id,
            None => {
                let file_name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                library_file::stem(file_name).unwrap_or(file_name)
            }
        }
    }

    /// What the plugin says about itself, if known.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_deref()
    }

    /// The plugin's own version: that of the build in use.
    pub fn version(&self) -> Option<String> {
        let of_use = match &self.made().library {
            Some(Ok(library)) => Some(library.manifest.version.clone()),
            _ => None,
        };
        of_use.or_else(|| self.manifest().map(|manifest| manifest.version.clone()))
    }

    /// The library file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The formats it reads, the preferred ones first.
    pub fn formats(&self) -> &[Format] {
        self.manifest().map(|manifest| manifest.formats.as_slice()).unwrap_or_default()
    }

    /// The settings of runs that it declares.
    pub fn options(&self) -> &[OptionInfo] {
        self.manifest().map(|manifest| manifest.options.as_slice()).unwrap_or_default()
    }

    /// What it can do: `inspect`, `run`, `capture`, `edit`, `export`.
    pub fn features(&self) -> &[String] {
        self.manifest().map(|manifest| manifest.features.as_slice()).unwrap_or_default()
    }

    /// Whether it says that it can do `feature`.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.manifest().is_some_and(|manifest| manifest.has_feature(feature))
    }

    /// Its state now.
    pub fn state(&self) -> PluginState {
        if let Some(error) = &self.refusal {
            return PluginState::Broken(error.clone());
        }
        let made = self.made();
        match (&made.library, &made.backend) {
            (Some(_), _) if made.is_outdated(&self.path) => PluginState::Known,
            (Some(Err(error)), _) | (_, Some(Err(error))) => PluginState::Broken(error.clone()),
            (Some(Ok(_)), _) => PluginState::Loaded,
            (None, _) => PluginState::Known,
        }
    }

    /// The manifest, unless the plugin is broken.
    pub(super) fn usable(&self) -> Option<&Manifest> {
        match self.state() {
            PluginState::Broken(_) => None,
            PluginState::Known | PluginState::Loaded => self.manifest(),
        }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugin's backend, created at the first call, and anew when the library was replaced: models that are open keep the one that
    /// they have. A failure is remembered: the plugin is broken until its library changes.
    pub(super) fn backend(&self, start: &Start<'_>) -> Result<Arc<Started>> {
        let mut made = self.made();
        if made.is_outdated(&self.path) {
            *made = Made::default();
        }
        if made.backend.is_none() {
            made.backend = Some(self.started(&mut made, start, None).map(Arc::new));
        }
        match &made.backend {
            Some(backend) => backend.clone(),
            None => Err(Error::internal("a backend was not made")),
        }
    }

    /// A backend of its own that runs models on the native runtime at this place.
    pub(super) fn backend_on(&self, start: &Start<'_>, runtime: &Path) -> Result<Arc<Started>> {
        // The usual one says what is wrong with the plugin, if anything is.
        self.backend(start)?;
        self.started(&mut self.made(), start, Some(runtime)).map(Arc::new)
    }

    fn started(&self, made: &mut Made, start: &Start<'_>, runtime: Option<&Path>) -> Result<Started> {
        const RUNTIME: &str = "runtime.path";
        let manifest = match (&self.refusal, &self.manifest) {
            (Some(error), _) => return Err(error.clone()),
            (None, Some(manifest)) => manifest,
            (None, None) => return Err(Error::internal(format!("plugin `{}` has no manifest", self.id()))),
        };
        if made.library.is_none() {
            *made = Made::of(&self.path, || self.reopen(manifest));
        }
        let library = match &made.library {
            Some(library) => library.clone()?,
            None => return Err(Error::internal("a library was not opened")),
        };
        let mut setup = start.setup(&self.path, &manifest.id);
        if let Some(runtime) = runtime {
            setup.settings.retain(|setting| setting.0.as_str() != RUNTIME);
            setup.settings.push(qp_abi::manifest::pair(RUNTIME, runtime.to_string_lossy()));
        }
        let is_named = lookup(&setup.settings, RUNTIME).is_some_and(|path| !path.is_empty());
        let manifest = library.manifest;
        let backend = (library.root.create())(setup.clone()).into_result();
        let backend = backend.map_err(|error| from_start(&manifest.id, error))?;
        let has_idle = manifest.has_feature(IDLE);
        let (backend, hears_idle) = match start.isolation {
            Isolation::None => (backend, has_idle),
            // A worker's death is news in the middle of a command alone.
            #[cfg(unix)]
            Isolation::Worker(workers) => (worker::isolate(backend, &manifest, &setup, workers), true),
        };
        let (folders, python) = (start.runtime_folders.to_vec(), Arc::clone(start.python));
        Ok(Started::new(manifest, (backend, hears_idle), folders, is_named, python))
    }

    /// The plugin's backend, if it was created.
    pub(super) fn in_use(&self) -> Option<Arc<Started>> {
        self.made().backend.clone()?.ok()
    }

    /// The manifest from the plugin itself.
    pub(super) fn ask_manifest(&self) -> Result<qp_abi::Manifest> {
        match &self.made().library {
            Some(Ok(library)) => {
                (library.root.manifest())().into_result().map_err(|error| from_plugin(self.id(), error))
            }
            _ => Err(Error::internal(format!("the library of plugin `{}` is not open", self.id()))),
        }
    }

    /// Opens the library of a known manifest, which must still be what the library says, but for its version.
    fn reopen(&self, manifest: &Manifest) -> Result<Library> {
        ownership::check(&self.path)?;
        let library = Library::open(&self.path)?;
        let found = &*library.manifest;
        if *found == (Manifest { version: found.version.clone(), ..manifest.clone() }) {
            return Ok(library);
        }
        Err(Error::new(
            ErrorKind::Plugin,
            format!("plugin `{}` is not the one found at the start", self.path.display()),
        )
        .with_hint("Start qp again: the library has changed."))
    }
}

impl Library {
    fn open(path: &Path) -> Result<Self> {
        let root = load::open(path)?;
        let file = path.display().to_string();
        let found = (root.manifest())().into_result().map_err(|error| from_start(&file, error))?;
        let manifest = manifest::checked(found).map_err(|fault| breach(&file, &fault))?;
        Ok(Self { root, manifest: Arc::new(manifest) })
    }
}

/// What a backend receives when it is created.
pub(super) struct Start<'a> {
    pub(super) runtime_folders: &'a [RuntimeFolder],
    pub(super) python: &'a Arc<Python>,
    pub(super) isolation: &'a Isolation,
    pub(super) settings: &'a std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
}

impl Start<'_> {
    fn setup(&self, library: &Path, plugin: &str) -> Setup {
        let text = |path: &Path| RString::from(path.to_string_lossy().into_owned());
        let mut settings = vec![qp_abi::manifest::pair("host.version", env!("CARGO_PKG_VERSION"))];
        settings.extend(self.settings.get(plugin).into_iter().flat_map(convert::pairs));
        Setup {
            library_path: text(library),
            runtime_folders: self.runtime_folders.iter().map(|folder| text(&folder.path)).collect(),
            settings: settings.into(),
        }
    }
}
