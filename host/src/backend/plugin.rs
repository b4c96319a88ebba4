//! One plugin: a library, what it says about itself, and its backend once it is needed.

use super::convert;
use super::error::{breach, from_plugin, from_start};
use super::library_file;
use super::load;
use super::manifest::{self, Format, Manifest, OptionInfo};
use super::python::Python;
use super::runtime::{RuntimeFolder, Started};
use super::worker::{self, Isolation};
use crate::error::{Error, ErrorKind, Result};
use qp_abi::abi_stable::std_types::RString;
use qp_abi::manifest::lookup;
use qp_abi::{PluginRef, Setup};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A plugin that was found, usable or not.
pub struct PluginEntry {
    path: PathBuf,
    manifest: Option<Arc<Manifest>>,
    /// Why it must not be used, known before its backend was needed.
    refusal: Option<Error>,
    library: OnceLock<Result<PluginRef>>,
    backend: OnceLock<Result<Arc<Started>>>,
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
        Self {
            path,
            manifest: Some(Arc::new(manifest)),
            refusal: None,
            library: OnceLock::new(),
            backend: OnceLock::new(),
        }
    }

    /// A plugin whose library is opened now to get its manifest.
    pub(super) fn read(path: PathBuf) -> Self {
        let (library, manifest, refusal) = match load::open(&path) {
            Ok(library) => match read_manifest(&path, library) {
                Ok(manifest) => (OnceLock::from(Ok(library)), Some(Arc::new(manifest)), None),
                Err(error) => (OnceLock::from(Ok(library)), None, Some(error)),
            },
            Err(error) => (OnceLock::new(), None, Some(error)),
        };
        Self { path, manifest, refusal, library, backend: OnceLock::new() }
    }

    /// A library that must not be opened.
    pub(super) fn refused(path: PathBuf, reason: Error) -> Self {
        Self {
            path,
            manifest: None,
            refusal: Some(reason),
            library: OnceLock::new(),
            backend: OnceLock::new(),
        }
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

    /// The plugin's own version.
    pub fn version(&self) -> Option<&str> {
        self.manifest().map(|manifest| manifest.version.as_str())
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
        let failure = self
            .refusal
            .as_ref()
            .or_else(|| self.library.get().and_then(|library| library.as_ref().err()))
            .or_else(|| self.backend.get().and_then(|backend| backend.as_ref().err()));
        match failure {
            Some(error) => PluginState::Broken(error.clone()),
            None if self.library.get().is_some() => PluginState::Loaded,
            None => PluginState::Known,
        }
    }

    /// The manifest, unless the plugin is broken.
    pub(super) fn usable(&self) -> Option<&Manifest> {
        match self.state() {
            PluginState::Broken(_) => None,
            PluginState::Known | PluginState::Loaded => self.manifest(),
        }
    }

    /// The plugin's backend, created at the first call. A failure is remembered: the plugin is broken from then on.
    pub(super) fn backend(&self, start: &Start<'_>) -> Result<&Arc<Started>> {
        let manifest = match (&self.refusal, &self.manifest) {
            (Some(error), _) => return Err(error.clone()),
            (None, Some(manifest)) => manifest,
            (None, None) => return Err(Error::internal(format!("plugin `{}` has no manifest", self.id()))),
        };
        let backend = self.backend.get_or_init(|| self.started(manifest, start, None).map(Arc::new));
        backend.as_ref().map_err(Clone::clone)
    }

    /// A backend of its own that runs models on the native runtime at this place.
    pub(super) fn backend_on(&self, start: &Start<'_>, runtime: &Path) -> Result<Arc<Started>> {
        // The usual one says what is wrong with the plugin, if anything is.
        self.backend(start)?;
        let manifest =
            self.manifest.as_ref().ok_or_else(|| Error::internal("a plugin without a manifest"))?;
        self.started(manifest, start, Some(runtime)).map(Arc::new)
    }

    fn started(
        &self,
        manifest: &Arc<Manifest>,
        start: &Start<'_>,
        runtime: Option<&Path>,
    ) -> Result<Started> {
        const RUNTIME: &str = "runtime.path";
        let library = self.library.get_or_init(|| self.reopen(manifest)).clone()?;
        let mut setup = start.setup(&self.path, &manifest.id);
        if let Some(runtime) = runtime {
            setup.settings.retain(|setting| setting.0.as_str() != RUNTIME);
            setup.settings.push(qp_abi::manifest::pair(RUNTIME, runtime.to_string_lossy()));
        }
        let is_named = lookup(&setup.settings, RUNTIME).is_some_and(|path| !path.is_empty());
        let backend = (library.create())(setup.clone()).into_result();
        let backend = backend.map_err(|error| from_start(&manifest.id, error))?;
        let backend = match start.isolation {
            Isolation::None => backend,
            #[cfg(unix)]
            Isolation::Worker(workers) => worker::isolate(backend, &setup, workers),
        };
        let (folders, python) = (start.runtime_folders.to_vec(), Arc::clone(start.python));
        Ok(Started::new(Arc::clone(manifest), backend, folders, is_named, python))
    }

    /// The plugin's backend, if it was created.
    pub(super) fn made(&self) -> Option<&Arc<Started>> {
        self.backend.get()?.as_ref().ok()
    }

    /// The manifest from the plugin itself.
    pub(super) fn ask_manifest(&self) -> Result<qp_abi::Manifest> {
        match self.library.get() {
            Some(Ok(library)) => {
                (library.manifest())().into_result().map_err(|error| from_plugin(self.id(), error))
            }
            _ => Err(Error::internal(format!("the library of plugin `{}` is not open", self.id()))),
        }
    }

    /// Opens the library of a manifest from the cache, which must still be what the library says.
    fn reopen(&self, manifest: &Manifest) -> Result<PluginRef> {
        let library = load::open(&self.path)?;
        if read_manifest(&self.path, library)? == *manifest {
            return Ok(library);
        }
        Err(Error::new(
            ErrorKind::Plugin,
            format!("plugin `{}` is not the one found at the start", self.path.display()),
        )
        .with_hint("Start qp again: the library has changed."))
    }
}

fn read_manifest(path: &Path, library: PluginRef) -> Result<Manifest> {
    let file = path.display().to_string();
    let found = (library.manifest())().into_result().map_err(|error| from_start(&file, error))?;
    manifest::checked(found).map_err(|fault| breach(&file, &fault))
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
