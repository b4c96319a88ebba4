//! One form for every spelling of a path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The key of the model at this path, among those that are kept.
pub(super) fn slot_name(path: &Path) -> String {
    identity(path).to_string_lossy().into_owned()
}

/// The path with its folder resolved and its own name unchanged.
pub(super) fn identity(path: &Path) -> PathBuf {
    Folders::default().identity(path)
}

/// Folders that were resolved, each once: thousands of models often share one.
#[derive(Default)]
pub(super) struct Folders(HashMap<PathBuf, Option<PathBuf>>);

impl Folders {
    pub(super) fn slot_name(&mut self, path: &Path) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_folder_is_the_same_and_a_link_is_not_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        assert_eq!(slot_name(&folder.path().join("inner/../model.onnx")), slot_name(&path));
        assert_ne!(identity(&folder.path().join("link.onnx")), identity(&path));
        // A folder that does not exist cannot be resolved.
        assert_eq!(identity(Path::new("nowhere/model.onnx")), Path::new("nowhere/model.onnx"));
    }
}
