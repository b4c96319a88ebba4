//! libtorch's process-wide settings: the engine of quantized operators and the number of threads.
//!
//! Runs with the same engine may overlap; one that needs another engine waits until they are done, because weights
//! packed for one engine run only with that engine. The last requested number of threads applies.

use crate::shim;
use qp_abi::sdk::{BackendError, Progress, Result};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How often a waiting run checks for cancellation.
const PATIENCE: Duration = Duration::from_millis(20);
/// Threads that libtorch uses unless a run requests another number.
static DEFAULT_THREADS: OnceLock<i32> = OnceLock::new();
static GATE: Mutex<State> = Mutex::new(State { users: 0, engine: None });
static CHANGED: Condvar = Condvar::new();

struct State {
    /// Runs in progress.
    users: usize,
    /// The engine that they use.
    engine: Option<String>,
}

/// libtorch keeps its holder's settings while this is alive.
pub(crate) struct Pass {
    /// The threads within one operator.
    pub(crate) threads: i32,
    /// The engine of quantized operators.
    pub(crate) engine: &'static str,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = GATE.lock().unwrap_or_else(PoisonError::into_inner);
        state.users = state.users.saturating_sub(1);
        CHANGED.notify_all();
    }
}

/// Sets libtorch up; anything not given is libtorch's own choice.
///
/// # Errors
/// `Cancelled` while waiting.
pub(crate) fn enter(engine: Option<&str>, threads: Option<i32>, progress: &Progress<'_>) -> Result<Pass> {
    let own_threads = *DEFAULT_THREADS.get_or_init(tch::get_num_threads);
    let threads = threads.unwrap_or(own_threads);
    let mut state = GATE.lock().map_err(|_| BackendError::internal("an earlier run panicked"))?;
    while state.users > 0 && state.engine.as_deref() != engine {
        let waited = CHANGED.wait_timeout(state, PATIENCE);
        state = waited.map_err(|_| BackendError::internal("an earlier run panicked"))?.0;
        progress.update("waiting for a run with another engine", 0, 0)?;
    }
    state.users += 1;
    state.engine = engine.map(str::to_owned);
    shim::choose_engine(engine);
    if tch::get_num_threads() != threads {
        tch::set_num_threads(threads);
    }
    Ok(Pass { threads, engine: shim::quantized_engine() })
}
