//! The cost of a run through the plugin compared with a bare loop on ONNX Runtime's own API: the same model, input
//! and threads, in one process, in turns.
//!
//!     cargo run --release -p qp-plugin-onnx --example overhead -- MODEL.onnx [BATCH [ROUNDS]]
//!
//! The input has the shape `BATCH`×32×32×3, as the sample models expect. `QP_RUNTIMES` says where ONNX Runtime is.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail where it stands")]

#[path = "../tests/support/mod.rs"]
mod support;

use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use qp_abi::sdk::{DType, Model, Setup, TensorView};
use qp_plugin_onnx::runtime::Runtime;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::{Ask, open, run, runner, runtime_folders};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().unwrap_or_else(|| "models/resnet8.onnx".to_owned()));
    let mut number = |default: usize| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (batch, rounds) = (number(32), number(200));
    let numbers: Vec<f32> = (0..batch * 32 * 32 * 3).map(|index| (index % 251) as f32).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&numbers);
    let shape = [batch as i64, 32, 32, 3];

    let model = open(&runner(), &path).unwrap();
    let name = model.info().unwrap().inputs[0].name.to_string();
    let view = TensorView::whole(&name, DType::FLOAT32, &shape, bytes);
    let plugin = || {
        let (outputs, _) = run(&model, &[view], &Ask::default()).unwrap();
        outputs[0].floats()
    };

    let folders: Vec<_> =
        runtime_folders().iter().map(|folder| folder.display().to_string().into()).collect();
    let setup = Setup { runtime_folders: folders.into(), ..Setup::default() };
    let runtime = Runtime::new(&setup);
    let loaded = runtime.load().unwrap();
    let mut session = ort::session::Session::builder(&loaded.environment)
        .unwrap()
        .with_optimization_level(GraphOptimizationLevel::All)
        .unwrap()
        .commit_from_file(&path)
        .unwrap();
    let mut bare = || {
        let input = TensorRef::from_array_view((shape, numbers.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![input]).unwrap();
        outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec()
    };

    assert_eq!(plugin(), bare(), "both compute the same");
    let (mut through, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        through.push(timed(plugin));
        without.push(timed(&mut bare));
    }
    let (through, without) = (median(through), median(without));
    println!(
        "{}, batch {batch}, median of {rounds}: bare {without:.2?}, through the plugin {through:.2?}: {:+.2} %",
        path.display(),
        (through.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0
    );
}

fn timed<T>(mut work: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
