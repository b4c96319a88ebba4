//! qp: a quantization playground for the terminal.

use clap::Parser;
use qp::args::CommandLine;
use qp::env::SILENCED_LIBRARIES;
use std::process::ExitCode;

fn main() -> ExitCode {
    silence_libraries();
    ExitCode::from(qp::app::run(&CommandLine::parse()))
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
