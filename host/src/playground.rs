//! The state of one session: what was found, what is loaded, what is chosen.
//!
//! A method that fails leaves the state as it was.

use crate::backend::{Backends, Progress, Session};
use crate::cache::{Cache, Key, Stamp};
use crate::catalog::{Catalog, Named, Opened, Variant, family, name};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::language::Variables;
use crate::model::ModelInfo;
use crate::settings::Settings;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state of one session.
pub struct Playground {
    /// What the user has chosen.
    pub settings: Settings,
    /// The plugins.
    pub backends: Backends,
    /// What `open` found.
    pub catalog: Option<Catalog>,
    /// The path of the current model: the one that commands use by default.
    pub current: Option<PathBuf>,
    /// The path of the current model's layer that commands use by default.
    pub layer: Option<String>,
    /// What models run on.
    pub input: Option<Arc<Input>>,
    /// What the last `flips` compared, for `explain`.
    pub flips: Option<FlipsContext>,
    /// The variables of the command language.
    pub variables: Variables,
    /// The lines typed so far, oldest first.
    pub history: Vec<String>,
    /// Where relative paths start: the working folder, or the folder of the script that runs.
    pub base: PathBuf,
    models: Cache<Arc<Loaded>>,
    /// Models of the catalog that were read for the listing, until they are loaded.
    opened: HashMap<PathBuf, Opened>,
    aliases: BTreeMap<String, PathBuf>,
    evicted: Vec<String>,
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

/// A loaded model.
pub struct Loaded {
    /// Its name in commands.
    pub id: String,
    /// Its path.
    pub path: PathBuf,
    /// The network it is a variant of.
    pub family: String,
    /// The model itself.
    pub session: Session,
    /// Bytes of its files.
    pub bytes: u64,
    /// The stamps of its files when they were last checked.
    key: Mutex<Key>,
}

impl Loaded {
    /// What the file holds.
    pub fn info(&self) -> &ModelInfo {
        self.session.info()
    }

    /// Checks that it can be run.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn runnable(&self) -> Result<()> {
        match &self.info().run_obstacle {
            Some(obstacle) => Err(obstacle.clone()),
            None => Ok(()),
        }
    }

    /// The hash of its files' content (BLAKE3, hexadecimal); `None` for large files.
    pub fn hash_text(&self) -> Option<String> {
        self.lock_key().hash_text()
    }

    /// The model's file and those of its folder that it refers to.
    pub fn files(&self) -> Vec<PathBuf> {
        files_of(&self.path, self.info())
    }

    fn lock_key(&self) -> MutexGuard<'_, Key> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model that commands can refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in commands.
    pub id: String,
    /// Its path.
    pub path: PathBuf,
    /// The network it is a variant of.
    pub family: String,
}

/// How a model came to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadedHow {
    /// It was already loaded, and its files are unchanged.
    Hit,
    /// Its files were touched, but their content is the same.
    SameContent,
    /// Its files were read.
    Read,
    /// Its files have changed and were read again.
    ReadAgain,
}

