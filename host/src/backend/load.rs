//! Opens a plugin's library and takes its root module: the only place of the host with unsafe code.
//!
//! Checks run in an order in which nothing is used before it is known to be safe: the file is a shared library for
//! this machine; it opens; it exports a root module header; the header is from our abi_stable; it was built for our
//! plugin ABI; it has a type layout, which is ours. Only then is one of its functions called. Libraries are never
//! closed: they may have registered thread-local destructors.

use super::library_file;
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use qp_abi::abi_stable::library::{
    AbiHeader, AbiHeaderRef, LibHeader, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL,
};
use qp_abi::root::is_compatible;
use qp_abi::{ABI_VERSION, PluginRef, error::loader_reason};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Opens the library at `path` and takes its root module, which is checked and not yet called.
pub(super) fn open(path: &Path) -> Result<PluginRef> {
    library_file::check(path)?;
    let header = header(path)?;
    check_version(path, header.version_strings().version.as_str())?;
    check_has_layout(path, header)?;
    // Not `PluginRef::load_from_file`: that returns the first plugin for every later file.
    header.init_root_module::<PluginRef>().map_err(|error| refusal(path, error))
}

/// The libraries that this process has opened.
static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

/// A library that was opened.
struct Opened {
    path: PathBuf,
    /// The file as it was then.
    stamp: Option<Stamp>,
    /// The path in the words in which the system's loader knows it.
    spelling: PathBuf,
}

/// How to write the path of a library for the system's loader, which identifies a library by the text of its path, and then by
/// its file: another file at the same path needs another text.
///
/// # Errors
/// `Plugin` for a file that was written over: what is open of it has changed too, and cannot be opened anew.
fn spelling(opened: &[Opened], path: &Path, stamp: Option<&Stamp>) -> Result<PathBuf> {
    let same_path = || opened.iter().filter(|other| other.path == path);
    if let Some(same) = same_path().find(|other| other.stamp.as_ref() == stamp) {
        return Ok(same.spelling.clone());
    }
    let count = same_path().count();
    if count == 0 {
        return Ok(path.to_owned());
    }
    let is_other_file = |other: &Opened| match (&other.stamp, stamp) {
        (Some(other), Some(stamp)) => !other.is_of_same_file(stamp),
        _ => false,
    };
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if cfg!(target_os = "linux") && same_path().all(is_other_file) => {
            Ok(folder.join("./".repeat(count)).join(name))
        }
        _ => Err(Error::new(
            ErrorKind::Plugin,
            format!("plugin `{}` was written over since this qp opened it", path.display()),
        )
        .with_hint("Start qp again. A library that is replaced, and not written over, is used at once.")),
    }
}

fn header(path: &Path) -> Result<&'static LibHeader> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let stamp = Stamp::read(path).ok();
    let spelling = spelling(&opened, &absolute, stamp.as_ref())?;
    let library = open_library(path, &spelling)?;
    if !opened.iter().any(|other| other.spelling == spelling && other.stamp == stamp) {
        opened.push(Opened { path: absolute, stamp, spelling });
    }
    drop(opened);
    // SAFETY: a symbol with that name is an `AbiHeader` at the start of a `LibHeader`: the name is abi_stable's
    // own mangling, and its `upgrade` first reads the magic and the version of the layout.
    #[expect(unsafe_code, reason = "the type of a library's symbol is a promise of its name")]
    let found =
        unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL) }.map(|symbol| *symbol);
    // Never closed, even if it is not a plugin: its code may have registered destructors.
    std::mem::forget(library);
    let header = found.map_err(|error| {
        Error::new(
            ErrorKind::Plugin,
            format!("`{}` is not a qp plugin: it exports no root module", path.display()),
        )
        .with_hint(
            "Export the backend with `qp_abi::export_plugin!`, or take the file out of the plugin folder.",
        )
        .with_detail(error.to_string())
    })?;
    header.upgrade().map_err(|error| refusal(path, error))
}

/// Every symbol that the library needs is resolved here: a missing one is an error now, not a crash at the first
/// call.
fn open_library(path: &Path, spelling: &Path) -> Result<libloading::Library> {
    // SAFETY: opening runs the library's initializers, which is what the user asked for by putting a file of
    // that name into a plugin folder; it is not closed while anything of it is used.
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "opening a library runs its initializers")]
    let opened = unsafe {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        Library::open(Some(spelling), RTLD_NOW | RTLD_LOCAL).map(libloading::Library::from)
    };
    // SAFETY: as above.
    #[cfg(not(unix))]
    #[expect(unsafe_code, reason = "opening a library runs its initializers")]
    let opened = unsafe { libloading::Library::new(spelling) };
    opened.map_err(|error| {
        Error::new(ErrorKind::Plugin, format!("cannot open the plugin `{}`", path.display()))
            .with_cause(loader_reason(&error, spelling))
            .with_hint("Install the library that is missing, or build the plugin on this machine.")
    })
}

fn check_version(path: &Path, found: &str) -> Result<()> {
    if is_compatible(ABI_VERSION, found) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Plugin,
        format!(
            "plugin `{}` was built for plugin ABI {found}, but this qp needs {ABI_VERSION}",
            path.display()
        ),
    )
    .with_hint(format!(
        "Build the plugin with qp-abi {ABI_VERSION}, or use a qp that has plugin ABI {found}."
    )))
}

/// A header may leave out the layout; abi_stable then compares nothing and returns the root module unchecked.
fn check_has_layout(path: &Path, header: &LibHeader) -> Result<()> {
    if header.layout().is_some() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Plugin,
        format!("plugin `{}` cannot be checked: its header has no type layout", path.display()),
    )
    .with_cause("it was exported with `CheckTypeLayout::No` or `unsafe_no_layout_constant`")
    .with_hint(
        "Export the backend with `qp_abi::export_plugin!`, which keeps the layout, and build it again.",
    ))
}

/// What abi_stable found wrong, in one line; its own text, which may have hundreds, is the detail.
fn refusal(path: &Path, error: LibraryError) -> Error {
    let path = path.display();
    let rebuild = "Build the plugin against the qp-abi of this qp, with the same abi_stable.";
    let (message, hint) = match &error {
        LibraryError::AbiInstability(_) => (
            format!("plugin `{path}` claims plugin ABI {ABI_VERSION}, but its types have a different layout"),
            rebuild,
        ),
        LibraryError::InvalidAbiHeader(found) => (
            format!(
                "plugin `{path}` was built with abi_stable {}.{}, but this qp with {}.{}",
                found.abi_major,
                found.abi_minor,
                AbiHeader::VALUE.abi_major,
                AbiHeader::VALUE.abi_minor
            ),
            rebuild,
        ),
        LibraryError::RootModule { .. } => (
            format!("plugin `{path}` failed to start: its root module panicked or returned an error"),
            "Report this to the author of the plugin.",
        ),
        _ => (format!("plugin `{path}` does not fit this qp"), rebuild),
    };
    Error::new(ErrorKind::Plugin, message).with_hint(hint).with_detail(error.to_string().trim().to_owned())
}
