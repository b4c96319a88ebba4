//! Ctrl-C while a command runs.

use crate::cancel::CancelFlag;
use crate::error::{Error, ErrorKind, Result, exit_code};
use signal_hook::consts::SIGINT;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Makes Ctrl-C set the flag. A second one, before the first was handled, ends the process: native code that ignores the
/// flag must not trap the user.
///
/// # Errors
/// `Internal` when the system refuses a signal handler.
pub fn install(cancel: &CancelFlag) -> Result<()> {
    let flag: Arc<AtomicBool> = Arc::clone(cancel.as_atomic());
    let refused = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, "cannot handle Ctrl-C").with_cause(error.to_string())
    };
    // The order matters: the second handler sets what the first checks.
    signal_hook::flag::register_conditional_shutdown(
        SIGINT,
        exit_code::INTERRUPTED.into(),
        Arc::clone(&flag),
    )
    .map_err(refused)?;
    signal_hook::flag::register(SIGINT, flag).map_err(refused)?;
    Ok(())
}
