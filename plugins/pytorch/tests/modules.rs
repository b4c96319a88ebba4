//! Modules and functions of PyTorch that eager pickles call: small models of tests/data/modules.zip run, and their
//! outputs are PyTorch's own, which tests/data/make_modules.py has put beside them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::abi_stable::RRef;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, DType, Edit, ErrorKind, RString, RVec, ValueInfo};
use qp_abi::sink::{FnProgress, Progress_TO};
use qp_abi::{BackendBox, ModelBox, TensorView};
use serde_json::Value;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use support::native::{run, setup};
use support::{Received, backend_with, open};
use zip::ZipArchive;

/// The largest difference of float values, relative to values above 1: kernels differ between CPUs in the order of
/// their sums.
const FLOAT_TOLERANCE: f64 = 1e-5;
/// float16 has 11 bits.
const HALF_TOLERANCE: f64 = 1e-3;
/// The largest difference of codes: kernels differ between CPUs in how they round the halves.
const CODE_TOLERANCE: f64 = 1.0;

/// A tensor as `cases.json` describes it.
struct Expected {
    dtype: DType,
    shape: Vec<i64>,
    /// Every `step`-th element of it.
    numbers: Vec<f64>,
    step: usize,
    is_quantized: bool,
}

impl Expected {
    fn read(tensor: &Value) -> Self {
        // What is not a number of JSON is a text: see `parsed`.
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
        Self {
            dtype: DType::from_name(tensor["dtype"].as_str().unwrap()).unwrap(),
            shape: tensor["shape"].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect(),
            numbers: tensor["numbers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|value| number(value).unwrap())
                .collect(),
            step: tensor["step"].as_u64().map_or(1, |step| usize::try_from(step).unwrap()),
            is_quantized: tensor["is_quantized"].as_bool().unwrap_or(false),
        }
    }

    /// The bytes of an input: float32, int64 or bool.
    fn bytes(&self) -> Vec<u8> {
        let numbers = self.numbers.iter();
        match self.dtype {
            DType::FLOAT32 => numbers.flat_map(|number| (*number as f32).to_le_bytes()).collect(),
            DType::INT64 => numbers.flat_map(|number| (*number as i64).to_le_bytes()).collect(),
            DType::BOOL => numbers.map(|number| u8::from(*number != 0.0)).collect(),
            dtype => panic!("inputs of {dtype:?}"),
        }
    }
}

/// The elements of an output.
fn numbers(tensor: &Received) -> Vec<f64> {
    let bytes = &tensor.bytes;
    match tensor.dtype.unwrap() {
        DType::FLOAT32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        DType::FLOAT64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        DType::FLOAT16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f64()).collect(),
        DType::INT64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        DType::INT32 => bytes.as_chunks().0.iter().map(|&b| f64::from(i32::from_le_bytes(b))).collect(),
        DType::INT8 => bytes.iter().map(|&b| f64::from(b.cast_signed())).collect(),
        DType::UINT8 | DType::BOOL => bytes.iter().map(|&b| f64::from(b)).collect(),
        dtype => panic!("outputs of {dtype:?}"),
    }
}

/// JSON of Python, in which infinities and NaN have names.
fn parsed(text: &str) -> Value {
    let text = text.replace("-Infinity", "\"-inf\"").replace("Infinity", "\"inf\"").replace("NaN", "\"nan\"");
    serde_json::from_str(&text).unwrap()
}

/// What differs between an output and PyTorch's; `None` when nothing does.
fn difference(found: &Received, expected: &Expected) -> Option<String> {
    if (found.dtype, &found.shape) != (Some(expected.dtype), &expected.shape) {
        return Some(format!(
            "{:?} {:?} in place of {:?} {:?}",
            found.dtype, found.shape, expected.dtype, expected.shape
        ));
    }
    if found.quantization.is_some() != expected.is_quantized {
        return Some("codes and real values are mixed up".to_owned());
    }
    let tolerance = match expected.dtype {
        _ if expected.is_quantized => CODE_TOLERANCE,
        DType::FLOAT16 => HALF_TOLERANCE,
        dtype if dtype.is_float() => FLOAT_TOLERANCE,
        _ => 0.0,
    };
    let differs = |(one, other): &(f64, &f64)| {
        !(one == *other
            || one.is_nan() && other.is_nan()
            || (one - *other).abs() <= tolerance * other.abs().max(1.0))
    };
    let wrong = numbers(found).into_iter().step_by(expected.step).zip(&expected.numbers).find(differs);
    wrong.map(|(one, other)| format!("{one} in place of {other}"))
}

