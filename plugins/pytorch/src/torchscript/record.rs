//! The records of code in an archive: files of `code/`.

use super::code::Code;
use crate::container::Archive;
use qp_abi::sdk::{BackendError, Result};

/// Code of more than this is not a model's.
const MAX_CODE_BYTES: u64 = 16 << 20;

/// The classes and functions in `code/`.
pub(super) fn code(archive: &Archive) -> Result<Code> {
    let mut code = Code::default();
    let mut bytes = 0;
    for name in archive.names().filter(|name| name.starts_with("code/") && name.ends_with(".py")) {
        bytes += archive.record(name).map_or(0, |record| record.size);
        if bytes > MAX_CODE_BYTES {
            return Err(BackendError::corrupt_file("the archive has too much code"));
        }
        let content = archive.content(name)?;
        let module = name.trim_start_matches("code/").trim_end_matches(".py").replace('/', ".");
        code.add(&module, &String::from_utf8_lossy(&content))?;
    }
    Ok(code)
}

/// The text of the record that holds a class.
pub(super) fn source(archive: &Archive, class: &str) -> Result<String> {
    let module = class.rsplit_once('.').map_or("", |(module, _)| module);
    let name = format!("code/{}.py", module.replace('.', "/"));
    if !archive.contains(&name) {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&archive.content(&name)?).into_owned())
}
