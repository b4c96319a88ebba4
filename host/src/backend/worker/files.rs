//! The files of a model, as they were when it was opened: a worker opens them later, and must find the same.

use crate::cache::Stamp;
use qp_abi::error::ErrorKind;
use qp_abi::{BackendError, ModelInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A model's file, and the external files that it names; without a stamp, there is none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Files(Vec<(PathBuf, Option<Stamp>)>);

impl Files {
    /// The file at `path` alone.
    pub(super) fn of(path: &Path) -> Self {
        Self(vec![stamped(path.to_owned())])
    }

    /// Adds the external files, unless that is done.
    pub(super) fn add_external(&mut self, info: &ModelInfo) {
        let [(path, _)] = self.0.as_slice() else { return };
        // They lie beside the file, or beside what it is a link to.
        let real = std::fs::canonicalize(path).unwrap_or_default();
        let folders: BTreeSet<&Path> = [path.as_path(), &real].into_iter().filter_map(Path::parent).collect();
        let names: BTreeSet<&str> = info.tensors.iter().map(|tensor| tensor.external_file.as_str()).collect();
        let names = names.into_iter().filter(|name| !name.is_empty());
        let found = names.flat_map(|name| folders.iter().map(move |folder| stamped(folder.join(name))));
        let found: Vec<_> = found.collect();
        self.0.extend(found);
    }

    /// The same files as they are now.
    pub(super) fn now(&self) -> Self {
        Self(self.0.iter().map(|(path, _)| stamped(path.clone())).collect())
    }

    /// Whether external files have changed. Plugins read them when they are needed: what they held before is not known.
    pub(super) fn has_other_data(&self, now: &Self) -> bool {
        self.0.iter().zip(&now.0).skip(1).any(|(old, new)| old != new)
    }

    /// The error that they are no longer what they were.
    pub(super) fn changed(&self, now: &Self) -> BackendError {
        let first = self.0.iter().zip(&now.0).find(|(old, new)| old != new);
        let path = first.or(self.0.iter().zip(&now.0).next()).map_or(Path::new(""), |((path, _), _)| path);
        BackendError::new(ErrorKind::IO, format!("`{}` has changed since it was loaded", path.display()))
            .with_help("`reload` reads it again.")
    }
}

fn stamped(path: PathBuf) -> (PathBuf, Option<Stamp>) {
    let stamp = Stamp::read(&path).ok();
    (path, stamp)
}
