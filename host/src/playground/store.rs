//! The models that are kept in memory, up to a budget.

use super::Target;
use super::identity::slot_name;
use super::variants::Variant;
use crate::backend::{Backends, Progress, Session};
use crate::cache::{Cache, Key, Stamp};
use crate::catalog::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ModelInfo;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A loaded model.
pub struct Loaded {
    /// Its name in commands.
    pub id: String,
    /// Its path; with a mark behind it if the model has changes.
    pub path: PathBuf,
    /// The network it is a variant of.
    pub family: String,
    /// The model itself.
    pub session: Session,
    /// Bytes of its files.
    pub bytes: u64,
    /// The path of its file.
    file: PathBuf,
    /// The file and those of its folder that it refers to, as it was read: changes keep their large tensors elsewhere.
    files: Vec<PathBuf>,
    content: Content,
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

    /// The hash of its files' content and of its changes (BLAKE3, hexadecimal); `None` for large files.
    pub fn hash_text(&self) -> Option<String> {
        let file = self.lock_key().hash_text()?;
        match &self.content {
            Content::File => Some(file),
            Content::Edited(edits) => {
                Some(blake3::hash(format!("{file} {edits}").as_bytes()).to_hex().to_string())
            }
            Content::Unknown => None,
        }
    }

    /// The model's file and those of its folder that it refers to.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// The same file in another form, under another path and name.
    pub(super) fn in_another_form(
        &self,
        session: Session,
        path: PathBuf,
        id: String,
        content: Content,
    ) -> Self {
        Self {
            id,
            path,
            family: self.family.clone(),
            session,
            bytes: self.bytes,
            file: self.file.clone(),
            files: self.files.clone(),
            content,
            key: Mutex::new(self.lock_key().clone()),
        }
    }

    /// Checks that the files are as they were when the model was changed.
    ///
    /// # Errors
    /// `State` if they are not.
    pub(super) fn check_files(&self) -> Result<()> {
        let files = self.files();
        if self.lock_key().is_current(&files)
            || Key::read(&files).is_ok_and(|key| key.has_content_of(&self.lock_key()))
        {
            return Ok(());
        }
        Err(Error::state(format!(
            "`{}` has changed on disk since it was loaded and edited",
            self.file.display()
        ))
        .with_hint(
            "Save the edits with `changes --out FILE`, drop them with `reset`, and run that file again.",
        ))
    }

    fn lock_key(&self) -> MutexGuard<'_, Key> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a loaded model holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// What its file has.
    File,
    /// That with edits, whose hash this is: the same lines may mean other codes with another float variant loaded.
    Edited(String),
    /// A form of it that is only in memory, and not kept.
    Unknown,
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

/// The models that are kept.
pub(super) struct Store {
    pub(super) models: Cache<Arc<Loaded>>,
    /// Models of the catalog that were read for the listing, until they are loaded.
    pub(super) opened: HashMap<PathBuf, Opened>,
    /// Models with changes, by the slot of their path. They are the user's work: none is evicted.
    pub(super) variants: BTreeMap<String, Variant>,
    evicted: Vec<String>,
}

impl Store {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            models: Cache::new(limit_bytes),
            opened: HashMap::new(),
            variants: BTreeMap::new(),
            evicted: Vec::new(),
        }
    }

    /// As [`super::Playground::load`]; `current` stays too.
    pub(super) fn load(
        &mut self,
        target: &Target,
        current: Option<&Path>,
        backends: &mut Backends,
        progress: &dyn Progress,
    ) -> Result<(Arc<Loaded>, LoadedHow)> {
        let slot = slot_name(&target.path);
        if let Some(variant) = self.variants.get(&slot) {
            let loaded = Arc::clone(variant.loaded());
            return loaded.check_files().map(|()| (loaded, LoadedHow::Hit));
        }
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
        self.read_into(slot, target, current, backends, progress).map(|loaded| (loaded, how))
    }

    /// As [`super::Playground::reload`]; `current` stays.
    pub(super) fn reload(
        &mut self,
        target: &Target,
        current: Option<&Path>,
        backends: &mut Backends,
        progress: &dyn Progress,
    ) -> Result<Arc<Loaded>> {
        if let Some(variant) = self.variants.get(&slot_name(&target.path)) {
            let loaded = Arc::clone(variant.loaded());
            return loaded.check_files().map(|()| loaded);
        }
        self.opened.remove(&target.path);
        self.read_into(slot_name(&target.path), target, current, backends, progress)
    }

    fn read_into(
        &mut self,
        slot: String,
        target: &Target,
        current: Option<&Path>,
        backends: &mut Backends,
        progress: &dyn Progress,
    ) -> Result<Arc<Loaded>> {
        let loaded = Arc::new(self.read(target, backends, progress)?);
        self.models.count_miss();
        self.models.insert(slot.clone(), Arc::clone(&loaded), loaded.bytes);
        let current = current.map(slot_name);
        let gone = self.models.evict(|name| name == slot || Some(name) == current.as_deref());
        self.evicted.extend(
            gone.iter()
                .map(|slot| Path::new(slot).file_name().unwrap_or_default().to_string_lossy().into_owned()),
        );
        Ok(loaded)
    }

    fn read(&mut self, target: &Target, backends: &mut Backends, progress: &dyn Progress) -> Result<Loaded> {
        progress.update(&format!("loading {}", target.id), 0, 0);
        // Read once more if the file changes meanwhile; a file that keeps changing cannot be loaded.
        for _ in 0..3 {
            let (before, session) = match self.opened.remove(&target.path) {
                Some(opened) => (Some(opened.stamp), opened.session),
                None => (Stamp::read(&target.path).ok(), backends.open(&target.path, progress)?),
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
                    file: target.path.clone(),
                    files,
                    content: Content::File,
                    key: Mutex::new(key),
                });
            }
        }
        Err(Error::new(ErrorKind::Io, format!("`{}` changed while it was read", target.path.display()))
            .with_hint("Wait until it is complete, then load it."))
    }

    /// The loaded models, those with changes last.
    pub(super) fn loaded(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        let plain = self.models.iter().map(|(_, loaded, _)| loaded);
        plain.chain(self.variants.values().map(Variant::loaded))
    }

    /// The model at this path, if it is loaded.
    pub(super) fn loaded_at(&self, path: &Path) -> Option<&Arc<Loaded>> {
        let slot = slot_name(path);
        self.models.peek(&slot).or_else(|| self.variants.get(&slot).map(Variant::loaded))
    }

    /// Forgets a model, or the changed form of one; false when it was not kept.
    pub(super) fn remove(&mut self, path: &Path) -> bool {
        let slot = slot_name(path);
        self.variants.remove(&slot).is_some() || self.models.remove(&slot).is_some()
    }

    /// Changes the budget; returns how many models were evicted.
    pub(super) fn set_limit(&mut self, limit_bytes: u64, current: Option<&Path>) -> usize {
        self.models.set_limit_bytes(limit_bytes);
        let current = current.map(slot_name);
        self.models.evict(|name| Some(name) == current.as_deref()).len()
    }

    /// The names of the models evicted since the last call.
    pub(super) fn take_evicted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.evicted)
    }
}

/// The model's file and those of its folder that it refers to.
fn files_of(path: &Path, info: &ModelInfo) -> Vec<PathBuf> {
    std::iter::once(path.to_owned()).chain(info.local_files(path)).collect()
}
