//! Where the plugins' libraries are: beside the test itself, because the host's development dependencies name
//! them.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};

/// The library of a workspace package, as this build made it.
pub fn library(package: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().expect("a file lies in a folder");
    let path = folder.join(format!("{DLL_PREFIX}{}{DLL_SUFFIX}", package.replace('-', "_")));
    assert!(
        path.is_file(),
        "`{}` is missing: is {package} a dependency of the host's tests?",
        path.display()
    );
    path
}

/// The name under which the host takes a file for the plugin `name`.
pub fn file_name(name: &str) -> String {
    format!("{DLL_PREFIX}qp_plugin_{name}{DLL_SUFFIX}")
}

/// Puts the library of `package` into `folder` as the plugin `name`.
pub fn install(package: &str, folder: &Path, name: &str) -> PathBuf {
    let target = folder.join(file_name(name));
    fs::create_dir_all(folder).expect("the folder can be made");
    fs::copy(library(package), &target).expect("the library can be copied");
    target
}

/// A file of the sample family.
pub fn model(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(file)
}

/// The folders with native runtimes: those of `QP_RUNTIMES`, else the user's. The tests run real models on
/// real runtimes: without them they fail, and say what to do.
pub fn runtime_folders() -> Vec<PathBuf> {
    let named = qp::env::Environment::read().runtime_folders;
    let folders = match named.is_empty() {
        true => qp::dirs::Dirs::find(None).map(|dirs| dirs.runtime_folder()).into_iter().collect(),
        false => named,
    };
    assert!(
        folders.iter().any(|folder| folder.is_dir()),
        "no native runtimes in {folders:?}: run scripts/setup.sh"
    );
    folders
}
