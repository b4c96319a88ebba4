//! Where libtorch and the engine are.

use qp_abi::sdk::{BackendError, Result, Setup, lookup};
use std::path::{Path, PathBuf};

/// The version of libtorch that the engine is built for.
pub const WANTED_VERSION: &str = "2.13.0";
/// The file name of the engine, as cargo gives it on this system.
const ENGINE: &str = if cfg!(target_os = "macos") {
    "libqp_plugin_pytorch_engine.dylib"
} else if cfg!(windows) {
    "qp_plugin_pytorch_engine.dll"
} else {
    "libqp_plugin_pytorch_engine.so"
};
const LIBTORCH: &str = if cfg!(target_os = "macos") {
    "libtorch_cpu.dylib"
} else if cfg!(windows) {
    "torch_cpu.dll"
} else {
    "libtorch_cpu.so"
};

/// What a run needs.
#[derive(Debug, Clone)]
pub struct Found {
    /// libtorch's main library.
    pub libtorch: PathBuf,
    /// Its version.
    pub version: String,
    /// The engine.
    pub engine: PathBuf,
}

/// Looks for libtorch in the place that the user names or in the runtime folders, and for the engine beside
/// the plugin.
///
/// # Errors
/// `RuntimeMissing`, with what to do.
pub fn find(setup: &Setup) -> Result<Found> {
    let (libtorch, version) = match lookup(&setup.settings, "runtime.path") {
        Some(path) => named(Path::new(path))?,
        None => in_folders(setup)?,
    };
    if release(&version) != release(WANTED_VERSION) {
        let message =
            format!("libtorch {version} is at `{}`, the engine needs {WANTED_VERSION}", libtorch.display());
        return Err(
            BackendError::runtime_missing(message).with_help("Run `scripts/setup.sh` to get that version.")
        );
    }
    Ok(Found { libtorch, version, engine: engine(setup)? })
}

/// Major and minor version: within them libtorch keeps its interface.
fn release(version: &str) -> Vec<&str> {
    version.split(['.', '+']).take(2).collect()
}

/// A library or folder that the user names.
fn named(path: &Path) -> Result<(PathBuf, String)> {
    let candidates = [path.to_owned(), path.join(LIBTORCH), path.join("lib").join(LIBTORCH)];
    let library = candidates.into_iter().find(|candidate| candidate.is_file()).ok_or_else(|| {
        BackendError::runtime_missing(format!("there is no libtorch at `{}`", path.display()))
            .with_help("Set `runtime.path` to libtorch's folder, or unset it and run `scripts/setup.sh`.")
    })?;
    let version = version(&library).unwrap_or_else(|| WANTED_VERSION.to_owned());
    Ok((library, version))
}

/// `libtorch-*/lib/libtorch_cpu.so` in the runtime folders; the wanted version before any other.
fn in_folders(setup: &Setup) -> Result<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in &setup.runtime_folders {
        let Ok(entries) = std::fs::read_dir(folder.as_str()) else { continue };
        let mut here: Vec<(PathBuf, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let library = entry.path().join("lib").join(LIBTORCH);
                let in_name = name.strip_prefix("libtorch-")?;
                library
                    .is_file()
                    .then(|| (library.clone(), version(&library).unwrap_or_else(|| in_name.to_owned())))
            })
            .collect();
        here.sort();
        found.extend(here);
    }
    let best =
        found.iter().find(|(_, version)| release(version) == release(WANTED_VERSION)).or(found.first());
    best.cloned().ok_or_else(|| {
        BackendError::runtime_missing(format!("libtorch {WANTED_VERSION} is not on this machine"))
            .with_help("Run `scripts/setup.sh` to install it; inspection works without it.")
    })
}

/// What `build-version` beside the `lib` folder says, without the build's suffix.
fn version(library: &Path) -> Option<String> {
    let text = std::fs::read_to_string(library.parent()?.parent()?.join("build-version")).ok()?;
    let version = text.trim().split('+').next().unwrap_or_default();
    (!version.is_empty() && version.len() < 32).then(|| version.to_owned())
}

/// The engine's library beside the plugin's own; cargo puts the libraries of tests one folder deeper.
fn engine(setup: &Setup) -> Result<PathBuf> {
    let folder = Path::new(setup.library_path.as_str()).parent();
    let folders = [folder, folder.and_then(Path::parent)];
    let found = folders.into_iter().flatten().map(|folder| folder.join(ENGINE)).find(|path| path.is_file());
    found.ok_or_else(|| {
        BackendError::runtime_missing(format!(
            "the engine `{ENGINE}` is not beside the plugin `{}`",
            setup.library_path
        ))
        .with_help("Build it with `cargo build -p qp-plugin-pytorch-engine`, after `scripts/setup.sh`.")
    })
}
