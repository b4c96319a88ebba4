//! The native half for the tests: where libtorch and the engine are.

use super::{Received, append};
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::manifest::Pair;
use qp_abi::sdk::{BackendError, Fetch, RString, RunReport, RunRequest, Setup};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use qp_abi::{ModelBox, TensorView};
use std::path::PathBuf;

/// The setup of a host whose plugins are in the folder of this test's build; `None` on a machine without
/// libtorch, where there is nothing to test.
pub fn setup() -> Option<Setup> {
    let folders = runtime_folders();
    let has_libtorch = folders.iter().any(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libtorch-"))
    });
    if !has_libtorch {
        return None;
    }
    let built = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    assert!(
        built.join("libqp_plugin_pytorch_engine.so").is_file(),
        "libtorch is installed but the engine is not built: `cargo build -p qp-plugin-pytorch-engine`"
    );
    Some(Setup {
        library_path: built.join("libqp_plugin_pytorch.so").display().to_string().into(),
        runtime_folders: folders.iter().map(|folder| RString::from(folder.display().to_string())).collect(),
        settings: Vec::new().into(),
    })
}

/// `QP_RUNTIMES`, or where `scripts/setup.sh` installs by default.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where libtorch is")]
fn runtime_folders() -> Vec<PathBuf> {
    if let Some(folders) = std::env::var_os("QP_RUNTIMES") {
        return std::env::split_paths(&folders).collect();
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")));
    data.map(|data| data.join("qp/runtimes")).into_iter().collect()
}

/// Runs a model on float32 inputs.
pub fn run(
    model: &ModelBox,
    inputs: &[TensorView<'_>],
    options: &[Pair],
) -> Result<(RunReport, Vec<Received>), BackendError> {
    run_for(model, inputs, options, Fetch::OUTPUTS, &[])
}

/// Runs a model for the outputs of those names.
pub fn run_for(
    model: &ModelBox,
    inputs: &[TensorView<'_>],
    options: &[Pair],
    fetch: Fetch,
    names: &[RString],
) -> Result<(RunReport, Vec<Received>), BackendError> {
    run_request(model, inputs, options, (fetch, names), &|_| true)
}

/// Runs a model for as long as `is_wanted`.
pub fn run_while(
    model: &ModelBox,
    inputs: &[TensorView<'_>],
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<(RunReport, Vec<Received>), BackendError> {
    run_request(model, inputs, &[], (Fetch::OUTPUTS, &[]), &|_| is_wanted())
}

/// Runs a model for as long as `goes_on` says at each stage.
pub fn run_request(
    model: &ModelBox,
    inputs: &[TensorView<'_>],
    options: &[Pair],
    (fetch, names): (Fetch, &[RString]),
    goes_on: &(dyn Fn(&str) -> bool + Sync),
) -> Result<(RunReport, Vec<Received>), BackendError> {
    let mut outputs = Vec::new();
    let mut sink = FnSink(|view: TensorView<'_>| {
        let mut received = Received::default();
        append(&mut received, &view);
        outputs.push(received);
        Ok(())
    });
    let progress = FnProgress(|stage: &str, _, _| !goes_on(stage));
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let sink = TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque);
    let request = RunRequest {
        inputs: RSlice::from_slice(inputs),
        fetch,
        names: RSlice::from_slice(names),
        options: RSlice::from_slice(options),
    };
    let report = model.run(request, sink, progress).into_result()?;
    Ok((report, outputs))
}

/// The bytes of float32 numbers.
pub fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
