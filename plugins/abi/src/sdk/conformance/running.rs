//! Whether a model runs as the contract says. What cannot run here, for lack of a runtime, is skipped.

use super::Suite;
use super::tools::{Delivered, Outcome, breach, collect, expect_error, indifferent, open, skip, well_formed};
use crate::backend::{BackendBox, Fetch, ModelBox, RunReport, RunRequest};
use crate::dtype::DType;
use crate::error::ErrorKind;
use crate::manifest::{Pair, pair};
use crate::model::{ModelInfo, ValueInfo};
use crate::sink::{FnSink, TensorSink_TO};
use crate::tensor::{TensorView, element_count};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RSome};
use std::path::Path;

/// Inputs with more elements are not generated.
const MOST_ELEMENTS: u64 = 1 << 24;

pub(super) fn runtime_is_asked_twice(backend: &BackendBox) -> Outcome {
    let ask = || backend.runtime().into_result().map_err(|error| format!("{error:?}"));
    let (first, second) = (ask()?, ask()?);
    if first != second {
        return breach(format!("{first:?}, then {second:?}"));
    }
    match &first.obstacle {
        RSome(obstacle) => {
            let kinds = [ErrorKind::RUNTIME_MISSING, ErrorKind::RUNTIME_FAILED];
            if !kinds.contains(&obstacle.kind) {
                return breach(format!("the obstacle is {obstacle:?}"));
            }
            if obstacle.help.is_empty() {
                return breach("the obstacle does not suggest a remedy");
            }
            well_formed(obstacle)
        }
        ROption::RNone => Ok(()),
    }
}

/// A model that can run here, with generated inputs.
struct Runnable {
    model: ModelBox,
    info: ModelInfo,
    inputs: Vec<Made>,
}

/// One generated input.
struct Made {
    name: String,
    dtype: DType,
    shape: Vec<i64>,
    bytes: Vec<u8>,
}

impl Made {
    /// Zeros; a free size is 1.
    fn new(input: &ValueInfo) -> Outcome<Self> {
        let name = input.name.to_string();
        let RSome(dimensions) = &input.shape else {
            return skip(format!("the shape of `{name}` is unknown"));
        };
        let shape: Vec<i64> =
            dimensions.iter().map(|dimension| if dimension.size < 0 { 1 } else { dimension.size }).collect();
        let bytes = element_count(&shape)
            .filter(|elements| *elements <= MOST_ELEMENTS)
            .and_then(|elements| input.dtype.packed_bytes(elements));
        match bytes {
            Some(bytes) => Ok(Self { name, dtype: input.dtype, shape, bytes: vec![0; bytes as usize] }),
            None => skip(format!("the input `{name}` cannot be generated: {} {shape:?}", input.dtype)),
        }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView::whole(&self.name, self.dtype, &self.shape, &self.bytes)
    }
}

fn runnable(suite: &Suite<'_>, path: &Path) -> Outcome<Runnable> {
    if !suite.manifest.features.iter().any(|feature| feature == "run") {
        return skip("the backend does not run models");
    }
    let status = suite.backend.runtime().into_result().map_err(|error| format!("runtime: {error:?}"))?;
    if let RSome(obstacle) = status.obstacle {
        return skip(obstacle.message.into_string());
    }
    let model = open(suite.backend, path)?;
    let info = model.info().into_result().map_err(|error| format!("info: {error:?}"))?;
    if let RSome(obstacle) = info.run_obstacle {
        return skip(obstacle.message.into_string());
    }
    let inputs = info.inputs.iter().map(Made::new).collect::<Outcome<Vec<_>>>()?;
    Ok(Runnable { model, info, inputs })
}

impl Runnable {
    fn run(&self, fetch: Fetch) -> Outcome<(RunReport, Vec<Delivered>)> {
        let views: Vec<TensorView<'_>> = self.inputs.iter().map(Made::view).collect();
        let request = RunRequest {
            inputs: views.as_slice().into(),
            fetch,
            names: [][..].into(),
            options: [][..].into(),
        };
        collect(|sink| self.model.run(request, sink, indifferent().as_ref()))
    }

    /// A run that must fail.
    fn must_refuse(&self, inputs: &[TensorView<'_>], options: &[Pair]) -> Outcome {
        let request = RunRequest {
            inputs: inputs.into(),
            fetch: Fetch::OUTPUTS,
            names: [][..].into(),
            options: options.into(),
        };
        let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
        let sink = TensorSink_TO::from_ptr(&mut sink, TD_Opaque);
        let answer = self.model.run(request, sink, indifferent().as_ref());
        expect_error(answer, &[ErrorKind::INVALID_INPUT])
    }
}

pub(super) fn outputs_come(suite: &Suite<'_>, path: &Path) -> Outcome {
    let runnable = runnable(suite, path)?;
    let (report, first) = runnable.run(Fetch::OUTPUTS)?;
    if report.runtime.is_empty() {
        return breach("the report does not name the runtime");
    }
    let due: Vec<&str> = runnable
        .info
        .outputs
        .iter()
        .filter(|output| output.type_name.is_empty())
        .map(|output| output.name.as_str())
        .collect();
    let came: Vec<&str> = first.iter().map(|tensor| tensor.name.as_str()).collect();
    if !due.is_empty() && due != came {
        return breach(format!("the outputs are {due:?}, but {came:?} arrived"));
    }
    let (_, second) = runnable.run(Fetch::OUTPUTS)?;
    if first == second { Ok(()) } else { breach("a second run on the same input gives different outputs") }
}

pub(super) fn wrong_inputs(suite: &Suite<'_>, path: &Path) -> Outcome {
    let runnable = runnable(suite, path)?;
    let views: Vec<TensorView<'_>> = runnable.inputs.iter().map(Made::view).collect();
    let Some((first, others)) = views.split_first() else { return skip("it has no inputs") };
    let in_place_of_first = |wrong| std::iter::once(wrong).chain(others.iter().copied()).collect::<Vec<_>>();
    let tried = |what: &str, outcome: Outcome| match outcome {
        Err(super::tools::Failure::Breach(reason)) => breach(format!("{what}: {reason}")),
        outcome => outcome,
    };
    tried("no input", runnable.must_refuse(&[], &[]))?;
    let renamed = TensorView { name: "no such input".into(), ..*first };
    tried("an unknown input", runnable.must_refuse(&in_place_of_first(renamed), &[]))?;
    let bytes = vec![0; runnable.inputs[0].bytes.len() + 16];
    let shape: Vec<i64> = runnable.inputs[0].shape.iter().copied().chain([1, 1]).collect();
    let deeper = TensorView { shape: shape.as_slice().into(), ..*first };
    tried("too many dimensions", runnable.must_refuse(&in_place_of_first(deeper), &[]))?;
    let longer = TensorView { bytes: bytes.as_slice().into(), ..*first };
    tried("too many bytes", runnable.must_refuse(&in_place_of_first(longer), &[]))?;
    let options = [pair("no-such-option", "1")];
    tried("an unknown option", runnable.must_refuse(&views, &options))
}

pub(super) fn capture(suite: &Suite<'_>, path: &Path) -> Outcome {
    if !suite.manifest.features.iter().any(|feature| feature == "capture") {
        return skip("the backend does not capture");
    }
    let runnable = runnable(suite, path)?;
    // `collect` rejects a value that arrives twice.
    let (_, values) = runnable.run(Fetch::LAYERS)?;
    if values.is_empty() { breach("no values arrived") } else { Ok(()) }
}
