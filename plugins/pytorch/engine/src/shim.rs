//! The functions of the C++ shim.

use std::ffi::{CStr, c_char};

#[expect(unsafe_code, reason = "the C++ shim")]
mod raw {
    use super::c_char;

    // SAFETY: these are the signatures in shim/shim.cpp; all are `noexcept` and take no arguments.
    unsafe extern "C" {
        pub(super) safe fn qp_torch_silence();
        pub(super) safe fn qp_torch_quantized_engine() -> *const c_char;
        pub(super) safe fn qp_torch_version() -> *const c_char;
    }
}

/// Keeps libtorch's warnings on this thread off the screen.
pub(crate) fn silence() {
    raw::qp_torch_silence();
}

/// The engine that runs quantized operators: `x86`, `fbgemm`, …
pub(crate) fn quantized_engine() -> &'static str {
    text(raw::qp_torch_quantized_engine())
}

/// The version of libtorch.
pub(crate) fn version() -> &'static str {
    text(raw::qp_torch_version())
}

fn text(pointer: *const c_char) -> &'static str {
    // SAFETY: the shim returns pointers to static texts that end with a zero byte.
    #[expect(unsafe_code, reason = "a C string of the shim")]
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().unwrap_or("unknown")
}
