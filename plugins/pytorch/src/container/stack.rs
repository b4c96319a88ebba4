//! A stack of known size: the host may call on a thread with any.

use qp_abi::sdk::{BackendError, Result};

/// What the deepest of all limits takes in a debug build, several times.
const STACK_BYTES: usize = 16 << 20;

/// Does what goes from part to part of a file, each within the other, up to limits that the readers keep.
///
/// # Errors
/// Those of `work`; `Internal` when there is no more memory for a stack.
pub fn deep<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("qp-read".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).map_err(|error| {
            BackendError::internal("the system cannot create a thread to read the file")
                .with_cause(error.to_string())
        })?;
        // A panic goes on to the guard of the call.
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
