//! Native runtimes in processes of their own: if one crashes, its process ends and the session goes on.
//!
//! [`isolate`] makes a backend of a backend: files are read here, in this process; what needs the native runtime goes to a
//! worker, `qp --worker`, which opens the plugin's library and the file anew. There is one worker for each plugin, started at
//! the first run. A socket for each open model carries messages (`message`, `link`); tensors lie in memory that both processes
//! map (`shared`). `process` starts workers and says how they ended, `remote` is this side of a model, with its calls
//! (`call`) and what makes it again in a new worker (`lineage`); `serve` is the other side, and `sending` delivers its results;
//! `check` tries a plugin's claims in a process of its own.

mod call;
mod check;
mod files;
mod lineage;
mod link;
mod message;
mod process;
mod remote;
mod sending;
mod serve;
mod shared;

pub(super) use check::check;
pub(super) use remote::isolate;
pub use serve::serve;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often progress is shown and Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Calls that take less than this are waited for attentively: to be woken would take as long.
const SHORT: Duration = Duration::from_micros(500);

/// What a lock protects stays usable when a thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where native runtimes run.
#[derive(Clone, Default)]
pub enum Isolation {
    /// In this process.
    #[default]
    None,
    /// In a process for each plugin.
    Worker(Workers),
}

/// How workers are started, and what they may take.
#[derive(Clone)]
pub struct Workers {
    /// The program: qp itself.
    pub program: PathBuf,
    /// The most bytes of memory that a worker may map; without it, as many as there are.
    pub memory_limit: Option<u64>,
    /// The longest that one run may take; without it, as long as it takes.
    pub time_limit: Option<Duration>,
    /// Takes what libraries print, piece by piece; without it, only the end is kept, for the case of a crash.
    pub heard: Option<Heard>,
}

/// Takes text, from any thread.
pub type Heard = Arc<dyn Fn(&str) + Send + Sync>;

impl std::fmt::Debug for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Worker(workers) => write!(f, "Worker({})", workers.program.display()),
        }
    }
}

impl PartialEq for Isolation {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Worker(one), Self::Worker(two)) => {
                (&one.program, one.memory_limit, one.time_limit)
                    == (&two.program, two.memory_limit, two.time_limit)
            }
            _ => false,
        }
    }
}

impl Eq for Isolation {}
