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

/// Tells the native libraries, before any is loaded, to report to nobody.
fn silence_libraries() {
    for (name, value) in SILENCED_LIBRARIES {
        #[expect(unsafe_code, clippy::disallowed_methods, reason = "libraries listen to nothing else")]
        // SAFETY: this is the first thing that `main` does: no other thread is there to read the environment.
        unsafe {
            std::env::set_var(name, value);
        }
    }
}

/// Blocks of this size and more come from the system and go back to it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BLOCK_BYTES: libc::c_int = 1 << 20;

/// Keeps the limit of large blocks where it is. By itself glibc raises it with every block that is freed, to 32 MiB: what
/// several threads keep for themselves then grows with the number of batches.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn return_large_blocks() {
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        #[expect(unsafe_code, reason = "a setting of the C library's allocator")]
        // SAFETY: no other thread is there yet, and any value is allowed for these two parameters.
        unsafe {
            libc::mallopt(parameter, LARGE_BLOCK_BYTES);
        }
    }
}
