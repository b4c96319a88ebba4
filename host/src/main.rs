//! qp: a quantization playground for the terminal.

use clap::Parser;
use qp::args::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(qp::app::run(&Args::parse()))
}
