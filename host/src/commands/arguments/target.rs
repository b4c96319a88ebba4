//! The file that a command is to write a model to.

use crate::error::{Error, Result};
use crate::file;
use crate::playground::Loaded;
use std::path::{Path, PathBuf};

/// Before any work is done: whether a model that is made of `model` can be written there.
///
/// # Errors
/// `InvalidInput` for a file that `model` is read from, whatever may be replaced, and for one that may not be replaced.
pub(in crate::commands) fn require_target(model: &Loaded, path: &Path, may_replace: bool) -> Result<()> {
    let is_own = |file: &PathBuf| matches!((file.canonicalize(), path.canonicalize()), (Ok(file), Ok(path)) if file == path);
    if model.files().iter().any(is_own) {
        return Err(Error::invalid_input(format!(
            "`{}` is the file that `{}` is read from",
            path.display(),
            model.id
        ))
        .with_hint("Give another name; the original can be replaced when qp has ended."));
    }
    file::require_free(path, may_replace)
}
