//! Which model a name means: the variants of the catalog, models loaded from elsewhere, files, aliases.

use super::identity::{Folders, identity, slot_name};
use super::{Loaded, Playground};
use crate::backend::Progress;
use crate::cache::Stamp;
use crate::catalog::{Named, Variant, family, name};
use crate::error::{Error, Result};
use crate::model::ModelInfo;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

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

impl Playground {
    /// Everything that a name can refer to.
    pub fn names(&self) -> Vec<Named> {
        let named = |target: Target| {
            let file_name = target.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stem = match self.variant(&target.path).filter(|_| self.is_changed(&target.path)) {
                Some(variant) => format!("{}*", self.backends.stem(variant.base())),
                None => self.backends.stem(&target.path),
            };
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
        if self.loaded().next().is_none() {
            return targets;
        }
        let mut folders = Folders::default();
        let known: HashSet<String> = targets.iter().map(|target| folders.slot_name(&target.path)).collect();
        for (slot, loaded, _) in self.store.models.iter() {
            if !known.contains(slot) {
                targets.push(Target {
                    id: loaded.path.display().to_string(),
                    path: loaded.path.clone(),
                    family: loaded.family.clone(),
                });
            }
        }
        targets.extend(self.variants().map(|(loaded, _)| Target {
            id: loaded.id.clone(),
            path: loaded.path.clone(),
            family: loaded.family.clone(),
        }));
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

    /// The models that the names refer to, each once.
    ///
    /// # Errors
    /// As [`Self::find_all`].
    pub fn find_each(&self, names: &[String]) -> Result<Vec<Target>> {
        let mut targets: Vec<Target> = Vec::new();
        for name in names {
            for target in self.find_all(name)? {
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        Ok(targets)
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

    pub(super) fn current_target(&self) -> Result<Target> {
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
            return Err(Error::invalid_input(format!("`{alias}` is already taken"))
                .with_cause("it names another model or family")
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
        let info = |variant: &Variant| match self.store.opened.get(&variant.path) {
            Some(opened) if Stamp::read(&variant.path).is_ok_and(|stamp| stamp == opened.stamp) => {
                Some(opened.session.info().clone())
            }
            _ => self.backends.inspect_with(&variant.backend, &variant.path, progress).ok(),
        };
        variants.filter_map(info).find(says_all)
    }
}
