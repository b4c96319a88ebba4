//! Where a file may be that a command did not find.

use super::watch::files_named;
use crate::catalog::nearest_sibling;
use crate::commands::Prepared;
use crate::error::{Error, ErrorKind};
use crate::playground::Playground;
use std::path::{Path, PathBuf};

/// An error that something is not found, with the file that was probably meant, if it says nothing better and an argument names a file
/// that does not exist: one of that name in the folder that is open, or one of nearly that name.
pub(super) fn with_place(error: Error, prepared: &Prepared, playground: &Playground) -> Error {
    if error.kind() != ErrorKind::NotFound || !error.hints().is_empty() {
        return error;
    }
    let is_missing = |file: &String| {
        // A word without a dot or a separator may be the name of a data set; one with `=` is an input with its file.
        file.contains(['.', std::path::MAIN_SEPARATOR])
            && !file.contains('=')
            && !playground.path(file).exists()
    };
    let root = playground.catalog.as_ref().map(|catalog| catalog.root.as_path());
    let meant = files_named(prepared).into_iter().filter(is_missing).find_map(|file| {
        let opened = root.and_then(|root| in_folder(root, Path::new(&file)));
        opened.or_else(|| nearest_sibling(&playground.path(&file)))
    });
    match meant {
        Some(path) => error.with_hint(format!("Did you mean `{}`?", path.display())),
        None => error,
    }
}

/// This file in the folder, or one of its name.
fn in_folder(root: &Path, file: &Path) -> Option<PathBuf> {
    let folder = if root.is_dir() { root } else { root.parent()? };
    let places = [Some(folder.join(file)), file.file_name().map(|name| folder.join(name))];
    places.into_iter().flatten().find(|path| path.is_file())
}
