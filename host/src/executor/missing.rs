//! Where a file may be that a command did not find.

use super::watch::READ;
use crate::catalog::nearest_sibling;
use crate::commands::Prepared;
use crate::error::Error;
use crate::input::Selection;
use crate::playground::Playground;
use std::path::{Path, PathBuf};

/// The error with the file that was probably meant, if it says nothing better and an argument names a file that does not exist: one of
/// that name in the folder that is open, or one of nearly that name.
pub(super) fn with_place(error: Error, prepared: &Prepared, playground: &Playground) -> Error {
    if !error.hints().is_empty() {
        return error;
    }
    let paths = prepared.paths();
    let named = paths.iter().filter(|(id, _)| READ.contains(&id.as_str()));
    let meant = named
        .map(|(_, value)| value.rsplit_once('=').map_or(value.as_str(), |(_, file)| file))
        .find_map(|value| {
            let file = Selection::parse(value).map_or(value, |(file, _)| file);
            let path = playground.path(file);
            // A word without a dot or a separator may be the name of a data set.
            if path.exists() || !file.contains(['.', std::path::MAIN_SEPARATOR]) {
                return None;
            }
            let opened = playground.catalog.as_ref().map(|catalog| in_folder(&catalog.root, Path::new(file)));
            opened.flatten().or_else(|| nearest_sibling(&path))
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