/// Runs a model on the inputs of one case; what is wrong with what it computes, in words.
fn problem(model: &ModelBox, inputs: &[Expected], case: &Value) -> Option<String> {
    let said = |error: BackendError| Some(format!("{} {:?}", error.message, error.causes));
    let info = model.info().into_result().unwrap();
    if info.inputs.len() != inputs.len() {
        return Some(info.run_obstacle.map_or("other inputs".to_owned(), |error| error.message.to_string()));
    }
    let bytes: Vec<Vec<u8>> = inputs.iter().map(Expected::bytes).collect();
    let views: Vec<TensorView<'_>> = info
        .inputs
        .iter()
        .zip(inputs.iter().zip(&bytes))
        .map(|(value, (input, bytes))| TensorView::whole(&value.name, input.dtype, &input.shape, bytes))
        .collect();
    // Codes are those of the kernels that have computed the case.
    let outputs = match run(model, &views, &[pair("qengine", case["engine"].as_str().unwrap())]) {
        Ok((_, outputs)) => outputs,
        Err(error) => return said(error),
    };
    let expected: Vec<Expected> = case["outputs"].as_array().unwrap().iter().map(Expected::read).collect();
    if outputs.len() != expected.len() {
        return Some(format!("{} outputs in place of {}", outputs.len(), expected.len()));
    }
    let declared = info.inputs.iter().zip(inputs).chain(info.outputs.iter().zip(&expected));
    let wrong = declared.into_iter().find(|(value, expected)| !is_declared(value, &expected.shape));
    if let Some((value, expected)) = wrong {
        return Some(format!("{:?} is declared, and is {:?}", value.shape, expected.shape));
    }
    outputs.iter().zip(&expected).enumerate().find_map(|(index, (found, expected))| {
        difference(found, expected).map(|what| format!("output {index} (`{}`): {what}", found.name))
    })
}

/// Whether a value may have that shape by its description.
fn is_declared(value: &ValueInfo, shape: &[i64]) -> bool {
    let Some(declared) = value.shape.as_ref().into_option() else { return true };
    declared.len() == shape.len()
        && declared.iter().zip(shape).all(|(size, found)| size.size < 0 || size.size == *found)
}

/// Runs all cases of an archive of tests/data, of which there are more than `least`.
fn all_agree(archive: &str, least: usize) {
    each_agrees(archive, least, |backend, path, _| {
        open(backend, path).map_err(|error| Some(format!("{error:?}")))
    });
}

/// Runs what `opened` makes of each file of an archive of tests/data; it makes more than `least`, and says of the others what
/// is wrong with them, if something is.
fn each_agrees(
    archive: &str,
    least: usize,
    opened: impl Fn(&BackendBox, &Path, &[Expected]) -> Result<ModelBox, Option<String>>,
) {
    let Some(setup) = setup() else { return };
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(archive);
    let mut archive = ZipArchive::new(File::open(archive).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut models = Vec::new();
    archive.by_name("models.zip").unwrap().read_to_end(&mut models).unwrap();
    ZipArchive::new(Cursor::new(models)).unwrap().extract(folder.path()).unwrap();
    let mut text = String::new();
    archive.by_name("cases.json").unwrap().read_to_string(&mut text).unwrap();
    let parsed = parsed(&text);
    let cases = parsed["cases"].as_object().unwrap();
    let mut count = 0;
    let backend = backend_with(setup);
    let problems: Vec<String> = cases
        .iter()
        .filter_map(|(name, case)| {
            let path = folder.path().join(format!("{name}.pt"));
            let inputs = case["inputs"].as_array().unwrap().iter();
            let given = |name: &Value| Expected::read(&parsed["inputs"][name.as_str().unwrap()]);
            let inputs: Vec<Expected> = inputs.map(given).collect();
            let found = match opened(&backend, &path, &inputs) {
                Ok(model) => {
                    count += 1;
                    problem(&model, &inputs, case)
                }
                Err(found) => found,
            };
            found.map(|found| format!("{name}: {found}"))
        })
        .collect();
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), cases.len(), problems.join("\n"));
    assert!(count > least, "{count}");
}

#[test]
fn modules_and_functions_compute_what_pytorch_computes() {
    all_agree("modules.zip", 300);
}

/// DataParallel, and weight and spectral normalization by hooks, whose stored results are stale:
/// tests/data/make_wrapped.py.
#[test]
fn wrapped_and_normalized_modules_compute_what_pytorch_computes() {
    all_agree("wrapped.zip", 7);
}

/// Float models that are written as exported programs; the others name what is not written.
#[test]
fn modules_compute_the_same_as_exported_programs() {
    each_agrees("modules.zip", 230, |backend, path, inputs| {
        let model = open(backend, path).map_err(|error| Some(format!("{error:?}")))?;
        let info = model.info().into_result().unwrap();
        let shapes = info.inputs.iter().zip(inputs).map(|(value, input)| {
            let sizes: Vec<String> = input.shape.iter().map(i64::to_string).collect();
            pair(format!("shape:{}", value.name), sizes.join(","))
        });
        let described = Edit {
            action: "prepare".into(),
            target: RString::new(),
            arguments: shapes.collect(),
            dtype: DType::UNDEFINED,
            shape: RVec::new(),
            bytes: RVec::new(),
        };
        let progress = FnProgress(|_: &str, _, _| false);
        let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
        model
            .edit(RSlice::from_slice(&[described]), progress)
            .into_result()
            .map_err(|error| (error.kind != ErrorKind::UNSUPPORTED_OP).then(|| format!("{error:?}")))
    });
}
