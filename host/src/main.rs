//! qp: a quantization playground for the terminal.

use qp::args::CommandLine;
use qp::env::SILENCED_LIBRARIES;
use std::process::ExitCode;

fn main() -> ExitCode {
    silence_libraries();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return_large_blocks();
    ExitCode::from(qp::app::run(&CommandLine::read()))
}

/// Turns off usage reports of the native libraries, before any is loaded.
fn silence_libraries() {
    for (name, value) in SILENCED_LIBRARIES {
        #[expect(unsafe_code, clippy::disallowed_methods, reason = "libraries only read the environment")]
        // SAFETY: `main` does this first: there is no other thread that could read the environment.
        unsafe {
            std::env::set_var(name, value);
        }
    }
}

/// Blocks of this size and more come from the system and go back to it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BLOCK_BYTES: libc::c_int = 1 << 20;

/// Fixes the threshold of large blocks. Otherwise glibc raises it with every freed block, up to 32 MiB, and the memory
/// that threads keep grows with the number of batches.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn return_large_blocks() {
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        #[expect(unsafe_code, reason = "a setting of the C library's allocator")]
        // SAFETY: there is no other thread yet, and any value is allowed for these two parameters.
        unsafe {
            libc::mallopt(parameter, LARGE_BLOCK_BYTES);
        }
    }
}
