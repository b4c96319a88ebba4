//! The native runtime of a backend: where it is searched, and which one is used.
//!
//! A backend knows its configured folders from the start. Only if it finds nothing usable there, and only for a run or
//! for `backends`, are the user's Python environments searched, folder by folder until one fits.

use super::convert;
use super::error::from_plugin;
use super::manifest::Manifest;
use super::ownership;
use super::progress::{NoProgress, Ticker};
use super::python::{Interpreter, Python};
use crate::error::{Error, ErrorKind, Result};
use qp_abi::BackendBox;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The feature of backends that accept more folders, and the request that passes one.
const FEATURE: &str = "runtime-folder";
const REQUEST: &str = "runtime-folder/1";
/// The feature of backends that keep memory between runs, and the request to free it.
pub(super) const IDLE: &str = "idle";
const IDLE_REQUEST: &str = "idle/1";

/// Why a place is searched for runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeOrigin {
    /// `runtime.path` in `config.toml` names the library or its folder.
    Setting,
    /// `QP_RUNTIMES` lists the folder.
    Variable,
    /// `runtime-folders` in `config.toml` lists the folder.
    Config,
    /// The folder is qp's own.
    DataFolder,
    /// The virtual environment that is active.
    VirtualEnv,
    /// The conda environment that is active.
    CondaEnv,
    /// The Python environment that qp is installed in.
    OwnEnv,
    /// The environment of the first `python3` on `PATH`.
    PathPython,
}

impl RuntimeOrigin {
    /// The word for machines.
    pub const WORDS: &'static [&'static str] = &[
        "setting",
        "variable",
        "config",
        "data-folder",
        "virtual-env",
        "conda-env",
        "own-env",
        "path-python",
    ];

    /// In words, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Setting => "`runtime.path` in config.toml",
            Self::Variable => "QP_RUNTIMES",
            Self::Config => "`runtime-folders` in config.toml",
            Self::DataFolder => "data folder",
            Self::VirtualEnv => "active environment (VIRTUAL_ENV)",
            Self::CondaEnv => "active environment (CONDA_PREFIX)",
            Self::OwnEnv => "Python environment of this qp",
            Self::PathPython => "python3 on PATH",
        }
    }
}

/// A folder that is searched for runtimes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFolder {
    /// The folder.
    pub path: PathBuf,
    /// Why it is searched.
    pub origin: RuntimeOrigin,
}

impl RuntimeFolder {
    /// A folder that is searched for this reason.
    pub fn new(path: impl Into<PathBuf>, origin: RuntimeOrigin) -> Self {
        Self { path: path.into(), origin }
    }
}

/// Whether the native runtime of a backend can be used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// The runtime's name; `None` for a backend that needs none.
    pub name: Option<String>,
    /// The version found, or the one needed if none was found.
    pub version: Option<String>,
    /// Where it was found.
    pub path: Option<PathBuf>,
    /// Why that place was searched; `None` if unknown.
    pub origin: Option<RuntimeOrigin>,
    /// Whether it is loaded already.
    pub is_loaded: bool,
    /// Why it cannot be used; `None` when it can.
    pub obstacle: Option<Error>,
}

/// How far a search for a runtime may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// No process is started: environments are searched as far as their folders are known.
    Files,
    /// Python is asked where it keeps packages.
    Python,
}

/// A backend in use, with the search for its runtime.
pub(super) struct Started {
    pub(super) manifest: Arc<Manifest>,
    pub(super) backend: BackendBox,
    /// Whether it is told that no run follows for now.
    hears_idle: bool,
    /// The folders that the backend was created with.
    pub(super) folders: Vec<RuntimeFolder>,
    /// Whether the user names the one runtime to use.
    pub(super) is_named: bool,
    pub(super) python: Arc<Python>,
    search: Mutex<Search>,
}