impl Playground {
    /// A new session.
    pub fn new(settings: Settings, backends: Backends, base: PathBuf) -> Self {
        let models = Cache::new(settings.cache_limit_bytes);
        Self {
            settings,
            backends,
            catalog: None,
            current: None,
            layer: None,
            input: None,
            flips: None,
            variables: Variables::default(),
            history: Vec::new(),
            base,
            models,
            opened: HashMap::new(),
            aliases: BTreeMap::new(),
            evicted: Vec::new(),
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
        self.opened = opened.into_iter().collect();
    }

    /// Everything that a name can refer to.
    pub fn names(&self) -> Vec<Named> {
        let named = |target: Target| {
            let file_name = target.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stem = self.backends.stem(&target.path);
            let alias = self.alias(&target.path).map_or_else(|| target.id.clone(), str::to_owned);
            Named { id: target.id, other_names: vec![alias, file_name, stem], family: target.family }
        };
        self.targets().into_iter().map(named).collect()
    }

    /// The models of the catalog, and those loaded from elsewhere.
    pub fn targets(&self) -> Vec<Target> {
        let catalog = self.catalog.iter().flat_map(|catalog| &catalog.variants).map(|variant| Target {
            id: variant.id.clone(),
            path: variant.path.clone(),
            family: variant.family.clone(),
        });
        let mut targets: Vec<Target> = catalog.collect();
        if self.models.iter().next().is_none() {
            return targets;
        }
        let mut folders = Folders::default();
        let known: HashSet<String> = targets.iter().map(|target| folders.slot_name(&target.path)).collect();
        for (slot, loaded, _) in self.models.iter() {
            if !known.contains(slot) {
                targets.push(Target {
                    id: loaded.path.display().to_string(),
                    path: loaded.path.clone(),
                    family: loaded.family.clone(),
                });
            }
        }
        targets
    }

    /// The models that a name refers to: see [`name::find_all`]; a path to a file refers to that file.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`.
    pub fn find_all(&self, name: &str) -> Result<Vec<Target>> {
        let names = self.names();
        if let Some(target) = self.plain_file(name, &names) {
            return Ok(vec![target]);
        }
        let targets = self.targets();
        match name::find_all(name, &names) {
            Ok(found) => Ok(found
                .into_iter()
                .filter_map(|named| targets.iter().find(|target| target.id == named.id).cloned())
                .collect()),
            Err(error) => match self.file_target(name) {
                Some(target) => Ok(vec![target]),
                None => Err(error),
            },
        }
    }

    /// The one model that a name refers to.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`.
    pub fn find_one(&self, name: &str) -> Result<Target> {
        let names = self.names();
        if let Some(target) = self.plain_file(name, &names) {
            return Ok(target);
        }
        match name::find_one(name, &names) {
            Ok(named) => self
                .targets()
                .into_iter()
                .find(|target| target.id == named.id)
                .ok_or_else(|| Error::internal(format!("`{name}` was found but is missing"))),
            Err(error) => self.file_target(name).ok_or(error),
        }
    }

    /// The file at a path that matches no name: tried before similar names are suggested.
    fn plain_file(&self, text: &str, names: &[Named]) -> Option<Target> {
        let is_name = |named: &Named| {
            named.id == text || named.family == text || named.other_names.iter().any(|other| other == text)
        };
        if names.iter().any(is_name) { None } else { self.file_target(text) }
    }

    fn file_target(&self, text: &str) -> Option<Target> {
        let path = self.path(text);
        let slot = slot_name(&path);
        let mut folders = Folders::default();
        // Its file name is part of its name, whatever path is given.
        let may_be = |target: &Target| target.path.file_name() == path.file_name();
        let known = self
            .targets()
            .into_iter()
            .find(|target| may_be(target) && folders.slot_name(&target.path) == slot);
        let unknown = || {
            let stem = self.backends.stem(&path);
            Target { id: text.to_owned(), family: family::family_name(&stem).to_owned(), path: path.clone() }
        };
        std::fs::metadata(&path)
            .is_ok_and(|metadata| !metadata.is_dir())
            .then(|| known.unwrap_or_else(unknown))
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

    fn current_target(&self) -> Result<Target> {
        let targets = self.targets();
        let current =
            self.current.as_ref().and_then(|path| targets.iter().find(|target| target.path == *path));
        match (current, &targets[..]) {
            (Some(target), _) | (None, [target]) => Ok(target.clone()),
            (None, []) => {
                Err(Error::state("no model is loaded")
                    .with_hint("Open a folder of models first: `open PATH`."))
            }
            (None, _) => Err(Error::state("no model is chosen")
                .with_hint("Name one, or choose one for all commands with `use NAME`; see `models`.")),
        }
    }

    /// Loads a model, unless it is loaded and unchanged. Evicts the least recently used models if the cache is full;
    /// the current model and this one stay.
    ///
    /// # Errors
    /// Those of the backend; models loaded before stay.
    pub fn load(&mut self, target: &Target, progress: &dyn Progress) -> Result<(Arc<Loaded>, LoadedHow)> {
        let slot = slot_name(&target.path);
        let mut how = LoadedHow::Read;
        if let Some(loaded) = self.models.get(&slot).cloned() {
            let files = loaded.files();
            if loaded.lock_key().is_current(&files) {
                self.models.count_hit();
                return Ok((loaded, LoadedHow::Hit));
            }
            let key = Key::read(&files)?;
            let is_same = key.has_content_of(&loaded.lock_key());
            if is_same {
                *loaded.lock_key() = key;
                self.models.count_hit();
                return Ok((loaded, LoadedHow::SameContent));
            }
            how = LoadedHow::ReadAgain;
        }
        self.read_into(slot, target, progress).map(|loaded| (loaded, how))
    }

    /// Reads a model from its files, whether it is loaded or not.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&mut self, target: &Target, progress: &dyn Progress) -> Result<Arc<Loaded>> {
        self.opened.remove(&target.path);
        self.read_into(slot_name(&target.path), target, progress)
    }

    fn read_into(&mut self, slot: String, target: &Target, progress: &dyn Progress) -> Result<Arc<Loaded>> {
        let loaded = Arc::new(self.read(target, progress)?);
        self.models.count_miss();
        self.models.insert(slot.clone(), Arc::clone(&loaded), loaded.bytes);
        let current = self.current.as_deref().map(slot_name);
        let gone = self.models.evict(|name| name == slot || Some(name) == current.as_deref());
        self.evicted.extend(
            gone.iter()
                .map(|slot| Path::new(slot).file_name().unwrap_or_default().to_string_lossy().into_owned()),
        );
        Ok(loaded)
    }

    fn read(&mut self, target: &Target, progress: &dyn Progress) -> Result<Loaded> {
        progress.update(&format!("loading {}", target.id), 0, 0);
        // Once more if the file changes while it is read; a file that keeps changing cannot be loaded.
        for _ in 0..3 {
            let (before, session) = match self.opened.remove(&target.path) {
                Some(opened) => (Some(opened.stamp), opened.session),
                None => (Stamp::read(&target.path).ok(), self.backends.open(&target.path, progress)?),
            };
            let files = files_of(&target.path, session.info());
            let key = Key::read(&files)?;
            if before.is_some_and(|before| key.begins_with(&before)) {
                let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
                return Ok(Loaded {
                    id: target.id.clone(),
                    path: target.path.clone(),
                    family: target.family.clone(),
                    session,
                    bytes: files.iter().map(size).sum(),
                    key: Mutex::new(key),
                });
            }
        }
        Err(Error::new(ErrorKind::Io, format!("`{}` changed while it was read", target.path.display()))
            .with_hint("Wait until it is complete, then load it."))
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
        let was_loaded = self.models.remove(&slot_name(path)).is_some();
        if self.is_current(path) {
            self.choose(None);
        }
        self.aliases.retain(|_, target| identity(target) != identity(path));
        was_loaded
    }

    /// Whether a model can have this alias.
    ///
    /// # Errors
    /// `InvalidInput` when something else has this name.
    pub fn check_alias(&self, alias: &str, path: &Path) -> Result<()> {
        let means_other = |named: &Named| {
            let names = std::iter::once(&named.id).chain(&named.other_names).chain([&named.family]);
            names.into_iter().any(|name| name == alias)
        };
        let is_taken = self.names().iter().zip(self.targets()).any(|(named, target)| {
            means_other(named) && (identity(&target.path) != identity(path) || named.family == alias)
        });
        if alias.is_empty() || alias == "all" || is_taken {
            return Err(Error::invalid_input(format!("`{alias}` cannot be an alias"))
                .with_cause("it is the name of something else")
                .with_hint("Choose a name that `models` does not list."));
        }
        Ok(())
    }

    /// Gives a model an alias.
    ///
    /// # Errors
    /// As [`Self::check_alias`].
    pub fn set_alias(&mut self, alias: &str, path: &Path) -> Result<()> {
        self.check_alias(alias, path)?;
        self.aliases.insert(alias.to_owned(), path.to_owned());
        Ok(())
    }

    /// The alias of a model.
    pub fn alias(&self, path: &Path) -> Option<&str> {
        self.aliases.iter().find(|(_, target)| *target == path).map(|(alias, _)| alias.as_str())
    }

    /// The loaded models.
    pub fn loaded(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.models.iter().map(|(_, loaded, _)| loaded)
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

    /// The model at this path, if it is loaded.
    pub fn loaded_at(&self, path: &Path) -> Option<&Arc<Loaded>> {
        self.models.peek(&slot_name(path))
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
        std::mem::take(&mut self.evicted)
    }

    /// The store of loaded models.
    pub fn models(&self) -> &Cache<Arc<Loaded>> {
        &self.models
    }

    /// Changes the byte budget of loaded models; returns how many were evicted.
    pub fn set_cache_limit(&mut self, limit_bytes: u64) -> usize {
        self.settings.cache_limit_bytes = limit_bytes;
        self.models.set_limit_bytes(limit_bytes);
        let current = self.current.as_deref().map(slot_name);
        self.models.evict(|name| Some(name) == current.as_deref()).len()
    }

    /// Another variant of the network that declares the shape and dtype of its inputs: for variants that do not, such
    /// as TorchScript. Loaded ones come first.
    pub fn outspoken_sibling(&self, model: &Loaded, progress: &dyn Progress) -> Option<ModelInfo> {
        let says_all = |info: &ModelInfo| {
            info.inputs.len() == model.info().inputs.len()
                && info.inputs.iter().all(|input| input.shape.is_some() && input.dtype.bits() > 0)
        };
        if says_all(model.info()) {
            return None;
        }
        let loaded = self.loaded().find(|other| other.family == model.family && says_all(other.info()));
        if let Some(loaded) = loaded {
            return Some(loaded.info().clone());
        }
        let of_family = |variant: &&Variant| variant.family == model.family && variant.digest.is_ok();
        let variants = self.catalog.iter().flat_map(|catalog| &catalog.variants).filter(of_family);
        let info = |variant: &Variant| match self.opened.get(&variant.path) {
            Some(opened) if Stamp::read(&variant.path).is_ok_and(|stamp| stamp == opened.stamp) => {
                Some(opened.session.info().clone())
            }
            _ => self.backends.inspect_with(&variant.backend, &variant.path, progress).ok(),
        };
        variants.filter_map(info).find(says_all)
    }
}

fn slot_name(path: &Path) -> String {
    identity(path).to_string_lossy().into_owned()
}

/// The model's file and those of its folder that it refers to.
fn files_of(path: &Path, info: &ModelInfo) -> Vec<PathBuf> {
    std::iter::once(path.to_owned()).chain(info.local_files(path)).collect()
}

/// One form for every spelling of a path: its folder resolved, its own name unchanged.
fn identity(path: &Path) -> PathBuf {
    Folders::default().identity(path)
}

/// Folders that were resolved, each once: thousands of models often share one.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Option<PathBuf>>);

impl Folders {
    fn slot_name(&mut self, path: &Path) -> String {
        self.identity(path).to_string_lossy().into_owned()
    }

    fn identity(&mut self, path: &Path) -> PathBuf {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let resolved = match self.0.get(folder) {
            Some(resolved) => resolved,
            None => self.0.entry(folder.to_owned()).or_insert_with(|| folder.canonicalize().ok()),
        };
        match (resolved, path.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => path.to_owned(),
        }
    }
}
