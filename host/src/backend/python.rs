//! The user's Python environments: where their packages are. No package is imported.

use super::runtime::RuntimeOrigin;
use crate::{regular_file, temporary};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, UNIX_EPOCH};

/// Where Python may be, according to the environment of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonPlaces {
    /// The active virtual environment.
    pub virtual_env: Option<PathBuf>,
    /// The active conda environment.
    pub conda_prefix: Option<PathBuf>,
    /// The folder of this program.
    pub program_folder: Option<PathBuf>,
    /// The folders of `PATH`.
    pub search_path: Vec<PathBuf>,
    /// The file that caches Python's answers.
    pub cache_file: Option<PathBuf>,
}

/// A Python that may have packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    pub(super) path: PathBuf,
    pub(super) origin: RuntimeOrigin,
}

/// The environments of this process, each asked once.
#[derive(Debug, Default)]
pub(super) struct Python {
    places: PythonPlaces,
    answers: Mutex<BTreeMap<PathBuf, Answer>>,
}

/// The folders of an interpreter, or why they are unknown.
type Answer = Result<Vec<PathBuf>, String>;

/// Asks for the interpreter's own path and its package folders, each terminated by a zero byte. Isolated (`-I`), Python
/// imports nothing from the working folder; the user's own packages are then added explicitly.
const QUESTION: &str = "\
import os, site, sys
folders = []
if sys.base_prefix in site.PREFIXES:
    folders.append(site.getusersitepackages())
folders += site.getsitepackages() + sys.path
sys.stdout.buffer.write(b''.join(os.fsencode(path) + b'\\0' for path in [sys.executable or ''] + folders))
";

/// Python answers within milliseconds; after this long it never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Limits on the size of an answer and on the folders in it.
const MOST_BYTES: u64 = 64 << 10;
const MOST_FOLDERS: usize = 64;

impl Interpreter {
    /// The package folder of an environment with the usual layout, found without starting it; empty if Python must be
    /// asked.
    pub(super) fn usual_folders(&self) -> Vec<PathBuf> {
        let Some(prefix) = self.path.parent().and_then(Path::parent) else { return Vec::new() };
        if !prefix.join("pyvenv.cfg").is_file() && !prefix.join("conda-meta").is_dir() {
            return Vec::new();
        }
        let entries = std::fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
        let is_python = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("python3.");
        let folders: Vec<PathBuf> = entries
            .filter(|entry| is_python(&entry.file_name()))
            .map(|entry| entry.path().join("site-packages"))
            .filter(|folder| folder.is_dir())
            .collect();
        // Only the interpreter knows which of several is its own.
        if folders.len() == 1 { folders } else { Vec::new() }
    }
}

impl Python {
    pub(super) fn new(places: PythonPlaces) -> Self {
        Self { places, answers: Mutex::default() }
    }

    /// Where it looks.
    pub(super) fn places(&self) -> &PythonPlaces {
        &self.places
    }

    /// The interpreters, those that the user has activated first.
    pub(super) fn interpreters(&self) -> Vec<Interpreter> {
        let name = format!("python3{}", std::env::consts::EXE_SUFFIX);
        let scripts = if cfg!(windows) { "Scripts" } else { "bin" };
        let PythonPlaces { virtual_env, conda_prefix, program_folder, search_path, .. } = &self.places;
        let active = |prefix: &Option<PathBuf>| prefix.iter().map(|path| path.join(scripts)).collect();
        let places: [(RuntimeOrigin, Vec<PathBuf>); 4] = [
            (RuntimeOrigin::VirtualEnv, active(virtual_env)),
            (RuntimeOrigin::CondaEnv, active(conda_prefix)),
            (RuntimeOrigin::OwnEnv, program_folder.iter().cloned().collect()),
            (RuntimeOrigin::PathPython, search_path.clone()),
        ];
        let mut found: Vec<Interpreter> = Vec::new();
        for (origin, folders) in places {
            // A relative folder depends on the working folder, which may be a stranger's.
            let paths = folders.iter().filter(|folder| folder.is_absolute()).map(|folder| folder.join(&name));
            if let Some(path) = paths.into_iter().find(|path| path.is_file())
                && !found.iter().any(|other| other.path == path)
            {
                found.push(Interpreter { path, origin });
            }
        }
        found
    }

    /// The package folders, if they are known without starting the interpreter.
    pub(super) fn known(&self, interpreter: &Interpreter) -> Option<Vec<PathBuf>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(&interpreter.path) {
            return answer.clone().ok();
        }
        let folders = Kept::read(self.places.cache_file.as_deref()).folders(&interpreter.path)?;
        answers.insert(interpreter.path.clone(), Ok(folders.clone()));
        Some(folders)
    }

    /// The package folders. The interpreter is started unless its answer is cached and it has not changed since.
    ///
    /// # Errors
    /// Why there is no answer, as a cause.
    pub(super) fn ask(&self, interpreter: &Interpreter) -> Answer {
        if let Some(folders) = self.known(interpreter) {
            return Ok(folders);
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = || {
            let told = start(&interpreter.path).map_err(|fault| {
                format!("`{}` does not say where its packages are: {fault}", interpreter.path.display())
            })?;
            // A launcher for another interpreter may start a different one tomorrow.
            let real = |path: &Path| path.canonicalize().ok();
            if let Some(file) = self.places.cache_file.as_deref()
                && real(&told.executable) == real(&interpreter.path)
            {
                // Failures are harmless: the next process asks again.
                let _ = Kept::read(Some(file)).with(&interpreter.path, &told.folders).write(file);
            }
            Ok(told.folders)
        };
        answers.entry(interpreter.path.clone()).or_insert_with(answer).clone()
    }
}

