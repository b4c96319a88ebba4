//! What a run through the plugin and its engine costs over libtorch's own: the time of a whole run against that of
//! `forward`, which the engine's shim takes with nothing else in between, in one process.
//!
//!     cargo run --release -p qp-plugin-pytorch --example overhead -- MODEL.pt [BATCH [ROUNDS]]
//!
//! The input has the shape `BATCH`×32×32×3, as the sample models take it. `QP_RUNTIMES` says where libtorch is.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail where it stands")]

#[path = "../tests/support/mod.rs"]
mod support;

use qp_abi::sdk::{DType, TensorView};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::native::{bytes_of, run, setup};
use support::{backend_with, open};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().unwrap_or_else(|| "models/resnet8_traced.pt".to_owned()));
    let mut number = |default: usize| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (batch, rounds) = (number(32), number(200));
    let numbers: Vec<f32> = (0..batch * 32 * 32 * 3).map(|index| (index % 251) as f32).collect();
    let (bytes, shape) = (bytes_of(&numbers), [batch as i64, 32, 32, 3]);
    let Some(setup) = setup() else { return println!("libtorch is not installed") };
    let model = open(&backend_with(setup), &path).unwrap();
    let name = model.info().into_result().unwrap().inputs[0].name.to_string();
    let view = TensorView::whole(&name, DType::FLOAT32, &shape, &bytes);
    let (mut whole, mut forward) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let (report, outputs) = run(&model, &[view], &[]).unwrap();
        std::hint::black_box(outputs);
        whole.push(start.elapsed());
        forward.push(Duration::from_nanos(report.elapsed_ns));
    }
    let (whole, forward) = (median(whole), median(forward));
    println!(
        "{}, batch {batch}, median of {rounds}: forward {forward:.2?}, through the plugin {whole:.2?}: {:+.2} %",
        path.display(),
        (whole.as_secs_f64() / forward.as_secs_f64() - 1.0) * 100.0
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
