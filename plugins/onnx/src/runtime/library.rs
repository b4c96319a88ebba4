//! Where ONNX Runtime may be, and whether a library is ONNX Runtime.

use super::NAME;
use qp_abi::sdk::{BackendError, Result, loader_reason};
use std::ffi::{CStr, OsStr};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The oldest version with the API in use, API 17.
pub const OLDEST: Version = Version([1, 17, 0]);

/// The oldest version whose Python package has a library that others can open.
pub const OLDEST_PACKAGE: Version = Version([1, 19, 0]);

/// The first version that, except on Windows, keeps a device id in the user's home and reports each session over the
/// network.
const REPORTS_FROM: Version = Version([1, 29, 0]);
/// If set to `1`, it does neither. It is read when the environment is created, which is before
/// `DisableTelemetryEvents` can be called.
pub const SILENCED_BY: &str = "ORT_DISABLE_TELEMETRY";

/// Python's package, in a folder of packages.
const PACKAGE: &str = "onnxruntime";
/// More of a package's source is not read.
const MOST_SOURCE_BYTES: u64 = 64 << 10;

/// A version of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// The version at the start of a text such as `1.31.1` or `1.31.1-dev`; at least two numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse::<u32>().ok()
        });
        let (major, minor) = (parts.next()??, parts.next()??);
        Some(Self([major, minor, parts.next().flatten().unwrap_or(0)]))
    }

    /// Whether this version has the API in use.
    pub fn is_supported(self) -> bool {
        self >= OLDEST && self.0[0] == OLDEST.0[0]
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A file that may be ONNX Runtime, with the version in its name or its folder's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The library.
    pub path: PathBuf,
    /// `None` if no name gives it.
    pub version: Option<Version>,
}

/// The libraries there are, best first, whatever their version. `named` is the user's own choice, a library or a
/// folder, and then the only candidate; otherwise each of `folders` is searched for `onnxruntime-<version>/lib` and for Python's
/// package `onnxruntime`, and the newest comes first.
pub fn candidates(named: Option<&Path>, folders: &[PathBuf]) -> Vec<Candidate> {
    if let Some(named) = named {
        if !named.is_dir() {
            return vec![candidate(named.to_owned())];
        }
        return newest_first(libraries(named).into_iter().chain(libraries(&named.join("lib"))).collect());
    }
    let in_folder = |folder: &PathBuf| {
        let runtimes = entries(folder).into_iter().filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("onnxruntime-"))
        });
        let installed = runtimes.flat_map(|runtime| libraries(&runtime.join("lib")));
        newest_first(installed.chain(package(&folder.join(PACKAGE))).collect())
    };
    folders.iter().flat_map(in_folder).collect()
}

/// What Python's package has: its library, or the package itself, for those before 1.19 have no library that others can
/// open.
fn package(folder: &Path) -> Option<Candidate> {
    let place = folder.join("capi");
    let version = || package_version(folder);
    match newest_first(libraries(&place)).into_iter().next() {
        Some(found) => Some(Candidate { version: found.version.or_else(version), ..found }),
        None => Some(Candidate { version: Some(version()?), path: folder.to_owned() }),
    }
}

/// The `__version__` of a package, read and not executed.
fn package_version(folder: &Path) -> Option<Version> {
    let text = std::fs::File::open(folder.join("__init__.py")).and_then(|file| {
        let mut text = String::new();
        file.take(MOST_SOURCE_BYTES).read_to_string(&mut text).map(|_| text)
    });
    let text = text.ok()?;
    let value =
        text.lines().find_map(|line| line.strip_prefix("__version__")?.trim_start().strip_prefix('='))?;
    Version::parse(value.trim().trim_matches(['"', '\'']))
}

fn newest_first(mut found: Vec<Candidate>) -> Vec<Candidate> {
    // One library has several names: the one with the version is kept.
    found.sort_by(|one, other| other.version.cmp(&one.version).then_with(|| one.path.cmp(&other.path)));
    let mut seen: Vec<PathBuf> = Vec::new();
    found.retain(|candidate| {
        let real = candidate.path.canonicalize().unwrap_or_else(|_| candidate.path.clone());
        let is_new = !seen.contains(&real);
        seen.push(real);
        is_new
    });
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// The files of a folder with names of ONNX Runtime: `libonnxruntime.so`, `libonnxruntime.so.1.31.1`,
/// `libonnxruntime.1.31.1.dylib`, `onnxruntime.dll`.
fn libraries(folder: &Path) -> Vec<Candidate> {
    let is_library = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("libonnxruntime.so")
            || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
            || name == "onnxruntime.dll"
    };
    entries(folder).into_iter().filter(is_library).map(candidate).collect()
}

