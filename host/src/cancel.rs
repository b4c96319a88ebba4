//! The user's request to stop, shared between the signal handler and whatever is working.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C, checked by everything that takes long.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag {
    is_set: Arc<AtomicBool>,
    /// Whether nothing runs that could stop: qp waits for a line.
    is_resting: Arc<AtomicBool>,
}

impl CancelFlag {
    /// Requests a stop.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
    }

    /// Clears the request, before the next command.
    pub fn clear(&self) {
        self.is_resting.store(false, Ordering::Relaxed);
        self.is_set.store(false, Ordering::Relaxed);
    }

    /// Notes that no command runs until [`Self::clear`].
    pub fn rest(&self) {
        self.is_resting.store(true, Ordering::Relaxed);
    }

    /// Whether no command runs.
    pub fn is_resting(&self) -> bool {
        self.is_resting.load(Ordering::Relaxed)
    }

    /// Whether a stop was requested.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Fails with `Cancelled` if a stop was requested.
    ///
    /// # Errors
    /// `Cancelled` when the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::cancelled()) } else { Ok(()) }
    }
}
