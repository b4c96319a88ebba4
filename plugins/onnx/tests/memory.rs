//! Models that are opened, run and dropped leave nothing behind. A single test in its own process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use qp_abi::sdk::{Backend, DType, Model, TensorView};
use support::{Ask, open, run, runner, sample};

/// The memory in use by this process, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[cfg(target_os = "linux")]
fn a_thousand_models_leave_nothing_behind() {
    let backend = runner();
    assert!(!backend.runtime().is_loaded);
    let pixels = vec![0_u8; 32 * 32 * 3 * 4];
    let mut warm = 0;
    for round in 0..1000 {
        let model = open(&backend, &sample("resnet8.onnx")).unwrap();
        assert_eq!(backend.runtime().is_loaded, round > 0, "loaded at the first run, not before");
        let name = model.info().unwrap().inputs[0].name.to_string();
        let input = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], &pixels);
        run(&model, &[input], &Ask::default()).unwrap();
        drop(model);
        if round == 100 {
            warm = resident_bytes();
        }
    }
    let growth = resident_bytes().saturating_sub(warm);
    println!("{} kB after 100, {} kB more after 1000", warm / 1024, growth / 1024);
    assert!(growth < 5 << 20, "{growth} bytes");
}