fn candidate(path: PathBuf) -> Candidate {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let of_name = name
        .strip_prefix("libonnxruntime.so.")
        .or_else(|| name.strip_prefix("libonnxruntime.")?.strip_suffix(".dylib"))
        .and_then(Version::parse);
    let of_folder = || {
        let folder = path.parent()?.parent()?.file_name()?.to_string_lossy().into_owned();
        Version::parse(folder.strip_prefix("onnxruntime-")?)
    };
    Candidate { version: of_name.or_else(of_folder), path }
}

impl Candidate {
    /// Whether it is worth loading: it is a file, and no name says that its version is not supported.
    pub fn is_usable(&self) -> bool {
        self.path.is_file() && self.version.is_none_or(Version::is_supported)
    }

    /// What it is, where it cannot be used and its version is known.
    pub fn fault(&self) -> Option<String> {
        let version = self.version.filter(|_| self.path.exists() && !self.is_usable())?;
        let found = format!("`{}` is {NAME} {version}", self.path.display());
        let lacks_library = version.is_supported() && self.path.is_dir();
        Some(match lacks_library {
            true => format!("{found}, whose package has no shared library before {OLDEST_PACKAGE}"),
            false => found,
        })
    }
}

/// Loads a library and asks for its version; rejects anything but a supported ONNX Runtime with an explanation.
///
/// # Errors
/// `RuntimeMissing` if the file does not exist, `RuntimeFailed` if it cannot be used.
pub fn check(path: &Path) -> Result<Version> {
    let shown = path.display();
    if !path.is_file() {
        return Err(BackendError::runtime_missing(format!("there is no ONNX Runtime at `{shown}`")));
    }
    let foreign = || BackendError::runtime_failed(format!("`{shown}` is not an ONNX Runtime library"));
    #[expect(unsafe_code, reason = "a library cannot be asked without loading it")]
    // SAFETY: the library's initializers run, as they will when `ort` loads it; the user or the folder of
    // runtimes chose it. It is never unloaded, so its initializers' threads stay valid.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
        BackendError::runtime_failed(format!("cannot load `{shown}`")).with_cause(loader_reason(&error, path))
    })?;
    let library = std::mem::ManuallyDrop::new(library);
    #[expect(unsafe_code, reason = "the library's entry point is a C function")]
    // SAFETY: a library that exports this name is ONNX Runtime, whose C interface fixes the function's type.
    let entry =
        unsafe { library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase\0") }
            .map_err(|error| foreign().with_cause(loader_reason(&error, path)))?;
    #[expect(unsafe_code, reason = "as above")]
    // SAFETY: the function takes nothing; it returns null or a table that lives as long as the library, whose
    // first two members are the same in every version.
    let base = unsafe { entry().as_ref() }.ok_or_else(foreign)?;
    #[expect(unsafe_code, reason = "as above")]
    // SAFETY: the function takes nothing and returns a static C string.
    let text = unsafe {
        let text = (base.GetVersionString)();
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    }
    .ok_or_else(foreign)?;
    let version =
        Version::parse(&text).ok_or_else(|| foreign().with_cause(format!("its version is `{text}`")))?;
    if !version.is_supported() {
        return Err(BackendError::runtime_failed(format!(
            "`{shown}` is ONNX Runtime {version}, but {OLDEST} or a later 1.x is required"
        )));
    }
    Ok(version)
}

/// Rejects a library that would report its use: the host has to silence it, and does so while its process has one
/// thread.
///
/// # Errors
/// `RuntimeFailed` if the process's environment does not silence it.
pub fn require_silence(version: Version) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the library itself reads it")]
    let value = std::env::var_os(SILENCED_BY);
    silence(version, value.as_deref())
}