/// An interpreter's answer.
struct Told {
    executable: PathBuf,
    folders: Vec<PathBuf>,
}

fn start(interpreter: &Path) -> Result<Told, String> {
    let mut child = Command::new(interpreter)
        .args(["-I", "-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (sender, receiver) = mpsc::channel();
    let output = child.stdout.take();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.map(|output| output.take(MOST_BYTES).read_to_end(&mut bytes));
        // After the timeout there is no receiver.
        let _ = sender.send(read.map_or(Ok(0), |read| read).map(|_| bytes));
    });
    let Ok(answer) = receiver.recv_timeout(PATIENCE) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("no answer within {} s", PATIENCE.as_secs()));
    };
    // The answer was read; do not wait for a process that keeps writing.
    let _ = answer.as_ref().map(Vec::len).is_ok_and(|read| read as u64 == MOST_BYTES).then(|| child.kill());
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(status.to_string());
    }
    told(&answer.map_err(|error| error.to_string())?).ok_or_else(|| "no answer".to_owned())
}

fn told(bytes: &[u8]) -> Option<Told> {
    let mut paths = bytes.split(|byte| *byte == 0).map(path_of);
    let executable = paths.next().filter(|path| path.is_absolute())?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in paths.filter(|path| path.is_absolute()) {
        if !folders.contains(&folder) && folders.len() < MOST_FOLDERS {
            folders.push(folder);
        }
    }
    Some(Told { executable, folders })
}

fn path_of(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// The version of the cache file; files of other versions are ignored.
const CACHE_VERSION: u32 = 1;
/// A cache file larger than this is not ours, and the most answers in it.
const MOST_CACHE_BYTES: u64 = 4 << 20;
const MOST_ENTRIES: usize = 64;

/// The answers of former processes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    interpreters: Vec<Entry>,
}

/// One answer. It is valid as long as the interpreter, its environment's configuration and the folders are unchanged: a
/// folder changes with whatever is installed in it, including files that point Python to further folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    interpreter: PathBuf,
    stamp: Option<Stamp>,
    configuration: Option<Stamp>,
    folders: Vec<(PathBuf, Option<Stamp>)>,
}

/// Size and modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size_bytes: u64,
    modified_ns: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self { size_bytes: metadata.len(), modified_ns: u64::try_from(modified.as_nanos()).ok()? })
    }
}

impl Entry {
    fn of(interpreter: &Path, folders: Vec<PathBuf>) -> Self {
        let configuration =
            interpreter.parent().and_then(Path::parent).map(|prefix| prefix.join("pyvenv.cfg"));
        Self {
            interpreter: interpreter.to_owned(),
            stamp: Stamp::of(interpreter),
            configuration: configuration.as_deref().and_then(Stamp::of),
            folders: folders.into_iter().map(|folder| (folder.clone(), Stamp::of(&folder))).collect(),
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|(folder, _)| folder.clone()).collect()
    }
}

impl Kept {
    /// A file that is missing, damaged or of another version counts as empty.
    fn read(file: Option<&Path>) -> Self {
        let bytes = file.and_then(|file| regular_file::read(file, MOST_CACHE_BYTES).ok());
        let kept = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        kept.filter(|kept| kept.version == CACHE_VERSION).unwrap_or_default()
    }

    fn folders(&self, interpreter: &Path) -> Option<Vec<PathBuf>> {
        let entry = self.interpreters.iter().find(|entry| entry.interpreter == interpreter)?;
        (entry.stamp.is_some() && *entry == Entry::of(interpreter, entry.paths())).then(|| entry.paths())
    }

    fn with(mut self, interpreter: &Path, folders: &[PathBuf]) -> Self {
        self.version = CACHE_VERSION;
        self.interpreters.retain(|entry| entry.interpreter != interpreter && entry.interpreter.exists());
        self.interpreters.push(Entry::of(interpreter, folders.to_vec()));
        let surplus = self.interpreters.len().saturating_sub(MOST_ENTRIES);
        self.interpreters.drain(..surplus);
        self
    }

