//! The state of one session: what was found, what is loaded, what is chosen.
//!
//! A method that fails leaves the state as it was.

mod identity;
mod matching;
mod naming;
mod store;
mod variants;

pub use naming::Target;
pub use store::{Loaded, LoadedHow};
pub use variants::{Change, Changes, Step, Variant};

use crate::backend::{Backends, Progress};
use crate::cache::Cache;
use crate::catalog::{Catalog, KeptResults, Measurements, Opened};
use crate::error::{Error, Result};
pub use crate::input::arrays_in;
use crate::input::{Dataset, Input, Selection};
use crate::language::{Line, Variables};
use crate::render::report::Report;
use crate::settings::Settings;
use identity::identity;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

/// The state of one session.
pub struct Playground {
    /// What the user has chosen.
    pub settings: Settings,
    /// The plugins.
    pub backends: Backends,
    /// What `open` found.
    pub catalog: Option<Catalog>,
    /// The accuracies that were measured on this machine.
    pub measurements: Measurements,
    /// Results kept beyond the session.
    pub kept_results: KeptResults,
    /// The path of the current model: the one that commands use by default.
    pub current: Option<PathBuf>,
    /// The path of the current model's layer that commands use by default.
    pub layer: Option<String>,
    /// What models run on.
    pub input: Option<Arc<Input>>,
    /// Data sets by name.
    pub datasets: BTreeMap<String, Arc<Dataset>>,
    /// What the last `flips` compared, for `explain`.
    pub flips: Option<FlipsContext>,
    /// How the input and the data sets were chosen: `input`, or `data` and a name.
    pub preparations: BTreeMap<String, Preparation>,
    /// The variables of the command language.
    pub variables: Variables,
    /// The script's parameters, by name.
    pub params: BTreeMap<String, String>,
    /// The commands that succeeded, outside of scripts that were run: names and lines.
    pub done: Vec<(&'static str, String)>,
    /// The tour that is under way.
    pub tour: Option<Tour>,
    /// The last `compare` or `evaluate` that succeeded: its name and its line, for `try`.
    pub last_comparison: Option<(&'static str, String)>,
    /// The last result for people or programs, with the name of its command.
    pub last_report: Option<(&'static str, Report)>,
    /// The last result of each command, by its name.
    pub results: BTreeMap<&'static str, serde_json::Value>,
    /// The lines typed so far, oldest first.
    pub history: Vec<String>,
    /// Where relative paths start: the working folder, or the folder of the script that runs.
    pub base: PathBuf,
    store: Store,
    aliases: BTreeMap<String, PathBuf>,
}

/// How far a tour has come, and the models that it is about.
#[derive(Clone, Debug)]
pub struct Tour {
    /// The float model.
    pub float: String,
    /// Its quantized form.
    pub quantized: String,
    /// Samples for both; `None` for random ones.
    pub data: Option<String>,
    /// The index of the next step.
    pub step: usize,
}

/// A line that chose samples, to be run again when they change.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// The line.
    pub line: Line,
    /// Where relative paths in it start.
    pub base: PathBuf,
    /// The files that it names.
    pub files: Vec<PathBuf>,
}

impl Preparation {
    /// What a line chooses, so that a later line for the same replaces it. `None` if it chooses no samples.
    pub fn slot(line: &Line) -> Option<String> {
        match line.command() {
            "input" => Some("input".to_owned()),
            "data" => {
                let text = line.words().skip(1).collect::<Vec<_>>().join(" ");
                Some(format!("data {}", text.split('=').next().unwrap_or_default().trim()))
            }
            _ => None,
        }
    }
}

/// What a search for changed predictions compared.
#[derive(Clone, Debug)]
pub struct FlipsContext {
    /// The reference, as the user named it.
    pub reference: String,
    /// The candidate.
    pub candidate: String,
    /// The samples, if not the current input.
    pub data: Option<String>,
    /// The labels, if not those stored with the samples.
    pub labels: Option<String>,
    /// The settings of the runs, as the user gave them.
    pub options: Vec<(String, String)>,
}

impl Playground {
    /// A new session.
    pub fn new(settings: Settings, backends: Backends, base: PathBuf) -> Self {
        let store = Store::new(settings.cache_limit_bytes);
        Self {
            settings,
            backends,
            catalog: None,
            measurements: Measurements::default(),
            kept_results: KeptResults::default(),
            current: None,
            layer: None,
            input: None,
            datasets: BTreeMap::new(),
            flips: None,
            preparations: BTreeMap::new(),
            variables: Variables::default(),
            params: BTreeMap::new(),
            done: Vec::new(),
            tour: None,
            last_comparison: None,
            last_report: None,
            results: BTreeMap::new(),
            history: Vec::new(),
            base,
            store,
            aliases: BTreeMap::new(),
        }
    }

    /// The path that the user means: relative ones start at [`Self::base`], `~` is the home folder.
    pub fn path(&self, text: &str) -> PathBuf {
        if let Some(rest) = text.strip_prefix("~/")
            && let Some(folders) = directories::BaseDirs::new()
        {
            return folders.home_dir().join(rest);
        }
        // `.` alone would make every name begin with `./`.
        match text {
            "." if self.base.as_os_str().is_empty() => PathBuf::from("."),
            "." => self.base.clone(),
            text => self.base.join(text),
        }
    }

    /// Takes over what `open` found, and what it read in the process.
    pub fn list(&mut self, catalog: Catalog, opened: Vec<(PathBuf, Opened)>) {
        self.catalog = Some(catalog);
        self.store.opened = opened.into_iter().collect();
    }

    /// Lists a model that was written just now, if it lies in the folder of the catalog.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn list_written(&mut self, path: &Path, progress: &dyn Progress) -> Result<()> {
        match &mut self.catalog {
            Some(catalog) => catalog.add(path, &self.backends, progress),
            None => Ok(()),
        }
    }

    /// The model with this name, or the current one; loaded if necessary, read again if it has changed.
    ///
    /// # Errors
    /// `State` when none is named and none is current; otherwise as [`Self::find_one`] and [`Self::load`].
    pub fn model(&mut self, name: Option<&str>, progress: &dyn Progress) -> Result<Arc<Loaded>> {
        let target = match name {
            Some(name) => self.find_one(name)?,
            None => self.current_target()?,
        };
        self.load(&target, progress).map(|(loaded, _)| loaded)
    }

    /// Loads a model, unless it is loaded and unchanged. Evicts the least recently used models if the cache is full;
    /// the current model and this one stay.
    ///
    /// # Errors
    /// Those of the backend; models loaded before stay.
    pub fn load(&mut self, target: &Target, progress: &dyn Progress) -> Result<(Arc<Loaded>, LoadedHow)> {
        self.store.load(target, self.current.as_deref(), &mut self.backends, progress)
    }

    /// Reads a model from its files, whether it is loaded or not.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&mut self, target: &Target, progress: &dyn Progress) -> Result<Arc<Loaded>> {
        self.store.reload(target, self.current.as_deref(), &mut self.backends, progress)
    }

