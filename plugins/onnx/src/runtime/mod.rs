//! ONNX Runtime: found on request, loaded at the first run, one per process.

mod arena;
mod basis;
pub mod capture;
mod idle;
pub mod kernels;
pub mod library;
pub mod pieces;
pub mod piecewise;
pub mod plan;
pub mod replay;
pub mod session;
mod tensor;

pub use basis::Outcome;
use library::{Candidate, Version};
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use qp_abi::sdk::{BackendError, RNone, RSome, Result, RuntimeStatus, Setup, lookup};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The display name.
pub const NAME: &str = "ONNX Runtime";

/// The loaded library. `ort` has one environment per process, so all backends share it; it is never dropped, because
/// the library's threads outlive every session.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// A loaded ONNX Runtime.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The environment of all sessions; holds the thread pool that they share.
    pub environment: Environment,
    /// As reported by the library.
    pub version: Version,
    /// Threads of the shared pool, including the caller's.
    pub threads: usize,
    path: PathBuf,
}

/// Where to look for ONNX Runtime.
#[derive(Debug)]
pub struct Runtime {
    named: Option<PathBuf>,
    folders: Mutex<Vec<PathBuf>>,
}

impl Runtime {
    /// The host's settings for the location of runtimes. Nothing is searched or loaded yet.
    pub fn new(setup: &Setup) -> Self {
        let named = lookup(&setup.settings, "runtime.path").filter(|path| !path.is_empty());
        Self {
            named: named.map(PathBuf::from),
            folders: Mutex::new(
                setup.runtime_folders.iter().map(|folder| PathBuf::from(folder.as_str())).collect(),
            ),
        }
    }

    /// One more folder to search, after all others.
    pub fn add_folder(&self, folder: PathBuf) {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
    }

    fn candidates(&self) -> Vec<Candidate> {
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        library::candidates(self.named.as_deref(), &folders)
    }

    /// Whether there is one, determined without loading it.
    pub fn status(&self) -> RuntimeStatus {
        let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(loaded) = loaded {
            return RuntimeStatus {
                name: NAME.into(),
                version: loaded.version.to_string().into(),
                path: loaded.path.to_string_lossy().into_owned().into(),
                is_loaded: true,
                obstacle: RNone,
            };
        }
        let candidates = self.candidates();
        let usable = candidates.iter().find(|candidate| candidate.is_usable());
        let version = usable.and_then(|candidate| candidate.version);
        RuntimeStatus {
            name: NAME.into(),
            version: version.unwrap_or(library::OLDEST).to_string().into(),
            path: usable.map_or_else(String::new, |found| found.path.to_string_lossy().into_owned()).into(),
            is_loaded: false,
            obstacle: if usable.is_some() { RNone } else { RSome(self.missing(&candidates)) },
        }
    }

    /// The runtime, loaded now if it has not been.
    ///
    /// # Errors
    /// `RuntimeMissing` if there is none, `RuntimeFailed` if none of those found can be used.
    pub fn load(&self) -> Result<Loaded> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = loaded.as_ref() {
            return Ok(loaded.clone());
        }
        let mut refused: Option<BackendError> = None;
        let candidates = self.candidates();
        // What is not there is not tried, but for what the user names: that has an error of its own.
        let is_tried = |candidate: &&Candidate| candidate.is_usable() || self.named.is_some();
        for candidate in candidates.iter().filter(is_tried) {
            let started =
                library::check(&candidate.path).and_then(|version| start(candidate.path.clone(), version));
            match started {
                Ok(found) => return Ok(loaded.insert(found).clone()),
                Err(error) => {
                    refused = Some(match refused {
                        None => error,
                        Some(first) => first.with_cause(error.message.to_string()),
                    });
                }
            }
        }
        Err(refused.map_or_else(|| self.missing(&candidates), |error| error.with_help(HELP)))
    }

    /// Gives the memory back that runs in pieces have left free.
    ///
    /// # Errors
    /// `RuntimeFailed`.
    pub fn idle(&self) -> Result<()> {
        match LOADED.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(loaded) => idle::give_back(loaded),
            None => Ok(()),
        }
    }

    /// That there is none, with those that are of other versions.
    fn missing(&self, candidates: &[Candidate]) -> BackendError {
        let faults: Vec<String> = candidates.iter().filter_map(Candidate::fault).collect();
        let message = match &self.named {
            _ if !faults.is_empty() => format!("{NAME} {} or a later 1.x was not found", library::OLDEST),
            Some(named) => format!("there is no {NAME} at `{}`", named.display()),
            None => format!("{NAME} was not found"),
        };
        let error = BackendError::runtime_missing(message).with_help(HELP);
        faults.into_iter().fold(error, BackendError::with_cause)
    }
}

const HELP: &str = "Install it with `pip install --upgrade onnxruntime` in the active Python environment, or with `scripts/setup.sh` in a clone of qp; or name a library in config.toml: `\"runtime.path\" = \"…\"` under `[plugins.onnx]`.";

/// Passes the library to `ort` and creates the process's only environment.
fn start(path: PathBuf, version: Version) -> Result<Loaded> {
    library::require_silence(version)?;
    let failed = |error: &dyn std::fmt::Display| {
        BackendError::runtime_failed(format!("{NAME} {version} does not start")).with_cause(error.to_string())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = ort::init_from(&path).map_err(|error| failed(&error))?;
    let pool = GlobalThreadPoolOptions::default()
        .with_intra_threads(threads)
        .and_then(|pool| pool.with_inter_threads(1))
        .map_err(|error| failed(&error))?;
    let environment = builder
        .with_name("qp")
        .with_telemetry(false)
        .with_global_thread_pool(pool)
        // Without a logger the library writes to stderr. Anything important is returned as an error.
        .with_logger(Arc::new(|_: LogLevel, _: &str, _: &str, _: &str, _: &str| {}))
        .build()
        .map_err(|error| failed(&error))?;
    environment.set_log_level(LogLevel::Fatal);
    arena::share(&environment).map_err(|error| failed(&error))?;
    Ok(Loaded { environment, version, threads, path })
}