    /// Writes a temporary file beside it and renames that.
    fn write(&self, file: &Path) -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut temporary = temporary::file_in(folder)?;
        serde_json::to_writer_pretty(&mut temporary, self)?;
        temporary.flush()?;
        temporary.persist(file)?;
        Ok(())
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A script in place of a Python: counts its starts in `starts`, and answers with `answer`.
    fn script(folder: &Path, answer: &str) -> PathBuf {
        let path = folder.join("bin/python3");
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        let text = format!("#!/bin/sh\necho x >> '{}'\nprintf '{answer}'\n", folder.join("starts").display());
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn starts(folder: &Path) -> usize {
        std::fs::read_to_string(folder.join("starts")).unwrap_or_default().lines().count()
    }

    fn places(folder: &Path) -> PythonPlaces {
        PythonPlaces {
            search_path: vec!["relative".into(), folder.join("none"), folder.join("bin")],
            cache_file: Some(folder.join("cache/python.json")),
            ..PythonPlaces::default()
        }
    }

    #[test]
    fn an_interpreter_is_asked_once_until_something_of_it_changes() {
        let root = tempfile::tempdir().unwrap();
        let packages = root.path().join("packages");
        std::fs::create_dir(&packages).unwrap();
        let answer =
            format!(r"{0}/bin/python3\0{0}/packages\0{0}/packages\0relative\0", root.path().display());
        let path = script(root.path(), &answer);
        let ask = || {
            let python = Python::new(places(root.path()));
            let [interpreter] = &python.interpreters()[..] else { panic!("{:?}", python.interpreters()) };
            assert_eq!((&interpreter.path, interpreter.origin), (&path, RuntimeOrigin::PathPython));
            python.ask(interpreter).unwrap()
        };
        assert_eq!((ask(), starts(root.path())), (vec![packages.clone()], 1));
        assert_eq!((ask(), starts(root.path())), (vec![packages.clone()], 1));
        // Something was installed.
        std::fs::write(packages.join("more.pth"), "/elsewhere").unwrap();
        assert_eq!((ask(), starts(root.path())), (vec![packages.clone()], 2));
        std::fs::write(root.path().join("pyvenv.cfg"), "").unwrap();
        assert_eq!((ask(), starts(root.path())), (vec![packages], 3));
        std::fs::write(root.path().join("cache/python.json"), "{").unwrap();
        ask();
        assert_eq!(starts(root.path()), 4);
    }

    #[test]
    fn what_stands_for_another_interpreter_is_asked_by_every_process() {
        let root = tempfile::tempdir().unwrap();
        script(root.path(), r"/usr/bin/python3.99\0/usr/lib\0");
        for round in 1..=2 {
            let python = Python::new(places(root.path()));
            let interpreter = python.interpreters().remove(0);
            assert_eq!(python.known(&interpreter), None);
            assert_eq!(python.ask(&interpreter), Ok(vec!["/usr/lib".into()]));
            // In one process once.
            assert_eq!(python.known(&interpreter), Some(vec!["/usr/lib".into()]));
            python.ask(&interpreter).unwrap();
            assert_eq!(starts(root.path()), round);
        }
    }

    #[test]
    fn an_interpreter_that_fails_or_says_nothing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = script(root.path(), "");
        let ask = || {
            let python = Python::new(places(root.path()));
            python.ask(&python.interpreters()[0]).unwrap_err()
        };
        let named =
            |fault: &str| format!("`{}` does not say where its packages are: {fault}", path.display());
        assert_eq!(ask(), named("no answer"));
        std::fs::write(&path, "#!/bin/sh\nexit 3\n").unwrap();
        assert_eq!(ask(), named("exit status: 3"));
    }

    #[test]
    fn active_environments_come_first_and_each_once() {
        let root = tempfile::tempdir().unwrap();
        for name in ["venv", "conda", "system"] {
            script(&root.path().join(name), "");
        }
        let bin = |name: &str| root.path().join(name).join("bin");
        let python = Python::new(PythonPlaces {
            virtual_env: Some(root.path().join("venv")),
            conda_prefix: Some(root.path().join("conda")),
            program_folder: Some(bin("venv")),
            search_path: vec![bin("system"), bin("venv")],
            cache_file: None,
        });
        let found: Vec<_> =
            python.interpreters().into_iter().map(|found| (found.path, found.origin)).collect();
        let expected = [
            (bin("venv").join("python3"), RuntimeOrigin::VirtualEnv),
            (bin("conda").join("python3"), RuntimeOrigin::CondaEnv),
            (bin("system").join("python3"), RuntimeOrigin::PathPython),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_folder_of_a_virtual_environment_is_seen_without_starting_it() {
        let root = tempfile::tempdir().unwrap();
        let path = script(root.path(), "");
        let interpreter = Interpreter { path, origin: RuntimeOrigin::VirtualEnv };
        let packages = root.path().join("lib/python3.12/site-packages");
        std::fs::create_dir_all(&packages).unwrap();
        assert!(interpreter.usual_folders().is_empty(), "not an environment");
        std::fs::write(root.path().join("pyvenv.cfg"), "").unwrap();
        assert_eq!(interpreter.usual_folders(), [packages]);
        std::fs::create_dir_all(root.path().join("lib/python3.13/site-packages")).unwrap();
        assert!(interpreter.usual_folders().is_empty(), "one of two");
        assert_eq!(starts(root.path()), 0);
    }
}
