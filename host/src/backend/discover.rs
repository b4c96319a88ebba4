//! Finds plugin libraries in folders.

use super::library_file;
use std::path::{Path, PathBuf};

/// The files with a plugin's name, folder by folder, in each sorted by name. A folder that is missing or cannot be
/// read has none; a folder that is listed twice counts once.
pub(super) fn libraries(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut libraries = Vec::new();
    for folder in folders {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        if !seen.contains(&real) {
            libraries.extend(libraries_in(folder));
            seen.push(real);
        }
    }
    libraries
}

fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut libraries: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_name().to_str().is_some_and(library_file::has_plugin_name))
        .map(|entry| entry.path())
        .filter(|path| !path.is_dir())
        .collect();
    libraries.sort();
    libraries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_with_a_plugins_name_are_found_each_folder_once_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let name =
            |stem: &str| format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        for stem in ["qp_plugin_b", "qp_plugin_a", "qp_plugin_a_engine", "torch"] {
            std::fs::write(folder.path().join(name(stem)), "").unwrap();
        }
        std::fs::create_dir(folder.path().join(name("qp_plugin_folder"))).unwrap();
        let folders = [folder.path().to_owned(), folder.path().join("."), folder.path().join("missing")];
        let expected = ["qp_plugin_a", "qp_plugin_b"].map(|stem| folder.path().join(name(stem)));
        assert_eq!(libraries(&folders), expected);
    }
}