    /// Chooses the model that commands use by default. Its layer is reset.
    pub fn choose(&mut self, path: Option<PathBuf>) {
        if path.as_deref().is_none_or(|path| !self.is_current(path)) {
            self.layer = None;
        }
        self.current = path;
    }

    /// Unloads a model; false when it was not loaded.
    pub fn unload(&mut self, path: &Path) -> bool {
        let was_loaded = self.store.remove(path);
        if self.is_current(path) {
            self.choose(None);
        }
        self.aliases.retain(|_, target| identity(target) != identity(path));
        was_loaded
    }

    /// The loaded models, those with changes last.
    pub fn loaded(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.store.loaded()
    }

    /// What models run on.
    ///
    /// # Errors
    /// `State` when nothing was chosen.
    pub fn chosen_input(&self) -> Result<Arc<Input>> {
        self.input.clone().ok_or_else(|| {
            Error::state("no input is chosen").with_hint("Choose one with `input random` or `input FILE`.")
        })
    }

    /// The data set with this name, or its samples as in `digits[0:8]`; `None` if the text names none.
    ///
    /// # Errors
    /// `Usage` if the brackets do not hold an index, `InvalidInput` for samples that do not exist.
    pub fn dataset(&self, text: &str) -> Result<Option<Arc<Dataset>>> {
        let Ok((name, selection)) = Selection::parse(text) else { return Ok(None) };
        let Some(dataset) = self.datasets.get(name) else { return Ok(None) };
        Ok(Some(match &selection.samples {
            None => Arc::clone(dataset),
            Some(samples) => Arc::new(dataset.part(samples)?),
        }))
    }

    /// The model at this path, if it is loaded.
    pub fn loaded_at(&self, path: &Path) -> Option<&Arc<Loaded>> {
        self.store.loaded_at(path)
    }

    /// Whether the model at this path is loaded.
    pub fn is_loaded(&self, path: &Path) -> bool {
        self.loaded_at(path).is_some()
    }

    /// Whether the model at this path is the current one.
    pub fn is_current(&self, path: &Path) -> bool {
        self.current.as_deref().is_some_and(|current| identity(current) == identity(path))
    }

    /// The names of the models evicted since the last call.
    pub fn take_evicted(&mut self) -> Vec<String> {
        self.store.take_evicted()
    }

    /// The store of loaded models.
    pub fn models(&self) -> &Cache<Arc<Loaded>> {
        &self.store.models
    }

    /// Changes the byte budget of loaded models; returns how many were evicted.
    pub fn set_cache_limit(&mut self, limit_bytes: u64) -> usize {
        self.settings.cache_limit_bytes = limit_bytes;
        self.store.set_limit(limit_bytes, self.current.as_deref())
    }
}
