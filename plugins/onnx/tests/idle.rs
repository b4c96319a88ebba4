//! Memory that runs in pieces keep for the next one goes back to the system. A single test in its own process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use qp_abi::sdk::{Backend, DType, Fetch, TensorView};
use support::{Ask, open, run, runner, sample};

/// The memory in use by this process, in bytes.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// 512 images: a value of the first layers takes 32 MiB, and a piece at least 16 MiB of the arena.
#[test]
#[cfg(target_os = "linux")]
fn an_idle_backend_gives_the_memory_of_its_pieces_back() {
    let backend = runner();
    // Nothing was loaded, so there is nothing to do.
    backend.idle().unwrap();
    assert!(!backend.runtime().is_loaded);
    let model = open(&backend, &sample("resnet8.onnx")).unwrap();
    let pixels = vec![0_u8; 512 * 32 * 32 * 3 * 4];
    let captured = || {
        let input = TensorView::whole("image", DType::FLOAT32, &[512, 32, 32, 3], &pixels);
        let options = [("optimization", "disable"), ("budget", "16777216")];
        let ask = Ask { fetch: Some(Fetch::LAYERS), options: &options, ..Ask::default() };
        let values = run(&model, &[input], &ask).unwrap().0;
        values.iter().find(|value| value.name == "fc_output").unwrap().floats()
    };
    let first = captured();
    let before = resident_bytes();
    backend.idle().unwrap();
    let after = resident_bytes();
    println!("{} kB after a run, {} kB when idle", before / 1024, after / 1024);
    assert!(before.saturating_sub(after) > 32 << 20, "{before} bytes, then {after}");
    // What follows is computed as before.
    assert_eq!(captured(), first);
    backend.idle().unwrap();
}
