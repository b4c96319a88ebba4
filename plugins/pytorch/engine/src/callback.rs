//! Callbacks from the C++ shim into Rust. A panic that left one would end the process.

use qp_abi::guard::catch_in;
use qp_abi::sdk::BackendError;
use std::ffi::c_int;
use std::ops::ControlFlow;

/// Does a callback's work, and answers the shim: 0 to continue, 1 to stop. A panic is kept for the caller of the shim
/// and stops the work; nothing more is done after one, because code that a model forks may call again.
pub(crate) fn answer(panicked: &mut Option<BackendError>, work: impl FnOnce() -> ControlFlow<()>) -> c_int {
    if panicked.is_some() {
        return 1;
    }
    match catch_in("the engine", || Ok(work())) {
        Ok(ControlFlow::Continue(())) => 0,
        Ok(ControlFlow::Break(())) => 1,
        Err(error) => {
            *panicked = Some(error);
            1
        }
    }
}

/// Answers a question of the shim if a panic cannot be reported to anyone: a panic counts as no.
pub(crate) fn agrees(question: impl FnOnce() -> bool) -> c_int {
    c_int::from(catch_in("the engine", || Ok(question())).unwrap_or(false))
}
