//! Opens libtorch and the engine's library.

use super::search::Found;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use qp_abi::abi_stable::library::{LibraryError, lib_header_from_path};
use qp_abi::abi_stable::std_types::RVec;
use qp_abi::root::is_compatible;
use qp_abi::sdk::{BackendError, Result, Setup};
use qp_abi::{ABI_VERSION, BackendBox, PluginRef};
use std::path::Path;

/// The engine, open for as long as the process lives.
pub struct Engine {
    /// Its backend.
    pub backend: BackendBox,
}

impl Engine {
    /// Opens libtorch, and then the engine that needs it.
    ///
    /// # Errors
    /// `RuntimeFailed` when a library does not open or is not the one it should be.
    pub fn open(found: &Found) -> Result<Self> {
        preload(&found.libtorch)?;
        let plugin = plugin(&found.engine)?;
        let setup = Setup {
            library_path: found.libtorch.display().to_string().into(),
            runtime_folders: RVec::new(),
            settings: RVec::new(),
        };
        let backend = plugin.create()(setup).into_result()?;
        Ok(Self { backend })
    }
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
            .with_cause(error.to_string())
            .with_help("Run `scripts/setup.sh` to install libtorch again.")
    })?;
    std::mem::forget(library);
    Ok(())
}

/// The root module of the engine. Its version is compared before anything else of it is used.
fn plugin(path: &Path) -> Result<PluginRef> {
    let refused = |error: &LibraryError| {
        let text = error.to_string();
        let line =
            text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned();
        BackendError::runtime_failed(format!("the engine `{}` cannot be opened", path.display()))
            .with_cause(line)
            .with_help("Build it again with `cargo build -p qp-plugin-pytorch-engine`.")
            .with_detail(text)
    };
    let header = lib_header_from_path(path).map_err(|error| refused(&error))?;
    let version = header.version_strings().version;
    if !is_compatible(ABI_VERSION, version.as_str()) {
        let message = format!("the engine has the plugin ABI {version}, the plugin has {ABI_VERSION}");
        return Err(BackendError::runtime_failed(message)
            .with_help("Build both again: `cargo build -p qp-plugin-pytorch -p qp-plugin-pytorch-engine`."));
    }
    header.init_root_module::<PluginRef>().map_err(|error| refused(&error))
}