/// The state of the search.
#[derive(Default)]
struct Search {
    /// `None` before it has begun.
    reach: Option<Reach>,
    /// Whether the backend has found a runtime, or nowhere is left to search.
    is_settled: bool,
    /// Whether some Python has not been asked.
    is_open: bool,
    /// The folders of Python environments passed to the backend.
    given: Vec<RuntimeFolder>,
    /// What was skipped, each as a cause of the obstacle.
    skipped: Vec<String>,
    /// Why the runtime that was found must not be loaded.
    refusal: Option<Error>,
}

impl Search {
    fn skip(&mut self, cause: String) {
        if !self.skipped.contains(&cause) {
            self.skipped.push(cause);
        }
    }
}

impl Started {
    pub(super) fn new(
        manifest: Arc<Manifest>,
        (backend, hears_idle): (BackendBox, bool),
        folders: Vec<RuntimeFolder>,
        is_named: bool,
        python: Arc<Python>,
    ) -> Self {
        Self { manifest, backend, hears_idle, folders, is_named, python, search: Mutex::default() }
    }

    /// The runtime, searched as far as `reach` allows.
    ///
    /// # Errors
    /// The plugin's error instead of a status.
    pub(super) fn runtime(&self, reach: Reach) -> Result<RuntimeStatus> {
        let mut search = self.search.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = self.ask()?;
        if status.obstacle.is_some() && search.reach < Some(reach) && self.can_search() {
            search.reach = Some(reach);
            status = self.search(&mut search, reach, status)?;
        }
        search.is_settled |= status.obstacle.is_none() || reach == Reach::Python;
        status.origin = status.path.as_deref().and_then(|path| self.origin(&search, path));
        status.obstacle = match (search.refusal.clone(), status.obstacle) {
            (Some(refusal), _) => Some(refusal),
            (None, Some(obstacle)) if search.is_open && reach == Reach::Files => {
                Some(not_yet(&status.name.clone().unwrap_or_default(), &obstacle))
            }
            (None, obstacle) => obstacle.map(|obstacle| with_causes(obstacle, &search.skipped)),
        };
        Ok(status)
    }

    /// Searches for the runtime before a run, if it is not found yet. If there is none, the run itself reports it.
    ///
    /// # Errors
    /// `RuntimeFailed` when another user could have changed the one that was found.
    pub(super) fn find_runtime(&self) -> Result<()> {
        let is_settled = || self.search.lock().unwrap_or_else(PoisonError::into_inner).is_settled;
        // A backend that cannot tell the state of its runtime may still run.
        let _ = if is_settled() { None } else { self.runtime(Reach::Python).ok() };
        match &self.search.lock().unwrap_or_else(PoisonError::into_inner).refusal {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(()),
        }
    }

    /// The error of a run; if the runtime is missing, with what the search skipped.
    pub(super) fn explained(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::RuntimeMissing {
            return error;
        }
        with_causes(error, &self.search.lock().unwrap_or_else(PoisonError::into_inner).skipped)
    }

    /// Tells the backend that no run follows for now (feature `idle`, and workers). If the plugin fails, it keeps its memory.
    pub(super) fn idle(&self) {
        if self.hears_idle {
            let progress = Ticker(&NoProgress);
            let _ = self.backend.request(IDLE_REQUEST.into(), "{}".into(), progress.as_object());
        }
    }

    fn can_search(&self) -> bool {
        !self.is_named && self.manifest.has_feature(FEATURE)
    }

    fn ask(&self) -> Result<RuntimeStatus> {
        let id = self.manifest.id.as_str();
        let status = self.backend.runtime().into_result().map_err(|error| from_plugin(id, error))?;
        Ok(RuntimeStatus {
            name: convert::text(status.name),
            version: convert::text(status.version),
            path: convert::text(status.path).map(PathBuf::from),
            origin: None,
            is_loaded: status.is_loaded,
            obstacle: status.obstacle.into_option().map(|error| from_plugin(id, error)),
        })
    }

