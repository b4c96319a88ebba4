//! Models with changes, in memory: what was changed, what was undone, and the result.

use super::Playground;
use super::identity::slot_name;
use super::store::{Content, Loaded};
use crate::backend::{Edit, Progress, Session};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The mark of a changed model's name, behind the name of its file's.
const MARK: &str = "*";

/// One change that was made to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The line that makes it.
    pub line: String,
    /// The layer that it is about, or the tensor if none owns it.
    pub subject: String,
    /// What it did, for people.
    pub effect: String,
    /// What the backend does for it.
    pub edits: Vec<Edit>,
}

/// The changes of a model, in order.
pub type Changes = Vec<Arc<Change>>;

/// A model with changes.
pub struct Variant {
    /// Where the model without changes is.
    base: PathBuf,
    loaded: Arc<Loaded>,
    changes: Changes,
    /// The changes at each earlier point, the last one last.
    past: Vec<Changes>,
    /// The changes at each point that was left by undoing, the next one last.
    future: Vec<Changes>,
}

impl Variant {
    /// The path of the model without changes.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The changes in effect.
    pub fn changes(&self) -> &[Arc<Change>] {
        &self.changes
    }

    /// What `undo` would lead to; `None` at the beginning.
    pub fn earlier(&self) -> Option<&Changes> {
        self.past.last()
    }

    /// What `redo` would lead to; `None` if nothing was undone.
    pub fn later(&self) -> Option<&Changes> {
        self.future.last()
    }

    /// How many steps `redo` can make.
    pub fn steps_ahead(&self) -> usize {
        self.future.len()
    }

    pub(super) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }
}

/// How a model comes to have other changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Anew: what was undone cannot be redone.
    New,
    /// Back.
    Undo,
    /// Forward again.
    Redo,
}

impl Playground {
    /// The changed form of a model, or the model itself if it is one.
    pub fn variant(&self, path: &Path) -> Option<&Variant> {
        let variants = &self.store.variants;
        variants.get(&slot_name(path)).or_else(|| variants.get(&slot_name(&marked(path))))
    }

    /// Whether this is the path of a changed model.
    pub fn is_changed(&self, path: &Path) -> bool {
        self.store.variants.contains_key(&slot_name(path))
    }

    /// All changed models.
    pub fn variants(&self) -> impl Iterator<Item = (&Arc<Loaded>, &Variant)> {
        self.store.variants.values().map(|variant| (&variant.loaded, variant))
    }

