//! Scripts: files of commands that stop at the first error.

use crate::error::{Error, ErrorKind, Result};
use crate::executor::{Executor, Origin, Outcome};
use crate::regular_file;
use crate::render::diagnostic::Source;
use std::path::Path;

/// Scripts may run each other to this depth.
const MAX_DEPTH: usize = 16;
/// A larger file is not a script.
const MAX_BYTES: u64 = 16 << 20;

/// Runs a script; paths in it are relative to its own folder.
pub fn run_file(executor: &mut Executor, path: &Path, is_echoed: bool) -> Outcome {
    let text = match read(path, executor.depth) {
        Ok(text) => text,
        Err(error) => {
            executor.ui.error(&error, Source::None, executor.playground.settings.format);
            return Outcome::Failed(error.kind().exit_code());
        }
    };
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let outer = std::mem::replace(&mut executor.playground.base, folder);
    executor.depth += 1;
    let name = path.display().to_string();
    let outcome = executor.execute(&text, Origin::Text { name: &name, is_echoed });
    executor.depth -= 1;
    executor.playground.base = outer;
    outcome
}

fn read(path: &Path, depth: usize) -> Result<String> {
    if depth >= MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("`{}` would be script number {MAX_DEPTH} in a chain of scripts", path.display()),
        )
        .with_hint("Check that it does not run itself with `source`."));
    }
    regular_file::read_text(path, MAX_BYTES)
}