    fn origin(&self, search: &Search, path: &Path) -> Option<RuntimeOrigin> {
        if self.is_named {
            return Some(RuntimeOrigin::Setting);
        }
        let mut folders = self.folders.iter().chain(&search.given);
        folders.find(|folder| path.starts_with(&folder.path)).map(|folder| folder.origin)
    }

    /// Passes folders to the backend, one by one, until it finds a runtime.
    fn search(&self, search: &mut Search, reach: Reach, status: RuntimeStatus) -> Result<RuntimeStatus> {
        let mut status = status;
        search.skipped.clear();
        search.is_open = false;
        for interpreter in self.python.interpreters() {
            if let Err(fault) = ownership::require_closed(&interpreter.path) {
                search.skip(format!("`{}` is not asked: {fault}", interpreter.path.display()));
                continue;
            }
            // An environment with the usual layout needs no process.
            status = self.give(search, &interpreter, interpreter.usual_folders(), status)?;
            if status.obstacle.is_none() {
                break;
            }
            let folders = match reach {
                Reach::Files => match self.python.known(&interpreter) {
                    Some(folders) => folders,
                    None => {
                        search.is_open = true;
                        continue;
                    }
                },
                Reach::Python => match self.python.ask(&interpreter) {
                    Ok(folders) => folders,
                    Err(fault) => {
                        search.skip(fault);
                        continue;
                    }
                },
            };
            status = self.give(search, &interpreter, folders, status)?;
            if status.obstacle.is_none() {
                break;
            }
        }
        Ok(status)
    }

    fn give(
        &self,
        search: &mut Search,
        interpreter: &Interpreter,
        folders: Vec<PathBuf>,
        status: RuntimeStatus,
    ) -> Result<RuntimeStatus> {
        let mut status = status;
        for folder in folders {
            if !folder.is_dir() || search.given.iter().any(|given| given.path == folder) {
                continue;
            }
            if let Err(fault) = ownership::require_closed(&folder) {
                search.skip(format!("`{}` is not searched: {fault}", folder.display()));
                continue;
            }
            // A path that is not text cannot be passed on.
            let Some(text) = folder.to_str() else { continue };
            let payload = serde_json::json!({ "folder": text }).to_string();
            let id = self.manifest.id.as_str();
            let answer = self.backend.request(
                REQUEST.into(),
                payload.as_str().into(),
                Ticker(&NoProgress).as_object(),
            );
            answer.into_result().map_err(|error| from_plugin(id, error))?;
            status = self.ask()?;
            search.given.push(RuntimeFolder::new(&folder, interpreter.origin));
            let found = status.path.as_deref().filter(|path| path.starts_with(&folder));
            if status.obstacle.is_none() {
                if let Some(found) = found {
                    search.refusal = untrusted(&folder, found);
                }
                return Ok(status);
            }
        }
        Ok(status)
    }
}

/// Why a library below a folder that is trusted is not trusted itself.
fn untrusted(folder: &Path, library: &Path) -> Option<Error> {
    let between = library.ancestors().take_while(|place| *place != folder);
    let fault = between.filter_map(|place| ownership::require_closed(place).err()).next()?.to_string();
    Some(
        Error::new(ErrorKind::RuntimeFailed, format!("the runtime `{}` is not trusted", library.display()))
            .with_cause(fault)
            .with_hint(format!(
                "Close it to others with `chmod go-w`, or list the folder `{}` in QP_RUNTIMES if you trust it.",
                folder.display()
            )),
    )
}

fn with_causes(error: Error, causes: &[String]) -> Error {
    causes.iter().fold(error, |error, cause| error.with_cause(cause.clone()))
}

/// The obstacle while a Python environment has yet to be searched.
fn not_yet(name: &str, obstacle: &Error) -> Error {
    Error::new(obstacle.kind(), format!("the first run will search the Python environment for {name}"))
        .with_hint("Run `backends` to search now.")
}

impl std::ops::Deref for Started {
    type Target = BackendBox;

    fn deref(&self) -> &BackendBox {
        &self.backend
    }
}