    /// The model without changes that a changed one was made from; itself if it is not changed.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn base_of(&mut self, model: &Loaded, progress: &dyn Progress) -> Result<Arc<Loaded>> {
        let base = self.variant(&model.path).map(|variant| variant.base.clone());
        let target = super::Target {
            id: model.id.strip_suffix(MARK).unwrap_or(&model.id).to_owned(),
            path: base.unwrap_or_else(|| model.path.clone()),
            family: model.family.clone(),
        };
        self.load(&target, progress).map(|(loaded, _)| loaded)
    }

    /// A model with changes, for use in one command: the session does not know it.
    ///
    /// # Errors
    /// Those of the plugin, for changes that do not fit.
    pub fn changed(&self, base: &Loaded, changes: &[Arc<Change>], progress: &dyn Progress) -> Result<Loaded> {
        let edits: Vec<Edit> = changes.iter().flat_map(|change| change.edits.iter().cloned()).collect();
        let mut hasher = blake3::Hasher::new();
        for edit in &edits {
            hasher.update(format!("{} {} {:?}", edit.action, edit.target, edit.arguments).as_bytes());
            if let Some((dtype, shape, bytes)) = &edit.elements {
                hasher.update(format!("{dtype} {shape:?}").as_bytes()).update(bytes);
            }
        }
        let session = match edits.is_empty() {
            true => self.backends.open_with(&base.session.plugin().id, &base.path, progress)?,
            false => base.session.edit(edits, progress)?,
        };
        let content = if hasher.count() == 0 {
            Content::File
        } else {
            Content::Edited(hasher.finalize().to_hex().to_string())
        };
        Ok(base.in_another_form(session, marked(&base.path), format!("{}{MARK}", base.id), content))
    }

    /// A form of a model that is only in memory, as if it had been read from this path.
    pub fn in_memory(&self, base: &Loaded, session: Session, path: &Path) -> Loaded {
        base.in_another_form(session, path.to_owned(), path.display().to_string(), Content::Unknown)
    }

    /// Makes these the changes of a model. If the model was the current one, its changed form is from now on.
    pub fn keep_changes(
        &mut self,
        base: &Loaded,
        loaded: Arc<Loaded>,
        changes: Changes,
        step: Step,
    ) -> Arc<Loaded> {
        let slot = slot_name(&loaded.path);
        let known = self.store.variants.remove(&slot);
        let (before, mut past, mut future) =
            known.map_or_else(Default::default, |known| (known.changes, known.past, known.future));
        match step {
            Step::New => {
                past.push(before);
                future.clear();
            }
            Step::Undo => {
                past.pop();
                future.push(before);
            }
            Step::Redo => {
                future.pop();
                past.push(before);
            }
        }
        let variant = Variant { base: base.path.clone(), loaded: Arc::clone(&loaded), changes, past, future };
        self.store.variants.insert(slot, variant);
        if self.current.is_none() || self.is_current(&base.path) {
            let layer = self.layer.take();
            self.choose(Some(loaded.path.clone()));
            self.layer = layer;
        }
        loaded
    }

    /// Lets a model have these changes while `work` is done; afterwards everything is as before.
    pub fn lend_changes<T>(
        &mut self,
        base: &Loaded,
        loaded: Arc<Loaded>,
        changes: &[Arc<Change>],
        work: impl FnOnce(&mut Self) -> T,
    ) -> (T, Arc<Loaded>) {
        let slot = slot_name(&loaded.path);
        let variant = Variant {
            base: base.path.clone(),
            loaded: Arc::clone(&loaded),
            changes: changes.to_vec(),
            past: Vec::new(),
            future: Vec::new(),
        };
        let known = self.store.variants.insert(slot.clone(), variant);
        let result = work(self);
        match known {
            Some(known) => self.store.variants.insert(slot, known),
            None => self.store.variants.remove(&slot),
        };
        (result, loaded)
    }

    /// The model that is meant, with the changes that it has.
    ///
    /// # Errors
    /// As [`Self::model`]; `State` if its file has changed since.
    pub fn newest_form(&mut self, name: Option<&str>, progress: &dyn Progress) -> Result<Arc<Loaded>> {
        let model = self.model(name, progress)?;
        match self.variant(&model.path) {
            Some(variant) => variant.loaded.check_files().map(|()| Arc::clone(&variant.loaded)),
            None => Ok(model),
        }
    }

    /// The changed model that is meant: the named one, the current one, or the only one.
    ///
    /// # Errors
    /// `State` if the model has no changes, or none or several have and none is named.
    pub fn changed_model(&mut self, name: Option<&str>, progress: &dyn Progress) -> Result<Arc<Loaded>> {
        let unchanged = |id: &str| {
            Error::state(format!("`{id}` has no changes"))
                .with_hint("Change something first: `set LAYER.weight.scale VALUE`; see `help set`.")
        };
        if let Some(name) = name {
            let model = self.model(Some(name), progress)?;
            let variant = self.variant(&model.path).map(|variant| Arc::clone(&variant.loaded));
            return variant.ok_or_else(|| unchanged(&model.id));
        }
        let current = self
            .current
            .clone()
            .and_then(|path| self.variant(&path).map(|variant| variant.loaded().path.clone()));
        let variants = &self.store.variants;
        let path = match (current, variants.len()) {
            (Some(path), _) => path,
            (None, 1) => {
                variants.values().next().map(|variant| variant.loaded.path.clone()).unwrap_or_default()
            }
            (None, 0) => {
                return Err(Error::state("no model has changes")
                    .with_hint("Change something first: `set LAYER.weight.scale VALUE`; see `help set`."));
            }
            (None, _) => {
                return Err(
                    Error::state("several models have changes").with_hint("Name one with `--model NAME`.")
                );
            }
        };
        match self.store.variants.get(&slot_name(&path)) {
            Some(variant) => {
                variant.loaded.check_files()?;
                Ok(Arc::clone(&variant.loaded))
            }
            None => Err(unchanged(&path.display().to_string())),
        }
    }
}

/// The path under which a changed model is kept.
pub(super) fn marked(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(MARK);
    PathBuf::from(name)
}
