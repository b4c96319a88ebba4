//! Scripts: files of commands that stop at the first error.

use crate::executor::{Executor, Outcome};
use std::path::Path;

/// Runs a script that is named on the command line; paths in it are relative to its own folder.
pub fn run_file(executor: &mut Executor, path: &Path, is_echoed: bool) -> Outcome {
    executor.run_script(path, is_echoed)
}
