//! Opens libtorch and the engine's library.

use super::search::Found;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use qp_abi::abi_stable::library::{LibraryError, lib_header_from_path};
use qp_abi::sdk::{BackendError, Result, loader_reason};
use qp_pytorch_contract::{CONTRACT_VERSION, EngineBox, EngineRef};
use std::path::Path;

/// Opens libtorch, and then the engine that needs it. Both stay open for as long as the process lives.
///
/// # Errors
/// `RuntimeFailed` when a library does not open or is not the one it should be.
pub fn open(found: &Found) -> Result<EngineBox> {
    preload(&found.libtorch)?;
    let create = root(&found.engine)?.create();
    create().into_result()
}

/// Brings libtorch into the process by its full path. The engine asks for it by its name alone, and the
/// system's loader then takes the one that is there: no search path has to be set.
fn preload(libtorch: &Path) -> Result<()> {
    #[expect(unsafe_code, reason = "opening a library runs its initializers")]
    // SAFETY: the file is libtorch's main library, found in a runtime folder or named by the user; it is never
    // closed, so that nothing of it is used after.
    let library = unsafe { Library::open(Some(libtorch), RTLD_NOW | RTLD_GLOBAL) };
    let library = library.map_err(|error| {
        BackendError::runtime_failed(format!("`{}` cannot be opened", libtorch.display()))
            .with_cause(loader_reason(&error, libtorch))
            .with_help(super::search::INSTALL_AGAIN)
    })?;
    std::mem::forget(library);
    Ok(())
}

/// The root module of the engine. Its version is compared before anything else of it is used, then all layouts.
fn root(path: &Path) -> Result<EngineRef> {
    const BUILD: &str = "Build both again: `cargo build -p qp-plugin-pytorch -p qp-plugin-pytorch-engine`.";
    let refused = |error: &LibraryError| {
        let text = error.to_string();
        let line = match error {
            LibraryError::OpenError { err, .. } | LibraryError::GetSymbolError { err, .. } => {
                loader_reason(err, path)
            }
            _ => text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned(),
        };
        BackendError::runtime_failed(format!("the engine `{}` cannot be opened", path.display()))
            .with_cause(line)
            .with_help(BUILD)
            .with_detail(text)
    };
    let header = lib_header_from_path(path).map_err(|error| refused(&error))?;
    let version = header.version_strings().version;
    if version.as_str() != CONTRACT_VERSION {
        let message = format!(
            "the engine `{}` is of version {version}, the plugin of {CONTRACT_VERSION}",
            path.display()
        );
        return Err(BackendError::runtime_failed(message).with_help(BUILD));
    }
    if header.layout().is_none() {
        let message =
            format!("the engine `{}` cannot be checked: its header has no type layout", path.display());
        return Err(BackendError::runtime_failed(message).with_help(BUILD));
    }
    header.init_root_module::<EngineRef>().map_err(|error| refused(&error))
}