fn silence(version: Version, value: Option<&OsStr>) -> Result<()> {
    if version < REPORTS_FROM || value.is_some_and(|value| value == "1") {
        return Ok(());
    }
    Err(BackendError::runtime_failed(format!(
        "ONNX Runtime {version} would send usage reports over the network"
    ))
    .with_help(format!("Set `{SILENCED_BY}=1` before the program starts.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, name: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert_eq!(Version::parse("1.31.1"), Some(Version([1, 31, 1])));
        assert_eq!(Version::parse("1.9"), Some(Version([1, 9, 0])));
        assert_eq!(Version::parse("1.20.0-dev"), Some(Version([1, 20, 0])));
        assert_eq!(Version::parse("latest"), None);
        assert!(Version([1, 9, 0]) < OLDEST && !Version([1, 9, 0]).is_supported());
        assert!(!Version([2, 0, 0]).is_supported());
    }

    #[test]
    fn a_library_that_reports_is_refused_unless_it_is_silenced() {
        let verdict = |version, value: Option<&str>| silence(Version(version), value.map(OsStr::new)).is_ok();
        assert!(verdict([1, 28, 9], None));
        assert!(verdict([1, 29, 0], Some("1")) && verdict([1, 31, 1], Some("1")));
        assert!(
            !verdict([1, 29, 0], None) && !verdict([1, 31, 1], Some("0")) && !verdict([1, 31, 1], Some(""))
        );
    }

    #[test]
    fn the_newest_of_a_folder_comes_first_and_once() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "onnxruntime-1.9.0/lib/libonnxruntime.so.1.9.0");
        touch(root.path(), "onnxruntime-1.31.1/lib/libonnxruntime.so.1.31.1");
        touch(root.path(), "onnxruntime-1.31.1/lib/libonnxruntime_providers_shared.so");
        touch(root.path(), "libtorch-2.13.0/lib/libonnxruntime.so");
        #[cfg(unix)]
        std::os::unix::fs::symlink(
            "libonnxruntime.so.1.31.1",
            root.path().join("onnxruntime-1.31.1/lib/libonnxruntime.so"),
        )
        .unwrap();
        let found = candidates(None, &[root.path().to_owned()]);
        let versions: Vec<_> = found.iter().map(|candidate| candidate.version.unwrap().to_string()).collect();
        assert_eq!(versions, ["1.31.1", "1.9.0"]);
    }

    #[test]
    fn pythons_package_is_found_in_a_folder_of_packages() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "onnxruntime/capi/libonnxruntime.so.1.31.1");
        touch(root.path(), "onnxruntime/capi/libonnxruntime_providers_shared.so");
        touch(root.path(), "onnxruntime-1.31.1.dist-info/METADATA");
        let [found] = &candidates(None, &[root.path().to_owned()])[..] else { panic!() };
        assert_eq!(found.path, root.path().join("onnxruntime/capi/libonnxruntime.so.1.31.1"));
        assert!(found.version == Some(Version([1, 31, 1])) && found.is_usable() && found.fault().is_none());
    }

    #[test]
    fn an_old_package_is_named_even_if_it_has_no_library() {
        let root = tempfile::tempdir().unwrap();
        let source = "__version__ = \"1.16.3\"\n__author__ = \"Microsoft\"\n";
        touch(root.path(), "onnxruntime/__init__.py");
        let init = root.path().join("onnxruntime/__init__.py");
        let fault = |source: &str| {
            std::fs::write(&init, source).unwrap();
            let [found] = &candidates(None, &[root.path().to_owned()])[..] else { panic!() };
            assert!(!found.is_usable());
            found.fault().unwrap()
        };
        let named = format!("`{}` is ONNX Runtime ", root.path().join("onnxruntime").display());
        assert_eq!(fault(source), format!("{named}1.16.3"));
        let without = fault(&source.replace("1.16", "1.17"));
        assert_eq!(without, format!("{named}1.17.3, whose package has no shared library before 1.19.0"));
        std::fs::write(&init, source).unwrap();
        touch(root.path(), "onnxruntime/capi/libonnxruntime.so");
        assert!(!candidates(None, &[root.path().to_owned()])[0].is_usable());
    }

    #[test]
    fn a_named_folder_or_file_is_the_only_choice() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "lib/libonnxruntime.so.1.20.0");
        let folder = candidates(Some(root.path()), &[]);
        assert_eq!(folder.len(), 1);
        let file = candidates(Some(Path::new("/nowhere/libonnxruntime.so")), &[root.path().to_owned()]);
        assert_eq!(file.len(), 1);
        assert_eq!(check(&file[0].path).unwrap_err().kind.name(), "RuntimeMissing");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_in_words() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "libonnxruntime.so");
        let error = check(&root.path().join("libonnxruntime.so")).unwrap_err();
        assert_eq!(error.kind.name(), "RuntimeFailed");
        assert!(error.message.contains("cannot load"), "{error:?}");
    }
}
