//! Where libtorch and the engine are.

use qp_abi::sdk::{BackendError, Result, Setup, lookup};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The version of libtorch that the engine is built for.
pub const WANTED_VERSION: &str = "2.13.0";
const INSTALL: &str = "Install it with `pip install torch==2.13.0` in the active Python environment, or with `scripts/setup.sh` in a clone of qp; inspection works without it.";
/// What to do about a libtorch that does not load.
pub const INSTALL_AGAIN: &str = "Install it again, with `pip install --force-reinstall torch==2.13.0` in its Python environment, or with `scripts/setup.sh` in a clone of qp.";
/// More of a file that says a version is not read.
const MOST_BYTES: u64 = 64 << 10;
/// The file name of the engine, as cargo gives it on this system.
const ENGINE: &str = if cfg!(target_os = "macos") {
    "libqp_plugin_pytorch_engine.dylib"
} else if cfg!(windows) {
    "qp_plugin_pytorch_engine.dll"
} else {
    "libqp_plugin_pytorch_engine.so"
};
/// Python's package, in a folder of packages.
const PACKAGE: &str = "torch";
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
    let found = match lookup(&setup.settings, "runtime.path").filter(|path| !path.is_empty()) {
        Some(path) => vec![named(Path::new(path))?],
        None => in_folders(setup),
    };
    match found.iter().find(|(_, version)| is_wanted(version)) {
        Some((libtorch, version)) => {
            Ok(Found { libtorch: libtorch.clone(), version: version.clone(), engine: engine(setup)? })
        }
        None => Err(missing(&found)),
    }
}

/// That the version that the engine is built for is not there, with those that are.
fn missing(others: &[(PathBuf, String)]) -> BackendError {
    let error = match others {
        [] => BackendError::runtime_missing(format!("libtorch {WANTED_VERSION} was not found")),
        _ => BackendError::runtime_missing(format!(
            "libtorch {WANTED_VERSION}, for which the engine is built, was not found"
        )),
    };
    let cause =
        |(library, version): &(PathBuf, String)| format!("`{}` is libtorch {version}", library.display());
    others.iter().map(cause).fold(error, BackendError::with_cause).with_help(INSTALL)
}

fn is_wanted(version: &str) -> bool {
    release(version) == release(WANTED_VERSION)
}

/// Major and minor version: within them libtorch keeps its interface.
fn release(version: &str) -> Vec<&str> {
    version.split(['.', '+']).take(2).collect()
}

/// A library or folder that the user names.
fn named(path: &Path) -> Result<(PathBuf, String)> {
    let candidates = [path.to_owned(), path.join(LIBTORCH), path.join("lib").join(LIBTORCH)];
    let library = candidates.into_iter().find(|candidate| candidate.is_file()).ok_or_else(|| {
        BackendError::runtime_missing(format!("there is no libtorch at `{}`", path.display())).with_help(
            "Set `runtime.path` to the folder of libtorch or of Python's package `torch`, or unset it.",
        )
    })?;
    let version = version(&library).unwrap_or_else(|| WANTED_VERSION.to_owned());
    Ok((library, version))
}

/// `libtorch-*/lib/libtorch_cpu.so` in the runtime folders, and that of Python's package `torch`.
fn in_folders(setup: &Setup) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in &setup.runtime_folders {
        let Ok(entries) = std::fs::read_dir(folder.as_str()) else { continue };
        let mut here: Vec<(PathBuf, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let library = entry.path().join("lib").join(LIBTORCH);
                let in_name = match name.as_str() {
                    PACKAGE => "of an unknown version",
                    name => name.strip_prefix("libtorch-")?,
                };
                library
                    .is_file()
                    .then(|| (library.clone(), version(&library).unwrap_or_else(|| in_name.to_owned())))
            })
            .collect();
        here.sort();
        found.extend(here);
    }
    found
}

/// What the folder above `lib` says, without the build's suffix: `build-version` of libtorch, or `__version__` in
/// `version.py` of Python's package, which is read and not executed.
fn version(library: &Path) -> Option<String> {
    let folder = library.parent()?.parent()?;
    let whole = |name: &str| {
        let mut text = String::new();
        let file = std::fs::File::open(folder.join(name)).ok()?;
        file.take(MOST_BYTES).read_to_string(&mut text).ok().map(|_| text)
    };
    let of_package = || {
        let text = whole("version.py")?;
        let value = text.lines().find_map(|line| line.strip_prefix("__version__")?.split_once('='))?.1;
        Some(value.trim().trim_matches(['\'', '"']).to_owned())
    };
    let text = whole("build-version").or_else(of_package)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A setup with an engine, whose one runtime folder is a folder of Python's packages with torch of that version.
    fn with_package(version: &str) -> (tempfile::TempDir, Setup) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("torch/lib")).unwrap();
        std::fs::write(root.path().join("torch/lib").join(LIBTORCH), "").unwrap();
        std::fs::write(root.path().join("torch/version.py"), version).unwrap();
        std::fs::write(root.path().join(ENGINE), "").unwrap();
        let setup = Setup {
            library_path: root.path().join("plugin").display().to_string().into(),
            runtime_folders: vec![root.path().display().to_string().into()].into(),
            ..Setup::default()
        };
        (root, setup)
    }

    #[test]
    fn pythons_package_is_found_with_the_version_that_its_source_says() {
        let source = "from typing import Optional\n\n__all__ = ['__version__', 'debug']\n__version__ = '2.13.1+cu130'\n";
        let (root, setup) = with_package(source);
        let found = find(&setup).unwrap();
        assert_eq!(
            (found.version.as_str(), found.libtorch),
            ("2.13.1", root.path().join("torch/lib").join(LIBTORCH))
        );
    }

    #[test]
    fn every_libtorch_of_another_version_is_named() {
        let (root, setup) = with_package("__version__: str = \"2.9.1\"\n");
        let other = root.path().join("libtorch-2.12.0/lib");
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join(LIBTORCH), "").unwrap();
        let error = find(&setup).unwrap_err();
        assert_eq!(error.kind.name(), "RuntimeMissing");
        let package = root.path().join("torch/lib").join(LIBTORCH);
        let expected = [
            format!("`{}` is libtorch 2.12.0", other.join(LIBTORCH).display()),
            format!("`{}` is libtorch 2.9.1", package.display()),
        ];
        let causes: Vec<&str> = error.causes.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(causes, expected);
        assert!(error.help.contains("torch==2.13.0"), "{}", error.help);
    }

    #[test]
    fn a_package_that_does_not_say_its_version_is_not_used() {
        let (_root, setup) = with_package("raise SystemExit\n");
        let error = find(&setup).unwrap_err();
        assert!(error.causes[0].ends_with("is libtorch of an unknown version"), "{error:?}");
    }
}
